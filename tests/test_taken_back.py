"""What the person takes back: it leaves no more, whatever waits, and what they have is no longer theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sortingoffice.core.model import DeliveryState, GrantMode, Sensitivity
from sortingoffice.errors import OfficeError
from sortingoffice.flows import cards, notify
from sortingoffice.store import schema
from sortingoffice.store.database import Database
from tests.desk import Desk, open_desk, refusal, text, waits

WAITS = DeliveryState.QUEUED


@pytest.fixture
def desk(sqlite_db: Database, tmp_path: Path) -> Desk:
    desk = open_desk(sqlite_db, tmp_path)
    desk.shipping()
    return desk


def told(desk: Desk) -> list[str]:
    return [each.subject for each in desk.notices()]


def withdraw(desk: Desk, card: str) -> None:
    _, asked = desk.db.call(notify.ungrant, desk.office, desk.account, "lamp-shop", card, actor="test")
    assert asked


def remove(desk: Desk, name: str) -> None:
    desk.db.call(cards.remove, desk.office, desk.account, name, actor="test")


# ---- what they were asked to forget ----------------------------------------------------------------


def test_what_a_vendor_was_asked_to_forget_is_news_to_it_again(either: Desk) -> None:
    either.shipping()
    either.grant("shipping")
    either.send("#card shipping city\n")
    withdraw(either, "shipping")
    assert "is not granted" in waits(either.send("#card shipping city\n"))


def test_what_is_typed_after_a_withdrawal_is_written_down_anew(desk: Desk) -> None:
    desk.grant("shipping")
    desk.send("I live at Lindenallee 5\n")
    withdraw(desk, "shipping")
    desk.later(days=1)
    desk.send("I live at Lindenallee 5, still\n")
    assert [row["state"] for row in desk.who_has("street")] == ["withdrawn", "delivered"]


def test_a_sensitive_value_that_was_withdrawn_waits_for_a_word_when_it_is_typed(desk: Desk) -> None:
    desk.set("doctor.note=O positive, no penicillin", sensitivity=Sensitivity.SENSITIVE)
    desk.give("lamp-shop", "doctor")
    desk.grant("doctor")
    text(desk.ask("I have O positive, no penicillin\n"))
    withdraw(desk, "doctor")
    desk.post("Content-Type: text/plain\n\nI have O positive, no penicillin\n")
    assert desk.states()[-1] == "held"


@pytest.mark.parametrize("state", ["returned", "dropped"])
def test_a_withdrawal_that_never_arrived_withdrew_nothing(either: Desk, state: str) -> None:
    either.shipping()
    either.grant("shipping")
    either.send("#card shipping city\n")
    withdraw(either, "shipping")
    assert [row["state"] for row in either.who_has("city")] == ["withdrawn"]
    table = schema.delivery
    ended = table.update().where(table.c.state == "queued").values(state=state, ended=either.now[0])
    either.db.call(lambda tx: tx.execute(ended))
    assert [row["state"] for row in either.who_has("city")] == ["delivered"]
    assert text(either.ask("#card shipping city\n")) == "City: Berlin\n"


# ---- what waits to leave ---------------------------------------------------------------------------


def test_a_second_mail_that_waits_leaves_no_more_than_the_first_under_the_grant(either: Desk) -> None:
    either.shipping()
    either.grant("shipping")
    either.send("#card shipping city\n", WAITS)
    either.send("Again:\n{{shipping.city}}\n", WAITS)
    either.ungrant("shipping")
    assert either.states() == ["dropped", "dropped"]
    assert told(either) == ["Not sent: Lamp Shop may not have shipping any more"] * 2


def test_a_grant_that_was_renewed_is_taken_back_with_what_waits_under_the_one_before(desk: Desk) -> None:
    desk.grant("shipping")
    desk.send("#card shipping city\n", WAITS)
    desk.grant("shipping", uses=3)
    assert desk.states() == ["queued"]
    desk.ungrant("shipping")
    assert desk.states() == ["dropped"]


def test_what_they_have_already_or_may_have_by_another_grant_goes_on(desk: Desk) -> None:
    desk.grant("shipping")
    desk.send("#card shipping city\n")
    desk.send("#card shipping city\n", WAITS)
    desk.view("place", "shipping.street")
    desk.grant("place")
    desk.ungrant("shipping")
    desk.send("#card place\n", WAITS)
    desk.grant("shipping")
    desk.ungrant("shipping")
    assert desk.states() == ["delivered", "queued", "queued"]


def test_what_the_person_said_yes_to_goes_when_a_grant_ends_and_not_against_a_denial(desk: Desk) -> None:
    desk.post("Content-Type: text/plain\n\n#card shipping city\n")
    desk.answer("yes\n")
    desk.grant("shipping")
    desk.ungrant("shipping")
    assert desk.states() == ["queued"]
    desk.grant("shipping", mode=GrantMode.NEVER)
    assert desk.states() == ["dropped"]


@pytest.mark.parametrize("asked", ["#card shipping city\n", "I live at Lindenallee 5, Berlin\n"])
def test_a_denial_stops_what_waits_and_the_words_come_back_once(either: Desk, asked: str) -> None:
    either.shipping()
    either.grant("shipping")
    either.send(asked, WAITS)
    either.grant("shipping", mode=GrantMode.NEVER)
    assert either.states() == ["dropped"]
    assert told(either) == ["Not sent: Lamp Shop may not have shipping any more"]


def test_a_denial_of_one_field_lets_the_others_go(desk: Desk) -> None:
    desk.grant("shipping")
    desk.send("#card shipping city\n", WAITS)
    desk.send("#card shipping street\n", WAITS)
    desk.grant("shipping", mode=GrantMode.NEVER, fields=("street",))
    assert desk.states() == ["queued", "dropped"]


# ---- a card that is removed ------------------------------------------------------------------------


def test_a_card_of_a_removed_one_s_name_begins_without_its_grants(either: Desk) -> None:
    either.set("note.text=a blue lamp")
    either.grant("note")
    remove(either, "note")
    either.set("note.text=something else altogether")
    assert "is not granted" in waits(either.ask("#card note\n"))


def test_a_view_of_a_removed_card_s_name_begins_without_its_grants(desk: Desk) -> None:
    desk.set("note.text=a blue lamp")
    desk.grant("note")
    remove(desk, "note")
    desk.view("note", "shipping.city")
    assert "is not granted" in waits(desk.ask("#card note\n"))
    desk.grant("note")
    remove(desk, "note")
    desk.view("note", "shipping.street")
    assert "is not granted" in waits(desk.ask("#card note\n"))


def test_a_denial_outlives_its_card_and_no_view_that_denies_goes_or_shrinks_unseen(desk: Desk) -> None:
    desk.set("note.text=a blue lamp")
    desk.grant("note", mode=GrantMode.NEVER)
    remove(desk, "note")
    desk.set("note.text=a red lamp")
    assert "is never given" in refusal(desk.ask("#card note\n"))
    desk.grant("shipping")
    desk.view("place", "shipping.city", "shipping.street")
    desk.grant("place", mode=GrantMode.NEVER)
    with pytest.raises(OfficeError, match=r"Lamp Shop is never given place: .*ungrant lamp-shop place"):
        remove(desk, "place")
    with pytest.raises(OfficeError, match=r"Lamp Shop is never given place: .*ungrant lamp-shop place"):
        desk.view("place", "shipping.street")
    desk.view("place", "shipping.street", "shipping.city", "shipping.postcode")
    assert "is never given" in refusal(desk.ask("#card shipping city\n"))
    desk.ungrant("place")
    remove(desk, "place")
    assert text(desk.ask("#card shipping city\n")) == "City: Berlin\n"
