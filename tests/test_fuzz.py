"""A few seconds of each fuzzer; `make fuzz` runs them for long."""

from __future__ import annotations

import pytest

from tests.fuzz.entries import ENTRIES
from tests.fuzz.run import STALL_SECONDS, Stall, Tally, by_hypothesis, tried


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_no_octets_crash_or_stall_a_parser(name: str) -> None:
    tally = Tally()
    by_hypothesis(name, tally, examples=20)
    assert tally.calls > 10
    assert tally.slowest < STALL_SECONDS


def test_a_stall_is_a_finding() -> None:
    def slow(octets: bytes) -> None:
        sum(range(10**8))

    with pytest.raises(Stall):
        tried(ENTRIES["path"].__class__(slow, (b"",)), b"", Tally())
