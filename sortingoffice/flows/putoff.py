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
from math import inf
from typing import Concatenate, ParamSpec

from sortingoffice import log
from sortingoffice.core import pace, retry
from sortingoffice.core.delivery import Outcome, Tried
from sortingoffice.flows import settle
from sortingoffice.flows.office import Office
from sortingoffice.frozen import dataclass
from sortingoffice.store import clock, leases, spool
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
_SOON = 1.0  # seconds until what another process may bring is due again
_AGAIN = 1.0  # seconds between tries at a database that is out of reach
_REMEMBERED = 10_000  # destinations
_PASSED = 1000  # of them, by one claim
_ALL = ""  # of them
_WIDEST = max(_TOGETHER, _SWEPT) / _A_SECOND + pace.LONGEST_PAUSE / 5  # seconds over which some are spread
_FARTHEST_DUE = timedelta(seconds=_FARTHEST + _WIDEST)


@dataclass(slots=True)
class _Gone:
    """A destination out of reach.

    why    what the last probe met
    pause  seconds until the next
    swept  when its last sweep was
    asked  when something that was put off was last made due to probe with
    since  when that probe began
    fresh  whether it has taken mail since, from another process
    taken  the same, or before that probe, but after the last but one: we alone may not reach it
    opened when it was last probed for that, before its pause was over
    """

    why: Tried
    pause: float
    since: datetime
    swept: float = 0.0
    asked: float = -inf
    fresh: bool = False
    taken: bool = False
    opened: float = -inf

    @property
    def speaks_for_others(self) -> bool:
        """What a probe met would have met any other mail; a connection lost may be that one's own doing."""
        lost = self.why.reply.status == "4.4.2" and self.pause <= pace.SHORTEST_PAUSE
        return self.why.outcome is Outcome.LATER and not lost and not self.taken


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is put off before a claim looks; see `leases.put_off_due`."""

    destination: str
    later: Later
    late: datetime
    since: datetime
    most: int = _SWEPT


@dataclass(frozen=True, slots=True)
class Sweeps:
    """seen  the last attempt that was looked at; None where none was"""

    each: tuple[Sweep, ...]
    seen: int | None


@dataclass(frozen=True, slots=True)
class Swept:
    """How many were put off, and where mail was taken, from whichever process, since it was last asked."""

    number: int
    seen: int | None
    taken: dict[str, datetime]


def sweep(tx: Transaction, now: datetime, sweeps: Sweeps | None) -> Swept:
    """In the transaction of a claim.  What another process delivers isn't put off for our not reaching it."""
    if sweeps is None:
        return Swept(0, None, {})
    seen, taken = leases.taken_since(tx, sweeps.seen)
    number = sum(
        leases.put_off_due(tx, each.destination, now, each.later, late=each.late, most=each.most)
        for each in sweeps.each
        if not any(at > each.since and each.destination in (_ALL, where) for where, at in taken.items())
    )
    return Swept(number, seen, taken)


def went_back(tx: Transaction, office: Office) -> int:
    """After the clock was set back, see `store.clock`."""
    now = office.clock()
    step = max(office.config.delivery.retry)
    retried = retry.next_due([step], 1, now=now, expires=now + 2 * step, fraction=1.0)
    return clock.went_back(tx, now, max(retried, now + _FARTHEST_DUE))


