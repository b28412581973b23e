"""Limits: who is too many, too slow, too idle or too large is told so, and honest mail passes."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from sortingoffice.core.limits import network
from sortingoffice.edge import door as doors
from sortingoffice.edge.door import Room
from sortingoffice.edge.gate import LOCKED_SECONDS, TRIES, Counts, Gate
from sortingoffice.edge.peer import plain
from tests.edge import Flows, client, running, tighten
from tests.waiting import until

# ---- time ----------------------------------------------------------------------------------------


async def test_an_idle_session_is_told_and_closed() -> None:
    async with running() as edge:
        tighten(edge, command_seconds=0.1)
        async with client(edge.smtp[0].port) as peer:
            await peer.reply()
            assert await peer.reply() == "421 4.4.2 timed out, closing"
            assert await peer.reply() == ""


async def test_noop_does_not_keep_a_session_for_ever() -> None:
    async with running() as edge, client(edge.smtp[0].port) as peer:
        tighten(edge, session_seconds=0.3, commands_per_session=10**6)
        reply = await peer.reply()
        while reply[:3] in ("220", "250"):
            await asyncio.sleep(0.01)
            reply = await peer.say("NOOP")
        assert reply.startswith("421 4.4.2")


async def test_content_that_stops_is_timed_out() -> None:
    flows = Flows()
    async with running(flows) as edge, client(edge.smtp[0].port) as peer:
        tighten(edge, data_chunk_seconds=0.1)
        await peer.begin()
        await peer.send(b"hi\r\n")
        assert (await peer.reply()).startswith("421 4.4.2")
    assert flows.messages == []


async def test_content_that_drips_is_too_slow() -> None:
    async with running() as edge, client(edge.smtp[0].port) as peer:
        tighten(edge, data_chunk_seconds=0.3, least_bytes_per_second=10_000)

        async def drip() -> None:
            while True:
                peer.writer.write(b"x\r\n")
                await asyncio.sleep(0.02)

        await peer.begin()
        begun = time.monotonic()
        dripping = asyncio.create_task(drip())
        assert (await peer.reply()).startswith("421 4.4.2")
        assert time.monotonic() - begun < 20
        dripping.cancel()


async def test_a_steady_sender_may_take_longer_than_a_chunks_limit() -> None:
    flows = Flows()
    async with running(flows) as edge, client(edge.smtp[0].port) as peer:
        tighten(edge, data_chunk_seconds=0.8, least_bytes_per_second=100)
        await peer.begin()
        for _ in range(6):
            await asyncio.sleep(0.15)
            await peer.send(b"x" * 100 + b"\r\n")
        assert (await peer.say(".")).startswith("250")


async def test_a_peer_that_reads_nothing_is_cut_off() -> None:
    async with running() as edge:
        tighten(edge, command_seconds=0.2, commands_per_session=10**9)
        with socket.create_connection(("127.0.0.1", edge.smtp[0].port)) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.setblocking(False)
            loop = asyncio.get_running_loop()

            async def pour() -> None:
                while True:
                    await loop.sock_sendall(one, b"EHLO c\r\n" * 8000)

            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                await asyncio.wait_for(pour(), 20)
        await until(lambda: not edge.door.sessions)


# ---- numbers -------------------------------------------------------------------------------------


async def test_a_peer_has_a_limit_of_connections_and_leaving_makes_room() -> None:
    async with running(limits__connections_per_peer=2) as edge:
        port = edge.smtp[0].port
        async with client(port) as one, client(port) as two, client(port) as three:
            assert [(await peer.reply())[:3] for peer in (one, two, three)] == ["220", "220", "421"]
            assert await three.reply() == ""
            await one.say("QUIT")
            await one.reply()
            async with client(port) as four:
                assert (await four.reply()).startswith("220")


async def test_a_full_house_refuses_while_all_are_new() -> None:
    async with running(limits__connections=2) as edge:
        port = edge.smtp[0].port
        async with client(port) as one, client(port) as two, client(port) as three:
            assert [(await peer.reply())[:3] for peer in (one, two, three)] == ["220", "220", "421"]


async def test_a_full_house_asks_the_slowest_old_session_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "OLD_SECONDS", 0.05)
    flows = Flows()
    async with running(flows, limits__connections=3) as edge:
        port = edge.smtp[0].port
        async with client(port) as busy, client(port) as dripping, client(port) as idle:
            await busy.begin()
            await busy.send(b"x" * 50_000)
            await dripping.begin()
            await idle.reply()
            await asyncio.sleep(0.1)
            async with client(port) as fourth, client(port) as fifth:
                assert (await fourth.reply()).startswith("220")
                assert (await idle.reply()).startswith("421 4.3.2")
                assert (await fifth.reply()).startswith("220")
                assert (await dripping.reply()).startswith("421 4.3.2")
                assert (await busy.say("\r\n.")).startswith("250")
    assert len(flows.messages) == 1


async def test_a_session_that_lingers_counts_and_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "OLD_SECONDS", 0.0)
    async with running(limits__connections=2, limits__errors_per_session=1) as edge:
        port = edge.smtp[0].port
        async with client(port) as told, client(port) as idle:
            await told.reply()
            await told.say("WIZ")
            assert (await told.reply()).startswith("421 4.7.0")
            await idle.reply()
            await asyncio.sleep(0.02)
            async with client(port) as three, client(port) as four:
                assert (await three.reply()).startswith("220")
                await asyncio.sleep(0.02)
                assert (await four.reply()).startswith("220")


async def test_a_peer_at_its_own_limit_makes_nobody_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "OLD_SECONDS", 0.0)
    async with running(limits__connections=2, limits__connections_per_peer=2) as edge:
        port = edge.smtp[0].port
        async with client(port) as one, client(port) as two:
            await one.reply()
            await two.reply()
            await asyncio.sleep(0.02)
            async with client(port) as three:
                assert (await three.reply()).startswith("421 4.7.0")
            assert (await one.say("NOOP")).startswith("250")
            assert (await two.say("NOOP")).startswith("250")


async def test_a_sender_far_beyond_the_size_limit_is_closed() -> None:
    async with running() as edge, client(edge.smtp[0].port) as peer:

        async def pour() -> None:
            while True:
                await peer.send(b"x" * 70 + b"\r\n" * 100_000)
                await asyncio.sleep(0)

        await peer.begin()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await asyncio.wait_for(pour(), 20)


def test_ipv6_peers_are_counted_by_their_64() -> None:
    assert network("2001:db8:1:2:3::4") == network("2001:db8:1:2:ffff::")
    assert network("2001:db8:1:2::") != network("2001:db8:1:3::")
    assert network("192.0.2.1") != network("192.0.2.2")


def test_an_ipv4_peer_on_an_ipv6_socket_is_an_ipv4_peer() -> None:
    assert plain("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain("fe80::1%eth0") == "fe80::1"
    assert plain("local") == "local"


def test_the_gate_forgets_who_left() -> None:
    gate = Gate(most=10, most_per_peer=2)
    for _ in range(5):
        assert gate.enter("192.0.2.1")
        gate.leave("192.0.2.1")
    assert gate.enter("192.0.2.1")
    assert gate.enter("192.0.2.1")
    assert not gate.enter("192.0.2.1")
    assert gate.enter("192.0.2.2")


# ---- guessing passwords --------------------------------------------------------------------------


def test_a_peer_that_guesses_is_locked_and_let_in_again_later() -> None:
    gate = Gate(most=1, most_per_peer=1)
    for _ in range(TRIES):
        assert not gate.locked("2001:db8::1", 100.0)
        gate.failed("2001:db8::1", 100.0)
    assert gate.locked("2001:db8::2", 100.0 + LOCKED_SECONDS)
    assert not gate.locked("2001:db8:0:1::2", 100.0)
    assert not gate.locked("2001:db8::2", 101.0 + LOCKED_SECONDS)


def test_failures_far_apart_do_not_lock() -> None:
    gate = Gate(most=1, most_per_peer=1)
    for number in range(TRIES * 3):
        gate.failed("192.0.2.1", number * LOCKED_SECONDS / 5)
    assert not gate.locked("192.0.2.1", TRIES * 3 * LOCKED_SECONDS / 5)


def test_a_peer_that_guesses_at_one_process_is_locked_at_all() -> None:
    counts = Counts(2)
    one, other = (Gate(most=1, most_per_peer=1, counts=counts.of(number)) for number in (0, 1))
    for number in range(TRIES):
        (one, other)[number % 2].failed("192.0.2.1", 100.0)
    assert one.locked("192.0.2.1", 101.0)
    assert other.locked("192.0.2.1", 101.0)
    other.succeeded("192.0.2.1")
    assert not one.locked("192.0.2.1", 101.0)


async def test_a_locked_peers_password_is_not_even_checked() -> None:
    flows = Flows()
    async with running(flows) as edge, client(edge.submission[0].port) as peer:
        await peer.reply()
        await peer.say("EHLO c")
        await peer.say("STARTTLS")
        await peer.starttls()
        await peer.say("EHLO c")
        for _ in range(TRIES):
            edge.door.gate.failed("127.0.0.1", asyncio.get_running_loop().time())
        assert (await peer.say("AUTH PLAIN AGFubmEAY29ycmVjdCBob3JzZQ==")).startswith("421 4.7.0")
    assert flows.logins == 0


async def test_a_failed_login_is_answered_late() -> None:
    async with running() as edge, client(edge.submission[0].port) as peer:
        edge.door.login_delay = 0.1
        await peer.reply()
        await peer.say("EHLO c")
        await peer.say("STARTTLS")
        await peer.starttls()
        await peer.say("EHLO c")
        begun = time.monotonic()
        assert (await peer.say("AUTH PLAIN AGFubmEAd3Jvbmc=")).startswith("535")
        assert (await peer.say("AUTH PLAIN AGFubmEAd3Jvbmc=")).startswith("535")
        assert time.monotonic() - begun >= 0.29


# ---- large messages ------------------------------------------------------------------------------


async def test_room_is_given_in_the_order_of_asking() -> None:
    room, order = Room(10), list[str]()

    async def stay(name: str, octets: int) -> None:
        async with room.hold(octets):
            order.append(name)
            await asyncio.sleep(0.01)

    await asyncio.gather(stay("a", 6), stay("b", 6), stay("huge", 100), stay("c", 1))
    assert order == ["a", "b", "huge", "c"]
    assert room._free == 10


async def test_who_gives_up_waiting_for_room_takes_none() -> None:
    room = Room(10)
    async with room.hold(8):

        async def stay(octets: int) -> None:
            async with room.hold(octets):
                pass

        waiting = [asyncio.create_task(stay(5)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.sleep(0)
    await asyncio.gather(*waiting, return_exceptions=True)
    assert room._free == 10


async def test_processes_take_turns_at_what_is_largest(tmp_path: Path) -> None:
    rooms = [Room(10, tmp_path / "large") for _ in range(2)]
    inside = most = 0

    async def stay(room: Room, octets: int) -> None:
        nonlocal inside, most
        async with room.hold(octets):
            inside += octets
            most = max(most, inside)
            await asyncio.sleep(0.02)
            inside -= octets

    await asyncio.gather(*(stay(room, 9) for room in rooms * 3))
    assert most == 9
    await asyncio.gather(*(stay(room, 4) for room in rooms * 3))
    assert most == 16, "smaller ones do not wait for each other's process"


async def test_many_large_messages_are_not_all_in_memory_at_once() -> None:
    flows = Flows(pause=0.01)
    async with running(flows, smtp__max_message_bytes=10_000_000) as edge:
        edge.door.room = Room(4_000_000)

        async def send() -> None:
            async with client(edge.smtp[0].port) as peer:
                await peer.begin()
                await peer.send((b"x" * 70 + b"\r\n") * 20_000)
                assert (await peer.say(".")).startswith("250")

        await asyncio.gather(*(send() for _ in range(12)))
    assert len(flows.messages) == 12
    assert flows.most_at_once <= 4_000_000


async def test_octets_are_not_hoarded_while_a_command_runs() -> None:
    flows = Flows(pause=0.3)
    async with running(flows) as edge, client(edge.smtp[0].port) as peer:
        await peer.begin()
        peer.writer.write(b"hi\r\n.\r\n")
        peer.writer.write(b"NOOP\r\n" * 2_000_000)
        await asyncio.sleep(0.2)
        session = next(iter(edge.door.sessions))
        assert session.reader.arrived < 2_000_000


async def test_a_flood_of_empty_lines_does_not_stall_the_others() -> None:
    flows = Flows()
    async with running(flows, smtp__max_message_bytes=30_000_000) as edge:
        tighten(edge, commands_per_session=10**9)

        async def flood() -> str:
            async with client(edge.smtp[0].port) as peer:
                await peer.begin()
                for _ in range(100):
                    await peer.send(b"\r\n" * 131072)
                return await peer.say(".")

        flooding = asyncio.create_task(flood())
        slowest = 0.0
        async with client(edge.smtp[0].port) as peer:
            await peer.reply()
            while not flooding.done():
                begun = time.thread_time()  # what this loop did, whatever else the machine did
                await peer.say("NOOP")
                slowest = max(slowest, time.thread_time() - begun)
                await asyncio.sleep(0.002)
        assert (await flooding).startswith("250")
    assert len(flows.messages[0][1]) == 100 * 262144
    assert slowest < 0.5


async def test_honest_mail_passes_a_house_full_of_slow_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "OLD_SECONDS", 0.05)
    flows = Flows()
    async with running(flows, limits__connections=100, limits__connections_per_peer=1000) as edge:
        port = edge.smtp[0].port
        async with AsyncExitStack() as stack:
            slow = [await stack.enter_async_context(client(port)) for _ in range(100)]
            for number, one in enumerate(slow):
                await one.send(b"EHLO c\r\n" if number % 2 else b"E")
            await asyncio.sleep(0.1)
            for _ in range(20):
                begun = time.monotonic()
                async with client(port) as honest:
                    await honest.begin()
                    assert (await honest.say(b"hi\r\n.")).startswith("250")
                    await honest.say("QUIT")
                assert time.monotonic() - begun < 5
    assert len(flows.messages) == 20
