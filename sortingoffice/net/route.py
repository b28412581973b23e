"""Where a destination's mail goes: the hosts to try, in order.

A pure program (`mail.asking`): it asks for MX, A and AAAA and ends with hosts, or with the
`Reply` that says why there are none.

Promise: what DNS couldn't tell is temporary, never "no such domain"; a null MX is never
called; we never call ourselves for a domain that isn't ours.

Sources: RFC 5321 §5 (MX, implicit MX, loops), RFC 7505 (null MX), RFC 3463 and RFC 5248 (codes).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import cast

from sortingoffice.frozen import dataclass
from sortingoffice.mail.asking import Answer, Outcome, Program, Question
from sortingoffice.mail.reply import Reply
from sortingoffice.values import Endpoint

MAX_EXCHANGES = 8  # more are not asked for
MAX_PER_EXCHANGE = 4
MAX_HOSTS = 8

Shuffle = Callable[[list[str]], list[str]]


@dataclass(frozen=True, slots=True)
class Host:
    """One place to connect to.

    name     what its certificate must be for, and what logs show
    address  textual IP
    """

    name: str
    address: str
    port: int

    @property
    def local(self) -> bool:
        """This machine: nobody listens on the way."""
        return ipaddress.ip_address(self.address).is_loopback

    def __str__(self) -> str:
        return f"{self.name} [{self.address}]:{self.port}"


@dataclass(frozen=True, slots=True)
class Here:
    """What the route must know of this office.

    hostname  our own name: an MX of that name is ourselves
    own       whether we listen at an address and port ourselves: see `listening`
    port      where MX hosts are called: 25 outside tests
    loopback  whether DNS may send us to this machine; only with a name server of one's own there,
              as in tests: else a stranger's MX record would choose our neighbours
    """

    hostname: str
    own: Callable[[str, int], bool]
    port: int = 25
    loopback: bool = False


def find(
    destination: str, here: Here, shuffle: Shuffle, *, ours: bool = False
) -> Program[tuple[Host, ...] | Reply]:
    """The hosts of a domain or address literal; at most MAX_HOSTS.

    shuffle  a random order, for exchanges of equal preference (RFC 5321 §5.1)
    ours     the destination is hosted here, so that an MX that is ourselves is right
    """
    if destination.startswith("["):
        literal = [host for host in _literal(destination, here.port) if not here.own(host.address, host.port)]
        return _allowed(literal, here, destination)
    exchanges = yield from _exchanges(destination, shuffle)
    if isinstance(exchanges, Reply):
        return exchanges
    hosts: list[tuple[int, Host]] = []
    unknown = False
    for preference, name in exchanges[:MAX_EXCHANGES]:
        addresses, temporary = yield from _addresses(name, shuffle)
        unknown |= temporary
        found = [Host(name, address, here.port) for address in addresses[:MAX_PER_EXCHANGE]]
        if not ours and (name == here.hostname or any(here.own(h.address, h.port) for h in found)):
            # RFC 5321 §5.1: ourselves, and whoever is not preferred to us, are left out.
            hosts = [(other, host) for other, host in hosts if other < preference]
            return _allowed([host for _, host in hosts], here, destination, unknown=unknown)
        hosts += [(preference, host) for host in found]
    if not hosts:
        return _none(destination, unknown=unknown)
    return _allowed([host for _, host in hosts], here, destination, unknown=unknown)


def listening(endpoints: Iterable[Endpoint]) -> Callable[[str, int], bool]:
    """Whether an address and port is one of these; a wildcard stands for every address of this machine."""
    listed = frozenset((endpoint.host, endpoint.port) for endpoint in endpoints)

    def own(address: str, port: int) -> bool:
        if (address, port) in listed:
            return True
        wildcard = "::" if ":" in address else "0.0.0.0"  # noqa: S104
        return ((wildcard, port) in listed or ("::", port) in listed) and _of_this_machine(address)

    return own


def _of_this_machine(address: str) -> bool:
    """Only an address of our own can be bound to; nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
        return True


