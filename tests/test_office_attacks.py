"""Who may send outward is decided by our own results only: each known way around it, tried over the wire.

Every attack must end in the answer that an address which never existed gets; nothing may reach the vendor.
"""

from __future__ import annotations

import base64
import smtplib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from sortingoffice.cli.stage import HOME, MAILBOX, OFFICE, ORDERS, VENDOR
from sortingoffice.mail import arc, canonical, dkim
from sortingoffice.mail.message import Message
from tests.office import Office, Relationship, opened, written

EVIL = "evil.example"
SHARED = "shared.example"  # a provider whose tenants pass each other's SPF


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    with opened() as stage:
        stage.publish(EVIL, "127.0.0.2", policy="none", spf="ip4:127.0.0.1 -all")
        stage.publish(SHARED, "127.0.0.3", policy="none", spf="ip4:127.0.0.1 -all")
        stage.init()
        stage.command("admin", "account", "add", "ben", "--mailbox", f"ben@{SHARED}")
        stage.start()
        office = Office(stage)
        yield office
        assert [each for each in stage.vendor.received if b"attack" in each.octets] == [], "one went through"
        assert stage.stop() == 0, stage.log
        assert "Traceback" not in stage.log


@dataclass
class Shop(Relationship):
    """Anna's relationship and the reverse alias of its contact: what everybody here would like to use."""

    to: str = ""


def fresh(office: Office) -> Shop:
    row = office.stage.json("--account", "anna", "new", "Shop")
    shop = Shop(office, row)
    shop.to = office.stage.command("--account", "anna", "contact", shop.slug, ORDERS)
    return shop


@pytest.fixture(scope="module")
def shop(office: Office) -> Shop:
    return fresh(office)


@pytest.fixture(scope="module")
def to(shop: Shop) -> str:
    return shop.to


def signed(office: Office, mail: bytes, *by: str, at: datetime | None = None) -> bytes:
    keys = [office.stage.keys[each] for each in by]
    return b"".join(each.raw for each in dkim.sign(mail, keys, at or datetime.now(UTC))) + mail


def answer(office: Office, to: str, raw: bytes, sender: str, host: str = EVIL) -> tuple[int, str]:
    with office.stage.client(host) as client:
        client.ehlo()
        client.mail(sender)
        client.rcpt(to)
        code, text = client.data(raw)
    return code, text.decode()


NEVER = (550, "5.1.1 no such address here")

FROMS = {
    "unsigned": (f"From: {MAILBOX}",),
    "display name": (f'From: "{MAILBOX}" <spam@{EVIL}>',),
    "own domain in a comment": (f"From: spam@{EVIL} ({MAILBOX})",),
    "encoded": (f"From: =?utf-8?q?anna=40home=2Eexample?= <spam@{EVIL}>",),
    "a group": (f"From: anna:{MAILBOX};",),
    "sender field": (f"From: spam@{EVIL}", f"Sender: {MAILBOX}"),
    "reply-to": (f"From: spam@{EVIL}", f"Reply-To: {MAILBOX}"),
    "another of the domain": (f"From: eve@{HOME}",),
    "a subdomain": (f"From: anna@sub.{HOME}",),
    "plus": (f"From: anna+x@{HOME}",),
    "dots": (f"From: an.na@{HOME}",),
    "fullwidth": (f"From: ａnna@{HOME}",),
    "nul-like": (f"From: anna@{HOME}.{EVIL}",),
    "the alias": ("From: ALIAS",),
    "the reverse alias": ("From: REVERSE",),
}


@pytest.mark.parametrize("how", FROMS)
def test_a_from_that_is_not_proved_to_be_the_mailbox_sends_nothing(
    office: Office, shop: Shop, how: str
) -> None:
    to = shop.to
    lines = [line.replace("ALIAS", shop.alias).replace("REVERSE", to) for line in FROMS[how]]
    mail = written(*lines, f"To: {to}", subject="attack")
    assert answer(office, to, signed(office, mail, EVIL), MAILBOX) == NEVER
    assert answer(office, to, signed(office, mail, EVIL), f"spam@{EVIL}") == NEVER


