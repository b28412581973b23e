"""Ids of messages: inside a message, too, a vendor sees only those that it knows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sortingoffice.cli.stage import MAILBOX, OFFICE, ORDERS
from sortingoffice.core import identifiers, outward
from sortingoffice.core.identifiers import Ids
from sortingoffice.core.model import Reference
from sortingoffice.mail import mime
from sortingoffice.mail.message import Message
from sortingoffice.store import references, schema
from sortingoffice.store.database import Transaction
from tests.desk import Desk
from tests.office import Office, addresses, written
from tests.test_gate import for_vendors
from tests.test_outward import FACTS

SPY = "spy.example"
PROVIDER = "mail.bigprovider.example"
INSIDE, OUTSIDE, GONE = f"<CA+in=1@{PROVIDER}>", "<out-1@sort.example>", "<aaaabbbbccccdddd.7@sort.example>"


@pytest.fixture(scope="module")
def spy(office: Office) -> None:
    office.stage.publish(SPY, "127.0.0.2", spf="ip4:127.0.0.1 -all", policy="none")


# ---- an office -----------------------------------------------------------------------------------


def in_a_receipt(got: Message, inside: str) -> tuple[tuple[str, ...], str]:
    body = (
        "--b\r\nContent-Type: text/plain\r\n\r\nread\r\n"
        "--b\r\nContent-Type: message/disposition-notification\r\n\r\n"
        f"Final-Recipient: rfc822;{MAILBOX}\r\nOriginal-Message-ID: {inside}\r\n"
        "Disposition: manual-action/MDN-sent-manually; displayed\r\n"
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\n{got.header.decode()}\r\n--b--\r\n"
    )
    return ('Content-Type: multipart/report; report-type=disposition-notification; boundary="b"',), body


def in_an_attached_message(got: Message, inside: str) -> tuple[tuple[str, ...], str]:
    body = (
        "--b\r\nContent-Type: text/plain\r\n\r\nsee\r\n"
        f"--b\r\nContent-Type: message/rfc822\r\n\r\n{bytes(got).decode()}\r\n--b--\r\n"
    )
    return ('Content-Type: multipart/mixed; boundary="b"',), body


def in_a_forwarded_header(got: Message, inside: str) -> tuple[tuple[str, ...], str]:
    head = f"From: x <{addresses(got, 'From')[0]}>\r\nMessage-ID: {inside}\r\nSubject: s\r\n"
    return (), f"see\r\n\r\n----- Forwarded message from x -----\r\n\r\n{head}\r\nhello\r\n"


def in_the_line_above_a_quote(got: Message, inside: str) -> tuple[tuple[str, ...], str]:
    return (), f"yes\r\n\r\nOn Monday, in {inside.strip('<>')}, x wrote:\r\n> hello\r\n"


def in_html(got: Message, inside: str) -> tuple[tuple[str, ...], str]:
    shown = inside.replace("<", "&lt;").replace(">", "&gt;").replace("@", "<wbr>@")
    return ("Content-Type: text/html; charset=utf-8",), f"<p>see</p><p>Message-ID: {shown}</p>\r\n"


PLACES: list[Callable[[Message, str], tuple[tuple[str, ...], str]]] = [
    in_a_receipt,
    in_an_attached_message,
    in_a_forwarded_header,
    in_the_line_above_a_quote,
    in_html,
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.usefixtures("spy")
def test_a_second_copy_s_id_leaves_nowhere_but_as_the_vendor_knows_it(
    office: Office, place: Callable[[Message, str], tuple[tuple[str, ...], str]]
) -> None:
    """Else one who writes to two aliases with one id sees that both are one person's."""
    name = place.__name__.replace("_", "-")
    outside, copies = f"<{name}@{SPY}>", []
    for number in (1, 2):
        shop, subject = office.fresh(), f"{name} {number}"
        head = (f"From: x@{SPY}", f"To: {shop.alias}", f"Message-ID: {outside}")
        office.stage.send(SPY, f"x@{SPY}", shop.alias, written(*head, subject=subject))
        copies.append(office.home(subject))
    told = []
    for number, got in enumerate(copies):
        inside, to = (got.value("Message-ID") or b"").decode(), addresses(got, "From")[0]
        lines, body = place(got, inside)
        written_by = (f"From: Anna <{MAILBOX}>", f"To: {to}", "MIME-Version: 1.0", *lines)
        office.from_home(to, written(*written_by, subject=f"Re: {name} {number}", body=body))
        told.append(office.vendor(f"Re: {name} {number}").body.decode())
    inside = (copies[1].value("Message-ID") or b"").decode()
    assert inside != outside
    assert inside.strip("<>").partition("@")[0] not in told[1]
    assert [outside.strip("<>") in each.replace("<wbr>", "") for each in told] == [True, True]


