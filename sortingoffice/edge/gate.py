"""How many may come in: connections in all and per peer, and failed logins per peer.

Promise: a count per peer, nothing else; bounded memory; what entered leaves.  Both are counted for all
processes of the office together.

Sources: RFC 5321 §7.8; RFC 4954 §9 (guessing); Cormode and Muthukrishnan, "An improved data stream summary:
the count-min sketch".
"""

from __future__ import annotations

import mmap

from sortingoffice.core.limits import Peers, network

TRIES = 10  # failed logins of one peer …
LOCKED_SECONDS = 900.0  # … within this time lock it for as long

_BITS = 14
_PLACES = 1 << _BITS
_ROWS = 2
_PART = 1 + _ROWS * _PLACES  # of one process: all that it has inside, then the rows


class Counts:
    """Who is inside, in memory that the processes share; made before they are forked.  peers: what they tried

    Each writes its own part alone, so nothing is locked, and reads the sum.  A peer is counted at one place
    of each row, found by Python's keyed hash, which forked processes have in common; the smaller sum is the
    peer's own, unless others met it in both rows: with 1,000 inside, one peer in 270 is counted too high.
    """

    def __init__(self, processes: int = 1) -> None:
        self._cells = memoryview(mmap.mmap(-1, processes * _PART * 4)).cast("I")
        self._starts = range(0, processes * _PART, _PART)
        self._own = 0
        self.peers = Peers(processes)

    def of(self, number: int) -> Counts:
        """The same counts, for the process that writes this part."""
        same = object.__new__(Counts)
        same._cells, same._starts, same._own = self._cells, self._starts, number * _PART
        same.peers = self.peers.of(number)
        return same

    def forget(self, number: int) -> None:
        """A process has died, and all that it had inside with it."""
        start = number * _PART
        self._cells[start : start + _PART] = memoryview(bytes(_PART * 4)).cast("I")

    def add(self, peer: str, change: int) -> None:
        self._cells[self._own] += change
        for place in _places(peer):
            self._cells[self._own + place] += change

    @property
    def everybody(self) -> int:
        return sum(self._cells[start] for start in self._starts)

    @property
    def ahead(self) -> bool:
        """Whether this process has more than another."""
        return any(self._cells[start] < self._cells[self._own] for start in self._starts)

    def of_peer(self, peer: str) -> int:
        return min(sum(self._cells[start + place] for start in self._starts) for place in _places(peer))


def _places(peer: str) -> tuple[int, ...]:
    """Other bits of one hash for each row: hashes of pairs that share a part meet far too often."""
    drawn = hash(peer)
    return tuple(1 + row * _PLACES + (drawn >> row * _BITS) % _PLACES for row in range(_ROWS))


class Gate:
    """Who may come in, and whose logins failed."""

    def __init__(self, *, most: int, most_per_peer: int, counts: Counts | None = None) -> None:
        self._most = most
        self._most_per_peer = most_per_peer
        self._counts = counts or Counts()
        self.peers = self._counts.peers

    def resize(self, *, most: int, most_per_peer: int) -> None:
        """New limits, for those who come from now on."""
        self._most, self._most_per_peer = most, most_per_peer

    @property
    def inside(self) -> int:
        return self._counts.everybody

    @property
    def ahead(self) -> bool:
        return self._counts.ahead

    @property
    def full(self) -> bool:
        return self.inside >= self._most

    def crowded(self, ip: str) -> bool:
        """Whether this peer has as many inside as it may."""
        return self._counts.of_peer(network(ip)) >= self._most_per_peer

    def enter(self, ip: str) -> bool:
        """Whether one more of this peer may come in; the one who may is counted."""
        if self.full or self.crowded(ip):
            return False
        self._counts.add(network(ip), 1)
        return True

    def leave(self, ip: str) -> None:
        self._counts.add(network(ip), -1)

    # ---- failed logins -----------------------------------------------------------------------------

    def failed(self, ip: str, now: float) -> None:
        peer = network(ip)
        count, since = self.peers.failures.get(peer) or (0, now)
        if now - since > LOCKED_SECONDS:
            count, since = 0, now
        count += 1
        # The lock runs from the failure that closed it.
        self.peers.failures.put(peer, count, now if count >= TRIES else since)

    def succeeded(self, ip: str) -> None:
        self.peers.failures.forget(network(ip))

    def locked(self, ip: str, now: float) -> bool:
        count, since = self.peers.failures.get(network(ip)) or (0, 0.0)
        return count >= TRIES and now - since <= LOCKED_SECONDS
