"""What is done to the office: kills at failpoints and at random, a full disk, a database that is away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from sortingoffice import failpoint
from sortingoffice.cli.stage import Stage
from sortingoffice.core.progress import Watcher
from sortingoffice.net.zone import SERVFAIL
from tests.chaos.senders import Senders
from tests.database import Cluster

_START_SECONDS = 30.0
_SELDOM = ("take-back", "at-claim", "claimed", "in-return", "in-note")  # passed now and then
_AT_MOST = 5.0  # until a failpoint must have been passed; else the kill is a random one
_COMES_BACK = 20.0
_QUIET = 30.0  # seconds at most between two batches of kills
_STEADY = (2.0, 6.0)  # seconds that an office lives before a kill that duplicates are counted by
_EMPTY = 60.0  # seconds in which what its predecessors left must be delivered


@dataclass
class Kills:
    """When each kill was, and where.  `deaths` counts the ends that were not ordered."""

    at: list[tuple[float, str]] = field(default_factory=list)
    where: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)


class Nursery:
    """See `tests.chaos.nursery`: one office at a time."""

    def __init__(self, config: Path, log: Path, port: int) -> None:
        self._config = config
        self._log = log
        self._port = port
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._born: asyncio.Queue[int] = asyncio.Queue()
        self.pid = 0
        self.died = asyncio.Event()
        self.status = 0

    async def open(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.nursery", str(self._config)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            word, *numbers = line.decode().split()
            if word == "born":
                self._born.put_nowait(int(numbers[0]))
            elif int(numbers[0]) == self.pid:
                self.status = int(numbers[1])
                self.died.set()

    async def start(self, setting: str = "-", count: int = 1) -> bool:
        """Whether it accepts; False where it died on the way, as a failpoint may have it.

        count  of processes
        """
        assert self._process is not None
        assert self._process.stdin is not None
        self.died.clear()
        self.pid = 0
        self._process.stdin.write(f"start {self._log} {setting} {count}\n".encode())
        self.pid = await self._born.get()
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and not self.died.is_set():
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            writer.close()
            return True
        return False

    def kill_worker(self, number: int) -> bool:
        """One of its worker processes; whether it had one."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        try:
            workers = children.read_text().split()
            os.kill(int(workers[number % len(workers)]), signal.SIGKILL)
        except (OSError, ZeroDivisionError):
            return False
        return True

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self.died.wait()

    async def stop(self) -> None:
        """In order, with SIGTERM."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        await asyncio.wait_for(self.died.wait(), 20)

    async def close(self) -> None:
        if self.pid and not self.died.is_set():
            await self.kill()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()
        if self._reading is not None:
            await self._reading


class Trouble:
    """Makes it, and complains where the office doesn't come back by itself."""

    def __init__(
        self,
        stage: Stage,
        nursery: Nursery,
        senders: Senders,
        *,
        cluster: Cluster | None,
        small_disk: bool,
        at_random: float,
        seed: int,
    ) -> None:
        self.kills = Kills()
        self._stage = stage
        self._nursery = nursery
        self._senders = senders
        self._cluster = cluster
        self._at_random_share = at_random
        self._random = random.Random(seed)
        self._points = list(failpoint.POINTS)
        self._next_point = 0
        self._kinds = [self._no_dns, self._raising, self._standing_still, self._in_order]
        self._kinds.append(self._database_restarts if cluster else self._database_locked)
        if small_disk:
            self._kinds.append(self._disk_full)

    async def until(self, kills: int, messages: int, end: float, watcher: Watcher) -> None:
        """Cycles until so many kills were done and so many messages accepted; the two go on in step.

        end  of time.monotonic(): not beyond
        """
        cycle = 0
        while len(self.kills.at) < kills or self._senders.promises.messages < messages:
            watcher(len(self.kills.at), kills)
            if time.monotonic() > end:
                return
            cycle += 1
            if cycle % 10 == 0:
                await self._quiet(messages * len(self.kills.at) // max(kills, 1))
            if cycle % 12 == 0:
                kind = self._kinds[(cycle // 12 - 1) % len(self._kinds)]
                self.kills.troubles[kind.__name__.strip("_").replace("_", " ")] += 1
                await kind()
            elif self._random.random() < self._at_random_share:
                await self._at_random()
            else:
                await self._at_a_point()

    async def _at_a_point(self) -> None:
        point = self._points[self._next_point % len(self._points)]
        self._next_point += 1
        setting = f"{point}=kill@{1 if point in _SELDOM else self._random.choice((1, 2, 5, 15))}"
        await self._nursery.start(setting)
        try:
            await asyncio.wait_for(self._nursery.died.wait(), _AT_MOST)
            self._note(point)
        except TimeoutError:
            await self._random_kill()

    async def _at_random(self) -> None:
        """The whole office, or one worker process after another and then the whole office."""
        count = self._random.choice((1, 2))
        await self._begin(count=count)
        await asyncio.sleep(self._random.uniform(0.05, 1.2))
        for _ in range(self._random.randrange(3) if count > 1 else 0):
            if self._nursery.kill_worker(self._random.randrange(count)):
                self._note("random worker")
            await asyncio.sleep(self._random.uniform(0.05, 1.0))
        await self._random_kill()

    async def _quiet(self, messages: int) -> None:
        """An office that lives until so many are accepted, or for its time; then it is killed."""
        if self._senders.promises.messages >= messages:
            return
        await self._begin(count=2)
        end = time.monotonic() + _QUIET
        while self._senders.promises.messages < messages and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await self._random_kill()

    async def steadily(self, kills: int, empty: Callable[[], Awaitable[bool]]) -> None:
        """Kills of an office that has nothing to do but its steady load: what duplicates are counted by."""
        for _ in range(kills):
            await self._begin(count=2)
            end = time.monotonic() + _EMPTY
            while not await empty() and time.monotonic() < end:  # noqa: ASYNC110  the spool is what changes
                await asyncio.sleep(0.1)
            await asyncio.sleep(self._random.uniform(*_STEADY))
            self._note("steady")
            await self._nursery.kill()

    async def _random_kill(self) -> None:
        self._note("random")
        await self._nursery.kill()

    def _note(self, where: str) -> None:
        self.kills.at.append((time.time(), where))
        self.kills.where[where] += 1

    async def _begin(self, setting: str = "-", count: int = 1) -> None:
        if not await self._nursery.start(setting, count):
            told = (self._stage.folder / "log").read_text(errors="replace")[-2000:]
            self.kills.complaints.append(f"the office did not start: {self._nursery.status}\n{told}")
            raise RuntimeError(self.kills.complaints[-1])

    # ---- not kills ---------------------------------------------------------------------------------

    async def _comes_back(self, what: str) -> None:
        """It accepts again without a restart; then it is killed."""
        before = self._senders.promises.messages
        end = time.monotonic() + _COMES_BACK
        while self._senders.promises.messages == before:
            if time.monotonic() > end or self._nursery.died.is_set():
                self.kills.complaints.append(f"did not come back after: {what}")
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(self._random.uniform(0, 0.5))
        if not self._nursery.died.is_set():
            await self._random_kill()

    async def _accepts(self) -> None:
        """It has started: a message was taken."""
        before = self._senders.promises.messages
        end = time.monotonic() + _COMES_BACK
        while self._senders.promises.messages == before and time.monotonic() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def _disk_full(self) -> None:
        await self._begin()
        ballast = self._stage.folder / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))
        await asyncio.sleep(self._random.uniform(0.5, 2))
        if self._random.random() < 0.3:
            await self._random_kill()  # in the middle of it
            ballast.unlink()
            await self._begin()
        else:
            ballast.unlink()
        await self._comes_back("a full disk")

    async def _database_locked(self) -> None:
        await self._begin()
        [path] = (self._stage.folder / "office").glob("*.db")
        other = sqlite3.connect(path, isolation_level=None, timeout=10)
        try:
            other.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(self._random.choice((0.5, 2, 7)))
            other.execute("ROLLBACK")
        finally:
            other.close()
        await self._comes_back("a locked database")

    async def _database_restarts(self) -> None:
        assert self._cluster is not None
        await self._begin()
        await self._accepts()  # one that still starts may refuse to, without a database
        await asyncio.to_thread(self._cluster.stop)
        await asyncio.sleep(self._random.choice((0, 1, 3)))
        await asyncio.to_thread(self._cluster.start)
        await self._comes_back("a restarted database")

    async def _no_dns(self) -> None:
        await self._begin()
        records = self._stage.zone.records
        kept = dict(records)
        for key in kept:
            records[key] = SERVFAIL
        await asyncio.sleep(1)
        records.update(kept)
        await self._comes_back("DNS that was down")

    async def _raising(self) -> None:
        point = self._random.choice(
            [p for p in self._points if p not in ("take-back", "claimed", "handed-over")]
        )
        await self._begin(f"{point}=raise@{self._random.choice((1, 3, 9))}")
        await asyncio.sleep(1)
        await self._comes_back(f"an exception at {point}")

    async def _standing_still(self) -> None:
        point = self._random.choice(self._points)
        await self._begin(f"{point}=sleep:0.7@{self._random.choice((1, 3, 9))}")
        await asyncio.sleep(1)
        await self._comes_back(f"a pause at {point}")

    async def _in_order(self) -> None:
        await self._begin()
        await asyncio.sleep(0.5)
        await self._nursery.stop()
        if self._nursery.status:
            self.kills.complaints.append(f"SIGTERM ended with status {self._nursery.status}")
