"""What several readers of one message read differently: each known way to be taken for somebody else by it.

The victim is the vendor, at an alias, or the person's own mailbox, at a reverse alias.  What we let in is
read again by the standard library's parser, which reads more kindly than we do: also to it the author is a
reverse alias of ours, and nobody else.

Sources: Chen, Paxson, Jiang, "Composition Kills: A Case Study of Email Sender Authentication" (USENIX
Security 2020), its server-side, user-interface and ambiguous-replay attacks, and its tool's cases (espoofer);
RFC 5322 §3.4, §4.4, §4.5.8; RFC 6376 §8.15.
"""

from __future__ import annotations

import base64
import email
import email.policy
import email.utils
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from sortingoffice.cli.stage import MAILBOX, OFFICE, ORDERS, VENDOR, opened, until
from sortingoffice.mail import dkim
from tests.office import Office, Relationship

EVIL = "evil.example"
_numbers = itertools.count(1)
SPAM = f"spam@{EVIL}"


@dataclass(frozen=True)
class Case:
    """One way.  VICTIM is its address, DOMAIN the part behind the @.

    fields  what the header block begins with
    signer  what stands in d= of a good signature of the attacker's; selector, in s=; "" for no signature
    """

    fields: str = "From: <VICTIM>"
    sender: str = f"<{SPAM}>"
    helo: str = f"mx.{EVIL}"
    signer: str = EVIL
    selector: str = "mail"


def _word(text: str, encoding: str = "b") -> str:
    packed = base64.b64encode(text.encode()).decode() if encoding == "b" else text.replace("@", "=40")
    return f"=?utf-8?{encoding}?{packed}?="


