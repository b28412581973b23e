"""How much a peer's network may try: recipients that never existed, and messages in an hour.

Who guesses addresses is told nothing that it didn't know: once more than half of a network's recipients
never existed, every answer to it waits, whatever the recipient, and beyond the limit there is one constant
421.  Recipients that once existed and were revoked don't count, or newsletter hosts would be punished.

Promise: bounded memory; a network that behaves is never slowed by another's guesses.

Sources: the design, "Limits and refusals"; RFC 5321 §3.8 (421), §7.3; RFC 4291 §2.5.4 (a /64 is one site).
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache

WINDOW = 3600.0  # seconds that are counted together
GREYLIST_SECONDS = 240.0  # a sender that comes again after this, and before a day is over, is taken
GREYLIST_UNTIL = 86_400.0
_REMEMBERED = 20_000  # networks
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


@dataclass(slots=True)
class _Tally:
    since: float
    asked: int = 0
    unknown: int = 0
    messages: int = 0


class Peers:
    """The tallies of one process; `now` is any clock of seconds that only goes forward."""

    def __init__(self) -> None:
        self._tallies: OrderedDict[str, _Tally] = OrderedDict()
        self._greylisted: OrderedDict[tuple[str, ...], float] = OrderedDict()

    def wait(self, ip: str, now: float, *, most_unknown: int) -> float | None:
        """Seconds that the next answer to a RCPT is to wait; None: this network is shut out for now."""
        tally = self._tallies.get(network(ip))
        if tally is None or now - tally.since > WINDOW or 2 * tally.unknown <= tally.asked:
            return 0.0
        if tally.unknown > most_unknown:
            return None
        beyond = tally.unknown - most_unknown // 2
        return min(max(beyond, 0) * _STEP, _LONGEST)

    def asked(self, ip: str, now: float, *, unknown: bool) -> None:
        """One recipient more; `unknown`: it was never issued."""
        tally = self._tally(ip, now)
        tally.asked += 1
        tally.unknown += unknown

    def sent(self, ip: str, now: float, *, most: int) -> bool:
        """One message more; whether the network may send it.  most  in the window; 0: any number"""
        if not most:
            return True
        tally = self._tally(ip, now)
        tally.messages += 1
        return tally.messages <= most

    def patient(self, who: tuple[str, ...], now: float) -> bool:
        """Whether this network, sender and recipients came before, long enough ago: then they are taken."""
        first = self._greylisted.setdefault(who, now)
        if now - first > GREYLIST_UNTIL:
            self._greylisted[who] = first = now
        if len(self._greylisted) > _REMEMBERED:
            self._greylisted.popitem(last=False)
        return now - first >= GREYLIST_SECONDS

    def _tally(self, ip: str, now: float) -> _Tally:
        key = network(ip)
        tally = self._tallies.get(key)
        if tally is None or now - tally.since > WINDOW:
            self._tallies.pop(key, None)
            tally = self._tallies[key] = _Tally(now)
            if len(self._tallies) > _REMEMBERED:
                self._tallies.popitem(last=False)
        return tally

    def __len__(self) -> int:
        return len(self._tallies)
