"""Large messages on their way out: none waits in memory, and a slow host delays nobody else's mail."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from sortingoffice.core.model import Direction
from sortingoffice.flows import deliver
from sortingoffice.flows.attempt import Attempts
from sortingoffice.mail import dkim, mime, seven
from sortingoffice.mail.asking import run as ask
from sortingoffice.mail.authentication import Result
from sortingoffice.mail.message import Message
from sortingoffice.net.parcel import PIECE, Filed
from sortingoffice.net.relay import Relay, Timeouts
from sortingoffice.net.zone import ZoneServer
from sortingoffice.store import spool
from sortingoffice.store.database import Database
from tests.bench import measure
from tests.chaos.run import small_temporary_disk
from tests.database import skip_or_fail
from tests.delivering import Sinks, at_sink, delivering, ended, tried
from tests.relaying import far_end, greet, host, parcel
from tests.servers import HANG, Sink
from tests.spooled import INWARD, OUTWARD, Spooled, looked_through
from tests.test_deliver import published
from tests.waiting import until

LARGE = INWARD + b"x" * 1000 + b"\r\n"


@pytest.fixture
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sortingoffice.flows.attempt.LARGE", 1000)


def slow_host(sinks: Sinks, sink: Sink, zone: ZoneServer, number: int, at: str = "MAIL") -> Sink:
    """A sink at an address of its own that doesn't answer, for slow<number>.example."""
    address = f"127.0.0.{2 + number}"
    zone.set(f"slow{number}.example", "MX", f"10 mx.slow{number}.example")
    zone.set(f"mx.slow{number}.example", "A", address)
    return sinks(host=address, port=sink.port, answers={at: HANG})


def got_to(sink: Sink, verb: str) -> int:
    return sum(verb in line for line in sink.commands)


def unnamed(folder: Path) -> list[str]:
    """What this process holds open there that has no name."""
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(os.readlink(each))
    return [name for name in found if name.startswith(str(folder)) and name.endswith("(deleted)")]


# ---- whom it delays --------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["MAIL", "DATA", "."])
async def test_large_messages_to_a_slow_host_delay_no_mail_to_another(
    sqlite_db: Database,
    sinks: Sinks,
    sink: Sink,
    zone: ZoneServer,
    tmp_path: Path,
    small_is_large: None,
    at: str,
) -> None:
    made = at_sink(sqlite_db, sink, zone, tmp_path)
    slow = slow_host(sinks, sink, zone, 0, at)
    hanging = [made.put(raw=LARGE, recipient=f"x{n}@slow0.example") for n in range(6)]
    async with delivering(made, drain=0.1) as wake:
        await until(lambda: got_to(slow, "DATA" if at == "." else at) >= 2)
        others = [made.put(raw=LARGE, recipient=f"y{n}@home.example") for n in range(6)]
        others.append(made.put(recipient="z@home.example"))
        wake.set()
        await until(ended(made, *others))
        assert not tried(made, hanging)


async def test_a_host_with_large_messages_waiting_gets_no_more_than_a_few_at_once(
    sqlite_db: Database, sinks: Sinks, sink: Sink, zone: ZoneServer, tmp_path: Path, small_is_large: None
) -> None:
    made = at_sink(sqlite_db, sink, zone, tmp_path)
    slow = [slow_host(sinks, sink, zone, n) for n in range(3)]
    for n in range(9):
        made.put(raw=LARGE, recipient=f"x{n}@slow{n % 3}.example")
    async with delivering(made, drain=0.1):
        await until(lambda: all(got_to(each, "MAIL") >= 2 for each in slow))
        await asyncio.sleep(0.3)
        assert [got_to(each, "MAIL") for each in slow] == [2, 2, 2]
        assert len(unnamed(tmp_path)) == 6
    assert not unnamed(tmp_path)


async def test_large_messages_wait_for_their_turn_without_a_connection(
    sqlite_db: Database, sinks: Sinks, sink: Sink, zone: ZoneServer, tmp_path: Path, small_is_large: None
) -> None:
    """A host parts from who says nothing for some minutes, and is not out of reach for that."""
    made = at_sink(sqlite_db, sink, zone, tmp_path)
    slow = slow_host(sinks, sink, zone, 0, "MAIL")
    for n in range(3):
        made.put(raw=LARGE, recipient=f"x{n}@slow0.example")
    async with delivering(made, drain=0.1):
        await until(lambda: got_to(slow, "MAIL") >= 2)
        await asyncio.sleep(0.3)
        assert slow.open_sessions == 2


