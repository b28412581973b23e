"""What the person's machines send by themselves: as whom it leaves, and that it asks for nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sortingoffice.cli.stage import MAILBOX
from sortingoffice.core.model import Sensitivity
from sortingoffice.mail.message import Message
from tests.desk import Desk
from tests.office import Office, Relationship, addresses, written
from tests.test_gate import for_vendors

SPY = "spy.example"
AWAY = "Auto-Submitted: auto-replied"


@pytest.fixture(scope="module", autouse=True)
def spy(office: Office) -> None:
    office.stage.publish(SPY, "127.0.0.2", spf="ip4:127.0.0.1 -all", policy="none")


def came(office: Office, to: str, subject: str, *lines: str, author: str = f"x@{SPY}") -> tuple[str, Message]:
    """A stranger's mail as the mailbox got it, and the return path that it has."""
    head = (f"From: {author}", f"To: {to}", f"Message-ID: <{subject.replace(' ', '-')}@{SPY}>")
    office.stage.send(SPY, author, to, written(*head, *lines, subject=subject))
    got = office.arrived(office.stage.home, subject)[0]
    return got.sender, Message.parse(got.octets)


def receipt(inside: str) -> tuple[tuple[str, ...], str]:
    """Fields and body of a read receipt."""
    body = (
        "--b\r\nContent-Type: text/plain\r\n\r\nread\r\n"
        "--b\r\nContent-Type: message/disposition-notification\r\n\r\n"
        f"Final-Recipient: rfc822;{MAILBOX}\r\nOriginal-Message-ID: {inside}\r\n"
        "Disposition: manual-action/MDN-sent-manually; displayed\r\n--b--\r\n"
    )
    kind = 'Content-Type: multipart/report; report-type=disposition-notification; boundary="b"'
    return ("MIME-Version: 1.0", kind), body


Sent = tuple[str, tuple[str, ...], str]


def to_the_return_path(path: str, message: Message) -> Sent:
    return path, (AWAY,), "away\r\n"


def to_the_contact_by_its_id(path: str, message: Message) -> Sent:
    named = (message.value("Message-ID") or b"").decode()
    return addresses(message, "From")[0], (AWAY, f"In-Reply-To: {named}"), "away\r\n"


def to_the_contact(path: str, message: Message) -> Sent:
    return addresses(message, "From")[0], ("Precedence: auto_reply",), "away\r\n"


def a_receipt_to_somebody_else(path: str, message: Message) -> Sent:
    """Whom Disposition-Notification-To names, and who never wrote."""
    fields, body = receipt((message.value("Message-ID") or b"").decode())
    return addresses(message, "Disposition-Notification-To")[0], fields, body


def answer(office: Office, subject: str, sent: Sent, sender: str = MAILBOX) -> None:
    to, lines, body = sent
    head = (f"From: Anna <{MAILBOX}>", f"To: {to}", *lines)
    office.from_home(to, written(*head, subject=subject, body=body), sender=sender)


def rotated(office: Office) -> tuple[Relationship, str]:
    """A relationship, and its new alias."""
    shop = office.fresh()
    return shop, office.stage.json("rotate", shop.slug)["alias"]


@pytest.mark.parametrize(
    "how", [to_the_return_path, to_the_contact_by_its_id, to_the_contact, a_receipt_to_somebody_else]
)
def test_after_a_rotation_an_automatic_answer_leaves_as_the_alias_that_was_written_to(
    office: Office, how: Callable[[str, Message], Sent]
) -> None:
    shop, new = rotated(office)
    subject = how.__name__.replace("_", " ")
    asked = f"Disposition-Notification-To: y@{SPY}"
    answer(office, f"Auto: {subject}", how(*came(office, shop.alias, subject, asked)))
    octets = office.arrived(office.stage.vendor, f"Auto: {subject}")[0].octets
    assert addresses(Message.parse(octets), "From") == [shop.alias]
    assert new.encode() not in octets
    answer(office, f"Auto: new {subject}", how(*came(office, new, f"new {subject}", asked)))
    assert addresses(office.vendor(f"Auto: new {subject}"), "From") == [new], (
        "and who knows the new one sees it"
    )


def test_after_a_rotation_the_person_s_own_answer_leaves_as_the_new_alias(office: Office) -> None:
    shop, new = rotated(office)
    _, message = came(office, shop.alias, "answered by hand")
    to, named = addresses(message, "From")[0], (message.value("Message-ID") or b"").decode()
    answer(office, "Re: answered by hand", (to, (f"In-Reply-To: {named}",), "hello\r\n"))
    assert addresses(office.vendor("Re: answered by hand"), "From") == [new]


