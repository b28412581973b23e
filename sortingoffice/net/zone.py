"""A small authoritative DNS server for the demo and the tests: a dict of records, on loopback.

Promise: what `set` wrote is what the next question gets, over UDP and over TCP, on one port.
It speaks for every name there is: what the dict doesn't hold does not exist.  Never for production.

Sources: RFC 1035 §4; RFC 2308 (the SOA of a negative answer); RFC 6891 (the size of a UDP answer).
"""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from sortingoffice.net.conversing import Conversing

SERVFAIL = "SERVFAIL"
TIMEOUT = "TIMEOUT"

Value = str | bytes | tuple[object, ...]
Records = dict[tuple[str, str], list[Value] | str]


class ZoneServer:
    """A server in a thread of its own; tests change its records while it runs.

    records  {(name, type): [values] | SERVFAIL | TIMEOUT}; names in lower case without the trailing dot.
             A value is presentation text ("10 mx.example."); a TXT value is its octets or text,
             unquoted, and is split into strings of 255; an MX may be (preference, host)
    endpoint (host, port), once started
    asked    every question as it came, oldest first: (name, type)
    """

    def __init__(self, records: Mapping[tuple[str, str], list[Value] | str] | None = None, *, ttl: int = 0):
        self.records: Records = {(n.lower().rstrip("."), t): v for (n, t), v in (records or {}).items()}
        self.asked: list[tuple[str, str]] = []
        self.ttl = ttl
        self.endpoint = ("127.0.0.1", 0)
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="zone", daemon=True)

    def set(self, name: str, type: str, *values: Value) -> None:
        """Replace the records of one name and type; SERVFAIL or TIMEOUT alone make it fail so."""
        key = (name.lower().rstrip("."), type)
        if len(values) == 1 and values[0] in (SERVFAIL, TIMEOUT):
            self.records[key] = str(values[0])
        else:
            self.records[key] = list(values)

    def remove(self, name: str, type: str) -> None:
        self.records.pop((name.lower().rstrip("."), type), None)

    def start(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the zone server did not start")
        return self

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        for attempt in range(20):  # a UDP port that is free may be taken for TCP
            tcp = Conversing(self._conversation)
            port = await tcp.listen("127.0.0.1", 0)
            try:
                udp, _ = await self._loop.create_datagram_endpoint(
                    lambda: _Datagrams(self), local_addr=("127.0.0.1", port)
                )
                break
            except OSError:
                await tcp.close()
                if attempt == 19:
                    raise
        self.endpoint = ("127.0.0.1", port)
        self._ready.set()
        await self._stopping.wait()
        udp.close()
        await tcp.close()

    async def _conversation(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            wire = self.respond(await reader.readexactly(length), over_udp=False)
            if wire is not None:
                writer.write(struct.pack("!H", len(wire)) + wire)
                await writer.drain()

    def respond(self, wire: bytes, *, over_udp: bool) -> bytes | None:
        """The answer to one question on the wire; None where none is to be sent."""
        try:
            query = dns.message.from_wire(wire)
            question = query.question[0]
        except (dns.exception.DNSException, IndexError):
            return None
        name, type = _text(question.name), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, type))
        response = dns.message.make_response(query, recursion_available=True)
        response.flags |= dns.flags.AA
        outcome = self._fill(response, question.name, name, type)
        if outcome == TIMEOUT:
            return None
        if outcome == SERVFAIL:
            response.set_rcode(dns.rcode.SERVFAIL)
        limit = max(512, query.payload) if over_udp else 65535
        try:
            return response.to_wire(max_size=limit)
        except dns.exception.TooBig:
            short = dns.message.make_response(query, recursion_available=True)
            short.flags |= dns.flags.TC
            return short.to_wire(max_size=limit)

    def _fill(self, response: dns.message.Message, owner: dns.name.Name, name: str, type: str) -> str:
        for _ in range(16):
            values = self.records.get((name, type))
            if isinstance(values, str):
                return values
            if values:
                response.answer.append(_rrset(owner, self.ttl, type, values))
                return ""
            alias = self.records.get((name, "CNAME"))
            if not alias or isinstance(alias, str):
                break
            response.answer.append(_rrset(owner, self.ttl, "CNAME", alias))
            name = str(alias[0]).lower().rstrip(".")
            owner = dns.name.from_text(name)
        if not any(held == name or held.endswith(f".{name}") for held, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        soa = f". . 1 3600 600 86400 {self.ttl}"
        response.authority.append(_rrset(dns.name.root, self.ttl, "SOA", [soa]))
        return ""


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, zone: ZoneServer):
        self._zone = zone
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is no subclass of it

    def datagram_received(self, wire: bytes, peer: tuple[str | int, ...]) -> None:
        response = self._zone.respond(wire, over_udp=True)
        if response is not None and self._transport is not None:
            self._transport.sendto(response, peer)


def _text(name: dns.name.Name) -> str:
    return ".".join(label.decode("utf-8", "replace") for label in name.labels[:-1]).lower()


def _rrset(owner: dns.name.Name, ttl: int, type: str, values: Iterable[Value]) -> dns.rrset.RRset:
    kind = dns.rdatatype.from_text(type)
    return dns.rrset.from_rdata_list(owner, ttl, [_rdata(kind, value) for value in values])


def _rdata(kind: dns.rdatatype.RdataType, value: Value) -> dns.rdata.Rdata:
    if kind == dns.rdatatype.TXT and not isinstance(value, tuple):
        octets = value.encode() if isinstance(value, str) else value
        parts = [octets[at : at + 255] for at in range(0, len(octets), 255)] or [b""]
        wire = b"".join(bytes([len(part)]) + part for part in parts)
        return dns.rdata.from_wire(dns.rdataclass.IN, kind, wire, 0, len(wire))
    text = " ".join(str(part) for part in value) if isinstance(value, tuple) else str(value)
    return dns.rdata.from_text(dns.rdataclass.IN, kind, text, dns.name.root, relativize=False)
