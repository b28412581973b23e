"""`python -m tests.flood`: the office as a process of its own, and what it does under a flood."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import statistics
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime

from sortingoffice.cli.stage import ORDERS, VENDOR, Stage, opened
from sortingoffice.mail import dkim
from tests.bench import measure
from tests.flood import peers
from tests.flood.peers import Seen
from tests.office import written


def main() -> int:
    reader = argparse.ArgumentParser(prog="python -m tests.flood")
    reader.add_argument("what", choices=("slow", "idle", "large", "kept"))
    reader.add_argument("--seconds", type=float, default=60.0)
    reader.add_argument("--held", type=int, default=500, help="slow connections, or idle ones")
    reader.add_argument("--hasty", type=int, default=100, help="new connections in a second")
    reader.add_argument("--senders", type=int, default=200)
    asked = reader.parse_args()
    with _office() as stage:
        asyncio.run({"slow": _slow, "idle": _idle, "large": _large, "kept": _kept}[asked.what](stage, asked))
    return 0


@contextmanager
def _office() -> Iterator[Stage]:
    with opened() as stage:
        stage.init()
        stage.start()
        yield stage
        if stage.stop() or "Traceback" in stage.log:
            print(stage.log, file=sys.stderr)


async def _slow(stage: Stage, asked: argparse.Namespace) -> None:
    to = stage.json("new", "Flooded Shop")["alias"]
    alone = Seen()
    for number in range(50):
        await peers.honest(stage.smtp_port, _letter(stage, to, number), ORDERS, to, alone)
    print(f"alone: {_quantiles(alone)}", flush=True)
    held, came, honest = Seen(), Seen(), Seen()
    async with contextlib.AsyncExitStack() as stack:
        for number in range(asked.held):
            await stack.enter_async_context(_beside(peers.slow(stage.smtp_port, number, held)))
        await stack.enter_async_context(_beside(peers.hasty(stage.smtp_port, asked.hasty, came)))
        await asyncio.sleep(8)  # by then the house is full, and old enough to make room
        end = asyncio.get_running_loop().time() + asked.seconds
        for number in itertools.count(1000):
            if asyncio.get_running_loop().time() > end:
                break
            await peers.honest(stage.smtp_port, _letter(stage, to, number), ORDERS, to, honest)
            await asyncio.sleep(0.1)
    print(f"among {asked.held} slow ones and {came.again} hasty ones: {_quantiles(honest)}")
    print(f"honest mail that was refused: {honest.refused or 'none'}; slow ones put out: {held.again}")


async def _idle(stage: Stage, asked: argparse.Namespace) -> None:
    assert stage.daemon is not None
    wires: list[peers.Wire] = []
    before = 0
    for number in range(asked.held - 10):
        reader, writer = await peers.connected(stage.smtp_port, f"127.0.1.{1 + number // peers.PER_ADDRESS}")
        await peers.reply(reader)
        writer.write(b"EHLO idle.example\r\n")
        await peers.reply(reader)
        wires.append((reader, writer))
        if number == 40:  # what the first ones make it import and cache is not theirs
            await asyncio.sleep(1)
            before = measure.octets([stage.daemon.pid])
    await asyncio.sleep(1)
    more = measure.octets([stage.daemon.pid]) - before
    print(f"{len(wires)} idle connections: {more / (len(wires) - 41) / 1024:.1f} kB each")
    for _, writer in wires:
        writer.close()


async def _large(stage: Stage, asked: argparse.Namespace) -> None:
    await _at_once(stage, asked.senders)


async def _kept(stage: Stage, asked: argparse.Namespace) -> None:
    """The same, proved: each is accepted, stored and delivered."""
    stage.zone.set(VENDOR, "TXT", "v=spf1 ip4:127.0.0.0/8 -all")
    await _at_once(stage, asked.senders, kept=True)


async def _at_once(stage: Stage, senders: int, *, kept: bool = False) -> None:
    assert stage.daemon is not None
    pid = stage.daemon.pid
    to = stage.json("new", "Large Shop", "--site", VENDOR)["alias"]
    letters = [peers.large(empty=False), peers.large(empty=True)]
    before = most = measure.octets([pid])
    begun = asyncio.get_running_loop().time()
    delivered = 0

    async def send(number: int) -> str:
        address = f"127.0.1.{1 + number // peers.PER_ADDRESS}"
        reader, writer = await peers.connected(stage.smtp_port, address)
        head = f"Message-ID: <{number}@{VENDOR}>\r\n".encode() if kept else b""
        said = await peers.transaction(reader, writer, letters[number % 2], ORDERS, to, head)
        writer.close()
        return said[:9]

    def look() -> None:
        nonlocal most, delivered
        most = max(most, measure.octets([pid]))
        delivered += len(stage.home.received)
        stage.home.received.clear()  # or they would fill ours

    work = asyncio.gather(*(send(number) for number in range(senders)))
    while not work.done():
        await asyncio.wait([work], timeout=0.5)
        look()
    said = await work
    seconds = asyncio.get_running_loop().time() - begun
    answers = {each: said.count(each) for each in set(said)}
    print(f"{senders} senders of 25 MB at once, {seconds:.0f} s, answers {answers}:")
    while kept and delivered < said.count("250 2.0.0") and asyncio.get_running_loop().time() < begun + 1800:
        await asyncio.sleep(0.5)
        look()
    print(f"PSS {before / 1e6:.0f} MB before, {most / 1e6:.0f} MB at most; {delivered} delivered")


@asynccontextmanager
async def _beside(work: object) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _letter(stage: Stage, to: str, number: int) -> bytes:
    mail = written(f"From: {ORDERS}", f"To: {to}", f"Message-ID: <{number}@{VENDOR}>", subject="honest")
    return b"".join(each.raw for each in dkim.sign(mail, stage.keys[VENDOR], datetime.now(UTC))) + mail


def _quantiles(seen: Seen) -> str:
    if len(seen.seconds) < 2:
        return f"{len(seen.seconds)} messages"
    cut = statistics.quantiles(seen.seconds, n=100)
    return f"{len(seen.seconds)} messages, p50 {cut[49] * 1000:.0f} ms, p99 {cut[98] * 1000:.0f} ms"


if __name__ == "__main__":
    sys.exit(main())