def test_an_id_of_another_s_mail_does_not_show_the_new_alias_to_who_wrote_to_the_old_one(
    office: Office,
) -> None:
    shop, new = rotated(office)
    _, theirs = came(office, new, "to the new one", author=f"friend@{SPY}")
    named = (theirs.value("Message-ID") or b"").decode()
    _, message = came(office, shop.alias, "to the old one")
    to = addresses(message, "From")[0]
    answer(office, "Auto: whose id", (to, (AWAY, f"In-Reply-To: {named}"), "away\r\n"))
    assert addresses(office.vendor("Auto: whose id"), "From") == [shop.alias]


def test_no_automatic_answer_leaves_for_a_revoked_alias_and_the_person_is_told(office: Office) -> None:
    shop, _ = rotated(office)
    path, message = came(office, shop.alias, "for the revoked one")
    office.stage.command("revoke", shop.alias)
    answer(office, "Auto: for the revoked one", to_the_return_path(path, message))
    assert office.home(f"Not sent: an automatic answer for {shop.alias}, which is revoked")
    assert not [each for each in office.stage.vendor.received if b"Auto: for the revoked" in each.octets]


def test_no_automatic_answer_leaves_where_its_alias_cannot_be_told_and_the_person_is(office: Office) -> None:
    shop, _ = rotated(office)
    answer(office, "Auto: to whom", (shop.contact(f"never@{SPY}"), (AWAY,), "away\r\n"))
    assert office.home("Not sent: an automatic answer that could show your new address")
    assert not [each for each in office.stage.vendor.received if b"Auto: to whom" in each.octets]
    one = office.fresh()
    answer(office, "Auto: to one", (one.contact(f"never@{SPY}"), (AWAY,), "away\r\n"))
    assert addresses(office.vendor("Auto: to one"), "From") == [one.alias], "of one alias there is no doubt"


# ---- cards ---------------------------------------------------------------------------------------

QUOTED = ("#shipping", "#card shipping", "#shiping", "#court", "#card court", "{{shipping.name}}", "##card x")
BY_MACHINE = {
    "marked": (f"{AWAY}\n", MAILBOX),
    "marked in the old way": ("X-Autoreply: yes\n", MAILBOX),
    "from the null sender": ("", None),
}


@pytest.mark.parametrize("how", BY_MACHINE)
@pytest.mark.parametrize("line", QUOTED)
def test_an_automatic_answer_asks_for_no_card_whatever_it_quotes(desk: Desk, line: str, how: str) -> None:
    """Else a vendor who plants names of cards hears from a silent vacation which there are."""
    desk.shipping()
    desk.grant("shipping")
    fields, sender = BY_MACHINE[how]
    body = f"I am away. You wrote:\n{line}\nbye\n"
    envelope: dict[str, Any] = {} if sender else {"sender": None}
    raw = f"{fields}Content-Type: text/plain; charset=utf-8\n\n{body}".replace("\n", "\r\n")
    desk.post(raw.encode(), **envelope)
    [(message, state)] = for_vendors(desk)
    assert state == "queued"
    assert Message.parse(message.raw).body.decode() == body.replace("\n", "\r\n")
    assert (desk.notices(), desk.disclosures()) == ([], [])


def test_what_an_automatic_answer_quotes_still_goes_through_the_guard(desk: Desk) -> None:
    desk.set("bank.iban=DE89 3704 0044 0532 0130 00", sensitivity=Sensitivity.SENSITIVE)
    desk.post(f"{AWAY}\r\nContent-Type: text/plain\r\n\r\nDE89370400440532013000\r\n#card bank\r\n".encode())
    [(_, state)] = for_vendors(desk)
    assert state == "held"


@pytest.mark.parametrize("field", ["", "Auto-Submitted: no\r\n", f"In-Reply-To: <auto-replied@{SPY}>\r\n"])
def test_a_person_s_answer_is_asked_for_cards_as_before(desk: Desk, field: str) -> None:
    desk.shipping()
    desk.grant("shipping")
    desk.post(f"{field}Content-Type: text/plain\r\n\r\n#card shipping city\r\n".encode())
    [(message, _)] = for_vendors(desk)
    assert b"Berlin" in message.raw
    assert b"#card" not in message.raw
    assert len(desk.disclosures()) == 1
