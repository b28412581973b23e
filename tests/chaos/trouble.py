"""What is done to the office: kills at failpoints and at random, a full disk, a database that is away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from sortingoffice import failpoint
from sortingoffice.cli.stage import Stage
from sortingoffice.core.progress import Watcher
from sortingoffice.net.zone import SERVFAIL
from tests.chaos.offices import Nursery
from tests.chaos.peers import Peer
from tests.chaos.senders import Senders
from tests.database import Cluster

_SELDOM = ("take-back", "at-claim", "claimed", "in-return", "in-note")  # passed now and then
_ELSEWHERE = ("rotation-step",)  # a command's, not the running office's
_AT_MOST = 4.0  # until a failpoint must have been passed; else the kill is a random one
_FALLS = 5  # of workers at a failpoint, before the whole office goes
_COMES_BACK = 20.0
_QUIET = 30.0  # seconds at most between two batches of kills
STEADY_RATE = 50.0  # messages a second
_STEADY = (2.0, 6.0)  # seconds that an office lives before a kill that duplicates are counted by
_EMPTY = 20.0  # seconds for what its predecessors left; on a machine that others need it may take longer


@dataclass
class Kills:
    """When each kill was, and where."""

    at: list[tuple[float, str]] = field(default_factory=list)
    where: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    @property
    def wild(self) -> int:
        """All but those under a steady load."""
        return len(self.at) - self.where["steady"]


class Trouble:
    """Makes it, and complains where the office doesn't come back by itself.

    empty  whether hardly anything waits in the spool
    """

    def __init__(
        self,
        stage: Stage,
        nursery: Nursery,
        senders: Senders,
        peers: list[Peer],
        empty: Callable[[], Awaitable[bool]],
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
        self._rate = senders.rate
        self._peers = peers
        self._empty = empty
        self._cluster = cluster
        self._at_random_share = at_random
        self._random = random.Random(seed)
        self._points = [each for each in failpoint.POINTS if each not in _ELSEWHERE]
        self._next_point = 0
        self._kinds = [self._no_dns, self._raising, self._standing_still, self._in_order]
        self._kinds.append(self._database_restarts if cluster else self._database_locked)
        if small_disk:
            self._kinds.append(self._disk_full)

    async def until(
        self, kills: int, messages: int, steady: int, over: Callable[[], bool], watcher: Watcher
    ) -> None:
        """Cycles until so many kills were done and so many messages accepted, or it is over; the three go
        on in step."""
        cycle = 0
        while not over():
            wild = self.kills.wild
            watcher(wild, kills)
            if self.kills.where["steady"] < steady * min(wild / kills if kills else 1, 1):
                await self._steadily()
                continue
            if wild >= kills and self._senders.promises.messages >= messages:
                return
            cycle += 1
            if cycle % 10 == 0:
                await self._quiet(messages * wild // max(kills, 1))
            if cycle % 12 == 0:
                kind = self._kinds[(cycle // 12 - 1) % len(self._kinds)]
                self.kills.troubles[kind.__name__.strip("_").replace("_", " ")] += 1
                await kind()
            elif self._random.random() < self._at_random_share:
                await self._at_random()
            else:
                await self._at_a_point()

    async def _at_a_point(self) -> None:
        """The one process dies there; in the next round worker after worker, and then the whole office."""
        round_, place = divmod(self._next_point, len(self._points))
        point = self._points[place]
        self._next_point += 1
        setting = f"{point}=kill@{1 if point in _SELDOM else self._random.choice((1, 2, 5, 15))}"
        in_turn = round_ % 2 == 1
        await self._nursery.start(setting, 2 if in_turn else 1)
        if in_turn:
            await self._workers_fall(point)
            return
        try:
            await asyncio.wait_for(self._nursery.died.wait(), _AT_MOST)
            self._note(point)
        except TimeoutError:
            await self._random_kill()

    async def _workers_fall(self, point: str) -> None:
        fallen = 0
        end = time.monotonic() + _AT_MOST
        while fallen < _FALLS and time.monotonic() < end and not self._nursery.died.is_set():
            await asyncio.sleep(0.05)
            for at in self._nursery.fallen():
                self._note(point, at)
                fallen += 1
        if not self._nursery.died.is_set():  # one whose worker falls at its start gives up
            await self._random_kill()

    async def _at_random(self) -> None:
        """The whole office, or one worker process after another and then the whole office."""
        count = self._random.choice((1, 2))
        await self._begin(count=count)
        await asyncio.sleep(self._random.uniform(0.05, 1.2))
        for _ in range(self._random.randrange(4) if count > 1 else 0):
            if self._nursery.kill_worker(self._random.randrange(count)):
                self._note("random worker")
            await asyncio.sleep(self._random.uniform(0.05, 0.6))
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

    async def _steadily(self) -> None:
        """A kill of an office that has nothing to do but a steady load: what duplicates are counted by."""
        self.good_manners()
        await self._begin(count=2)
        end = time.monotonic() + _EMPTY
        while not await self._empty() and time.monotonic() < end:  # noqa: ASYNC110  the spool is what changes
            await asyncio.sleep(0.1)
        await asyncio.sleep(self._random.uniform(*_STEADY))
        await self._kill("steady")
        for peer in self._peers:
            peer.honest = False
        self._senders.rate = self._rate

    def good_manners(self) -> None:
        """Next hops that take everything, and a load that leaves room."""
        for peer in self._peers:
            peer.honest = True
        self._senders.rate = STEADY_RATE

    async def last(self) -> None:
        """The office that delivers what is left."""
        self.good_manners()
        await self._begin()

    async def ended(self) -> None:
        """It lived until now; then it stops in order."""
        if self._nursery.died.is_set():
            self.kills.complaints.append(f"the last office died: {self._nursery.status}\n{self._told()}")
        else:
            await self._nursery.stop()

    async def _random_kill(self) -> None:
        await self._kill("random")

    async def _kill(self, where: str) -> None:
        if self._nursery.died.is_set():
            self.kills.complaints.append(f"the office died by itself: {self._nursery.status}\n{self._told()}")
            return
        self._note(where)
        await self._nursery.kill()

    def _note(self, where: str, at: float | None = None) -> None:
        self.kills.at.append((at or time.time(), where))
        self.kills.where[where] += 1

    async def _begin(self, setting: str = "-", count: int = 1) -> None:
        if not await self._nursery.start(setting, count):
            self.kills.complaints.append(f"the office did not start: {self._nursery.status}\n{self._told()}")
            raise RuntimeError(self.kills.complaints[-1])

    def _told(self) -> str:
        with (self._stage.folder / "log").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 2000))
            return file.read().decode(errors="replace")

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
        await self._accepts()
        await asyncio.sleep(0.5)
        await self._nursery.stop()
        if self._nursery.status:
            self.kills.complaints.append(f"SIGTERM ended with status {self._nursery.status}")
