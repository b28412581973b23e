"""A server that leaves nothing open: sortingoffice/net/conversing.py, and the edge's own end."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl

import pytest

from sortingoffice.net.conversing import Conversing
from tests import edge as edges
from tests.servers import Certificate


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"x" * 2**24)  # more than any buffer between here and there takes
    await asyncio.Event().wait()


async def _finish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"x" * 2**24)


async def _ended(reader: asyncio.StreamReader) -> bool:
    """Whether the far end closes within some seconds, however."""
    try:
        async with asyncio.timeout(10):
            while await reader.read(2**20):
                pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("serve", [_hang, _finish])
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 20])
async def test_every_connection_is_closed_when_close_returns_also_one_that_has_just_begun(
    serve: object, turns: int
) -> None:
    made = Conversing(_hang if serve is _hang else _finish)
    port = await made.listen("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(turns):
        await asyncio.sleep(0)
    await made.close()
    assert await _ended(reader)
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    await made.close()


@pytest.mark.parametrize("turns", range(8))
def test_one_that_comes_while_it_closes_is_closed_before_the_loop_ends(turns: int) -> None:
    """Its transport would warn when it is collected, and warnings are errors here."""

    async def main() -> socket.socket:
        made = Conversing(_hang)
        coming = socket.create_connection(("127.0.0.1", await made.listen("127.0.0.1", 0)))
        for _ in range(turns):
            await asyncio.sleep(0)
        await made.close()
        return coming

    loop = asyncio.new_event_loop()
    try:
        coming = loop.run_until_complete(main())
    finally:
        loop.close()
    gc.collect()
    coming.close()


async def test_a_conversation_over_tls_whose_peer_says_nothing_more_is_closed_too(
    certificate: Certificate,
) -> None:
    made = Conversing(_finish)
    port = await made.listen("127.0.0.1", 0, context=certificate.server())
    trusting = ssl.create_default_context(cafile=str(certificate.certificate))
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=trusting, server_hostname="localhost"
    )
    await reader.readexactly(1)
    await made.close()
    writer.transport.abort()


async def test_what_a_peer_does_ends_its_own_conversation_only() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(3))

    made = Conversing(serve)
    port = await made.listen("127.0.0.1", 0)
    _, leaving = await asyncio.open_connection("127.0.0.1", port)
    leaving.write(b"x")
    leaving.transport.abort()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"yes")
    assert await reader.read() == b"yes"
    writer.close()
    await made.close()


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_an_office_that_stops_closes_whom_it_has_just_let_in(turns: int) -> None:
    async with edges.running() as edge:
        client = await edges.Client.connect(edge.smtp[0].port)
        for _ in range(turns):
            await asyncio.sleep(0)
    assert not edge.door.sessions
    assert await _ended(client.reader)
    client.writer.close()
