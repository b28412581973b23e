"""What waits for a destination out of reach goes back to the spool: it holds no room, no memory and no lease.

    out of time, or late   the person is told now, by what the last probe met (`settle.untried`): a host that
                           is down for days is probed once a minute, however much waits for it
    everything else        is put off, for the pause at least (`leases.put_off`)
    due meanwhile          is put off likewise, before a claim has to look at it (`sweep`)
    in reach again         what was put off is due at once, some hundreds at a time

Promise: nothing is returned before it expires, and nothing without a probe that failed since; what was put
off comes back without us, too, should this process end.  However much waits, in the long run a hundred rows a
second are written for it (`_A_SECOND`).

Sources: Postfix qmgr(8), "dead destination"; its SCHEDULER_README.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from typing import Concatenate, ParamSpec

from sortingoffice import log
from sortingoffice.core import pace
from sortingoffice.core.delivery import Outcome, Tried
from sortingoffice.flows import settle
from sortingoffice.flows.office import Office
from sortingoffice.frozen import dataclass
from sortingoffice.store import leases, spool
from sortingoffice.store.database import Transaction, Unavailable
from sortingoffice.store.leases import Later
from sortingoffice.store.spool import Claimed

P = ParamSpec("P")

_TOGETHER = 100  # in one write
_A_SECOND = 100.0  # so many places in the line: each is a row that is written again
_FARTHEST = 3600.0  # seconds until the end of that line
_TELLING = 200  # that wait until somebody was told; beyond, they are put off like the others
_SWEPT = 200  # in one sweep of a destination
_SWEEPS = 5  # with one claim
_SWEEP_SECONDS = 1.0  # between two of one destination
_BACK = 500  # that are due again at once, and so many each second
_AGAIN = 1.0  # seconds between tries at a database that is out of reach
_REMEMBERED = 10_000  # destinations


@dataclass(slots=True)
class _Gone:
    """A destination out of reach.

    why    what the last probe met
    pause  seconds until the next
    swept  when its last sweep was
    """

    why: Tried
    pause: float
    swept: float = 0.0

    @property
    def speaks_for_others(self) -> bool:
        """What a probe met would have met any other mail; a connection lost may be that one's own doing."""
        lost = self.why.reply.status == "4.4.2" and self.pause <= pace.SHORTEST_PAUSE
        return self.why.outcome is Outcome.LATER and not lost


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is put off before a claim looks; see `leases.put_off_due`."""

    destination: str
    later: Later
    late: datetime
    most: int = _SWEPT


def sweep(tx: Transaction, now: datetime, sweeps: Collection[Sweep]) -> int:
    """In the transaction of a claim; how many were put off."""
    return sum(
        leases.put_off_due(tx, each.destination, now, each.later, late=each.late, most=each.most)
        for each in sweeps
    )


class Aside:
    """What this process has taken out of the lineup, until that is written down; and whose mail it puts off.

    every    the one lane that stands for all destinations; "" where each has its own
    let_go   called with the number of what we hold no more
    patient  the delivery, to be judged by it whether its time is over
    wake     called when there is something to claim
    """

    def __init__(
        self,
        office: Office,
        node: str,
        every: str,
        let_go: Callable[[int], None],
        patient: Callable[[Claimed], Claimed],
        wake: Callable[[], None],
    ) -> None:
        self._office = office
        self._node = node
        self._every = every
        self._let_go = let_go
        self._patient = patient
        self._wake = wake
        self._gone: dict[str, _Gone] = {}  # who was swept last is the last
        self._off: dict[str, tuple[_Gone, list[int]]] = {}
        self._over: deque[tuple[str, _Gone, Claimed]] = deque()
        self._back: dict[str, float] = {}  # in reach again: when something of theirs was last made due
        self._sweeping: list[str] = []  # with the claim that is under way
        self._line = 0.0  # until when the places are given away
        self._work = asyncio.Event()
        self.behind = False  # much of many destinations is due, and each claim has to look at it

    def out_of_reach(self, lane: str, why: Tried, pause: float) -> None:
        """A probe failed."""
        self._back.pop(lane, None)
        gone = self._gone.get(lane)
        if gone is not None:
            gone.why, gone.pause = why, pause
            return
        if len(self._gone) >= _REMEMBERED:
            del self._gone[next(iter(self._gone))]
        self._gone[lane] = _Gone(why, pause)

    def in_reach(self, lane: str) -> None:
        """An attempt got through."""
        if self._gone.pop(lane, None) is not None:
            self._is_back(lane)
            if not self._gone:
                self._line = 0.0

    def _is_back(self, lane: str) -> None:
        self._back.setdefault(lane, 0.0)
        self._work.set()

    def take(self, lane: str, waiting: Sequence[Claimed], keep: int) -> list[Claimed]:
        """What waits there; those come back, `keep` at most, that are left to probe with."""
        gone = self._gone.get(lane)
        if gone is None:
            return list(waiting)
        kept: list[Claimed] = []
        for each in waiting:
            over = gone.speaks_for_others and settle.tells(self._office, self._patient(each), gone.why)
            if over and len(self._over) < _TELLING:
                self._over.append((lane, gone, each))
            elif not over and len(kept) < keep:
                kept.append(each)
            else:
                self._put_aside(lane, gone, each)
        self._work.set()
        return kept

    def _put_aside(self, lane: str, gone: _Gone, claimed: Claimed) -> None:
        self._off.setdefault(lane, (gone, []))[1].append(claimed.delivery.id)

    # ---- beside the claims ----

    def sweeps(self, probed: Callable[[str], bool]) -> tuple[Sweep, ...]:
        """What the next claim does first.

        probed  whether there is something to probe a destination with: where not, a claim is to find it
        """
        self._sweeping.clear()
        now = time.monotonic()
        late = self._office.clock() - self._office.config.delivery.delay_notice_after
        found = []
        for lane, gone in tuple(islice(self._gone.items(), _SWEEPS)):
            if gone.swept > now - _SWEEP_SECONDS:
                break
            self._gone[lane] = self._gone.pop(lane)
            gone.swept = now
            if probed(lane):
                self._sweeping.append(lane)
                found.append(Sweep(self._destination(lane), self._later(gone, _SWEPT), late))
        return tuple(found)

    def swept(self, number: int) -> None:
        """So many were put off by sweeps."""
        self.behind = number >= _SWEPT and len(self._gone) > _SWEEPS
        self._advance(number)
        for lane in self._sweeping:
            if lane not in self._gone:  # in reach again meanwhile
                self._is_back(lane)

    def _advance(self, number: int) -> None:
        self._line = max(self._line, time.monotonic()) + number / _A_SECOND

    def _destination(self, lane: str) -> str:
        return "" if lane == self._every else lane

    def _later(self, gone: _Gone, number: int) -> Later:
        """The next places in the line."""
        start = min(max(self._line - time.monotonic(), gone.pause), _FARTHEST)
        width = max(number / _A_SECOND, gone.pause / 5)
        reply = str(settle.not_tried(gone.why.reply))
        return Later(self._office.clock() + timedelta(seconds=start), timedelta(seconds=width), reply)

    # ---- what is written ----

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if not self._over:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._work.wait(), _SWEEP_SECONDS if self._back else None)
            self._work.clear()
            try:
                await self._put_off()
                await self._tell()
                await self._bring_back()
            except Exception as error:
                log.bug("put-off-failed", error)  # the leases run out

    async def _put_off(self) -> None:
        while self._off:
            lane = next(iter(self._off))
            gone, numbers = self._off.pop(lane)
            for first in range(0, len(numbers), _TOGETHER):
                some = numbers[first : first + _TOGETHER]
                later = self._later(gone, len(some))
                try:
                    await self._write(leases.put_off, some, self._node, self._office.clock(), later)
                except Exception as error:
                    log.bug("put-off-failed", error)  # the leases run out
                self._advance(len(some))
                for number in some:
                    self._let_go(number)
            if lane not in self._gone:  # in reach again meanwhile
                self._is_back(lane)

    async def _tell(self) -> None:
        """One; then the writer is left to others for as long as that took."""
        if not self._over:
            return
        lane, gone, claimed = self._over.popleft()
        if self._gone.get(lane) is not gone:  # in reach again: it is tried
            self._put_aside(lane, gone, claimed)
            self._work.set()
            return
        began = time.monotonic()
        at = self._office.clock()
        due = self._later(gone, 1).start
        given = self._office, self._patient(claimed), gone.why, at
        log.event("untried", message=claimed.message.token, delivery=claimed.delivery.id, host=gone.why.host)
        try:
            await self._write(settle.untried, *given, due)
        except Exception as error:
            log.bug("settled-untold", error, message=claimed.message.token)
            await self._write(settle.untold, *given)
        finally:
            self._let_go(claimed.delivery.id)
        await asyncio.sleep(time.monotonic() - began)

    async def _bring_back(self) -> None:
        """What was put off is due, some of it each second, until there is no more of it."""
        for lane, last in tuple(self._back.items()):
            if last > time.monotonic() - _SWEEP_SECONDS:
                continue
            self._back[lane] = time.monotonic()
            now = self._office.clock()
            try:
                found = await self._office.db.read(leases.were_put_off, self._destination(lane), now, _BACK)
            except Unavailable as problem:
                log.event("spool-unavailable", reason=problem)
                continue
            if found:
                await self._write(spool.retry_all, found, now)
                self._wake()
            if len(found) < _BACK:
                self._back.pop(lane, None)

    async def _write(
        self, fn: Callable[Concatenate[Transaction, P], object], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Behind what waits to be written; it may take as long as the database is away."""
        while True:
            try:
                await self._office.db.write(fn, *args, **kwargs)
                return
            except Unavailable as problem:
                log.event("spool-unavailable", reason=problem)
                await asyncio.sleep(_AGAIN)
