"""The states of a relationship: the table is total, and the clock ends what it must."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sortingoffice.core.model import Relationship, RelationshipState, Strangers, VendorKind
from sortingoffice.core.relationship import CLOSING_FOR, TABLE, Action, No, after, state_at

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)

SHOP = Relationship(
    id=1,
    account_id=1,
    slug="shop",
    name="Shop",
    kind=VendorKind.VENDOR,
    state=RelationshipState.ACTIVE,
    site="",
    mailbox_id=None,
    strangers=Strangers.LEARN,
    display_name="",
    note="",
    created=NOW,
    received=0,
    max_messages=None,
    until=None,
    muted_until=None,
    closing_until=None,
)


def _done(of: Relationship, action: Action, until: datetime | None = None) -> Relationship:
    made = after(of, action, NOW, until=until)
    assert isinstance(made, Relationship)
    return made


def test_every_state_answers_every_action() -> None:
    assert set(TABLE) == set(RelationshipState)
    for row in TABLE.values():
        assert set(row) == set(Action)


@pytest.mark.parametrize("state", list(RelationshipState))
def test_whatever_was_revoked_can_be_restored(state: RelationshipState) -> None:
    revoked = _done(replace(SHOP, state=state), Action.REVOKE)
    assert revoked.state is RelationshipState.REVOKED
    assert _done(revoked, Action.RESTORE).state is RelationshipState.ACTIVE


@pytest.mark.parametrize("state", list(RelationshipState))
@pytest.mark.parametrize("action", list(Action))
def test_an_action_twice_is_an_action_once(state: RelationshipState, action: Action) -> None:
    once = after(replace(SHOP, state=state), action, NOW)
    if isinstance(once, No):
        assert once.why
    elif (state, action) != (RelationshipState.CLOSING, Action.EXPIRE):
        assert after(once, action, NOW) == once


def test_a_pause_holds_until_its_time_or_for_good() -> None:
    for_good = _done(SHOP, Action.PAUSE)
    assert state_at(for_good, NOW + 1000 * HOUR) is RelationshipState.MUTED
    an_hour = _done(SHOP, Action.PAUSE, NOW + HOUR)
    assert state_at(an_hour, NOW) is RelationshipState.MUTED
    assert state_at(an_hour, NOW + HOUR) is RelationshipState.ACTIVE
    assert _done(an_hour, Action.RESUME) == SHOP


def test_closing_ends_by_itself_after_45_days() -> None:
    closing = _done(SHOP, Action.CLOSE)
    assert state_at(closing, NOW + CLOSING_FOR - HOUR) is RelationshipState.CLOSING
    assert state_at(closing, NOW + CLOSING_FOR) is RelationshipState.REVOKED
    assert timedelta(days=45) == CLOSING_FOR


def test_a_second_close_does_not_prolong_the_first() -> None:
    closing = _done(SHOP, Action.CLOSE)
    assert after(closing, Action.CLOSE, NOW + HOUR) == closing


def test_nobody_is_asked_to_close_a_pocket_alias() -> None:
    assert (
        _done(replace(SHOP, state=RelationshipState.UNBOUND), Action.CLOSE).state is RelationshipState.REVOKED
    )


def test_time_and_number_of_messages_end_a_relationship() -> None:
    assert state_at(replace(SHOP, until=NOW), NOW) is RelationshipState.EXPIRED
    assert state_at(replace(SHOP, until=NOW + HOUR), NOW) is RelationshipState.ACTIVE
    assert state_at(replace(SHOP, max_messages=2, received=2), NOW) is RelationshipState.EXPIRED
    assert state_at(replace(SHOP, max_messages=2, received=1), NOW) is RelationshipState.ACTIVE


def test_restoring_lifts_the_limits_that_ended_it_and_no_others() -> None:
    ended = replace(SHOP, state=RelationshipState.EXPIRED, until=NOW - HOUR, max_messages=9, received=3)
    restored = _done(ended, Action.RESTORE)
    assert restored.until is None
    assert restored.max_messages == 9
    assert state_at(restored, NOW) is RelationshipState.ACTIVE


@pytest.mark.parametrize("state", [RelationshipState.REVOKED, RelationshipState.EXPIRED])
@pytest.mark.parametrize("action", [Action.PAUSE, Action.RESUME, Action.BIND])
def test_what_is_over_says_how_to_bring_it_back(state: RelationshipState, action: Action) -> None:
    refused = after(replace(SHOP, state=state), action, NOW)
    assert isinstance(refused, No)
    assert "`restore`" in refused.why
