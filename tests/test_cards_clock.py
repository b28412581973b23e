"""The clock is set back, or jumps: the newest word holds, and nothing leaves that should not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sortingoffice.core.model import GrantMode, Via
from sortingoffice.flows import consent, ledger, notify
from tests.desk import Desk, refusal, text


@pytest.fixture
def desk(desk: Desk) -> Desk:
    return furnished(desk)


@pytest.fixture
def either(either: Desk) -> Desk:
    return furnished(either)


def furnished(desk: Desk) -> Desk:
    desk.shipping()
    desk.grant("shipping")
    desk.later(hours=2)
    return desk


def back(desk: Desk, **span: int) -> None:
    desk.now[0] -= timedelta(**span)


def test_a_value_set_before_the_clock_went_back_is_the_one_that_leaves(either: Desk) -> None:
    desk = either
    desk.set("shipping.city=Hamburg", "shipping.floor=3")
    back(desk, hours=1)
    assert text(desk.ask("#card shipping city floor\n")) == "City: Hamburg\nFloor: 3\n"
    desk.set("shipping.city=Bremen")
    assert text(desk.ask("#card shipping city\n")) == "City: Bremen\n"
    desk.later(days=1)
    assert text(desk.ask("#card shipping city\n")) == "City: Bremen\n"


def test_a_value_set_in_a_far_future_that_never_was_still_counts_from_then(desk: Desk) -> None:
    desk.later(days=4000)
    desk.set("shipping.city=Hamburg")
    back(desk, days=4000)
    assert text(desk.ask("#card shipping city\n")) == "City: Hamburg\n"


def test_a_date_to_come_is_not_there_earlier_whatever_the_clock_did(desk: Desk) -> None:
    desk.set("shipping.city=Hamburg", valid_from=desk.now[0] + timedelta(days=30))
    back(desk, days=3)
    assert text(desk.ask("#card shipping city\n")) == "City: Berlin\n"
    desk.later(days=34)
    assert text(desk.ask("#card shipping city\n")) == "City: Hamburg\n"


def test_the_ledger_goes_by_what_was_written_later_not_by_what_the_clock_said(desk: Desk) -> None:
    desk.send("#card shipping city\n")
    back(desk, days=1)
    desk.set("shipping.city=Hamburg")
    desk.send("#card shipping city\n")
    desk.later(days=2)
    assert [row["state"] for row in desk.who_has("city")] == ["superseded", "delivered"]
    assert desk.db.view(notify.plan, desk.office, desk.account, "shipping") == ()
    desk.db.call(
        ledger.disclosed, desk.office, desk.account, "lamp-shop", "shipping", ("city",),
        via=Via.PAPER, actor="test",
    )  # fmt: skip
    assert [row["state"] for row in desk.who_has("city")] == ["superseded", "delivered", "given"]


def test_a_grant_that_ended_is_over_while_the_clock_says_so_and_no_longer(desk: Desk) -> None:
    desk.ungrant("shipping")
    desk.grant("shipping", until=desk.now[0] + timedelta(hours=1), uses=1)
    desk.later(hours=2)
    assert "expired on" in refusal(desk.ask("#card shipping city\n"))
    back(desk, hours=2)
    text(desk.send("#card shipping city\n"))
    assert "used up" in refusal(desk.ask("#card shipping street\n")), "a use is no matter of the clock"


def test_a_held_message_waits_longer_or_shorter_and_its_words_are_never_lost(desk: Desk) -> None:
    desk.ungrant("shipping")
    desk.send("My words\n#card shipping city\n")
    back(desk, days=30)
    assert desk.db.call(consent.expire, desk.office, desk.now[0]) == 0
    assert desk.states() == ["held"]
    desk.later(days=60)
    assert desk.db.call(consent.expire, desk.office, desk.now[0]) == 1
    assert desk.states() == ["dropped"]
    assert b"My words" in desk.notices()[-1].raw


def test_a_denial_made_under_a_clock_ahead_holds_at_once_when_it_is_right_again(desk: Desk) -> None:
    desk.later(days=365)
    desk.grant("shipping", mode=GrantMode.NEVER, fields=("street",))
    back(desk, days=365)
    assert "never given" in refusal(desk.ask("#card shipping\n"))