CASES = {
    # ---- SPF says one thing, DMARC aligns with another
    "a sender of a subdomain that isn't there": Case(sender="<any@none.DOMAIN>"),
    "the null sender": Case(sender="<>"),
    "the null sender and the victim's HELO": Case(sender="<>", helo="mx.DOMAIN", signer=""),
    "the victim's HELO": Case(helo="DOMAIN", signer=""),
    "the victim as sender": Case(sender="<VICTIM>", signer=""),
    "a HELO with a comment": Case(sender="<>", helo=f"DOMAIN(.{EVIL}", signer=""),
    # ---- results are injected by a name that another component reads to its end
    "a comment in the sender's domain": Case(sender=f"<any@DOMAIN(.{EVIL}>"),
    "a quote in the sender's domain": Case(sender=f"<any@DOMAIN'@a.{EVIL}>"),
    "a double quote in the sender's domain": Case(sender=f'<any@DOMAIN"@a.{EVIL}>'),
    "a route in the sender": Case(sender=f"<@DOMAIN,@any.example:'any@{EVIL}>"),
    "a route through the victim in the sender": Case(sender=f"<@DOMAIN:any@{EVIL}>"),
    "a local part that says dmarc=pass": Case(sender=f'<"; dmarc=pass header.from=DOMAIN; x="@{EVIL}>'),
    "a comment in d=": Case(signer=f"DOMAIN(.{EVIL}"),
    "a quote in d=": Case(signer=f"DOMAIN'a.{EVIL}"),
    "a double quote in d=": Case(signer=f'DOMAIN".{EVIL}'),
    "a NUL in d=": Case(signer=f"DOMAIN\0.{EVIL}"),
    "a NUL in s=": Case(signer="DOMAIN", selector=f"{EVIL}.\0.x"),
    "an s= that leads elsewhere": Case(signer="DOMAIN", selector=f"mail._domainkey.{EVIL}."),
    "d= above the victim": Case(signer="example"),
    "d= that is empty": Case(signer=""),
    # ---- several From fields
    "two From, the victim first": Case(f"From: <VICTIM>\r\nFrom: <{SPAM}>"),
    "two From, the victim last": Case(f"From: <{SPAM}>\r\nFrom: <VICTIM>"),
    "two From, one in capitals": Case(f"From: <{SPAM}>\r\nFROM: <VICTIM>"),
    "a blank before From": Case(f" From: <VICTIM>\r\nFrom: <{SPAM}>"),
    "a blank before From, below another field": Case(f"From: <{SPAM}>\r\nX-A: b\r\n From: <VICTIM>"),
    "a blank before the colon": Case(f"From: <{SPAM}>\r\nFrom : <VICTIM>"),
    "a blank before the colon, on top": Case(f"From : <VICTIM>\r\nFrom: <{SPAM}>"),
    "a tab before the colon": Case(f"From: <{SPAM}>\r\nFrom\t: <VICTIM>"),
    "a name folded before its colon": Case(f"From: <{SPAM}>\r\nFrom\r\n : <VICTIM>"),
    "a name folded before its colon, on top": Case(f"From\r\n : <VICTIM>\r\nFrom: <{SPAM}>"),
    "a control before the name": Case(f"From: <{SPAM}>\r\n\x0bFrom: <VICTIM>"),
    "an octet after the name": Case(f"From: <{SPAM}>\r\nFrom\x80: <VICTIM>"),
    "below a line that is no field": Case(f"From: <{SPAM}>\r\nno field\r\nFrom: <VICTIM>"),
    "below a line of blanks": Case(f"From: <{SPAM}>\r\nX-A: b\r\n \r\nFrom: <VICTIM>"),
    "below mbox's From": Case(f"From: <{SPAM}>\r\nFrom VICTIM Sun Mar 1\r\nFrom: <VICTIM>"),
    "no From, a Sender": Case("Sender: <VICTIM>"),
    "a Sender beside": Case(f"From: <{SPAM}>\r\nSender: <VICTIM>"),
    "a Resent-From beside": Case(f"Resent-From: <VICTIM>\r\nFrom: <{SPAM}>"),
    "a Reply-To beside": Case(f"From: <{SPAM}>\r\nReply-To: <VICTIM>"),
    # ---- our own word, written by somebody else
    **{
        f"our results, {how}": Case(f"From: <{SPAM}>\r\n{told}; dmarc=pass header.from=DOMAIN")
        for how, told in {
            "as we write": f"Authentication-Results: mx.{OFFICE}",
            "in capitals": f"AUTHENTICATION-RESULTS: MX.{OFFICE.upper()}",
            "with a version": f"Authentication-Results: mx.{OFFICE} 1",
            "with a dot": f"Authentication-Results: mx.{OFFICE}.",
            "in quotes": f'Authentication-Results: "mx.{OFFICE}"',
            "in quotes with escapes": f'Authentication-Results: "m\\x.{OFFICE}" 1',
            "behind a comment": f"Authentication-Results: (a (b) \\) c) mx.{OFFICE}",
            "before a comment": f"Authentication-Results: mx.{OFFICE}(v1)",
            "folded": f"Authentication-Results:\r\n\t(x\r\n y)\r\n mx.{OFFICE}",
            "encoded": f"Authentication-Results: =?utf-8?q?mx=2E{OFFICE}?=",
            "with blanks before the colon": f"Authentication-Results \t: mx.{OFFICE}",
            "below a line that is no field": f"no field\r\nAuthentication-Results: mx.{OFFICE}",
        }.items()
    },
    # ---- one From of which readers take different parts
    "two addresses": Case(f"From: <{SPAM}>, <VICTIM>"),
    "two addresses, the victim first": Case(f"From: <VICTIM>, <{SPAM}>"),
    "no comma between": Case(f"From: <VICTIM><{SPAM}>"),
    "an address before the brackets": Case(f"From: VICTIM <{SPAM}>"),
    "an address behind the brackets": Case(f"From: <{SPAM}> VICTIM"),
    "an address behind, in brackets of its own": Case(f"From: <{SPAM}> <VICTIM>"),
    "a quoted address": Case(f'From: "VICTIM" <{SPAM}>'),
    "a quoted address in brackets": Case(f'From: "<VICTIM>" <{SPAM}>'),
    "an encoded address": Case(f"From: {_word('VICTIM', 'q')} <{SPAM}>"),
    "an encoded list": Case(f"From: LIST <{SPAM}>"),
    "an encoded address with a NUL": Case(f"From: =?utf-8?q?VICTIM=00?= <{SPAM}>"),
    "an encoded line end": Case(f"From: =?utf-8?q?VICTIM=3E=0D=0AFrom:_=3CVICTIM?= <{SPAM}>"),
    "encoded brackets": Case(f"From: =?utf-8?q?=3CVICTIM=3E?= <{SPAM}>"),
    "an encoded word as the address": Case(f"From: <{_word('VICTIM', 'q')}@{EVIL}>"),
    "a route": Case(f"From: <@{EVIL},@any.example:VICTIM>"),
    "a route through the victim": Case(f"From: <@DOMAIN,@any.example:{SPAM}>"),
    "a backslash before the comma": Case(f"From: VICTIM\\, <{SPAM}>"),
    "a backslash before the bracket": Case(f"From: <VICTIM\\>, <{SPAM}>"),
    "a comment": Case(f"From: (VICTIM) {SPAM}"),
    "a comment in the brackets": Case(f"From: <{SPAM}(VICTIM)>"),
    "a comment that ends the other": Case(f"From: VICTIM(<) {SPAM}(>)"),
    "an open quote": Case(f'From: "VICTIM <{SPAM}>'),
    "an open bracket": Case(f"From: <VICTIM <{SPAM}>"),
    "a group": Case(f"From: VICTIM:{SPAM};"),
    "a group of nobody beside": Case(f"From: VICTIM:;, <{SPAM}>"),
    "a semicolon": Case(f"From: <VICTIM>; <{SPAM}>"),
    "two at signs": Case(f"From: <VICTIM@{EVIL}>"),
    "a quoted local part with the victim": Case(f'From: <"VICTIM"@{EVIL}>'),
    "a line end within the address": Case(f"From: <VICTIM\r\n @{EVIL}>"),
    "a NUL behind the victim": Case(f"From: <VICTIM\0@{EVIL}>"),
    "blanks beyond a screen": Case(f"From: VICTIM{' ' * 400}<{SPAM}>"),
    "folded out of sight": Case(f"From: VICTIM{(chr(13) + chr(10) + ' ') * 30}<{SPAM}>"),
    "the victim's domain below the attacker's": Case(f"From: <VICTIM.{EVIL}>"),
    "a look-alike": Case(f"From: <{ORDERS.replace('a', 'а')}>"),
}


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    with opened() as stage:
        stage.publish(EVIL, "127.0.0.2", policy="none", spf="ip4:127.0.0.1 -all")
        stage.init()
        stage.start()
        yield Office(stage)
        assert stage.stop() == 0, stage.log
        assert "Traceback" not in stage.log


