"""How often a client may ask: buckets that fill again with time.

A client that has emptied its bucket is told how many seconds to wait.  Buckets are this process's
own: they keep a runaway script or a guesser off, and nothing depends on them.

Sources: RFC 6585 §4; the token bucket as in RFC 2697.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import field
from datetime import datetime

from sortingoffice.frozen import dataclass

_MOST = 10_000  # buckets kept; the longest unused is forgotten, and was full by then


@dataclass(frozen=True, slots=True)
class Rate:
    """burst requests at once, then one every `seconds`."""

    burst: int
    seconds: float


REQUESTS = Rate(300, 0.2)  # of one token or session
ADDRESSES = Rate(60, 2.0)  # new addresses of one account
GUESSES = Rate(30, 2.0)  # refused tokens and sign-ins from one place
LINKS = Rate(5, 120.0)  # sign-in links asked for from one place, or for one mailbox


@dataclass(slots=True)
class Buckets:
    """How many requests each client has left, by a name for it."""

    _left: OrderedDict[tuple[Rate, str], tuple[float, datetime]] = field(default_factory=OrderedDict)

    def wait(self, rate: Rate, name: str, now: datetime) -> int:
        """Take one; 0 where there was one, else the seconds until there is."""
        left = self._filled(rate, name, now)
        if left >= 1:
            self._keep(rate, name, left - 1, now)
            return 0
        return max(1, math.ceil((1 - left) * rate.seconds))

    def empty(self, rate: Rate, name: str, now: datetime) -> int:
        """Seconds until there is one, without taking it."""
        left = self._filled(rate, name, now)
        return 0 if left >= 1 else max(1, math.ceil((1 - left) * rate.seconds))

    def _filled(self, rate: Rate, name: str, now: datetime) -> float:
        left, at = self._left.get((rate, name), (float(rate.burst), now))
        return min(float(rate.burst), left + max(0.0, (now - at).total_seconds()) / rate.seconds)

    def _keep(self, rate: Rate, name: str, left: float, now: datetime) -> None:
        self._left[(rate, name)] = (left, now)
        self._left.move_to_end((rate, name))
        while len(self._left) > _MOST:
            self._left.popitem(last=False)
