"""Rates: a network that comes too often in a minute or sends too much in an hour is told to wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sortingoffice.core.rates import Rates
from tests.edge import Client, Flows, client, running

BEHIND: dict[str, Any] = {"smtp__proxy_protocol_from": ["127.0.0.0/8"]}


@asynccontextmanager
async def coming_from(port: int, ip: str) -> AsyncIterator[Client]:
    """A client behind a listed proxy."""
    async with client(port) as peer:
        await peer.send(f"PROXY TCP{6 if ':' in ip else 4} {ip} {ip} 1000 25\r\n".encode())
        yield peer


async def greeted(port: int, ip: str) -> str:
    async with coming_from(port, ip) as peer:
        return (await peer.reply())[:9]


async def test_a_network_that_comes_too_often_in_a_minute_is_told_to_wait() -> None:
    async with running(limits__peer_connections_per_minute=3, **BEHIND) as edge:
        port = edge.smtp[0].port
        v6 = [await greeted(port, f"2001:db8::{number}") for number in range(1, 5)]
        assert [each[:3] for each in v6] == ["220"] * 3 + ["421"], "a /64 is one network"
        assert (await greeted(port, "2001:db8:0:1::1"))[:3] == "220", "its neighbour is another"
        v4 = [await greeted(port, "192.0.2.7") for _ in range(4)]
        assert [each[:3] for each in v4] == ["220"] * 3 + ["421"]
        assert (await greeted(port, "192.0.2.8"))[:3] == "220"


async def test_this_machine_may_come_as_often_as_it_likes() -> None:
    async with running(limits__peer_connections_per_minute=1, limits__peer_bytes_per_hour=1) as edge:
        for _ in range(3):
            async with client(edge.smtp[0].port) as peer:
                await peer.begin()
                assert (await peer.say(b"hi\r\n.")).startswith("250")


async def test_whom_xclient_names_is_counted_by_its_own_address() -> None:
    keys: dict[str, Any] = {"smtp__xclient_from": ["127.0.0.1"], "limits__peer_connections_per_minute": 1}
    async with running(**keys, limits__connections_per_peer=1) as edge:
        port = edge.smtp[0].port
        async with client(port) as one:
            await one.reply()
            assert (await one.say("XCLIENT ADDR=192.0.2.9")).startswith("220")
            async with client(port) as two:
                assert (await two.reply()).startswith("220"), "the front itself is not inside any more"
                assert (await two.say("XCLIENT ADDR=192.0.2.9")).startswith("421 4.7.0")
                assert await two.reply() == ""


async def send_octets(port: int, ip: str, octets: int, *, size: str = "") -> str:
    """What is said to a message of so many octets; to MAIL, where that is refused."""
    async with coming_from(port, ip) as peer:
        await peer.reply()
        await peer.say("EHLO c")
        said = await peer.say(f"MAIL FROM:<a@b.example>{size}")
        if not said.startswith("250"):
            return said
        await peer.say("RCPT TO:<x@sort.example>")
        await peer.say("DATA")
        return await peer.say(b"x" * octets + b"\r\n.")


async def test_a_network_that_has_sent_enough_in_an_hour_is_told_to_wait() -> None:
    flows = Flows()
    async with running(flows, limits__peer_bytes_per_hour=20_000, **BEHIND) as edge:
        port = edge.smtp[0].port
        assert (await send_octets(port, "192.0.2.7", 9000, size=" SIZE=9000")).startswith("250")
        assert (await send_octets(port, "192.0.2.7", 9000, size=" SIZE=19000")).startswith("450 4.7.0")
        assert (await send_octets(port, "192.0.2.7", 15_000)).startswith("250")
        assert (await send_octets(port, "192.0.2.7", 1)).startswith("450 4.7.0")
        assert (await send_octets(port, "192.0.2.8", 1)).startswith("250")
    assert len(flows.messages) == 3


async def test_octets_that_were_refused_count_too() -> None:
    async with running(limits__peer_bytes_per_hour=250_000, **BEHIND) as edge:
        port = edge.smtp[0].port
        assert (await send_octets(port, "192.0.2.7", 300_000)).startswith("55")
        assert (await send_octets(port, "192.0.2.7", 1)).startswith("450 4.7.0")


def test_amounts_are_counted_anew_in_each_stretch_of_time() -> None:
    rates = Rates(60.0)
    rates.add("192.0.2.7", 5, 30.0)
    rates.add("192.0.2.7", 5, 59.0)
    assert (rates.of_peer("192.0.2.7", 59.9), rates.of_peer("192.0.2.8", 59.9)) == (10, 0)
    assert rates.of_peer("192.0.2.7", 60.0) == 0
    rates.add("192.0.2.7", 2**40, 61.0)
    assert rates.of_peer("192.0.2.7", 61.0) == 2**40


def test_the_processes_of_an_office_count_together() -> None:
    rates = Rates(60.0, processes=3)
    for number in range(3):
        rates.of(number).add("192.0.2.7", 1, 30.0)
    assert [rates.of(number).of_peer("192.0.2.7", 30.0) for number in range(3)] == [3, 3, 3]
    rates.of(1).add("192.0.2.7", 1, 61.0)
    assert rates.of_peer("192.0.2.7", 61.0) == 1, "what the others counted before is past"


def test_many_networks_hide_no_peer_and_burden_few() -> None:
    rates = Rates(60.0)
    for number in range(1000):
        rates.add(f"10.0.{number >> 8}.{number & 255}", 100, 1.0)
    assert all(rates.of_peer(f"10.0.{number >> 8}.{number & 255}", 1.0) >= 100 for number in range(1000))
    assert sum(rates.of_peer(f"192.0.2.{number}", 1.0) > 0 for number in range(256)) < 16