@pytest.fixture(scope="module")
def shop(office: Office) -> Relationship:
    return office.fresh("--site", VENDOR)


@pytest.fixture(scope="module")
def locked(office: Office) -> Relationship:
    made = office.fresh("--site", VENDOR)
    office.stage.command("set", made.slug, "--strangers", "lock")
    return made


@pytest.fixture(scope="module")
def reverse(shop: Relationship) -> str:
    return shop.contact()


def _answer(office: Office, case: Case, victim: str, to: str, subject: str) -> tuple[int, str]:
    """The last answer to this way of writing."""
    words = {"VICTIM": victim, "DOMAIN": victim.partition("@")[2], "LIST": _word(f"{victim},")}

    def filled(text: str) -> str:
        return re.sub("VICTIM|DOMAIN|LIST", lambda match: words[match[0]], text)

    others = f"To: {to}\r\nSubject: {subject}\r\nMessage-ID: <{next(_numbers)}@{EVIL}>"
    raw = f"{filled(case.fields)}\r\n{others}\r\n\r\nattack: {subject}.\r\n".encode()
    if case.signer:
        key = replace(office.stage.keys[EVIL], domain=filled(case.signer), selector=filled(case.selector))
        signature = replace(dkim.sign(raw, office.stage.keys[EVIL], datetime.now(UTC))[0])
        named = signature.raw.replace(
            f"d={EVIL}; s=mail".encode(), f"d={key.domain}; s={key.selector}".encode()
        )
        raw = named + raw
    with office.stage.client(EVIL) as client:
        client.ehlo(filled(case.helo))
        for command in (f"MAIL FROM:{filled(case.sender)}", f"RCPT TO:<{to}>"):
            code, text = client.docmd(command)
            if code >= 400:
                return code, text.decode()
        code, text = client.data(raw)
        return code, text.decode()