@pytest.mark.usefixtures("spy")
def test_the_id_of_a_second_copy_tells_nobody_anything(office: Office) -> None:
    inside = []
    for number in (1, 2, 3):
        shop, subject = office.fresh(), f"opaque {number}"
        head = (f"From: x@{SPY}", f"To: {shop.alias}", f"Message-ID: <opaque@{SPY}>")
        office.stage.send(SPY, f"x@{SPY}", shop.alias, written(*head, subject=subject))
        inside.append((office.home(subject).value("Message-ID") or b"").decode())
    assert inside[0] == f"<opaque@{SPY}>"
    assert all(re.fullmatch(rf"<[a-z2-7]{{16}}@{re.escape(OFFICE)}>", each) for each in inside[1:])
    assert len(set(inside)) == 3
    said = office.stage.log
    assert not any(each.strip("<").partition("@")[0] in said for each in inside[1:]), "nor was it told"


def test_the_persons_own_id_in_an_attached_answer_leaves_as_the_vendor_knows_it(office: Office) -> None:
    shop = office.fresh()
    to, inside = shop.contact(), f"<CAOwnId123@{PROVIDER}>"
    head = (f"From: Anna <{MAILBOX}>", f"To: {to}")
    office.from_home(to, written(*head, f"Message-ID: {inside}", subject="own 1"))
    outside = (office.vendor("own 1").value("Message-ID") or b"").decode()
    thread = (f"In-Reply-To: {outside}", f"References: {outside}")
    office.from_vendor(
        shop.alias, written(f"From: {ORDERS}", f"To: {shop.alias}", *thread, subject="Re: own 1")
    )
    got = office.home("Re: own 1")
    assert got.value("In-Reply-To") == inside.encode()
    lines, body = in_an_attached_message(got, inside)
    office.from_home(to, written(*head, "MIME-Version: 1.0", *lines, subject="Fwd: own 1", body=body))
    told = office.vendor("Fwd: own 1").body.decode()
    assert PROVIDER not in told
    assert f"In-Reply-To: {outside}\r\nReferences: {outside}\r\n" in told


# ---- which are known -----------------------------------------------------------------------------

START = datetime(2026, 3, 1, tzinfo=UTC)
OLD = "<qqqqwwwweeeerrrr.5@sort.example>"


def carried(desk: Desk, inside: str, outside: str, relationship_id: int = 0) -> None:
    desk.db.call(references.remember, relationship_id or desk.shop.id, inside, outside, START)


def sent(desk: Desk, body: str, kind: str = "text/plain") -> str:
    desk.post(f"Content-Type: {kind}\n\n{body}".replace("\n", "\r\n").encode())
    message, state = for_vendors(desk)[-1]
    assert state == "queued"
    return message.raw.decode().replace("\r\n", "\n")


def attached(*fields: str) -> str:
    inner = "\n".join(("From: x@y.example", "Subject: s", *fields))
    text = "--b\nContent-Type: text/plain\n\nsee\n"
    return f"{text}--b\nContent-Type: message/rfc822\n\n{inner}\n\nhello\n--b--\n"


MIXED = 'multipart/mixed; boundary="b"'


def test_an_id_of_an_older_version_is_mapped_on(either: Desk) -> None:
    carried(either, OLD, "<v1@lamp-shop.example>")
    assert "Message-ID: <v1@lamp-shop.example>\n" in sent(either, attached(f"Message-ID: {OLD}"), MIXED)
    assert "in v1@lamp-shop.example you" in sent(either, "as in qqqqwwwweeeerrrr.5@sort.example you\n")


