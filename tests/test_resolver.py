"""DNS questions over a real server on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import cast

import pytest

from sortingoffice.errors import OfficeError
from sortingoffice.mail.asking import Answer, Outcome, Program, Question
from sortingoffice.net.resolver import CacheBounds, Resolver
from sortingoffice.net.zone import SERVFAIL, TIMEOUT, ZoneServer
from sortingoffice.values import Endpoint


def _resolver(zone: ZoneServer, timeout: float = 2.0, bounds: CacheBounds | None = None) -> Resolver:
    return Resolver((Endpoint(*zone.endpoint),), timeout, bounds=bounds or CacheBounds())


async def test_each_type_comes_in_the_form_that_programs_expect(zone: ZoneServer) -> None:
    zone.set("a.example", "TXT", "v=spf1 " + "x" * 400)
    zone.set("a.example", "A", "192.0.2.1", "192.0.2.2")
    zone.set("a.example", "AAAA", "2001:db8::1")
    zone.set("a.example", "MX", (10, "mx.a.example"))
    zone.set("null.example", "MX", (0, "."))
    zone.set("1.2.0.192.in-addr.arpa", "PTR", "host.a.example")
    zone.set("_25._tcp.a.example", "TLSA", "3 1 1 " + "ab" * 32)
    ask = _resolver(zone).ask
    assert (await ask(Question("a.example", "TXT"))).records == (b"v=spf1 " + b"x" * 400,)
    assert set((await ask(Question("A.example", "A"))).records) == {"192.0.2.1", "192.0.2.2"}
    assert (await ask(Question("a.example", "AAAA"))).records == ("2001:db8::1",)
    assert (await ask(Question("a.example", "MX"))).records == ((10, "mx.a.example"),)
    assert (await ask(Question("null.example", "MX"))).records == ((0, ""),)
    assert (await ask(Question("1.2.0.192.in-addr.arpa", "PTR"))).records == ("host.a.example",)
    assert (await ask(Question("_25._tcp.a.example", "TLSA"))).records == ((3, 1, 1, b"\xab" * 32),)


async def test_absence_of_a_name_of_data_and_failure_are_three_things(zone: ZoneServer) -> None:
    zone.set("a.example", "A", "192.0.2.1")
    zone.set("broken.example", "A", SERVFAIL)
    zone.set("silent.example", "A", TIMEOUT)
    ask = _resolver(zone, timeout=0.3).ask
    assert (await ask(Question("nowhere.example", "A"))).outcome is Outcome.NO_NAME
    assert (await ask(Question("a.example", "AAAA"))).outcome is Outcome.NO_DATA
    assert (await ask(Question("broken.example", "A"))).outcome is Outcome.TEMPORARY
    assert (await ask(Question("silent.example", "A"))).outcome is Outcome.TEMPORARY


async def test_a_server_that_is_not_there_is_temporary() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    answer = await Resolver((Endpoint("127.0.0.1", port),), 0.3).ask(Question("a.example", "A"))
    assert answer.outcome is Outcome.TEMPORARY


@pytest.mark.parametrize(
    "name", ["", "a..example", "x" * 64 + ".example", ("y" * 60 + ".") * 5, "\udc80.example"]
)
async def test_a_name_that_cannot_exist_is_not_asked(zone: ZoneServer, name: str) -> None:
    assert (await _resolver(zone).ask(Question(name, "A"))).outcome is Outcome.NO_NAME
    assert zone.asked == []


async def test_a_truncated_answer_is_asked_again_over_tcp(zone: ZoneServer) -> None:
    zone.set("big.example", "TXT", *(f"{n} " + "y" * 200 for n in range(20)))
    assert len((await _resolver(zone).ask(Question("big.example", "TXT"))).records) == 20


async def test_an_answer_is_kept_for_its_time_to_live(zone: ZoneServer) -> None:
    zone.ttl = 60
    zone.set("a.example", "A", "192.0.2.1")
    resolver = _resolver(zone)
    for name in ("a.example", "A.EXAMPLE", "nowhere.example", "nowhere.example"):
        await resolver.ask(Question(name, "A"))
    assert zone.asked == [("a.example", "A"), ("nowhere.example", "A")]


async def test_a_time_to_live_is_held_within_the_bounds(zone: ZoneServer) -> None:
    zone.ttl = 86400
    zone.set("a.example", "A", "192.0.2.1")
    resolver = _resolver(zone, bounds=CacheBounds(most_ttl=0.05))
    await resolver.ask(Question("a.example", "A"))
    await asyncio.sleep(0.1)
    await resolver.ask(Question("a.example", "A"))
    assert len(zone.asked) == 2
    zone.ttl = 0
    kept = _resolver(zone, bounds=CacheBounds(least_ttl=60))
    await kept.ask(Question("a.example", "A"))
    await kept.ask(Question("a.example", "A"))
    assert len(zone.asked) == 3


async def test_a_failure_is_never_kept(zone: ZoneServer) -> None:
    zone.set("a.example", "A", SERVFAIL)
    resolver = _resolver(zone, bounds=CacheBounds(least_ttl=60))
    assert (await resolver.ask(Question("a.example", "A"))).outcome is Outcome.TEMPORARY
    zone.set("a.example", "A", "192.0.2.1")
    assert (await resolver.ask(Question("a.example", "A"))).outcome is Outcome.FOUND


async def test_the_cache_never_grows_beyond_its_entries(zone: ZoneServer) -> None:
    zone.ttl = 60
    resolver = _resolver(zone, bounds=CacheBounds(entries=3))
    for n in range(8):
        await resolver.ask(Question(f"n{n}.example", "A"))
    assert len(resolver._cache) == 3
    await resolver.ask(Question("n7.example", "A"))
    assert len(zone.asked) == 8


async def test_equal_questions_at_one_time_are_one_question(zone: ZoneServer) -> None:
    zone.set("a.example", "A", "192.0.2.1")
    resolver = _resolver(zone)
    answers = await asyncio.gather(*(resolver.ask(Question("a.example", "A")) for _ in range(20)))
    assert {answer.records for answer in answers} == {("192.0.2.1",)}
    assert len(zone.asked) == 1


async def test_one_who_stops_waiting_does_not_stop_the_others(zone: ZoneServer) -> None:
    zone.set("a.example", "A", "192.0.2.1")
    resolver = _resolver(zone)
    first = asyncio.create_task(resolver.ask(Question("a.example", "A")))
    second = asyncio.create_task(resolver.ask(Question("a.example", "A")))
    await asyncio.sleep(0)
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    assert (await second).outcome is Outcome.FOUND


def _asks(names: list[str]) -> Program[list[Outcome]]:
    outcomes = []
    for name in names:
        answer: Answer = yield Question(name, "A")
        outcomes.append(answer.outcome)
    return outcomes


async def test_a_program_is_driven_to_its_result_and_asks_nothing_twice(zone: ZoneServer) -> None:
    zone.set("a.example", "A", "192.0.2.1")
    outcomes = await _resolver(zone).run(_asks(["a.example", "b.example", "a.example"]))
    assert outcomes == [Outcome.FOUND, Outcome.NO_NAME, Outcome.FOUND]
    assert len(zone.asked) == 2


async def test_a_program_that_asks_too_much_is_answered_temporarily(zone: ZoneServer) -> None:
    zone.set("a.example", "A", "192.0.2.1")
    outcomes = await _resolver(zone).run(_asks([f"n{n}.example" for n in range(5)] + ["a.example"]), most=5)
    assert outcomes == [Outcome.NO_NAME] * 5 + [Outcome.TEMPORARY]


async def test_a_program_may_be_advanced_in_a_thread(zone: ZoneServer) -> None:
    threads: set[int] = set()

    def program() -> Program[int]:
        yield Question("a.example", "A")
        threads.add(threading.get_ident())
        return 7

    assert await _resolver(zone).run(program(), step=asyncio.to_thread) == 7
    assert threads
    assert threading.get_ident() not in threads


async def test_what_a_program_raises_reaches_the_caller(zone: ZoneServer) -> None:
    def program() -> Program[int]:
        yield Question("a.example", "A")
        raise KeyError("ours")

    for step in (None, asyncio.to_thread):
        with pytest.raises(KeyError):
            await _resolver(zone).run(program(), step=step)


class _Rubbish(asyncio.DatagramProtocol):
    """A name server that answers any octets."""

    def __init__(self, octets: bytes):
        self._octets = octets

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, wire: bytes, peer: tuple[str | int, ...]) -> None:
        self._transport.sendto(wire[:2] + self._octets, peer)


@pytest.mark.parametrize(
    "octets",
    [b"", b"\x84", b"\xff" * 30, b"\x84\x80" + b"\xff" * 40, b"\x84\x80\x00\x01\x00\x01" + b"\xc0\x0c" * 20],
)
async def test_a_server_that_answers_rubbish_is_temporary(octets: bytes) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Rubbish(octets), local_addr=("127.0.0.1", 0))
    try:
        port = transport.get_extra_info("sockname")[1]
        answer = await Resolver((Endpoint("127.0.0.1", port),), 0.3).ask(Question("a.example", "TXT"))
        assert answer.outcome is Outcome.TEMPORARY
    finally:
        transport.close()


async def test_a_second_server_answers_where_the_first_is_silent(zone: ZoneServer) -> None:
    zone.set("a.example", "A", "192.0.2.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        first = Endpoint("127.0.0.1", silent.getsockname()[1])
        answer = await Resolver((first, Endpoint(*zone.endpoint)), 0.9).ask(Question("a.example", "A"))
    assert answer.outcome is Outcome.FOUND


def test_a_name_server_without_an_address_is_a_clear_error() -> None:
    with pytest.raises(OfficeError, match="no IP address"):
        Resolver((Endpoint("ns.example", 53),))
