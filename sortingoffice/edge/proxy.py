"""Who the peer really is, where a listed host in front of us says so: PROXY and XCLIENT.

Promise: only a connection from a listed network is believed; a listed proxy that sends no sound
header is closed, since guessing would let its clients choose (PROXY protocol §2).  The header comes before
all else, TLS among it; one inside TLS is its client's.  It is read by aiosmtpd.

Sources: the PROXY protocol, versions 1 and 2 (haproxy.org); Postfix XCLIENT_README.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol

from aiosmtpd.proxy_protocol import get_proxy

from sortingoffice.core.model import Peer
from sortingoffice.edge.peer import helo, listed, plain
from sortingoffice.edge.reader import Hangup, Reader
from sortingoffice.values import Network

PROXY_SECONDS = 10.0
_LONGEST_V1 = 107  # octets, PROXY protocol §2.1
_LONGEST_V2 = 2048  # octets of addresses and TLVs that we wait for


class Source(Protocol):
    """A session, as far as a header is read from it."""

    reader: Reader

    async def more(self, seconds: float) -> None: ...


class Octets(Protocol):
    """The reader that aiosmtpd's parser expects."""

    async def read(self, n: int = -1, /) -> bytes: ...

    async def readexactly(self, n: int, /) -> bytes: ...

    async def readuntil(self, separator: bytes = b"\n", /) -> bytes: ...


class Bare:
    """Of a connection that is no session yet; never beyond the header."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()

    async def readexactly(self, n: int = -1) -> bytes:
        if n > _LONGEST_V2:
            raise Hangup(None)
        octets = b""
        while len(octets) < n:
            piece = await self._loop.sock_recv(self._connection, n - len(octets))
            if not piece:
                raise Hangup(None)
            octets += piece
        return octets

    read = readexactly

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        line = b""
        while not line.endswith(separator):
            if len(line) == _LONGEST_V1:
                raise Hangup(None)
            line += await self.readexactly(1)
        return line


class _Octets:
    """Of a session; never beyond the header."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def readexactly(self, n: int = -1) -> bytes:
        if n > _LONGEST_V2:
            raise Hangup(None)
        while (octets := self._source.reader.take_exactly(n)) is None:
            await self._source.more(PROXY_SECONDS)
        return octets

    read = readexactly

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        while not (line := self._source.reader.line(_LONGEST_V1)):
            if line is not None:
                raise Hangup(None)
            await self._source.more(PROXY_SECONDS)
        return line


async def proxied(source: Source, ip: str) -> str:
    """Within a session, before anything is said."""
    return await client(_Octets(source), ip)


async def before_tls(connection: socket.socket, proxies: Iterable[Network]) -> str:
    """Whose a connection is that begins with TLS, before it does.  Raises `Hangup`."""
    peername = connection.getpeername()
    ip = plain(peername[0]) if isinstance(peername, tuple) else "local"
    return await client(Bare(connection), ip) if listed(ip, proxies) else ip


async def client(octets: Octets, ip: str) -> str:
    """The client's address by the PROXY header; the connection's own where the header says LOCAL or
    UNKNOWN.  Raises `Hangup` where there is no sound header in time."""
    try:
        async with asyncio.timeout(PROXY_SECONDS):
            said = await get_proxy(octets)
    except TimeoutError:
        raise Hangup(None) from None
    if not said.valid:
        raise Hangup(None)
    local = said.version == 2 and said.command == 0  # a health check of the proxy itself
    if local or not isinstance(said.src_addr, IPv4Address | IPv6Address):
        return ip
    return plain(str(said.src_addr))


# ---- XCLIENT -------------------------------------------------------------------------------------

ATTRIBUTES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT", "REVERSE_NAME")
_ATTRIBUTE = re.compile(r"([A-Za-z_]{1,20})=([!-<>-~]{0,255})")
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_UNKNOWN = frozenset({"[UNAVAILABLE]", "[TEMPUNAVAIL]", ""})


def xclient(peer: Peer, argument: bytes) -> Peer | None:
    """The peer with what the attributes say, LOGIN aside (we authenticate nobody by hearsay); None
    where the syntax is broken."""
    words = argument.decode("ascii", "replace").split()
    if not words:
        return None
    for word in words:
        match = _ATTRIBUTE.fullmatch(word)
        if match is None or match[1].upper() not in ATTRIBUTES:
            return None
        value = _XTEXT.sub(lambda m: chr(int(m[1], 16)), match[2])
        if value.upper() in _UNKNOWN:
            continue
        if match[1].upper() == "ADDR":
            try:
                ip = str(ip_address(value[5:] if value[:5].upper() == "IPV6:" else value))
            except ValueError:
                return None
            peer = replace(peer, ip=plain(ip))
        elif match[1].upper() == "HELO":
            name = helo(value.encode("latin-1"))
            if name is None:
                return None
            peer = replace(peer, helo=name)
        elif match[1].upper() == "PROTO":
            peer = replace(peer, esmtp=value.upper() == "ESMTP")
    return peer
