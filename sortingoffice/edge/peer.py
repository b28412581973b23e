"""Who the peer is: its address as text, what it calls itself, whether a list has it.

Sources: RFC 4291 §2.5.5.2 (IPv4 in IPv6); RFC 5321 §4.1.4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address

from sortingoffice.values import Network

_HELO = re.compile(rb"[^\x00-\x1f\x7f]{1,255}")
# What would end a comment or a word of our Received field, and what is no ASCII.
_ODD = re.compile(rb"[^!#-'*+\-./0-9:=?A-Z\[\]^_`a-z{|}~]")


def plain(host: str) -> str:
    """An address as text, IPv4 in IPv6 and zones undone; as it was where it is none."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def here(ip: str) -> bool:
    """Whether it is this very machine: a proxy in front of us, or a program of its own admin."""
    try:
        return ip_address(ip).is_loopback
    except ValueError:
        return True  # a local socket


def listed(ip: str, networks: Iterable[Network]) -> bool:
    try:
        return any(ip_address(ip) in one for one in networks)
    except ValueError:
        return False


def helo(octets: bytes) -> str | None:
    """What a host calls itself, "?" for each odd octet of it; None for nothing, too much, or a control
    character.

    RFC 5321 §4.1.4 forbids refusing mail for what a host calls itself, and Windows lets people call
    theirs "BÜRO-PC" and "Anna's, upstairs".
    """
    return _ODD.sub(b"?", octets).decode("ascii") if _HELO.fullmatch(octets) else None