@pytest.mark.parametrize("who", [f"eve@{HOME}", f"anna+x@{HOME}", f"an.na@{HOME}", f"anna@sub.{HOME}"])
def test_another_mailbox_of_the_same_provider_sends_nothing_though_it_signs(
    office: Office, to: str, who: str
) -> None:
    """The domain is proved; the From is exactly the mailbox's, or it is nobody's."""
    mail = written(f"From: {who}", f"To: {to}", subject="attack")
    assert answer(office, to, signed(office, mail, HOME), who, HOME) == NEVER


@pytest.mark.parametrize("beside", [MAILBOX, ORDERS])
@pytest.mark.parametrize(
    "form",
    [
        "{}, spam@evil.example",
        "spam@evil.example, {}",
        "<{}> <spam@evil.example>",
        '"a" <spam@evil.example>, "b" <{}>',
        "two: {}, spam@evil.example;",
    ],
)
def test_a_from_of_two_authors_is_refused_at_every_address(
    office: Office, shop: Shop, beside: str, form: str
) -> None:
    """The one would be checked, and the other shown; a domain's own policy would be got around."""
    for to in (shop.to, shop.alias):
        mail = written(f"From: {form.format(beside)}", f"To: {to}", subject="two authors")
        code, text = answer(office, to, signed(office, mail, EVIL), f"spam@{EVIL}")
        assert (code, text[:5]) == (550, "5.6.0")
    assert not [each for each in office.stage.home.received if b"Subject: two authors" in each.octets]


def test_two_from_fields_are_refused(office: Office, to: str) -> None:
    mail = written(f"From: {MAILBOX}", f"From: spam@{EVIL}", f"To: {to}", subject="attack")
    code, _ = answer(office, to, signed(office, mail, EVIL), f"spam@{EVIL}")
    assert code == 550


@pytest.mark.parametrize(
    "name", [f"mx.{OFFICE}", f"MX.{OFFICE.upper()}", f"mx.{OFFICE} 1", f'"mx.{OFFICE}"', f"(a)mx.{OFFICE}."]
)
def test_results_that_the_sender_wrote_prove_nothing(office: Office, to: str, name: str) -> None:
    told = f"Authentication-Results: {name}; dkim=pass header.d={HOME}; dmarc=pass header.from={HOME}"
    mail = written(told, f"From: {MAILBOX}", f"To: {to}", subject="attack")
    assert answer(office, to, mail, MAILBOX) == NEVER


def test_a_chain_of_forwarders_proves_nothing(office: Office, to: str) -> None:
    """Outward mail is its author's own; nobody may vouch for it."""
    mail = written(f"From: {MAILBOX}", f"To: {to}", subject="attack")
    fields = arc.seal(
        mail, office.stage.keys[EVIL], f"x; dmarc=pass header.from={HOME}; arc=none", datetime.now(UTC)
    )
    assert answer(office, to, b"".join(each.raw for each in fields) + mail, f"list@{EVIL}") == NEVER


def test_a_key_that_cannot_be_looked_up_now_is_no_verdict(office: Office, to: str) -> None:
    """It may be a proof: the person's provider tries again (RFC 6376 §6.1.2)."""
    office.stage.zone.set(f"slow._domainkey.{HOME}", "TXT", "SERVFAIL")
    key = replace(office.stage.keys[HOME], selector="slow")
    mail = written(f"From: {MAILBOX}", f"To: {to}", subject="attack")
    raw = b"".join(each.raw for each in dkim.sign(mail, key, datetime.now(UTC))) + mail
    code, text = answer(office, to, raw, MAILBOX, HOME)
    assert (code, text[:5]) == (451, "4.7.0")
    told = f"Authentication-Results: mx.{OFFICE}; dkim=pass header.d={HOME}"
    assert answer(office, to, told.encode() + b"\r\n" + raw, MAILBOX)[0] == 451


