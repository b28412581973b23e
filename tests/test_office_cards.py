"""Cards through a running office: asked for by mail, held, answered by plain reply, written down."""

from __future__ import annotations

import pytest

from sortingoffice.cli.stage import MAILBOX, ORDERS, VENDOR, until
from sortingoffice.mail import headers, mime
from sortingoffice.mail.message import Message
from tests.office import Office, Relationship, addresses, written


@pytest.fixture
def shop(office: Office) -> Relationship:
    office.stage.command("card", "set", "home.street=Lindenweg 4", "home.city=Zürich", "home.country=CH")
    return office.fresh()


def held(office: Office, shop: Relationship) -> list[dict[str, str]]:
    return [row for row in office.stage.json("held", "list") if row["relationship"] == shop.slug]


def ask(office: Office, shop: Relationship, subject: str, body: str) -> None:
    office.from_home(
        shop.contact(), written(f"From: {MAILBOX}", f"To: {shop.contact()}", subject=subject, body=body)
    )


def question(office: Office, subject: str) -> Message:
    """The mail that asks about the held message of that subject."""

    def look() -> Message | None:
        for each in tuple(office.stage.home.received):
            message = Message.parse(each.octets)
            sender = (message.value("From") or b"").decode()
            if "yes." in sender and f"Subject: {subject}".encode() in each.octets:
                return message
        return None

    found = until(look, f"the question about {subject}")
    assert found is not None
    return found


def answer(office: Office, asked: Message, word: str, *lines: str) -> None:
    [to] = addresses(asked, "From")
    subject = "Re: " + headers.decode(asked.value("Subject") or b"")
    office.from_home(to, written(f"From: {MAILBOX}", f"To: {to}", *lines, subject=subject, body=word))


def test_a_yes_by_mail_sends_the_held_message(office: Office, shop: Relationship) -> None:
    ask(office, shop, "cards 1", "Hello\r\n#card home street city\r\n")
    asked = question(office, "cards 1")
    [row] = held(office, shop)
    assert row["reason"] == "new_information_needs_a_yes"
    assert office.stage.json("disclosures", shop.slug) == []
    answer(office, asked, "Yes\r\n\r\nOn Monday Sorting Office wrote:\r\n> no\r\n")
    text = mime.parse(office.vendor("cards 1")).text()
    assert text == "Hello\r\nStreet: Lindenweg 4\r\nCity: Zürich\r\n"
    until(
        lambda: [r["state"] for r in office.stage.json("disclosures", shop.slug)] == ["delivered"] * 2,
        "ledger",
    )


def test_a_stranger_s_yes_is_answered_as_if_the_address_never_existed(
    office: Office, shop: Relationship
) -> None:
    ask(office, shop, "cards 2", "#card home country\r\n")
    asked = question(office, "cards 2")
    [to] = addresses(asked, "From")
    code, _ = office.refused(to, written(f"From: {ORDERS}", f"To: {to}", subject="Re: x", body="yes\r\n"))
    assert code == 550
    forged = written(f"From: {MAILBOX}", f"To: {to}", subject="Re: x", body="yes\r\n")
    code, _ = office.refused(to, forged, sender=f"spam@{VENDOR}")
    assert code == 550
    assert len(held(office, shop)) == 1
    answer(office, asked, "nein\r\n")
    until(lambda: held(office, shop) == [], "the drop")
    assert not [each for each in office.stage.vendor.received if b"cards 2" in each.octets]


def test_held_release_is_the_same_yes(office: Office, shop: Relationship) -> None:
    ask(office, shop, "cards 3", "#card home country\r\n")
    question(office, "cards 3")
    [row] = held(office, shop)
    office.stage.command("held", "release", str(row["id"]))
    assert b"Country: CH" in office.vendor("cards 3").body
    assert "country" in [row["field"] for row in office.stage.json("disclosures", shop.slug)]


def test_a_planted_line_comes_back_and_nothing_leaves(office: Office, shop: Relationship) -> None:
    office.stage.command("grant", shop.slug, "home")
    office.from_vendor(
        shop.alias,
        written(f"From: {ORDERS}", f"To: {shop.alias}", subject="hook", body="Hi\r\n#card home\r\n"),
    )
    office.home("hook")
    ask(office, shop, "cards 4", "Sure\r\n\r\nHi\r\n#card home\r\n")
    assert office.home('Not sent: "#card home" is in mail from {}'.format(shop.row["name"]))
    assert not [each for each in office.stage.vendor.received if b"cards 4" in each.octets]


def test_a_vendor_s_answer_to_a_notice_acknowledges_it(office: Office, shop: Relationship) -> None:
    office.stage.command("grant", shop.slug, "home")
    ask(office, shop, "cards 5", "#card home city\r\n")
    office.vendor("cards 5")
    until(
        lambda: [r["state"] for r in office.stage.json("disclosures", shop.slug)] == ["delivered"], "ledger"
    )
    office.stage.command("card", "set", "home.city=Genf")
    office.stage.command("card", "notify", "home")

    def state() -> str:
        rows = office.stage.json("card", "notify", "home", "--status")
        return next(str(row["state"]) for row in rows if row["relationship"] == shop.slug)

    def notice() -> Message | None:
        arrived = [Message.parse(each.octets) for each in tuple(office.stage.vendor.received)]
        mine = (each for each in arrived if each.value("Subject") == b"Change: home")
        return next((each for each in mine if shop.alias in addresses(each, "From")), None)

    until(lambda: state() == "sent", "the notice")
    told = until(notice, "the notice")
    assert told is not None
    assert b"City: Z\xc3\xbcrich -> Genf" in told.body
    thread = (told.value("Message-ID") or b"").decode()
    head = (f"From: {ORDERS}", f"To: {shop.alias}", f"In-Reply-To: {thread}")
    away = written(*head, "Auto-Submitted: auto-replied", subject="Away", body="Away\r\n")
    office.from_vendor(shop.alias, away)
    office.home("Away")
    assert state() == "sent"
    office.from_vendor(shop.alias, written(*head, subject="Re: Change: home", body="Done\r\n"))
    until(lambda: state() == "acknowledged", "the answer")