@pytest.mark.parametrize("how", CASES)
def test_no_way_of_writing_makes_a_stranger_the_vendor_or_the_person(
    office: Office, shop: Relationship, locked: Relationship, reverse: str, how: str
) -> None:
    code, _ = _answer(office, CASES[how], ORDERS, locked.alias, f"locked: {how}")
    assert code >= 500, "only the vendor may write to it"
    code, text = _answer(office, CASES[how], MAILBOX, reverse, f"outward: {how}")
    assert code >= 500, "only the person may write through it"
    assert not text.startswith("5.1.1") or text == "5.1.1 no such address here"
    code, _ = _answer(office, CASES[how], ORDERS, shop.alias, how)
    if code < 400:
        _is_nobody_elses(_home(office, how))


def _home(office: Office, how: str) -> bytes:
    """What arrived; by its last line, since in some ways of writing the subject is no field."""

    def look() -> list[bytes]:
        received = tuple(office.stage.home.received)
        return [each.octets for each in received if f"\nattack: {how}.\r".encode() in each.octets]

    return until(look, how)[0]


def _is_nobody_elses(got: bytes) -> None:
    """Our results name who it is, and also a kinder reader answers to addresses of ours alone."""
    read = email.message_from_bytes(got, policy=email.policy.compat32)
    told = [" ".join(str(each).split()) for each in read.get_all("Authentication-Results") or []]
    assert [each.partition(";")[0] for each in told] == [f"mx.{OFFICE}"]
    assert not re.search(rf"header\.from={VENDOR}(?![.\w])", told[0])
    assert len(read.get_all("From") or []) == 1
    for name in ("From", "Sender", "Reply-To"):
        values = [str(each) for each in read.get_all(name) or []]
        for _, address in email.utils.getaddresses(values):
            assert address.endswith(f"@{OFFICE}"), (name, values)


@pytest.mark.parametrize(
    "written",
    [
        "<VICTIM>, <VICTIM>",
        "Lamp, Shop <VICTIM>",
        f"@{EVIL}:VICTIM",
        "<VICTIM> <>",
        "a;VICTIM",
        "x@@y, <VICTIM>",
    ],
)
def test_what_stands_beside_the_author_spares_nobody_the_authors_policy(
    office: Office, shop: Relationship, written: str
) -> None:
    """The vendor's domain asks to refuse what it doesn't prove; the reader would see its address."""
    case = Case(f"From: {written}")
    code, text = _answer(office, case, ORDERS, shop.alias, f"beside: {written}")
    assert (code, text) == (550, "5.7.1 the author's domain asks to refuse unauthenticated mail")


def test_none_of_it_became_the_vendor_or_reached_anybody(office: Office, shop: Relationship) -> None:
    """Runs in any order: whatever was tried until now."""
    strangers = office.stage.json("strangers", shop.slug)
    assert {row["class"] for row in strangers} <= {
        "authenticated stranger",
        "unauthenticated stranger",
        "forged vendor",
    }
    assert not [each for each in tuple(office.stage.vendor.received) if b"attack" in each.octets]
