"""How fast a peer's network comes: an amount per network in the present stretch of time.

    minute 1   |||||        counted
    minute 2   ||           counted anew; what was before is forgotten

Connections in a minute and octets in an hour are counted so.  The processes of an office share the memory
that they count in: each writes its own part alone, so nothing is locked, and reads the sum.

Promise: bounded memory, whatever comes.  A peer is counted at one place of each row, and the smallest sum is
believed; it is never too low, and too high only where others met it in every row.

Sources: RFC 5321 §7.8; Cormode and Muthukrishnan, "An improved data stream summary: the count-min sketch".
"""

from __future__ import annotations

import mmap

_BITS = 13
_PLACES = 1 << _BITS
_ROWS = 3
_PART = 1 + _ROWS * _PLACES  # of one process: which stretch it has counted, then the rows
_CELL = 8  # octets


class Rates:
    """Amounts per peer in stretches of `seconds`; `now` is a clock that the processes have in common."""

    def __init__(self, seconds: float, processes: int = 1) -> None:
        self.seconds = seconds
        self._cells = memoryview(mmap.mmap(-1, processes * _PART * _CELL)).cast("Q")
        self._starts = range(0, processes * _PART, _PART)
        self._own = 0

    def of(self, number: int) -> Rates:
        """The same amounts, for the process that writes this part."""
        same = object.__new__(Rates)
        same.seconds = self.seconds
        same._cells, same._starts, same._own = self._cells, self._starts, number * _PART
        return same

    def add(self, peer: str, amount: int, now: float) -> None:
        stretch, own = self._stretch(now), self._own
        if self._cells[own] != stretch:
            self._cells[own : own + _PART] = memoryview(bytes(_PART * _CELL)).cast("Q")
            self._cells[own] = stretch
        for place in _places(peer):
            self._cells[own + place] += amount

    def of_peer(self, peer: str, now: float) -> int:
        stretch = self._stretch(now)
        starts = [start for start in self._starts if self._cells[start] == stretch]
        return min(sum(self._cells[start + place] for start in starts) for place in _places(peer))

    def _stretch(self, now: float) -> int:
        return int(now // self.seconds) + 1  # 0 is what fresh memory says


def _places(peer: str) -> tuple[int, ...]:
    """Other bits of one hash for each row.  Python's is keyed, so nobody outside can choose whom to meet;
    forked processes share its key."""
    drawn = hash(peer)
    return tuple(1 + row * _PLACES + (drawn >> row * _BITS) % _PLACES for row in range(_ROWS))
