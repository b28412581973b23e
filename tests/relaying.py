"""The relay in tests: a parcel, a host, and a server whose every octet the test writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from sortingoffice.net.conversing import Conversing
from sortingoffice.net.relay import Parcel, Relay, Timeouts
from sortingoffice.net.route import Host
from tests.servers import Sink

MESSAGE = b"From: a@shop.example\r\nSubject: x\r\n\r\nHello\r\n"


QUICK = Timeouts(dial=0.6, greeting=0.6, command=0.6, data=0.6, block=0.6, final=0.6)


Sinks = Callable[..., Sink]


def parcel(octets: bytes = MESSAGE, recipient: str = "anna@home.example", utf8: bool = False) -> Parcel:
    return Parcel("rp1@sort.example", recipient, octets, utf8)


def host(sink: Sink, name: str = "localhost", address: str = "127.0.0.1") -> Host:
    return Host(name, address, sink.port)


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    made = Relay("mx.sort.example", timeouts=QUICK)
    yield made
    await made.close()


@asynccontextmanager
async def far_end(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[Host]:
    """A server whose every octet the test writes."""

    server = Conversing(serve)
    try:
        yield Host("localhost", "127.0.0.1", await server.listen("127.0.0.1", 0))
    finally:
        await server.close()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *extensions: str) -> None:
    writer.write(b"220 x ESMTP\r\n")
    await reader.readline()
    lines = ["x", *extensions]
    last = len(lines) - 1
    writer.write("".join(f"250{' ' if i == last else '-'}{x}\r\n" for i, x in enumerate(lines)).encode())
