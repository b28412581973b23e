"""The table of states: what becomes of a delivery after an attempt."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.core.delivery import Outcome, Patience, Step, Tell, Tried, step
from sortingoffice.core.model import Delivery, DeliveryState, Direction
from sortingoffice.mail.reply import Reply

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PATIENCE = Patience((timedelta(minutes=1), timedelta(hours=1)), timedelta(hours=4))
DELIVERY = Delivery(
    id=7,
    message_id=3,
    account_id=1,
    relationship_id=1,
    contact_id=None,
    recipient="anna@home.example",
    destination="home.example",
    return_domain="sort.example",
    state=DeliveryState.QUEUED,
    reason="",
    attempts=0,
    due=NOW,
    expires=NOW + timedelta(days=5),
    delay_told=False,
    lease_node="n",
    lease_until=NOW + timedelta(seconds=30),
    last_reply="",
    created=NOW,
    ended=None,
)


def after(
    reply: str, *, delivery: Delivery = DELIVERY, direction: Direction = Direction.OUTWARD, lost: bool = False
) -> Step:
    code, _, text = reply.partition(" ")
    tried = Tried(Reply(int(code), "", text), past_dot=lost)
    return step(delivery, direction, tried, now=NOW, patience=PATIENCE, fraction=0.5)


@pytest.mark.parametrize(
    ("reply", "lost", "over", "state", "reason", "tell"),
    [
        ("250 ok", False, False, DeliveryState.DELIVERED, "delivered", Tell.NOBODY),
        ("250 ok", False, True, DeliveryState.DELIVERED, "delivered", Tell.NOBODY),
        ("550 no", False, False, DeliveryState.RETURNED, "refused", Tell.FAILURE),
        ("550 no", False, True, DeliveryState.RETURNED, "refused", Tell.FAILURE),
        ("451 later", False, False, DeliveryState.QUEUED, "", Tell.NOBODY),
        ("451 later", False, True, DeliveryState.RETURNED, "expired", Tell.FAILURE),
        ("451 gone", True, False, DeliveryState.QUEUED, "reply lost", Tell.NOBODY),
        ("451 gone", True, True, DeliveryState.RETURNED, "expired", Tell.FAILURE),
    ],
)
def test_each_outcome_has_one_next_state(
    reply: str, lost: bool, over: bool, state: DeliveryState, reason: str, tell: Tell
) -> None:
    delivery = replace(DELIVERY, expires=NOW) if over else DELIVERY
    got = after(reply, delivery=delivery, lost=lost)
    assert (got.state, got.reason, got.tell) == (state, reason, tell)


def test_a_lost_reply_after_the_dot_is_tried_again_and_flagged() -> None:
    got = after("451 4.4.2 lost", lost=True)
    assert got.state is DeliveryState.QUEUED
    assert got.due > NOW


LATE = replace(DELIVERY, created=NOW - timedelta(hours=4))


def test_a_delay_is_told_once_and_for_outward_mail_only() -> None:
    assert after("451 later", delivery=LATE).tell is Tell.DELAY
    assert after("451 later", delivery=replace(LATE, delay_told=True)).tell is Tell.NOBODY
    assert after("451 later", delivery=replace(LATE, created=NOW)).tell is Tell.NOBODY
    for direction in (Direction.INWARD, Direction.NOTICE, Direction.RETURN):
        assert after("451 later", delivery=LATE, direction=direction).tell is Tell.NOBODY


@given(st.integers(200, 559), st.booleans(), st.booleans(), st.sampled_from(Direction), st.integers(0, 99))
def test_only_a_2xx_delivers_and_only_a_5xx_or_the_end_returns(
    code: int, lost: bool, over: bool, direction: Direction, attempts: int
) -> None:
    delivery = replace(DELIVERY, attempts=attempts, expires=NOW if over else DELIVERY.expires)
    got = after(f"{code} x", delivery=delivery, direction=direction, lost=lost)
    assert (got.state is DeliveryState.DELIVERED) == (code < 400 and not lost)
    assert (got.state is DeliveryState.RETURNED) == (
        (code >= 500 and not lost) or (over and (lost or 400 <= code < 500))
    )
    assert got.state.final or got.due > NOW


def test_the_outcomes_are_what_the_codes_mean() -> None:
    said = {250: Outcome.TAKEN, 421: Outcome.LATER, 451: Outcome.LATER, 550: Outcome.NEVER}
    assert {code: Tried(Reply(code, "", "x")).outcome for code in said} == said