def reached(tried: Tried | None) -> bool | None:
    """Whether its destination is in reach; None: it was stopped, or asked no host, and doesn't know."""
    if tried is None or not (tried.host or tried.unreachable or tried.reply.permanent):
        return None
    return not tried.unreachable


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
        self._unprobed: list[str] = []  # out of reach, and nothing is held to probe them with
        self._sweeping: list[str] = []  # with the claim that is under way
        self._seen: int | None = None  # the last attempt of whichever process
        self._line = 0.0  # until when the places are given away
        self._work = asyncio.Event()
        self.behind = False  # much of many destinations is due, and each claim has to look at it

    def change(self, office: Office, every: str) -> None:
        """Another config; where all mail goes another way by it, who was out of reach may be in reach."""
        self._office = office
        if every != self._every:
            self._every = every
            self._gone.clear()
            self._back.clear()
            self._is_back(_ALL)

    def out_of_reach(self, lane: str, why: Tried, pause: float) -> None:
        """A probe failed."""
        gone = self._gone.get(lane)
        since = self._office.clock() - timedelta(milliseconds=why.milliseconds)
        if gone is not None:
            gone.why, gone.pause, gone.since = why, pause, since
            gone.fresh, gone.taken = False, gone.fresh
        if gone is None or not gone.taken:
            self._back.pop(lane, None)
        if gone is not None:
            return
        if len(self._gone) >= _REMEMBERED:
            del self._gone[next(iter(self._gone))]
        self._gone[lane] = _Gone(why, pause, since)

    def in_reach(self, lane: str) -> None:
        """An attempt got through."""
        if self._gone.pop(lane, None) is not None:
            self._is_back(lane)
            if not self._gone:
                self._line = 0.0

    def _is_back(self, lane: str) -> None:
        self._back.setdefault(lane, 0.0)
        self._work.set()

    def elsewhere(self, shut: Callable[[str], bool]) -> tuple[str, ...]:
        """Who takes mail from other processes, and from us not even a probe for now: it is left to them.

        shut  whether its pause still lasts
        """
        found = (lane for lane, gone in self._gone.items() if gone.taken and shut(lane))
        return tuple(islice(found, _PASSED))

    def take(self, lane: str, waiting: Sequence[Claimed], keep: int, *, shut: bool) -> list[Claimed]:
        """What waits there; those come back, `keep` at most, that are left to probe with.

        shut  as in `elsewhere`
        """
        gone = self._gone.get(lane)
        if gone is None:
            return list(waiting)
        if gone.taken and shut:
            keep = 0
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

    def sweeps(self, probed: Callable[[str], bool]) -> Sweeps | None:
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
            if probed(lane) and not gone.taken:
                self._sweeping.append(lane)
                found.append(Sweep(self._destination(lane), self._later(gone, _SWEPT), late, gone.since))
            elif (
                not probed(lane) and gone.asked + gone.pause <= now
            ):  # all of it may stand at the end of others' line
                gone.asked = now
                self._unprobed.append(lane)
                self._work.set()
        return Sweeps(tuple(found), self._seen) if self._gone else None

    def swept(self, swept: Swept) -> list[str]:
        """What sweeps have done; whom to probe now, for others reach them."""
        self.behind = swept.number >= _SWEPT and len(self._gone) > _SWEEPS
        self._advance(swept.number)
        self._seen = swept.seen
        for lane in self._sweeping:
            if lane not in self._gone:  # in reach again meanwhile
                self._is_back(lane)
        return [lane for where, at in swept.taken.items() if self._taken(lane := self._every or where, at)]

    def _taken(self, lane: str, at: datetime) -> bool:
        """Whether it is to be probed now; where we alone don't reach it, not with each that others bring."""
        gone, now = self._gone.get(lane), time.monotonic()
        if gone is None or at <= gone.since:
            return False
        if not gone.fresh:
            gone.fresh = gone.taken = True
            self._is_back(lane)  # for whoever brings it
        if gone.opened + gone.pause > now:
            return False
        gone.opened = now
        return True

    def _advance(self, number: int) -> None:
        self._line = max(self._line, time.monotonic()) + number / _A_SECOND

    def _destination(self, lane: str) -> str:
        return _ALL if lane == self._every else lane

    def _later(self, gone: _Gone, number: int) -> Later:
        """The next places in the line; a short while, where another process may have it."""
        if gone.taken:
            return self._from(gone, _SOON, _SOON)
        start = min(max(self._line - time.monotonic(), gone.pause), _FARTHEST)
        width = max(number / _A_SECOND, gone.pause / 5)
        return self._from(gone, start, width)

    def _from(self, gone: _Gone, start: float, width: float) -> Later:
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
                await self._bring_some()
            except Exception as error:
                log.bug("put-off-failed", error)  # the leases run out

    async def _put_off(self) -> None:
        while self._off:
            lane = next(iter(self._off))
            gone, numbers = self._off.pop(lane)
            for first in range(0, len(numbers), _TOGETHER):
                some = numbers[first : first + _TOGETHER]
                try:
                    await self._write(self._off_now, gone, some)
                except Exception as error:
                    log.bug("put-off-failed", error)  # the leases run out
                self._advance(len(some))
                for number in some:
                    self._let_go(number)
            if lane not in self._gone:  # in reach again meanwhile
                self._is_back(lane)

    def _off_now(self, tx: Transaction, gone: _Gone, some: Collection[int]) -> None:
        """In the transaction, by its clock."""
        leases.put_off(tx, some, self._node, self._office.clock(), self._later(gone, len(some)))

    async def _tell(self) -> None:
        """One; then the writer is left to others for as long as that took."""
        if not self._over:
            return
        lane, gone, claimed = self._over.popleft()
        if self._gone.get(lane) is not gone or gone.taken:  # in reach again: it is tried
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
        for lane in tuple(self._back):
            # Asked for each anew: while we wait for the database, one may be out of reach again.
            last, began = self._back.get(lane, inf), time.monotonic()
            if last > began - _SWEEP_SECONDS:
                continue
            self._back[lane] = began
            found = await self._due_now(lane, _BACK)
            if found is not None and found < _BACK and self._back.get(lane) == began:
                del self._back[lane]

    async def _bring_some(self) -> None:
        """To probe with."""
        while self._unprobed:
            lane = self._unprobed.pop()
            if lane in self._gone:
                await self._due_now(lane, pace.FIRST)

    async def _due_now(self, lane: str, most: int) -> int | None:
        """What was put off, the earliest first; how many, None where the database is away."""
        now = self._office.clock()
        try:
            found = await self._office.db.read(leases.were_put_off, self._destination(lane), now, most)
        except Unavailable as problem:
            log.event("spool-unavailable", reason=problem)
            return None
        if found:
            await self._write(spool.retry_all, found, now)
            gone = self._gone.get(lane)
            if gone is None or not gone.taken:  # else it is for others, who reach it
                self._wake()
        return len(found)

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