@pytest.mark.parametrize(("account", "strangers"), [("anna", "learn"), ("ben", "learn"), ("ben", "lock")])
def test_nobody_learns_by_the_answer_which_mailbox_stands_behind_an_alias(
    office: Office, account: str, strangers: str
) -> None:
    """Anna's domain asks to reject, Ben's for nothing: the guess that is right is answered like the rest."""
    shop = office.stage.json("--account", account, "new", "Curious")
    office.stage.command("--account", account, "set", shop["relationship"], "--strangers", strangers)
    domain = HOME if account == "anna" else SHARED

    def guessed(name: str) -> tuple[int, str]:
        mail = written(f"From: {name}@{domain}", f"To: {shop['alias']}", subject=f"guess {name}")
        code, text = answer(office, shop["alias"], signed(office, mail, EVIL), f"spam@{EVIL}")
        return code, text.partition(" as ")[0]

    assert guessed(account) == guessed("somebody")
    held = office.stage.json("--account", account, "held", "list")
    mine = [row["reason"] for row in held if row["relationship"] == shop["relationship"]]
    assert mine == (["in_your_name"] if (account, strangers) == ("ben", "learn") else [])


def test_a_changed_body_or_subject_breaks_the_proof(office: Office, to: str) -> None:
    mail = signed(office, written(f"From: {MAILBOX}", f"To: {to}", subject="attack"), HOME)
    for changed in (mail.replace(b"hello", b"hellO"), mail.replace(b"Subject: a", b"Subject: A")):
        assert answer(office, to, changed, MAILBOX) == NEVER


def test_a_field_added_on_top_of_signed_mail_breaks_the_proof(office: Office, to: str) -> None:
    """Our own signatures name each field once more than there is; others' mail is read from the bottom."""
    other = fresh(office).to
    mail = signed(office, written(f"From: {MAILBOX}", f"To: {to}", subject="attack"), HOME)
    for line in (f"To: {other}", f"Cc: {other}"):
        assert answer(office, other, line.encode() + b"\r\n" + mail, MAILBOX) == NEVER


def test_an_old_signed_mail_played_again_is_sent_once(office: Office, to: str) -> None:
    mail = signed(
        office, written(f"From: {MAILBOX}", f"To: {to}", "Message-ID: <r1@x>", subject="replayed"), HOME
    )
    assert answer(office, to, mail, MAILBOX, HOME)[0] == 250
    office.vendor("replayed")
    assert answer(office, to, mail, MAILBOX, EVIL)[0] == 250
    office.from_home(to, written(f"From: {MAILBOX}", f"To: {to}", subject="after it"))
    office.vendor("after it")
    subjects = [Message.parse(each.octets).value("Subject") for each in tuple(office.stage.vendor.received)]
    assert subjects.count(b"replayed") == 1


def test_a_signature_that_has_run_out_proves_nothing(office: Office, to: str) -> None:
    mail = written(f"From: {MAILBOX}", f"To: {to}", subject="attack")
    zone, name = office.stage.zone, f"mail._domainkey.{HOME}"
    raw = signed(office, mail, HOME, at=datetime.now(UTC) - timedelta(days=30))
    before = zone.records[name, "TXT"]
    zone.set(name, "TXT", "v=DKIM1; k=ed25519; p=")  # revoked since
    try:
        assert answer(office, to, raw, MAILBOX) == NEVER
    finally:
        zone.records[name, "TXT"] = before


def test_another_accounts_reverse_alias_is_no_address(office: Office, to: str) -> None:
    """Ben has an account here, and is proved to be Ben; Anna's contacts are not his."""
    stage = office.stage
    mail = written(f"From: ben@{SHARED}", f"To: {to}", subject="attack")
    assert answer(office, to, signed(office, mail, SHARED), f"ben@{SHARED}", SHARED) == NEVER
    password = stage.command("--account", "ben", "admin", "password", "new")
    with tls(office) as client:
        client.login("ben", password)
        client.mail(f"ben@{SHARED}")
        code, _ = client.rcpt(to)
        if code == 250:
            client.data(mail)


