"""Whether we stood still: stopped, swapped out, or suspended with the whole machine.

What we hold for a while may be another's by then, and what we remember of a moment ago is old.

Promise: `long` holds from the first moment after it, whoever asks first, until `over`.

No I/O and no clock: `now` is any monotonic count of seconds.
"""

from __future__ import annotations


class Standstill:
    """most  seconds between two ticks that are no matter"""

    def __init__(self, most: float, now: float) -> None:
        self._most = most
        self._seen = now
        self._stale = False

    def tick(self, now: float) -> bool:
        """We are alive, and say so all the time; whether there was one that is not seen to."""
        self._stale = self.long(now)
        self._seen = now
        return self._stale

    def over(self, now: float) -> None:
        """What it meant is seen to."""
        self._seen, self._stale = now, False

    def long(self, now: float) -> bool:
        return self._stale or now - self._seen >= self._most
