"""TLS from the first octet: a peer is counted from its acceptance on, not only once its handshake is done."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import uvloop

from sortingoffice.edge import accepting
from sortingoffice.edge import door as doors
from sortingoffice.edge import session as sessions
from sortingoffice.edge.serve import Edge
from tests.edge import Client, client, running, trusting
from tests.waiting import until

BEHIND: dict[str, Any] = {"smtp__proxy_protocol_from": ["127.0.0.0/8"]}


def header(ip: str) -> bytes:
    return f"PROXY TCP4 {ip} 192.0.2.1 1000 465\r\n".encode()


@asynccontextmanager
async def silent(edge: Edge, number: int, *clients: str) -> AsyncIterator[list[Client]]:
    """So many that are inside and begin no TLS; behind a proxy that names these clients."""
    async with AsyncExitStack() as stack:
        port = edge.submission[0].port
        found = [await stack.enter_async_context(client(port)) for _ in range(number)]
        for peer, ip in zip(found, clients, strict=False):
            await peer.send(header(ip))
        yield found


async def closed(peer: Client) -> bool:
    """Whether it is closed, and nothing was said."""
    try:
        return await peer.reply() == ""
    except ConnectionResetError:
        return True


async def test_a_silent_handshake_takes_the_room_of_a_session() -> None:
    async with running(submission__tls=True, limits__connections_per_peer=2) as edge:
        async with silent(edge, 2):
            await until(lambda: edge.door.gate.inside == 2)
            async with client(edge.submission[0].port) as third, client(edge.smtp[0].port) as elsewhere:
                assert await closed(third)
                assert (await elsewhere.reply()).startswith("421 4.7.0")
        await until(lambda: edge.door.gate.inside == 0)
        async with client(edge.smtp[0].port) as after:
            assert (await after.reply()).startswith("220")


async def test_silent_handshakes_of_all_peers_are_as_many_as_connections_may_be() -> None:
    async with (
        running(submission__tls=True, limits__connections=2, **BEHIND) as edge,
        silent(edge, 2, "192.0.2.7", "192.0.2.8"),
        silent(edge, 1) as (third,),
    ):
        await until(lambda: edge.door.gate.inside == 2)
        await third.send(header("192.0.2.9"))
        assert await closed(third)
        assert edge.door.gate.inside == 2


async def test_behind_a_proxy_a_silent_handshake_is_its_clients() -> None:
    async with running(submission__tls=True, limits__connections_per_peer=1, **BEHIND) as edge:
        async with silent(edge, 3, "192.0.2.7", "192.0.2.8") as (_, _, third):
            await until(lambda: edge.door.gate.inside == 2)
            await third.send(header("192.0.2.7"))
            assert await closed(third)
            assert not edge.door.gate.crowded("127.0.0.1")
        await until(lambda: edge.door.gate.inside == 0)


async def test_a_silent_handshake_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "HANDSHAKE_SECONDS", 0.2)
    async with running(submission__tls=True) as edge, silent(edge, 1) as (peer,):
        async with asyncio.timeout(10):
            assert await closed(peer)
        await until(lambda: edge.door.gate.inside == 0)
        assert not edge.door.sessions


@pytest.mark.parametrize("octets", [b"EHLO c\r\n" * 50, b"\x16\x03\x01\x00\x05hello"])
async def test_a_handshake_that_fails_leaves_nobody_inside(octets: bytes) -> None:
    async with running(submission__tls=True) as edge, silent(edge, 1) as (peer,):
        await until(lambda: edge.door.gate.inside == 1)
        await peer.send(octets)
        await until(lambda: edge.door.gate.inside == 0)
        assert not edge.door.sessions


async def test_who_is_counted_before_tls_is_not_counted_again_within() -> None:
    limits: dict[str, Any] = {"limits__connections_per_peer": 1, "limits__peer_connections_per_minute": 2}
    async with running(submission__tls=True, **limits, **BEHIND) as edge:
        for _ in range(2):
            async with silent(edge, 1, "192.0.2.7") as (peer,):
                await peer.starttls()
                assert (await peer.reply()).startswith("220")
                assert edge.door.gate.inside == 1
                await peer.say("QUIT")
            await until(lambda: edge.door.gate.inside == 0)
        async with silent(edge, 1, "192.0.2.7") as (third,):
            assert await closed(third)


async def test_at_the_end_a_silent_handshake_is_given_up_and_leaves() -> None:
    async with running(submission__tls=True) as edge, silent(edge, 1):
        await until(lambda: edge.door.gate.inside == 1)
        await edge.drain(0.1)
        assert edge.door.gate.inside == 0
        assert not edge.door.sessions


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_full_house_gives_up_a_silent_handshake_for_mail(
    runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "OLD_SECONDS", 0.05)

    async def dialogue() -> None:
        async with running(submission__tls=True, limits__connections=1) as edge, silent(edge, 1) as (peer,):
            await until(lambda: edge.door.gate.inside == 1)
            await asyncio.sleep(0.1)
            async with client(edge.smtp[0].port) as mail:
                assert (await mail.reply()).startswith("220")
                async with asyncio.timeout(5):
                    assert await closed(peer)
                assert edge.door.gate.inside == 1

    runner(dialogue())


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_full_house_gives_up_a_handshake_that_fell_silent_after_starttls(
    runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "OLD_SECONDS", 0.05)

    async def dialogue() -> None:
        async with running(limits__connections=1) as edge:
            port = edge.smtp[0].port
            async with client(port) as peer:
                await peer.reply()
                await peer.say("EHLO c")
                assert (await peer.say("STARTTLS")).startswith("220")
                await asyncio.sleep(0.1)
                async with client(port) as mail:
                    assert (await mail.reply()).startswith("220")
                    async with asyncio.timeout(5):
                        assert await closed(peer)
                    assert edge.door.gate.inside == 1
                    assert (await mail.say("EHLO d")).startswith("250")
            await until(lambda: not edge.door.sessions)

    runner(dialogue())


async def test_who_answers_no_end_of_tls_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "LINGER_SECONDS", 0.2)

    def leave(port: int) -> ssl.SSLSocket:
        """Said QUIT, and then neither read nor closed."""
        made = trusting().wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10))
        assert made.recv(100).startswith(b"220")
        made.sendall(b"QUIT\r\n")
        return made

    async with running(submission__tls=True) as edge:
        before = descriptors()
        with await asyncio.to_thread(leave, edge.submission[0].port):
            await until(lambda: not edge.door.sessions)
            await until(lambda: descriptors() == before + 1, 10)  # the client's own


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