def tls(office: Office) -> smtplib.SMTP:
    import ssl

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    client = smtplib.SMTP("127.0.0.1", office.stage.submission_port, timeout=30)
    client.starttls(context=context)
    return client


def test_a_neighbour_at_a_provider_with_one_spf_is_out_once_the_mailbox_has_signed(office: Office) -> None:
    stage = office.stage
    shop = stage.json("--account", "ben", "new", "Bens Shop")
    to = stage.command("--account", "ben", "contact", shop["relationship"], ORDERS)
    first = written(f"From: ben@{SHARED}", f"To: {to}", subject="ben signs")
    assert answer(office, to, signed(office, first, SHARED), f"ben@{SHARED}", SHARED)[0] == 250
    office.vendor("ben signs")
    neighbour = written(f"From: ben@{SHARED}", f"To: {to}", subject="attack")
    assert answer(office, to, neighbour, f"ben@{SHARED}", SHARED) == NEVER
    assert answer(office, to, neighbour, f"eve@{SHARED}", SHARED) == NEVER, "aligned, but no proof any more"


def test_a_mailbox_that_forwards_all_its_mail_sends_none_of_it_out(office: Office, shop: Shop) -> None:
    """A vendor's mail, forwarded by the mailbox to the reverse alias or the alias: From is not Anna."""
    to = shop.to
    office.from_vendor(shop.alias, written(f"From: {ORDERS}", f"To: {shop.alias}", subject="round and round"))
    forwarded = office.arrived(office.stage.home, "round and round")[0].octets
    assert answer(office, to, b"Subject: attack\r\n" + forwarded, MAILBOX, HOME) == NEVER
    code, _ = answer(office, shop.alias, forwarded, MAILBOX, HOME)
    assert code == 554, "it has been here before"


def test_a_mailing_list_cannot_pass_a_members_mail_on_to_a_vendor(office: Office, to: str) -> None:
    """The list changed the subject, keeps From, and signs itself."""
    mail = signed(office, written(f"From: {MAILBOX}", f"To: {to}", subject="attack"), HOME)
    changed = mail.replace(b"Subject: ", b"Subject: [list] ")
    assert answer(office, to, signed(office, changed, EVIL), f"list-bounces@{EVIL}") == NEVER


def test_a_revoked_app_password_opens_nothing(office: Office) -> None:
    stage = office.stage
    password = stage.command("--account", "anna", "admin", "password", "new", "--label", "phone")
    with tls(office) as client:
        client.login("anna", password)
    rows = stage.json("--account", "anna", "admin", "password", "list")
    assert [row["last_used"] is not None for row in rows if row["label"] == "phone"] == [True]
    stage.command("--account", "anna", "admin", "password", "revoke", "phone")
    with tls(office) as client, pytest.raises(smtplib.SMTPAuthenticationError):
        client.login("anna", password)


def test_the_vendor_itself_gains_nothing_by_its_own_proof(office: Office, to: str) -> None:
    mail = written(f"From: {ORDERS}", f"To: {to}", subject="attack")
    assert answer(office, to, signed(office, mail, VENDOR), ORDERS, VENDOR) == NEVER


# ---- replay ----------------------------------------------------------------------------------------------


