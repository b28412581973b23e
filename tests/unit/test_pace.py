"""Who may be tried now."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.core.pace import FIRST, LONGEST_PAUSE, Lineup


def filled(bound: int = 20, most: int = 100, **many: int) -> Lineup[str]:
    lineup: Lineup[str] = Lineup(bound, most)
    for destination, count in many.items():
        for n in range(count):
            lineup.add(destination, f"{destination}{n}")
    return lineup


def names(begun: list[tuple[str, str]]) -> list[str]:
    return [item for _, item in begun]


def test_a_new_destination_begins_with_a_few_and_gets_more_with_success() -> None:
    lineup = filled(a=100)
    assert len(lineup.ready(0)) == FIRST
    assert lineup.ready(0) == []
    for n in range(50):
        lineup.ended("a", reached=True, now=n)
        lineup.ready(n)
    assert lineup.busy == 20  # the bound


def test_the_bound_holds_from_the_first() -> None:
    assert len(filled(bound=1, a=5).ready(0)) == 1


def test_one_destinations_backlog_takes_no_other_ones_turn() -> None:
    lineup = filled(most=4, a=50, b=1, c=1)
    assert set(names(lineup.ready(0))) == {"a0", "b0", "c0", "a1"}


def test_who_had_no_turn_comes_first_next_time() -> None:
    lineup = filled(most=2, a=5, b=5, c=5)
    assert names(lineup.ready(0)) == ["a0", "b0"]
    lineup.ended("a", reached=True, now=0)
    assert names(lineup.ready(0)) == ["c0"]


def test_out_of_reach_means_one_probe_after_each_growing_pause() -> None:
    lineup = filled(a=10)
    lineup.ready(0)
    for _ in range(FIRST):
        lineup.ended("a", reached=False, now=0)  # all three fail together: one failure
    now, pauses = 0.0, []
    for _ in range(6):
        pause = lineup.opens_in(now)
        assert pause is not None
        pauses.append(pause)
        assert lineup.ready(now + pause - 0.01) == []
        now += pause
        assert len(lineup.ready(now)) == 1
        assert lineup.ready(now) == []
        lineup.ended("a", reached=False, now=now)
    assert pauses == [1, 2, 4, 8, 16, 32]
    for _ in range(3):
        lineup.ended("a", reached=False, now=now + 1000) if lineup.ready(now + 1000) else None
        now += 1000
    assert (lineup.opens_in(now) or 0) <= LONGEST_PAUSE


def test_a_probe_that_gets_through_opens_it_again() -> None:
    lineup = filled(a=10)
    lineup.ready(0)
    lineup.ended("a", reached=False, now=0)
    lineup.ended("a", reached=True, now=0.5)
    assert lineup.opens_in(0.5) is None
    assert len(lineup.ready(0.5)) == 1  # one is still under way, and two may be


def test_an_attempt_that_tells_nothing_changes_nothing() -> None:
    lineup = filled(a=10)
    lineup.ready(0)
    lineup.ended("a", reached=None, now=0)
    assert len(lineup.ready(0)) == 1  # still as many at once
    for _ in range(FIRST):
        lineup.ended("a", reached=False, now=0)
    assert names(lineup.ready(1)) == ["a4"]
    lineup.ended("a", reached=None, now=1)
    assert (lineup.pause("a"), lineup.opens_in(1)) == (1, None)
    assert len(lineup.ready(1)) == 1


def test_one_out_of_reach_may_be_probed_before_its_pause_is_over() -> None:
    lineup = filled(a=10)
    lineup.reopen("unheard of")
    lineup.ready(0)
    for _ in range(FIRST):
        lineup.ended("a", reached=False, now=0)
    assert lineup.ready(0.5) == []
    lineup.reopen("a")
    assert len(lineup.ready(0.5)) == 1
    assert lineup.ready(0.5) == []
    assert lineup.pause("a") == 1


def test_thousands_out_of_reach_cost_no_look_at_each_arrival() -> None:
    lineup: Lineup[int] = Lineup(20, 10_000)
    for n in range(5000):
        lineup.add(f"d{n}", n)
    for destination, n in lineup.ready(0):
        lineup.ended(destination, reached=False, now=0)
        lineup.add(destination, n)
    assert lineup.ready(0.5) == []
    steps = 0

    def counted(_frame: FrameType, event: str, _about: object) -> Any:
        nonlocal steps
        steps += event in ("line", "call")
        return counted

    before = sys.gettrace()
    sys.settrace(counted)
    try:
        found = lineup.ready(0.5), lineup.parked(), lineup.room(), lineup.opens_in(0.5)
    finally:
        sys.settrace(before)
    assert found == ([], 5000, 10_000, 0.5)
    assert steps < 100
    assert len(lineup.ready(1)) == 5000


def test_what_waits_for_one_out_of_reach_takes_no_room() -> None:
    lineup = filled(most=10, a=9)
    lineup.ready(0)
    for _ in range(FIRST):
        lineup.ended("a", reached=False, now=0)
    assert lineup.room() == 10
    lineup.add("b", "b0")
    assert lineup.room() == 9


def test_what_waits_for_others_of_its_destination_takes_no_room() -> None:
    lineup = filled(most=10, a=50)
    assert lineup.room() == 10 - FIRST
    lineup.ready(0)
    assert lineup.room() == 10 - FIRST


def test_what_is_no_longer_wanted_is_taken_out() -> None:
    lineup = filled(a=5, b=1)
    assert lineup.remove(lambda item: item in ("a1", "b0")) == ["a1", "b0"]
    assert sorted(lineup.waiting()) == ["a0", "a2", "a3", "a4"]
    assert names(lineup.ready(0)) == ["a0", "a2", "a3"]


def test_what_waits_for_one_out_of_reach_is_taken_out_and_some_of_it_put_back_to_probe_with() -> None:
    lineup = filled(a=10, b=1)
    assert lineup.pause("a") == 0
    assert lineup.pause("unheard of") == 0
    lineup.ready(0)
    lineup.ended("a", reached=False, now=0)
    assert lineup.pause("a") == 1
    assert lineup.parked() == 7
    waiting = lineup.take_out("a")
    assert waiting == [f"a{n}" for n in range(3, 10)]
    assert lineup.take_out("a") == []
    assert lineup.parked() == 0
    assert lineup.held("a") == 2  # under way
    lineup.add("a", waiting[0])
    assert lineup.parked() == 1
    for _ in range(2):
        lineup.ended("a", reached=False, now=0)
    assert names(lineup.ready(1)) == ["a3"]
    lineup.ended("a", reached=True, now=2)
    assert lineup.pause("a") == 0


def test_the_memory_of_destinations_is_bounded() -> None:
    lineup: Lineup[int] = Lineup(20, 100_000)
    for n in range(30_000):
        lineup.add(f"d{n}", n)
        for destination, _ in lineup.ready(n):
            lineup.ended(destination, reached=n % 2 == 0, now=n)
    assert len(lineup._lanes) <= 10_000


EVENTS = st.lists(
    st.tuples(
        st.sampled_from("add ready reached lost unknown reopen take remove".split()),
        st.sampled_from("abc"),
        st.integers(0, 5),
    )
)


@given(EVENTS, st.integers(1, 5), st.integers(1, 8))
def test_bounds_hold_and_nothing_is_lost(events: list[tuple[str, str, int]], bound: int, most: int) -> None:
    lineup: Lineup[tuple[str, int]] = Lineup(bound, most)
    under_way: dict[str, int] = dict.fromkeys("abc", 0)
    added = begun = 0
    now = 0.0
    for what, destination, seconds in events:
        now += seconds
        if what == "add":
            lineup.add(destination, (destination, added))
            added += 1
        elif what == "ready":
            for name, _ in lineup.ready(now):
                under_way[name] += 1
                begun += 1
        elif what == "reopen":
            lineup.reopen(destination)
        elif what == "take":
            for item in lineup.take_out(destination):
                lineup.add(destination, item)
        elif what == "remove":
            added -= len(lineup.remove(lambda item: item[1] % 3 == 0))
        elif under_way[destination]:
            under_way[destination] -= 1
            reached = None if what == "unknown" else what == "reached"
            lineup.ended(destination, reached=reached, now=now)
        assert sum(under_way.values()) == lineup.busy <= most
        assert max(under_way.values()) <= bound
        assert begun + len(list(lineup.waiting())) == added
        assert lineup.parked() == sum(lineup.pause(item[0]) > 0 for item in lineup.waiting())
    for destination, count in under_way.items():
        for _ in range(count):
            lineup.ended(destination, reached=True, now=now)
    for _ in range(added + 1):  # and in the end everything has its turn
        now += LONGEST_PAUSE
        for name, _ in lineup.ready(now):
            begun += 1
            lineup.ended(name, reached=True, now=now)
    assert begun == added
