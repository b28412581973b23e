"""Cards asked for by putting their contact in Cc."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sortingoffice.cli.stage import MAILBOX, ORDERS
from sortingoffice.core.decide import Target
from sortingoffice.core.model import Domain
from sortingoffice.flows import cardcontacts, target
from sortingoffice.flows.disclose import Resolved
from sortingoffice.mail import mime, vcard
from sortingoffice.mail.address import parse
from sortingoffice.store import schema
from sortingoffice.store.database import Database
from tests.desk import START, Desk, open_desk, refusal
from tests.office import Office, addresses, written

QUOTE = "On Mon, Mar 2, 2026 at 9:00 AM Shop <r@x.example> wrote:\n> hello\n"
TABLE = '<table><tr><th scope="row">Mobile</th><td>+491701234567</td></tr></table>'


@pytest.fixture
def desk(db: Database, tmp_path: Path) -> Desk:
    desk = open_desk(db, tmp_path)
    desk.set("phone.mobile=+49 170 1234567")
    desk.grant("phone")
    return desk


def parts(desk: Desk, message: str, *names: str) -> list[str]:
    outcome = desk.ask(message, contacts=names or ("phone",))
    assert isinstance(outcome, Resolved), outcome
    return [(leaf.text() or "").replace("\r\n", "\n") for leaf in mime.parse(outcome.message).leaves()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Call me.\n", "Call me.\n\nMobile: +491701234567\n"),
        ("Call me.", "Call me.\nMobile: +491701234567\n"),
        ("", "\nMobile: +491701234567\n"),
        (
            "Call me.\n\n-- \nAnna\n",
            "Call me.\n\nMobile: +491701234567\n\n-- \nAnna\n",
        ),
        (f"Call me.\n\n{QUOTE}", f"Call me.\n\nMobile: +491701234567\n\n{QUOTE}"),
        ("> hello\n\nCall me.\n", "> hello\n\nCall me.\n\nMobile: +491701234567\n"),
    ],
)
def test_the_card_stands_below_what_the_person_wrote(desk: Desk, text: str, expected: str) -> None:
    assert parts(desk, text) == [expected]


def test_nothing_is_put_into_what_is_signed(desk: Desk) -> None:
    message = (
        "MIME-Version: 1.0\nContent-Type: multipart/signed; boundary=b; protocol=application/pgp-signature\n"
        "\n--b\nContent-Type: text/plain\n\nHi\n--b\nContent-Type: application/pgp-signature\n\nabc\n--b--\n"
    )
    assert "would break the signature" in refusal(desk.ask(message, contacts=("phone",)))


def test_text_and_html_both_get_it(desk: Desk) -> None:
    message = (
        "MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=b\n\n--b\n"
        "Content-Type: text/plain; charset=utf-8\n\nCall me.\n\n> hello\n--b\n"
        "Content-Type: text/html; charset=utf-8\n\n<p>Call me.</p><blockquote>hello</blockquote>\n--b--\n"
    )
    text, html = parts(desk, message)
    assert text.startswith("Call me.\n\nMobile: +491701234567\n\n> hello")
    assert html.startswith(f"<p>Call me.<div>{TABLE}</div></p><blockquote>hello</blockquote>")


def test_the_same_rules_hold(desk: Desk) -> None:
    assert 'unknown card "nothing"' in refusal(desk.ask("Hi\n", contacts=("nothing",)))
    desk.ungrant("phone")
    outcome = desk.ask("Hi\n", contacts=("phone",))
    assert isinstance(outcome, Resolved)
    assert outcome.waiting is not None


def test_a_message_without_text_is_told(desk: Desk) -> None:
    message = "Content-Type: application/pdf\n\nPDF\n"
    assert "has no text to put a card into" in refusal(desk.ask(message, contacts=("phone",)))


def test_the_address_leads_to_its_account_s_card_only(desk: Desk) -> None:
    desk.view("reach", "phone.mobile")
    domain = "sort.example"
    for name in ("phone", "reach"):
        address = cardcontacts.address(desk.office, desk.account, name, domain)
        assert address is not None
        found = desk.db.view(target.find, desk.office, address)
        assert (found.target, found.card, found.account) == (Target.CARD, name, desk.account)
        shouted = parse(str(address).upper())
        assert shouted is not None
        assert desk.db.view(target.find, desk.office, shouted).card == name
        other = cardcontacts.address(desk.office, replace(desk.account, id=99), name, domain)
        assert other is not None
        assert desk.db.view(target.find, desk.office, other).target is Target.NOTHING
    guessed = parse("phone.aaaaaaaa@sort.example")
    assert guessed is not None
    assert desk.db.view(target.find, desk.office, guessed).target is Target.NOTHING
    gone = cardcontacts.address(desk.office, desk.account, "gone", domain)
    assert gone is not None
    assert desk.db.view(target.find, desk.office, gone).target is Target.NOTHING


def test_the_file_holds_a_contact_per_card(desk: Desk) -> None:
    desk.set("größe.shoe=42")
    desk.db.call(schema.insert, Domain(0, "second.example", START))
    cards = vcard.parse(desk.db.view(cardcontacts.file, desk.office, desk.account))
    assert [card[0].text for card in cards] == ["New address", "Pocket addresses", "Card phone"], "ASCII only"
    assert cards[2][2].text.startswith("phone.")


def test_through_a_running_office_the_contact_is_taken_off_and_its_card_goes(office: Office) -> None:
    stage = office.stage
    stage.command("card", "set", "reach.mobile=+49 170 1234567")
    shop = office.fresh()
    stage.command("grant", shop.slug, "reach")
    cards = vcard.parse(stage.command("card", "contacts").encode())
    [contact] = [card[2].text for card in cards if card[0].text == "Card reach"]
    raw = written(
        f"From: {MAILBOX}",
        f"To: {shop.contact()}",
        f"Cc: {contact}",
        subject="by contact",
        body="Call me.\r\n",
    )
    office.from_home([shop.contact(), contact], raw)
    got = office.vendor("by contact")
    assert got.body.replace(b"\r\n", b"\n") == b"Call me.\n\nMobile: +491701234567\n"
    assert addresses(got, "Cc") == []
    assert contact.encode() not in bytes(got)
    rows = stage.json("disclosures", shop.slug)
    assert [(row["field"], row["via"]) for row in rows] == [("mobile", "card-contact")]
    code, _ = office.refused(contact, written(f"From: {ORDERS}", f"To: {contact}", subject="x", body="y\r\n"))
    assert code == 550