def loosely_signed(
    office: Office,
    mail: bytes,
    *,
    at: datetime | None = None,
    ends: datetime | None = None,
    by: str = HOME,
    names: tuple[str, ...] = ("from", "to", "cc", "subject", "date"),
    tags: str = "",
) -> bytes:
    """As providers sign: Message-ID and what may be added are left open.  tags: more of them"""
    key = office.stage.keys[by]
    message = Message.parse(mail)
    body = base64.b64encode(canonical.body_hash(message.body, relaxed=True)).decode()
    start = (
        f" v=1; a={key.algorithm}; c=relaxed/relaxed; d={key.domain}; s={key.selector};"
        f" t={int((at or datetime.now(UTC)).timestamp())};"
        + (f" x={int(ends.timestamp())};" if ends else "")
        + f"{tags} h={':'.join(names)}; bh={body}; b="
    )
    fields = canonical.chosen(message.fields, [each.encode() for each in names])
    octets = canonical.header_octets(fields, relaxed=True)
    octets += canonical.relaxed_field(b"DKIM-Signature", start.encode()).removesuffix(b"\r\n")
    return f"DKIM-Signature:{start}{base64.b64encode(key.signature(octets)).decode()}\r\n".encode() + mail


def hours_pass(office: Office, hours: int) -> None:
    """What was accepted was accepted so much earlier."""
    with closing(sqlite3.connect(office.stage.folder / "office" / "office.db", timeout=10)) as db, db:
        db.execute("UPDATE message SET accepted = accepted - ?", (hours * 3_600_000_000,))


def sent(office: Office, subject: str, after: str, to: str) -> int:
    """How often it reached the vendor, once a later mail has."""
    office.from_home(to, written(f"From: {MAILBOX}", f"To: {to}", subject=after))
    office.vendor(after)
    received = tuple(office.stage.vendor.received)
    return [Message.parse(each.octets).value("Subject") for each in received].count(subject.encode())


def test_a_signature_is_used_once_however_late_and_by_whatever_envelope(office: Office, to: str) -> None:
    mail = written(f"From: {MAILBOX}", f"To: {to}", "Message-ID: <once@x>", subject="signed once")
    raw = loosely_signed(office, mail)
    assert answer(office, to, raw, MAILBOX, HOME)[0] == 250
    office.vendor("signed once")
    assert answer(office, to, raw, f"spam@{EVIL}")[0] == 250, "another sender"
    assert answer(office, to, raw.replace(b"<once@x>", b"<twice@x>"), MAILBOX)[0] == 250, "another id"
    assert answer(office, to, b"X-New: 1\r\n" + raw, f"bounce@{EVIL}")[0] == 250, "a field on top"
    hours_pass(office, 7)
    assert answer(office, to, raw, MAILBOX)[0] == 250, "much later"
    assert sent(office, "signed once", "after the replays", to) == 1
    assert "signature_used" in office.stage.command("--account", "anna", "log")


def test_a_recipient_whom_the_signature_does_not_cover_gets_nothing(office: Office, to: str) -> None:
    """As most providers sign: a To added on top leaves the signature whole, and it counts for nobody."""
    other = fresh(office).to
    raw = loosely_signed(office, written(f"From: {MAILBOX}", f"To: {to}", subject="attack"))
    assert answer(office, other, raw, MAILBOX) == NEVER, "in the envelope alone"
    assert answer(office, other, f"To: {other}\r\n".encode() + raw, MAILBOX) == NEVER
    assert answer(office, other, f"Resent-To: {other}\r\n".encode() + raw, MAILBOX) == NEVER


def test_a_second_subject_on_top_of_signed_mail_breaks_the_proof(office: Office, to: str) -> None:
    """The signature holds, but a reader would show what the signer never saw."""
    mail = written(f"From: {MAILBOX}", f"To: {to}", subject="signed")
    assert answer(office, to, b"Subject: attack\r\n" + loosely_signed(office, mail), MAILBOX) == NEVER
    shop = office.stage.json("--account", "anna", "new", "Signed Shop", "--site", VENDOR)["alias"]
    mail = loosely_signed(office, written(f"From: {ORDERS}", f"To: {shop}", subject="signed"), by=VENDOR)
    code, text = answer(office, shop, b"Subject: attack\r\n" + mail, f"spam@{EVIL}")
    assert (code, text[:5]) == (550, "5.7.1")


