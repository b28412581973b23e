"""When to try again, and when to give up.

Promise: next_due(…) lies after `now` and never after `expires`; the last try is made at
`expires` itself, so that five days mean five days.

Sources: RFC 5321 §4.5.4.1 (retry strategies, give up after 4–5 days).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

# A fifth up or down: what failed together doesn't come back together.
_JITTER = 0.2


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
