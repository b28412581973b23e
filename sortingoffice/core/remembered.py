"""A number and a time by key, in memory that the processes of the office share; made before they are forked.

A key has a place by Python's keyed hash, which forked processes have in common, or one of the few places
after it; where they are all taken, the oldest is forgotten.  Nothing is locked: two processes that write of
one key in the same microsecond count once, and that is all.

Promise: bounded memory, whatever comes.
"""

from __future__ import annotations

import mmap
from collections.abc import Hashable

_PLACES = 1 << 15
_NEAR = 8  # places that a key may have
_CELLS = 3  # of a place: the key's hash, the number, the time in milliseconds


class Remembered:
    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, _PLACES * _CELLS * 8)).cast("Q")

    def get(self, key: Hashable) -> tuple[int, float] | None:
        """The number and the time; None where the key isn't known, or was forgotten."""
        mark = _mark(key)
        at = next((at for at in _near(mark) if self._cells[at] == mark), None)
        return None if at is None else (self._cells[at + 1], self._cells[at + 2] / 1000)

    def put(self, key: Hashable, number: int, time: float) -> None:
        mark = _mark(key)
        near = _near(mark)
        at = next((at for at in near if self._cells[at] == mark), None)
        if at is None:
            at = min(near, key=lambda each: self._cells[each + 2] if self._cells[each] else -1)
        self._cells[at + 1], self._cells[at + 2] = number, int(time * 1000)
        self._cells[at] = mark

    def forget(self, key: Hashable) -> None:
        mark = _mark(key)
        for at in _near(mark):
            if self._cells[at] == mark:
                self._cells[at] = 0


def _mark(key: Hashable) -> int:
    """What stands for the key; 0 is a free place."""
    return hash(key) % 2**64 or 1


def _near(mark: int) -> list[int]:
    first = mark % _PLACES
    return [(first + step) % _PLACES * _CELLS for step in range(_NEAR)]
