"""When a delivery is tried again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.core import retry

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STEPS = tuple(timedelta(minutes=m) for m in (1, 5, 15, 60, 240))
FAR = NOW + timedelta(days=5)


@pytest.mark.parametrize(
    ("attempts", "minutes"), [(1, 1), (2, 5), (3, 15), (4, 60), (5, 240), (6, 240), (99, 240)]
)
def test_the_steps_are_taken_in_turn_and_the_last_repeats(attempts: int, minutes: int) -> None:
    due = retry.next_due(STEPS, attempts, now=NOW, expires=FAR, fraction=0.5)
    assert due == NOW + timedelta(minutes=minutes)


def test_a_fraction_spreads_them_a_fifth_both_ways() -> None:
    early = retry.next_due(STEPS, 4, now=NOW, expires=FAR, fraction=0)
    late = retry.next_due(STEPS, 4, now=NOW, expires=FAR, fraction=0.999999)
    assert early == NOW + timedelta(minutes=48)
    assert NOW + timedelta(minutes=71) < late < NOW + timedelta(minutes=72)


def test_the_last_try_is_at_the_very_end() -> None:
    expires = NOW + timedelta(seconds=10)
    assert retry.next_due(STEPS, 9, now=NOW, expires=expires, fraction=0.5) == expires
    assert retry.expired(now=expires, expires=expires)
    assert not retry.expired(now=expires - timedelta(microseconds=1), expires=expires)


@given(
    st.lists(st.timedeltas(timedelta(seconds=1), timedelta(days=1)), min_size=1, max_size=6),
    st.integers(1, 1000),
    st.timedeltas(timedelta(microseconds=1), timedelta(days=5)),
    st.floats(0, 1, exclude_max=True),
)
def test_the_next_try_is_later_than_now_and_never_after_the_end(
    steps: list[timedelta], attempts: int, left: timedelta, fraction: float
) -> None:
    due = retry.next_due(steps, attempts, now=NOW, expires=NOW + left, fraction=fraction)
    assert NOW < due <= NOW + left


def test_a_watch_tells_how_far_a_clock_was_set_and_nothing_of_small_steps() -> None:
    watch = retry.Watch(NOW, 100.0)
    assert watch.moved(NOW + timedelta(seconds=1), 100.9) == timedelta(0)
    assert watch.moved(NOW - timedelta(hours=1), 101.9) == timedelta(seconds=-3602)
    assert watch.moved(NOW - timedelta(hours=1) + timedelta(seconds=3), 103.0) == timedelta(0)
    assert not watch.doubts(NOW - timedelta(hours=1) + timedelta(seconds=3), 103.0)
    leap = NOW + timedelta(days=2)
    assert watch.doubts(leap, 104.0), "though nobody has looked at how far it was set"
    assert watch.moved(leap, 104.0) > timedelta(days=2)
    assert watch.doubts(leap, 104.0)
    assert watch.doubts(leap + timedelta(seconds=3599.9), 3703.9)
    assert not watch.doubts(leap + timedelta(seconds=3600.1), 3704.1)