def addresses(name: str, here: Here) -> Program[tuple[str, ...]]:
    """The addresses of a host that may be called; none where there are none, or DNS doesn't answer."""
    found, _ = yield from _addresses(name, list)
    return tuple(address for address in found if _callable(ipaddress.ip_address(address), here))


def smarthost(endpoint: Endpoint) -> Program[tuple[Host, ...] | Reply]:
    """The addresses of the smarthost: its name is not a mail domain, so no MX is asked for."""
    name = endpoint.host.strip("[]")
    if _is_address(name):
        return (Host(name, name, endpoint.port),)
    if name == "localhost":  # RFC 6761 §6.3: never asked of DNS
        return tuple(Host(name, address, endpoint.port) for address in ("127.0.0.1", "::1"))
    addresses, temporary = yield from _addresses(name, list)
    if not addresses:
        # A wrong name in our own config is no reason to return a person's mail.
        why = "can't be looked up" if temporary else "has no address"
        return Reply(451, "4.4.3", f"the smarthost {name} {why}")
    return tuple(Host(name, address, endpoint.port) for address in addresses[:MAX_HOSTS])


def _exchanges(destination: str, shuffle: Shuffle) -> Program[list[tuple[int, str]] | Reply]:
    answer = yield Question(destination, "MX")
    if answer.outcome is Outcome.TEMPORARY:
        return Reply(451, "4.4.3", f"the mail hosts of {destination} can't be looked up now")
    if answer.outcome is Outcome.NO_NAME:
        return Reply(550, "5.1.2", f"there is no domain {destination}")
    records = cast(Sequence[tuple[int, str]], answer.records)
    if not records:
        return [(0, destination)]  # the implicit MX, RFC 5321 §5.1
    if all(not name for _, name in records):
        return Reply(556, "5.1.10", f"{destination} takes no mail (null MX)")  # RFC 7505 §4
    by_preference: dict[int, list[str]] = {}
    for preference, name in records:
        if name:
            by_preference.setdefault(preference, []).append(name.lower())
    return [
        (preference, name)
        for preference in sorted(by_preference)
        for name in shuffle(by_preference[preference])
    ]


def _addresses(name: str, shuffle: Shuffle) -> Program[tuple[list[str], bool]]:
    """The addresses of a host, families in turn, and whether some of them couldn't be looked up."""
    if _is_address(name):
        return [name], False  # no legal MX target, but an unambiguous one
    four = yield Question(name, "A")
    six = yield Question(name, "AAAA")
    both = [shuffle(_texts(answer)) for answer in (four, six)]
    turns = max(map(len, both))
    # IPv4 first: a new IPv6 host without a reverse name is refused by the large providers.
    mixed = [family[turn] for turn in range(turns) for family in both if turn < len(family)]
    return mixed, any(answer.outcome is Outcome.TEMPORARY for answer in (four, six))


def _texts(answer: Answer) -> list[str]:
    return [str(ipaddress.ip_address(str(record))) for record in answer.records]


def _none(destination: str, *, unknown: bool) -> Reply:
    if unknown:
        return Reply(451, "4.4.3", f"the mail hosts of {destination} can't be looked up now")
    return Reply(550, "5.4.4", f"{destination} has no mail host")


def _allowed(
    hosts: Sequence[Host], here: Here, destination: str, *, unknown: bool = False
) -> tuple[Host, ...] | Reply:
    """Those that may be called.  `unknown`: there may be more, which couldn't be looked up."""
    fit = [host for host in hosts if _callable(ipaddress.ip_address(host.address), here)]
    if not fit and unknown:
        return _none(destination, unknown=True)
    if not fit:
        return Reply(550, "5.4.6", f"the mail hosts of {destination} lead back to this machine or to nowhere")
    return tuple(fit[:MAX_HOSTS])


def _callable(address: ipaddress.IPv4Address | ipaddress.IPv6Address, here: Here) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_loopback:
        return here.loopback
    return not (address.is_unspecified or address.is_multicast or address.is_link_local)


def _literal(destination: str, port: int) -> list[Host]:
    """[192.0.2.1] and [IPv6:2001:db8::1], as `mail.address` made them."""
    address = destination[1:-1].removeprefix("IPv6:")
    return [Host(destination, address, port)] if _is_address(address) else []


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
