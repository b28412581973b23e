"""Values typed by hand: written down where they may leave, for the leak guard where they may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from sortingoffice.core.model import GrantMode, Sensitivity
from sortingoffice.flows.disclose import Resolved
from sortingoffice.store.database import Database
from tests.desk import Desk, open_desk
from tests.test_disclose_route import keep


@pytest.fixture
def desk(sqlite_db: Database, tmp_path: Path) -> Desk:
    desk = open_desk(sqlite_db, tmp_path)
    desk.shipping()
    desk.set("phone.mobile=+491701234567", "id.born=1984-02-29")
    return desk


def resolved(desk: Desk, text: str) -> Resolved:
    outcome = desk.ask(text)
    assert isinstance(outcome, Resolved), outcome
    return outcome


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I live at Lindenallee 5, thanks", ["shipping.street"]),
        ("LINDENALLEE  5\n", ["shipping.street"]),
        ("call 0170 1234567", ["phone.mobile"]),
        ("call +49 170 123 45 67!", ["phone.mobile"]),
        ("born 29.02.1984", ["id.born"]),
        ("Content-Type: text/html\n\n<p>Linden<b>allee</b>&nbsp;5</p>", ["shipping.street"]),
        ("Lindenallee 51", []),
        ("DE 10115", []),
        ("> Lindenallee 5", []),
        ("nothing", []),
    ],
)
def test_a_value_typed_by_hand_is_noticed(desk: Desk, text: str, found: list[str]) -> None:
    assert [value.named for value in resolved(desk, text).typed] == found


def test_a_value_in_the_subject_counts_but_in_an_answers_subject_it_is_the_vendors(desk: Desk) -> None:
    subject = "Subject: =?utf-8?q?Deliver_to_Lindenallee_5?=\n"
    assert [value.named for value in resolved(desk, f"{subject}\nHi\n").typed] == ["shipping.street"]
    assert resolved(desk, f"{subject}In-Reply-To: <a@lamp-shop.example>\n\nHi\n").typed == ()


def test_it_is_written_down_once(desk: Desk) -> None:
    desk.send("I live at Lindenallee 5\n")
    desk.send("As I said: Lindenallee 5\n")
    rows = desk.disclosures()
    assert [(r["field"], r["via"], r["version"]) for r in rows] == [("street", "typed", 1)]


def test_a_value_that_is_asked_for_and_typed_is_written_down_as_asked(desk: Desk) -> None:
    desk.grant("shipping")
    desk.send("#card shipping street\nthat is Lindenallee 5, not 6; phone 0170 1234567\n")
    assert [(r["field"], r["via"]) for r in desk.disclosures()] == [
        ("street", "directive"),
        ("mobile", "typed"),
    ]


def test_what_is_typed_in_a_held_message_is_written_down_when_it_goes(desk: Desk) -> None:
    desk.send("#card shipping city\nand 0170 1234567\n")
    assert desk.disclosures() == []
    desk.answer("yes")
    assert [(r["field"], r["via"]) for r in desk.disclosures()] == [
        ("city", "directive"),
        ("mobile", "typed"),
    ]


def test_denied_and_sensitive_values_are_withheld_until_they_may_leave(desk: Desk) -> None:
    desk.set("bank.iban=DE89370400440532013000", sensitivity=Sensitivity.SENSITIVE)
    desk.grant("shipping", mode=GrantMode.NEVER, fields=("street",))
    outcome = resolved(desk, "Lindenallee 5, DE89 3704 0044 0532 0130 00")
    assert {secret.label for secret in outcome.withheld} == {"shipping.street", "bank.iban"}
    assert outcome.typed == ()
    desk.grant("bank")
    keep(desk)
    outcome = resolved(desk, "DE89 3704 0044 0532 0130 00")
    assert {secret.label for secret in outcome.withheld} == {"shipping.street"}
    assert [value.named for value in outcome.typed] == ["bank.iban"]


def test_a_name_that_also_stands_on_a_normal_card_is_no_secret(desk: Desk) -> None:
    desk.set("bank.holder=Anna Example", sensitivity=Sensitivity.SENSITIVE)
    outcome = resolved(desk, "Regards, Anna Example")
    assert outcome.withheld == ()
    assert [value.named for value in outcome.typed] == ["shipping.name"]