OPEN = {
    "l= leaves the rest of the body open": " l=0;",
    "i= is somebody else's": f" i=@{EVIL};",
    "x= lies before t=": " x=1;",
    "a query method that nobody knows": " q=http;",
    "a tag stands twice": " s=mail;",
}


@pytest.mark.parametrize("why", OPEN)
def test_a_signature_that_leaves_something_open_proves_nothing(office: Office, to: str, why: str) -> None:
    mail = written(f"From: {MAILBOX}", f"To: {to}", subject="attack")
    assert answer(office, to, loosely_signed(office, mail, tags=OPEN[why]), MAILBOX) == NEVER
    other = loosely_signed(office, mail, names=("to", "subject", "date"))
    assert answer(office, to, other, MAILBOX) == NEVER, "From is not signed"


def test_one_of_two_signatures_taken_off_makes_no_new_message(office: Office, to: str) -> None:
    mail = written(f"From: {MAILBOX}", f"To: {to}", "Message-ID: <two@x>", subject="signed twice")
    first = loosely_signed(office, mail)
    field = first.removesuffix(mail)
    second = loosely_signed(office, mail, at=datetime.now(UTC) - timedelta(minutes=1)).removesuffix(mail)
    assert answer(office, to, field + second + mail, MAILBOX, HOME)[0] == 250
    hours_pass(office, 7)
    for left in (field, second):
        assert answer(office, to, left + mail, MAILBOX)[0] == 250
    assert sent(office, "signed twice", "after the halves", to) == 1


def test_a_reply_to_all_that_the_provider_splits_reaches_everybody(office: Office, shop: Shop) -> None:
    second = office.stage.command("--account", "anna", "contact", shop.slug, f"second@{VENDOR}")
    third = office.stage.command("--account", "anna", "contact", shop.slug, f"third@{VENDOR}")
    mail = written(f"From: {MAILBOX}", f"To: {shop.to}, {second}", f"Cc: {third}", subject="split")
    raw = loosely_signed(office, mail)
    for each in (shop.to, second):
        assert answer(office, each, raw, MAILBOX, HOME)[0] == 250
    with office.stage.client(HOME) as client:  # tried again, with one who got it and one who did not
        client.sendmail(MAILBOX, [second, third], raw)
    office.arrived(office.stage.vendor, "split", 3)
    assert sent(office, "split", "after the split", shop.to) == 3
    received = [each for each in office.stage.vendor.received if b"Subject: split" in each.octets]
    assert sorted(to for each in received for to in each.recipients) == [
        ORDERS,
        f"second@{VENDOR}",
        f"third@{VENDOR}",
    ]


def test_a_signature_of_last_month_is_no_proof_and_its_owner_is_told_once(office: Office, to: str) -> None:
    mail = written(f"From: {MAILBOX}", f"To: {to}", subject="attack of long ago")
    old = signed(office, mail, HOME, at=datetime.now(UTC) - timedelta(days=8))
    for sender in (MAILBOX, f"spam@{EVIL}"):
        assert answer(office, to, old, sender)[0] == 250
    told = "Not sent: your mail was signed more than a week ago"
    office.arrived(office.stage.home, told)
    office.from_home(to, written(f"From: {MAILBOX}", f"To: {to}", subject="not of long ago"))
    office.vendor("not of long ago")
    assert len(office.arrived(office.stage.home, told)) == 1


def test_a_signature_says_when_it_runs_out(office: Office, to: str) -> None:
    """x= in the past (RFC 6376 §3.5): the octets are as they were, and prove nothing."""
    now = datetime.now(UTC)
    for minutes, subject, code in ((-1, "attack", 550), (60, "runs out later", 250)):
        mail = written(f"From: {MAILBOX}", f"To: {to}", subject=subject)
        ends = now + timedelta(minutes=minutes)
        raw = loosely_signed(office, mail, at=now - timedelta(hours=1), ends=ends)
        assert answer(office, to, raw, MAILBOX)[0] == code
    office.vendor("runs out later")
