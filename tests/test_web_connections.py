"""Connections to the pages that are only held open."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sortingoffice.cli.stage import PATIENCE
from sortingoffice.web import app
from sortingoffice.web.connections import Bounded

# Without its end.
_HEAD = b"POST / HTTP/1.1\r\nHost: office.example\r\nContent-Length: 5\r\n"
Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _said(request: Request) -> Response:
    return PlainTextResponse(await request.body())


@pytest.fixture
async def port() -> AsyncIterator[int]:
    door = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = await app.listen(Starlette(routes=[Route("/", _said, methods=["POST"])]), door)
    yield server.endpoint.port
    await server.stop()


async def _opened(port: int, octets: bytes) -> Wire:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(octets)
    await writer.drain()
    return reader, writer


async def _ended(wire: Wire) -> bool:
    """Whether it is closed, without an answer."""
    reader, writer = wire
    try:
        with suppress(ConnectionError):
            return await asyncio.wait_for(reader.read(1), PATIENCE) == b""
        return True
    finally:
        writer.close()


async def _served(wire: Wire, rest: bytes) -> bool:
    reader, writer = wire
    try:
        with suppress(ConnectionError):
            writer.write(rest)
            return (await asyncio.wait_for(reader.readline(), PATIENCE)).startswith(b"HTTP/1.1 200")
        return False
    finally:
        writer.close()


async def test_connections_beyond_so_many_are_closed_and_the_others_are_served(port: int) -> None:
    inside = [await _opened(port, _HEAD) for _ in range(Bounded.most)]
    for _ in range(20):
        assert await _ended(await _opened(port, b""))
    for each in inside:
        assert await _served(each, b"\r\nhello")
    for _ in range(100):  # until the server has seen that they are gone
        if await _served(await _opened(port, b""), _HEAD + b"\r\nhello"):
            break
        await asyncio.sleep(0.1)
    else:
        raise AssertionError("nobody is served any more")


@pytest.mark.parametrize("octets", [b"", _HEAD, _HEAD + b"\r\nhell"])
async def test_a_request_that_does_not_come_whole_is_given_up(
    port: int, monkeypatch: pytest.MonkeyPatch, octets: bytes
) -> None:
    monkeypatch.setattr(Bounded, "seconds", 0.2)
    assert await _ended(await _opened(port, octets))
