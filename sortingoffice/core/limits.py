"""How much a peer's network may try: connections, recipients that never existed, messages, octets.

Who guesses addresses is told nothing that it didn't know: once more than half of a network's recipients
never existed, every answer to it waits, whatever the recipient, and beyond the limit there is one constant
421.  Recipients that once existed and were revoked don't count, or newsletter hosts would be punished.

What makes room for slips is what only the honest have much of: messages that were accepted, and relationships
that are known, each as often in the hour as guesses are let pass.  Else whoever knows one address, or names
another domain's, could guess for ever in between.

Promise: bounded memory; a network that behaves is never slowed by another's guesses.

Sources: the design, "Limits and refusals"; RFC 5321 §3.8 (421), §7.3; RFC 4291 §2.5.4 (a /64 is one site).
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from sortingoffice.core.rates import Rates
from sortingoffice.core.remembered import Remembered

MINUTE = 60.0
WINDOW = 3600.0  # seconds that are counted together
GREYLIST_SECONDS = 240.0  # a sender that comes again after this, and before a day is over, is taken
GREYLIST_UNTIL = 86_400.0
_STEP, _LONGEST = 0.5, 5.0  # seconds of waiting, per wrong guess beyond half of the limit, and at most


@lru_cache(maxsize=4096)
def network(ip: str) -> str:
    """What counts as one peer: an IPv4 address (its neighbours are strangers to it), or the /64 of an IPv6
    one, since one customer has at least that (RFC 6177)."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{ipaddress.IPv6Address(int(address) >> 64 << 64)}/64"


class Peers:
    """What each network tried, in all processes of the office; `now` is a clock that they have in common.

    arrivals  its connections in the present minute
    octets    of its messages' content, in the hour
    failures  logins that failed, and since when
    """

    def __init__(self, processes: int = 1) -> None:
        self.arrivals = Rates(MINUTE, processes)
        self.octets = Rates(WINDOW, processes)
        self._asked = Rates(WINDOW, processes)
        self._unknown = Rates(WINDOW, processes)
        self._messages = Rates(WINDOW, processes)
        self._greylisted = Remembered()
        self._named = Remembered()
        self.failures = Remembered()

    def of(self, number: int) -> Peers:
        """The same, for one of the processes."""
        same = Peers.__new__(Peers)
        same.arrivals, same.octets = self.arrivals.of(number), self.octets.of(number)
        same._asked, same._unknown = self._asked.of(number), self._unknown.of(number)
        same._messages = self._messages.of(number)
        same._greylisted, same._named, same.failures = self._greylisted, self._named, self.failures
        return same

    def wait(self, ip: str, now: float, *, most_unknown: int) -> float | None:
        """Seconds that the next answer to a RCPT is to wait; None: this network is shut out for now."""
        peer = network(ip)
        unknown = self._unknown.of_peer(peer, now)
        if 2 * unknown <= self._asked.of_peer(peer, now):
            return 0.0
        if unknown > most_unknown:
            return None
        beyond = unknown - most_unknown // 2
        return min(max(beyond, 0) * _STEP, _LONGEST)

    def asked(self, ip: str, now: float, *, unknown: bool) -> None:
        """One recipient more; `unknown`: it was never issued."""
        self._asked.add(network(ip), 1, now)
        if unknown:
            self._unknown.add(network(ip), 1, now)

    def named(self, ip: str, now: float, whose: tuple[int, int], *, most: int) -> None:
        """A recipient that was issued: one more, unless the network named so many of the same in the hour.

        whose  account and relationship
        """
        key = network(ip), whose
        number, since = self._named.get(key) or (0, now)
        if now - since > WINDOW:
            number, since = 0, now
        if number < most:
            self._named.put(key, number + 1, since)
            self.asked(ip, now, unknown=False)

    def sent(self, ip: str, now: float, *, most: int) -> bool:
        """One message more; whether the network may send it.  most  in the hour; 0: any number"""
        if not most:
            return True
        self._messages.add(network(ip), 1, now)
        return self._messages.of_peer(network(ip), now) <= most

    def patient(self, who: tuple[str, ...], now: float) -> bool:
        """Whether this network, sender and recipients came before, long enough ago: then they are taken."""
        known = self._greylisted.get(who)
        if known is None or now - known[1] > GREYLIST_UNTIL:
            self._greylisted.put(who, 1, now)
            return False
        return now - known[1] >= GREYLIST_SECONDS