@pytest.mark.parametrize(("rate", "taken"), [(20e6, False), (1e6, True)], ids=["too slow", "just so"])
async def test_a_peer_that_takes_each_block_in_time_but_all_of_them_in_no_time_is_given_up(
    rate: float, taken: bool
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(answer)
        last = b""
        while piece := await reader.read(PIECE):
            last = (last + piece)[-5:]
            if last == b"\r\n.\r\n":
                writer.write(b"250 2.0.0 taken\r\n")
            await asyncio.sleep(0.01)  # some MB a second

    relay = Relay("mx.sort.example", timeouts=Timeouts(1, 1, 1, 1, block=0.6, final=20, rate=rate))
    began = time.monotonic()
    async with far_end(serve) as there:
        tried = await relay.attempt([there], parcel(b"A: b\r\n\r\n" + (b"x" * 78 + b"\r\n") * 400_000))
        await relay.close()
    assert tried.reply.accepted == taken
    if not taken:
        assert "too slowly" in tried.reply.text
        assert time.monotonic() - began < 4


# ---- where it waits --------------------------------------------------------------------------------------


async def test_large_messages_that_slow_hosts_do_not_take_are_not_in_memory(
    sqlite_db: Database, sinks: Sinks, sink: Sink, zone: ZoneServer, tmp_path: Path
) -> None:
    made = at_sink(sqlite_db, sink, zone, tmp_path)
    slow = [slow_host(sinks, sink, zone, n) for n in range(20)]
    raw = INWARD + (b"x" * 76 + b"\r\n") * 65_000  # 5 MB
    for n in range(40):
        message, delivery = made.letter(raw=raw, recipient=f"x{n}@slow{n % 20}.example")
        made.db.call(spool.put, message, (delivery,))
    del raw, message
    stop, ways = asyncio.Event(), Attempts(made.office)  # as patient as it is
    before = most = measure.octets([os.getpid()])
    running = asyncio.create_task(deliver.run(lambda: ways, "here", stop, drain=0.1))
    try:
        while not all(got_to(each, "MAIL") >= 2 for each in slow):
            await asyncio.sleep(0.05)
            most = max(most, measure.octets([os.getpid()]))
        assert len(unnamed(tmp_path)) == 40
    finally:
        stop.set()
        await running
    assert most - before < 130e6, "200 MB are on their way, and one at a time is signed"


async def recipients_of_one(made: Spooled, *recipients: str) -> None:
    message, delivery = made.letter(raw=LARGE)
    each = tuple(replace(delivery, recipient=to, destination=to.rpartition("@")[2]) for to in recipients)
    made.db.call(spool.put, message, each, looked_through(message))


async def test_a_large_message_to_many_is_signed_and_on_the_disk_once(
    sqlite_db: Database, sinks: Sinks, sink: Sink, zone: ZoneServer, tmp_path: Path, small_is_large: None
) -> None:
    made = at_sink(sqlite_db, sink, zone, tmp_path)
    slow = [slow_host(sinks, sink, zone, n) for n in range(4)]
    await recipients_of_one(made, *(f"x{n}@slow{n % 4}.example" for n in range(8)))
    async with delivering(made, drain=0.1):
        await until(lambda: all(got_to(each, "MAIL") >= 2 for each in slow))
        assert len(unnamed(tmp_path)) == 1
    assert not unnamed(tmp_path)


async def test_a_large_message_to_many_leaves_whole_for_each(
    sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path, small_is_large: None
) -> None:
    made = at_sink(sqlite_db, sink, zone, tmp_path)
    await recipients_of_one(made, "a@home.example", "b@shop.example", "c@other.example")
    async with delivering(made):
        await until(lambda: len(sink.received) == 3)
    assert all(each.octets.endswith(LARGE) for each in sink.received)
    assert len({each.octets for each in sink.received}) == 1


async def test_without_room_on_the_disk_a_large_message_waits_and_small_ones_leave(
    sqlite_db: Database, sink: Sink, zone: ZoneServer
) -> None:
    with small_temporary_disk(2 << 20) as mounted:
        if not mounted:
            skip_or_fail("a file system to fill up (mount, as root)")
        folder = Path(tempfile.gettempdir())
        made = at_sink(sqlite_db, sink, zone, folder)
        ballast = folder / "ballast"
        ballast.write_bytes(bytes(1 << 20))
        large = made.put(raw=INWARD + (b"x" * 76 + b"\r\n") * 18_000)  # 1.4 MB
        small = made.put()
        async with delivering(made) as wake:
            await until(ended(made, small))
            await until(lambda: tried(made, [large]) == 1)
            assert made.now(large).last_reply.startswith("452 4.3.1")
            assert not unnamed(folder)
            ballast.unlink()
            made.clock.pass_(minutes=2)
            wake.set()
            await until(ended(made, large))
    assert len(sink.received) == 2


# ---- in seven bits ---------------------------------------------------------------------------------------


@pytest.fixture
def eight(sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path) -> Spooled:
    """An office whose mail goes to a sink that offers no 8BITMIME."""
    sink.extensions = ("PIPELINING",)
    return at_sink(sqlite_db, sink, zone, tmp_path)


UMLAUTS = OUTWARD.removesuffix(b"Where is it?\r\n") + "Wo ist sie? Gr\u00fc\u00dfe\r\n".encode() * 100


async def test_large_mail_leaves_in_seven_bits_that_verify_for_a_host_without_8bitmime(
    eight: Spooled, sink: Sink, small_is_large: None
) -> None:
    delivery = eight.put(Direction.OUTWARD, raw=UMLAUTS)
    async with delivering(eight):
        await until(ended(eight, delivery))
    octets = sink.received[0].octets
    assert octets.isascii()
    results = ask(dkim.verify(octets, datetime.now(UTC)), published(eight))
    assert [each.result for each in results] == [Result.PASS] * 2
    assert mime.parse(Message.parse(octets)).octets() == UMLAUTS.partition(b"\r\n\r\n")[2]


async def test_large_mail_leaves_as_it_is_for_a_host_with_8bitmime(
    eight: Spooled, sink: Sink, small_is_large: None
) -> None:
    sink.extensions = ("8BITMIME",)
    async with delivering(eight):
        await until(ended(eight, eight.put(Direction.OUTWARD, raw=UMLAUTS)))
    assert sink.received[0].octets.endswith(UMLAUTS)


async def test_large_mail_in_seven_bits_waits_in_a_file_and_is_made_once_for_all_hosts(
    eight: Spooled,
    sink: Sink,
    sinks: Sinks,
    zone: ZoneServer,
    tmp_path: Path,
    small_is_large: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []

    def downgraded(message: Message) -> Message:
        made.append(seven.downgraded(message))
        return made[-1]

    monkeypatch.setattr("sortingoffice.flows.attempt.seven", SimpleNamespace(downgraded=downgraded))
    zone.set("shop.example", "MX", "10 mx1.shop.example", "20 mx.shop.example")
    zone.set("mx1.shop.example", "A", "127.0.0.2")
    busy = sinks(host="127.0.0.2", port=sink.port, extensions=(), answers={"MAIL": "421 4.3.2 busy"})
    sink.answers["DATA"] = HANG
    eight.put(Direction.OUTWARD, raw=UMLAUTS)
    async with delivering(eight, drain=0.1):
        await until(lambda: got_to(sink, "DATA"))
        assert got_to(busy, "MAIL") == 1
        assert len(made) == 1
        assert len(unnamed(tmp_path)) == 2, "as it is, and in seven bits"
    assert not unnamed(tmp_path)


# ---- as it leaves ----------------------------------------------------------------------------------------

OCTETS = {
    "empty": b"",
    "a dot at the start": b".\r\n..\r\n",
    "a dot at the start of a piece": b"x" * (PIECE - 2) + b"\r\n.\r\n" + b"y" * PIECE + b"\r\n.end\r\n",
    "a line end torn in two": b"x" * (PIECE - 1) + b"\r\n.\r\n",
    "a dot that a piece begins with": b"x" * PIECE + b".\r\n",
    "bare line ends, and none at the end": b"A: b\n\none\rtwo\n.\n" + b"z" * 2 * PIECE + b"\nend",
    "eight bits": b"Subject: x\r\n\r\n" + b"\xe4\r\n" * PIECE,
}


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    made = Relay("mx.sort.example")
    yield made
    await made.close()


@pytest.mark.parametrize("octets", OCTETS.values(), ids=OCTETS.keys())
async def test_what_leaves_from_a_file_is_what_would_leave_from_memory(
    sink: Sink, relay: Relay, tmp_path: Path, octets: bytes
) -> None:
    filed = replace(parcel(), octets=Filed(octets, tmp_path))
    for each in (parcel(octets), filed):
        assert (await relay.attempt([host(sink)], each)).reply.accepted
    memory, file = sink.received
    assert file.octets == memory.octets
    assert file.parameters.split()[1:] == memory.parameters.split()[1:]
    assert file.parameters.split()[0] == f"SIZE={len(file.octets)}"


async def test_what_a_host_is_too_small_for_is_not_sent_from_a_file(
    sinks: Sinks, relay: Relay, tmp_path: Path
) -> None:
    sink = sinks(extensions=("SIZE 1000",))
    filed = replace(parcel(), octets=Filed(LARGE, tmp_path))
    tried = await relay.attempt([host(sink)], filed)
    assert tried.reply.status == "5.3.4"
    assert got_to(sink, "MAIL") == 0


async def test_internationalised_fields_in_a_file_need_a_host_that_takes_them(
    sinks: Sinks, relay: Relay, tmp_path: Path
) -> None:
    sink = sinks(extensions=("8BITMIME",))
    field, body = "Subject: ä\r\n\r\nx\r\n".encode(), "Subject: a\r\n\r\nä\r\n".encode()
    for octets, accepted in ((field, False), (body, True)):
        filed = replace(parcel(), octets=Filed(octets, tmp_path), utf8=True)
        assert (await relay.attempt([host(sink)], filed)).reply.accepted == accepted


async def test_a_large_message_that_is_stopped_leaves_no_file_behind(
    sinks: Sinks, relay: Relay, tmp_path: Path
) -> None:
    sink = sinks(answers={"DATA": HANG})
    attempt = asyncio.create_task(
        relay.attempt([host(sink)], replace(parcel(), octets=Filed(LARGE, tmp_path)))
    )
    await until(lambda: got_to(sink, "DATA"))
    assert len(unnamed(tmp_path)) == 1
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    del attempt
    await until(lambda: not unnamed(tmp_path))