@pytest.mark.parametrize("inside", [OLD, "<nrnrnrnrnrnrnrnr@sort.example>", "<anything@mx.sort.example>"])
def test_an_id_of_ours_that_the_vendor_never_saw_is_taken_out(desk: Desk, inside: str) -> None:
    """Another relationship's; or so old that it is forgotten."""
    text = sent(desk, attached(f"Message-ID: {inside}", f"References: <kept@x.example> {inside}"), MIXED)
    assert inside not in text
    assert "References: <kept@x.example>" in text


def test_an_id_of_ours_that_the_vendor_never_saw_is_taken_out_of_a_forwarded_header(desk: Desk) -> None:
    head = f"From: x@y.example\nDate: x\nMessage-ID: {OLD}\n"
    text = sent(desk, f"see\n\n---------- Forwarded message ---------\n{head}\nhello\n")
    assert "Message-ID: \n" in text


def test_what_the_person_sent_to_another_vendor_is_not_named_to_this_one(desk: Desk) -> None:
    other = desk.relate("Other Shop")
    carried(desk, INSIDE, OUTSIDE, other.id)
    text = sent(desk, attached(f"In-Reply-To: {INSIDE}", "References: <v@other.example>"), MIXED)
    assert PROVIDER not in text
    assert "References: <v@other.example>" in text


def test_more_unknown_ids_than_are_looked_for_leave_nothing_of_them(desk: Desk) -> None:
    many = "\n ".join(f"<{number}@x.example>" for number in range(300))
    text = sent(desk, attached(f"References: {many}"), MIXED)
    assert "<199@x.example>" in text
    assert "<200@x.example>" not in text


def test_our_id_that_the_vendor_quotes_stays(desk: Desk) -> None:
    outside = "<gggghhhhjjjjkkkk@sort.example>"
    carried(desk, INSIDE, outside)
    body = f"yes\n\nOn Monday, Lamp Shop wrote:\n> as you wrote in {outside}\n"
    assert body in sent(desk, body)
    assert f"References: {outside}\n" in sent(desk, attached(f"References: {outside}"), MIXED)


def test_an_alias_that_looks_like_an_id_stays(desk: Desk) -> None:
    name = "abcdefghijklmnop@sort.example"
    update = schema.alias.update().where(schema.alias.c.relationship_id == desk.shop.id)
    desk.db.call(lambda tx: tx.execute(update.values(address=name, canonical=name)))
    body = f"yes\n\nOn Monday, Lamp Shop wrote:\n> To: <{name}>\n"
    assert body in sent(desk, body)


def test_a_message_that_names_more_ids_than_are_looked_up_goes_back_whole(desk: Desk) -> None:
    """Rather than with some of them unread."""
    names = "\n".join(f"<{number}@x.example>" for number in range(identifiers.MOST + 1))
    desk.post(f"Content-Type: text/plain\r\n\r\n{names}\r\n".encode())
    assert for_vendors(desk) == []
    assert desk.notices()[-1].subject == "Not sent: your mail could not be checked"
    assert Ids((), ("<a@b>",), ()).fields
    with pytest.raises(mime.TooComplex):
        Ids(("<a@b>",), ("<a@b>",) * identifiers.MOST, ())


# ---- the text ------------------------------------------------------------------------------------


def leaving(body: str, kind: str = "text/plain") -> str:
    facts = replace(FACTS, references={INSIDE: OUTSIDE, GONE: "", "<same@x.example>": "<same@x.example>"})
    raw = f"From: {MAILBOX}\nMIME-Version: 1.0\nContent-Type: {kind}\n\n{body}".replace("\n", "\r\n").encode()
    new = bytes(outward.rewrite(Message.parse(raw), facts)).decode().replace("\r\n", "\n")
    return new.partition("\n\n")[2]


QUOTE = "yes\n\nOn Monday, x wrote:\n> {}\n"


