"""When to try again, and when to give up.

Promise: next_due(…) lies after `now` and never after `expires`; the last try is made at
`expires` itself, so that five days mean five days.

Times are stored as the wall clock says.  It may be set: `Watch` tells, and `flows.deliver` sees to it that
what waits doesn't wait for the difference, and that nothing is given up within an hour of a leap ahead.

Sources: RFC 5321 §4.5.4.1 (retry strategies, give up after 4–5 days).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

TOLERANCE = timedelta(seconds=5)  # clocks are set by less, and busy machines are late by less
_LONG = timedelta(hours=1)
_DOUBT_SECONDS = 3600.0

# A fifth up or down: what failed together doesn't come back together.
_JITTER = 0.2


class Watch:
    """Notices that the wall clock was set, by a clock that can't be (any count of steady seconds)."""

    def __init__(self, wall: datetime, steady: float) -> None:
        self._wall = wall
        self._steady = steady
        self._doubts_until = steady

    def moved(self, wall: datetime, steady: float) -> timedelta:
        """By how much it was set since the last look: ahead, or negative; zero within the tolerance."""
        moved = self._since_the_last_look(wall, steady)
        self._wall, self._steady = wall, steady
        if abs(moved) <= TOLERANCE:
            return timedelta(0)
        if moved > _LONG:
            self._doubts_until = steady + _DOUBT_SECONDS
        return moved

    def doubts(self, wall: datetime, steady: float) -> bool:
        """Whether the clock went ahead by hours within the last, seen already or not: what seems to be over
        may not be."""
        return steady < self._doubts_until or self._since_the_last_look(wall, steady) > _LONG

    def _since_the_last_look(self, wall: datetime, steady: float) -> timedelta:
        return wall - self._wall - timedelta(seconds=steady - self._steady)


def next_due(
    steps: Sequence[timedelta], attempts: int, *, now: datetime, expires: datetime, fraction: float
) -> datetime:
    """When the next attempt is due.

    steps     waiting times, not empty; the last one repeats
    attempts  how many were made, the one that just failed included; ≥ 1
    fraction  random, 0 ≤ fraction < 1

    Asks that now < expires (see `expired`).
    """
    step = steps[min(attempts, len(steps)) - 1]
    wait = step * (1 - _JITTER + 2 * _JITTER * fraction)
    return min(now + wait, expires)


def expired(*, now: datetime, expires: datetime) -> bool:
    """Whether an attempt that failed temporarily now was the last."""
    return now >= expires
