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