@pytest.mark.parametrize(
    ("body", "becomes"),
    [
        (f"see {INSIDE}.\n", f"see {OUTSIDE}.\n"),
        (f"mid:{INSIDE[1:-1]}, and\n", f"mid:{OUTSIDE[1:-1]}, and\n"),
        (f"({INSIDE})({INSIDE})\n", f"({OUTSIDE})({OUTSIDE})\n"),
        (f"x{INSIDE[1:-1]} is longer\n", f"x{INSIDE[1:-1]} is longer\n"),
        (f"{INSIDE[1:-1]}.org is another\n", f"{INSIDE[1:-1]}.org is another\n"),
        ("<same@x.example>\n", "<same@x.example>\n"),
        (QUOTE.format(f"in {GONE} you"), QUOTE.format("in  you")),
        (f"my own words: {GONE}\n", f"my own words: {GONE}\n"),
    ],
)
def test_an_id_in_a_text_becomes_the_one_that_the_vendor_knows(body: str, becomes: str) -> None:
    assert leaving(body) == becomes


def test_in_html_only_the_id_changes() -> None:
    shown = INSIDE[1:-1].replace("@", "<b>&#64;</b>")
    quoted = f"<blockquote>a &lt;{GONE[1:-1]}&gt;</blockquote>\n"
    body = f'<div class="x">see &lt;{shown}&gt; &amp; more</div>{quoted}'
    assert leaving(body, "text/html") == (
        f'<div class="x">see &lt;{OUTSIDE[1:-1]}<b></b>&gt; &amp; more</div><blockquote>a </blockquote>\n'
    )


SIGNED = (
    "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n"
    f"{QUOTE.format(INSIDE)}-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n"
)


def test_what_is_signed_stays_as_it_is() -> None:
    assert leaving(SIGNED) == SIGNED
    signature = "--b\nContent-Type: application/pgp-signature\n\nx\n--b--\n"
    parts = f"--b\nContent-Type: text/plain\n\n> {INSIDE}\n{signature}"
    assert leaving(parts, 'multipart/signed; boundary="b"') == parts
    raw = f'Content-Type: multipart/signed; boundary="b"\r\n\r\n{parts}'.encode()
    assert outward.ids(Message.parse(raw)) == Ids((), (), ())


def test_an_attachment_stays_as_it_is() -> None:
    parts = (
        "--b\nContent-Type: text/plain\n\nsee\n"
        f"--b\nContent-Type: text/plain; name=a.txt\nContent-Disposition: attachment\n\n{INSIDE}\n--b--\n"
    )
    assert leaving(parts, MIXED) == parts


def test_a_long_text_of_signs_takes_no_longer_than_its_length() -> None:
    body = ("<" * 100_000 + "@" * 100_000 + "a@" * 100_000 + "=/" * 100_000 + "<a" * 100_000) + "\n"
    started = datetime.now(UTC)
    assert leaving(body) == body
    assert datetime.now(UTC) - started < timedelta(seconds=20)


# ---- the table -----------------------------------------------------------------------------------


def test_many_ids_are_looked_up_as_few_are(either: Desk) -> None:
    every = {f"<in{number}@home.example>": f"<out{number}@sort.example>" for number in range(1200)}

    def fill(tx: Transaction) -> None:
        for inside, outside in every.items():
            schema.insert(tx, Reference(0, either.shop.id, inside, outside, START))

    either.db.call(fill)
    asked = [*every, "<never@home.example>"]
    assert either.db.view(references.outside_of, either.shop.id, asked) == every
    assert either.db.view(references.outside_of, either.shop.id, asked[:3]) == dict(list(every.items())[:3])
    other = either.relate("Other Shop")
    assert either.db.view(references.outside_of, other.id, asked) == {}
    assert either.db.view(references.only_inside, either.account.id, asked) == frozenset(every)
    assert either.db.view(references.only_inside, either.account.id + 1, asked) == frozenset()


def test_an_id_that_both_sides_know_is_no_private_one(either: Desk) -> None:
    carried(either, "<v@x.example>", "<v@x.example>")
    assert either.db.view(references.only_inside, either.account.id, ["<v@x.example>"]) == frozenset()
