"""How many may come in: connections in all and per peer, and failed logins per peer.

Promise: a count per peer, nothing else; bounded memory; what entered leaves.

Sources: RFC 5321 §7.8; RFC 4954 §9 (guessing).
"""

from __future__ import annotations

from collections import Counter, OrderedDict

from sortingoffice.edge.peer import network

_REMEMBERED = 10_000
TRIES = 10  # failed logins of one peer …
LOCKED_SECONDS = 900.0  # … within this time lock it for as long


class Gate:
    """The counts of one process."""

    def __init__(self, *, most: int, most_per_peer: int) -> None:
        self._most = most
        self._most_per_peer = most_per_peer
        self._inside = 0
        self._by_peer: Counter[str] = Counter()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def resize(self, *, most: int, most_per_peer: int) -> None:
        """New limits, for those who come from now on."""
        self._most, self._most_per_peer = most, most_per_peer

    @property
    def full(self) -> bool:
        return self._inside >= self._most

    def crowded(self, ip: str) -> bool:
        """Whether this peer has as many inside as it may."""
        return self._by_peer[network(ip)] >= self._most_per_peer

    def enter(self, ip: str) -> bool:
        """Whether one more of this peer may come in; the one who may is counted."""
        peer = network(ip)
        if self.full or self.crowded(ip):
            return False
        self._inside += 1
        self._by_peer[peer] += 1
        return True

    def leave(self, ip: str) -> None:
        peer = network(ip)
        self._inside -= 1
        self._by_peer[peer] -= 1
        if not self._by_peer[peer]:
            del self._by_peer[peer]

    # ---- failed logins -----------------------------------------------------------------------------

    def failed(self, ip: str, now: float) -> None:
        peer = network(ip)
        count, since = self._failures.pop(peer, (0, now))
        if now - since > LOCKED_SECONDS:
            count, since = 0, now
        count += 1
        # The lock runs from the failure that closed it.
        self._failures[peer] = (count, now if count >= TRIES else since)
        if len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, ip: str) -> None:
        self._failures.pop(network(ip), None)

    def locked(self, ip: str, now: float) -> bool:
        count, since = self._failures.get(network(ip), (0, 0.0))
        return count >= TRIES and now - since <= LOCKED_SECONDS
