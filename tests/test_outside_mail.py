"""What scripts from outside found: odd but possible mail, and what a person or a vendor then sees."""

from __future__ import annotations

import pytest

from sortingoffice.cli.stage import MAILBOX, ORDERS
from tests.office import Office, addresses, written


@pytest.mark.parametrize(
    "author",
    ["", " Lamp Shop", " <>", " undisclosed-recipients:;", " =?utf-8?q?a=40b=2Eexample?=", " (a@b.example)"],
)
def test_a_message_whose_author_nobody_could_answer_is_refused_not_forwarded_without_one(
    office: Office, author: str
) -> None:
    shop = office.fresh()
    message = written(f"From:{author}", f"To: {shop.alias}", subject="an odd author")
    assert office.refused(shop.alias, message) == (550, "5.6.0 the From field holds no address (RFC 5322)")
    [row] = [row for row in office.stage.json("log", shop.slug) if row["what"] == "refused"]
    assert row["rule"] == "no_author"


@pytest.mark.parametrize("line", ["From bob Mon Nov 23 04:55:51 2026", ">From bob@shop.example  Mon Nov 23"])
def test_a_line_of_a_mailbox_file_before_a_message_becomes_a_field_and_nothing_of_it_is_lost(
    office: Office, line: str
) -> None:
    shop = office.fresh()
    subject = f"out of a mailbox file {len(line)}"
    raw = written(
        "From: bob@plain.example", f"To: {shop.alias}", subject=subject, body="From now on\r\n\r\nbye\r\n"
    )
    with office.stage.client() as client:  # unsigned: a signature would stand before it
        client.sendmail("bob@plain.example", [shop.alias], line.encode() + b"\r\n" + raw)
    got = office.home(subject)
    assert got.value("X-Mailbox-Line") == line.encode()
    assert got.body == b"From now on\r\n\r\nbye\r\n"


def test_a_text_that_begins_with_the_word_from_is_no_header_without_one(office: Office) -> None:
    shop = office.fresh()
    assert office.refused(shop.alias, b"From now on\r\nall is text: yes\r\n") == (
        550,
        "5.6.0 a message needs exactly one From field (RFC 5322)",
    )


def test_a_ticket_system_that_writes_to_our_return_path_makes_no_contact_of_it(office: Office) -> None:
    shop = office.fresh()
    reverse = shop.contact()
    office.from_home(reverse, written(f"From: {MAILBOX}", f"To: {reverse}", subject="please help"))
    [sent] = office.arrived(office.stage.vendor, "please help")
    message = written(
        f"From: {ORDERS}", f"To: {sent.sender}", "Auto-Submitted: auto-replied", subject="ticket 7 opened"
    )
    office.from_vendor(sent.sender, message)
    assert addresses(office.home("ticket 7 opened"), "To") == [sent.sender]
    contacts = office.stage.json("show", shop.slug)["contacts"]
    assert [row["address"] for row in contacts] == [ORDERS]
