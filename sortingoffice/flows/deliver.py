"""The spool empties: claim, line up, attempt, settle.

    claim    leases.claim               a lease on what is due; new mail has one from its birth, while we keep
                                       up, and is handed over without a claim (store.handover)
    line up  core.pace.Lineup          so many at once to one destination, and pauses for who is out of reach;
                                       what waits for those goes back to the spool (flows.putoff)
    attempt  flows.attempt             route (net.route), sign late (flows.signing), bring (net.relay)
    settle   flows.settle              core.delivery decides; committed as soon as it is known, together
                                       with whom it makes us tell (flows.returned)

Promise: what was claimed is settled, given back, or its lease runs out; a destination that is slow or
dead takes no more than its share, so nobody waits for it but its own mail; and an outage of the database
takes nobody's lease.

Sources: RFC 5321 §4.5.4.1, §4.5.4.2.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from sortingoffice import failpoint, log
from sortingoffice.core.delivery import Outcome, Tried
from sortingoffice.core.pace import FIRST, Lineup
from sortingoffice.core.retry import Watch
from sortingoffice.core.silence import Silence
from sortingoffice.core.standstill import Standstill
from sortingoffice.flows import claiming, putoff, settle
from sortingoffice.flows.attempt import LARGE, Attempts
from sortingoffice.flows.putoff import Aside
from sortingoffice.store import clock, leases
from sortingoffice.store.database import Unavailable
from sortingoffice.store.handover import Claimed, Lease
from sortingoffice.store.taken import Brought, Taken

AT_ONCE = 400  # attempts under way in this process: each is a connection, most of them wait
_CLAIM = 100  # deliveries in one claim
_AHEAD = 4  # times what may be under way to a destination is claimed of it, so that not each needs a claim
_WAITING = 5000  # claimed and not begun, at destinations that are in reach, as far as we know
_PARKED = 1000  # at those that are not, to probe with: beyond, one at each
_UNSETTLED = 16  # outcomes that aren't on disk yet: a crash repeats them, so the next attempts wait
_HANDED = 1000  # held, beyond which new mail waits for a claim
_OCTETS = 32 << 20  # of messages that are kept in memory meanwhile; beyond, they are loaded when wanted
_HEARTBEAT = 10.0  # seconds between renewals: two may fail before a lease runs out
_STOOD_STILL = 15.0  # seconds in which we did nothing: our leases may have run out
_TICK = 1.0
_POLL = 1.0  # seconds: what another process queued, and what became due, is seen within this
_BREATH = 0.05  # seconds, after a claim that found nothing but what can't be reached
_AWAY_POLL = 1.0  # seconds between tries at a database that is away
# In which every process has seen that the clock was set, or the database is back, and renewed its leases.
_OTHERS_SECONDS = 3.0
_SMARTHOST = "the smarthost"  # the one destination where all mail goes through it


async def run(
    current: Callable[[], Attempts],
    node: str,
    stop: asyncio.Event,
    wake: asyncio.Event | None = None,
    *,
    drain: float = 7.0,
    taken: Taken | None = None,
) -> None:
    """Deliver until `stop`; then finish what is under way within `drain` seconds and give the rest back.

    current  how attempts are made now: asked before any begins, since a reload puts others in their place
    node     names this process's leases: the same after a restart, and no other process's
    wake     set by whoever queued something in this process
    taken    where what a next hop took is noted until it is settled: the node's own, like its name
    """
    out, office = _Out(current, node, wake or asyncio.Event(), taken), current().office
    if taken is not None:
        await settle.catch_up(office, taken)
    asked = time.monotonic()
    await settle.patiently(office, leases.take_back, node, office.clock())  # what our predecessor left
    await settle.patiently(office, putoff.went_back, office)  # while nobody looked
    if time.monotonic() - asked > _AWAY_POLL:
        out.silence.unknown()
    beside = tuple(map(asyncio.create_task, (out.renew_leases(), out.tick(), out.aside.run())))
    office.db.open_desk(out)
    try:
        await out.work(stop)
        await out.drain(drain)
    finally:
        office.db.close_desk(out)
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, out.abandon(), return_exceptions=True)
        await out.part()


class _Out:
    """What this process holds leases on."""

    def __init__(
        self, current: Callable[[], Attempts], node: str, wake: asyncio.Event, taken: Taken | None
    ) -> None:
        self._current = current
        self._node = node
        self._wake = wake
        self._taken = taken
        every, most = self._go_by(current())
        self.aside = Aside(self._office, node, every, self._let_go, self._patient, wake.set)
        self._lineup: Lineup[Claimed] = Lineup(self._bound, most)
        self._parting: list[asyncio.Task[None]] = []  # from the hosts of configs before this one
        self._held: dict[int, int] = {}  # what is lined up or under way: delivery → octets in memory
        self._parked = 0  # of those, what waits where nobody is reached
        self._octets = 0
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._unsettled = 0
        self._attempting: set[int] = set()  # of those, whose outcome isn't known yet
        self._watch = Watch(self._office.clock(), time.monotonic())
        self._set_back = False  # the clock, and nobody has seen to what waits
        self._claims_from = 0.0  # time.monotonic()
        # So long that a lease renewed one heartbeat before ends with the next.
        patience = leases.LEASE.total_seconds() - 2 * _HEARTBEAT
        self.silence = Silence(patience, time.monotonic())
        self._more = False  # whether the last claim found mail for who is in reach: there may be more
        self._loop = asyncio.get_running_loop()
        self._stopped = False
        self._standstill = Standstill(_STOOD_STILL, time.monotonic())
        self._open = False  # to new mail: while nothing older waits for a claim
        self._behind: frozenset[str] = frozenset()  # destinations of which something older may wait
        self._ours: frozenset[str] = frozenset()

    def _go_by(self, attempts: Attempts) -> tuple[str, int]:
        """The lane of all mail, where there is one, and how many attempts there are at once."""
        self._attempts, self._office = attempts, attempts.office
        config = self._office.config.delivery
        self._bound = config.concurrency_per_destination
        self._most_held = _AHEAD * self._bound  # of one destination
        self._smart = config.smarthost is not None
        return (_SMARTHOST, self._bound) if self._smart else ("", AT_ONCE)

    def _keep_up(self) -> None:
        """After a reload: what begins from now on goes by it, and what is under way ends as it began."""
        last, attempts = self._attempts, self._current()
        if attempts is last:
            return
        parting = asyncio.create_task(last.part(tuple(self._under_way.values())))
        self._parting = [*(each for each in self._parting if not each.done()), parting]
        every, most = self._go_by(attempts)
        self.aside.change(self._office, every)
        for each in self._lineup.remove(lambda _: True):
            self._lineup.add(self._lane(each), each)
        self._lineup.change(self._bound, most)

    async def part(self) -> None:
        await asyncio.gather(self._attempts.part(), *self._parting, return_exceptions=True)

    # ---- claiming ----

    async def work(self, stop: asyncio.Event) -> None:
        """Claim and begin until `stop`."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                self._wake.clear()
                self._keep_up()
                await self._look_at_the_clock()
                if self.silence.long(time.monotonic()) or not self._leased():
                    await self._renew()
                    self._standstill.over(time.monotonic())
                room = self._room()
                claimed = await self._claim(room) if room > 0 else 0
                self._open = claimed < room
                self._begin()
                idle = claimed < room or room <= 0
                if idle or not self._more:
                    await self._something(stopping, _POLL if idle else _BREATH)
        finally:
            stopping.cancel()

    def _room(self) -> int:
        now = time.monotonic()
        if now < self._claims_from or self.silence.long(now):
            return 0
        if self._smart:  # nothing else could be begun meanwhile
            return self._most_held - len(self._held)
        return min(_CLAIM, self._lineup.room(), _WAITING - self._waiting())

    def _waiting(self) -> int:
        self._parked = self._lineup.parked()
        return len(self._held) - self._lineup.busy - self._parked

    def _share(self) -> int:
        """What is held of one destination at most: the more wait, the less, so that others have room."""
        waiting = self._waiting()
        if self._smart or (waiting < _WAITING // 4 and not self.aside.behind):
            return self._most_held
        return self._bound if waiting < _WAITING // 2 else min(FIRST, self._bound)

    async def _look_at_the_clock(self) -> None:
        """Where it was set, leases and waiting times are put right before anything is claimed by them."""
        moved = self._watch.moved(self._office.clock(), time.monotonic())
        if moved:
            log.event("clock-was-set", seconds=round(moved.total_seconds()))
            self._set_back = self._set_back or moved < timedelta(0)
            await self._renew()
        try:
            if self._set_back:  # again, where the database was away
                await self._office.db.write(putoff.went_back, self._office)
                self._set_back = False
            if moved > timedelta(0) and await self._office.db.read(clock.others_hold, self._node):
                self._claims_from = time.monotonic() + _OTHERS_SECONDS  # they only seem to have run out
        except Unavailable as problem:
            self._unavailable(problem)

    async def _claim(self, room: int) -> int:
        """Claim and line up; how many there were."""
        asked, share = time.monotonic(), self._share()
        sweeps = self.aside.sweeps(lambda lane: self._lineup.held(lane) > 0)
        passed = self.aside.elsewhere(lambda lane: self._lineup.shut(lane, asked))
        n = 0 if _SMARTHOST in passed else room
        given = self._office.clock(), self._node, n
        try:
            claimed, ours, swept = await self._office.db.write(
                claiming.claim, *given, each=share, sweeps=sweeps, passed=passed
            )
        except Unavailable as problem:
            self._unavailable(problem)
            return 0
        except Exception as error:
            log.bug("claim-failed", error)
            return 0
        self.silence.answered(asked, time.monotonic())
        for lane in self.aside.swept(swept):
            self._lineup.reopen(lane)
        self._more = any(self._lineup.pause(self._lane(each)) == 0.0 for each in claimed)
        if claimed:
            failpoint.at("claimed")
            self._ours = ours
        self._line_up_all(claimed)
        full = {self._lane(each) for each in claimed} | self._behind
        self._behind = frozenset(lane for lane in full if self._lineup.held(lane) >= share)
        return len(claimed)

    def _line_up_all(self, claimed: Collection[Claimed]) -> None:
        for each in claimed:
            # Held already: its lease ran out in our own hands, for the clock jumped or we stood still.
            if each.delivery.id not in self._held:
                self._line_up(each)
        for lane in filter(self._lineup.pause, {self._lane(each) for each in claimed}):
            self._clear(lane)

    def _clear(self, lane: str) -> None:
        """Who is out of reach keeps a few to be probed with; the others go back."""
        keep = FIRST if self._lineup.parked() < _PARKED else 1
        shut = self._lineup.shut(lane, time.monotonic())
        for each in self.aside.take(lane, self._lineup.take_out(lane), keep, shut=shut):
            self._lineup.add(lane, each)

    def _lane(self, claimed: Claimed) -> str:
        return _SMARTHOST if self._smart else claimed.delivery.destination

    def _line_up(self, claimed: Claimed) -> None:
        if claimed.message.size > LARGE or self._octets > _OCTETS:
            claimed = replace(claimed, message=replace(claimed.message, raw=b""))
        self._held[claimed.delivery.id] = len(claimed.message.raw)
        self._octets += len(claimed.message.raw)
        self._lineup.add(self._lane(claimed), claimed)

    def _let_go(self, number: int) -> None:
        self._octets -= self._held.pop(number)

    async def _something(self, stopping: asyncio.Task[bool], most: float) -> None:
        """Until there may be something to do: told so, a pause over, so many seconds gone, or the end."""
        pause = self._lineup.opens_in(time.monotonic())
        woken = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait(
                {woken, stopping},
                timeout=most if pause is None else min(pause, most),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            woken.cancel()

    # ---- the desk: new mail, handed over by the writer's thread ----

    def lease(self, destination: str, octets: int) -> Lease | None:
        lane = _SMARTHOST if self._smart else destination
        held = len(self._held) - self._parked
        crowded = held >= _HANDED or lane in self._behind or not self._lineup.open(lane)
        if not self._open or octets > LARGE or crowded:
            return None
        return Lease(self._node, self._office.clock() + leases.LEASE)

    def take(self, born: Sequence[Claimed]) -> None:
        with suppress(RuntimeError):  # the loop has ended: the leases run out
            self._loop.call_soon_threadsafe(self._arrived, tuple(born))

    def notice(self) -> None:
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake.set)

    def _arrived(self, born: Sequence[Claimed]) -> None:
        failpoint.at("handed-over")
        if not self._stopped:  # else all leases are given back in a moment
            self._line_up_all(born)
            self._begin()

    # ---- one delivery ----

    def _begin(self) -> None:
        self._keep_up()
        if self._unsettled >= _UNSETTLED or not self._leased():
            return
        for destination, claimed in self._lineup.ready(time.monotonic()):
            task = asyncio.create_task(self._one(destination, claimed))
            self._under_way[claimed.delivery.id] = task

    async def _one(self, destination: str, claimed: Claimed) -> None:
        number = claimed.delivery.id
        attempts, tried = self._attempts, None
        try:
            at = self._office.clock()
            tried = await self._tried(claimed, attempts)
            await self._settled(claimed, tried, at)
        except Exception as error:
            log.bug("delivery-failed", error, message=claimed.message.token)  # its lease runs out
        finally:
            self._let_go(number)
            del self._under_way[number]
            # Of a config that a reload has replaced meanwhile it says nothing.
            self._found(destination, tried if attempts is self._attempts else None)
            self._begin()
            # Its place may be wanted, in all or at its destination.
            if self._more and self._lineup.held(destination) <= self._most_held // 2:
                self._wake.set()

    def _found(self, destination: str, tried: Tried | None) -> None:
        """An attempt is over; None: it was stopped."""
        self._lineup.ended(destination, reached=putoff.reached(tried), now=time.monotonic())
        if putoff.reached(tried):
            self.aside.in_reach(destination)
        elif tried is not None and tried.unreachable:
            self.aside.out_of_reach(destination, tried, self._lineup.pause(destination))
            self._clear(destination)

    def _patient(self, claimed: Claimed) -> Claimed:
        """While the clock is in doubt, nothing is over for another hour."""
        now = self._office.clock()
        if not self._watch.doubts(now, time.monotonic()):
            return claimed
        an_hour_more = max(claimed.delivery.expires, now + timedelta(hours=1))
        return replace(claimed, delivery=replace(claimed.delivery, expires=an_hour_more))

    async def _settled(self, claimed: Claimed, tried: Tried, at: datetime) -> None:
        noted = self._note(claimed, tried, at)
        self._unsettled += 1
        try:
            await settle.commit(self._office, self._patient(claimed), tried, at)
        finally:
            self._unsettled -= 1
        if self._taken is not None and noted is not None:
            self._taken.forget(noted)

    def _note(self, claimed: Claimed, tried: Tried, at: datetime) -> int | None:
        """Before anything else: a crash from here on brings it no second time."""
        if self._taken is None or tried.outcome is not Outcome.TAKEN:
            return None
        return self._taken.note(Brought(claimed.message.token, claimed.delivery.id, tried, at))

    async def _tried(self, claimed: Claimed, attempts: Attempts) -> Tried:
        self._attempting.add(claimed.delivery.id)
        try:
            ours = claimed.delivery.destination in self._ours
            return await attempts.tried(claimed, ours=ours, leased=self._leased)
        finally:
            self._attempting.discard(claimed.delivery.id)

    # ---- leases ----

    def _leased(self) -> bool:
        """Whether what we hold is ours: not where we stood still, until it is renewed."""
        return not self._standstill.long(time.monotonic())

    async def tick(self) -> None:
        while True:
            if self._standstill.tick(time.monotonic()):
                self._wake.set()
            await asyncio.sleep(_TICK)

    async def renew_leases(self) -> None:
        """The heartbeat: 600 s may pass after the dot, and a lease lasts 30."""
        while True:
            await asyncio.sleep(_AWAY_POLL if not self.silence.broken else _HEARTBEAT)
            if self._held or not self.silence.broken:
                await self._renew()

    async def _renew(self) -> None:
        """After a silence that others' leases may not have outlasted, nothing is claimed until they have
        renewed them, too: whoever asked first would take over what they are at."""
        held, asked = tuple(self._held), time.monotonic()
        try:
            until = self._office.clock() + leases.LEASE
            kept, others = await self._office.db.write(claiming.renew, held, self._node, until)
        except Unavailable as problem:
            self._unavailable(problem)
        except Exception as error:
            log.bug("renew-failed", error)
        else:
            now = time.monotonic()
            self.silence.answered(asked, now)
            if others and self.silence.long(now):
                self._claims_from = now + _OTHERS_SECONDS
            self.silence.over(now)
            self._lose(set(held) - set(kept))

    def _unavailable(self, problem: Unavailable) -> None:
        log.event("spool-unavailable", reason=problem)
        self.silence.refused()

    def _lose(self, lost: set[int]) -> None:
        """Stop with what was dropped, or taken over when our lease ran out."""
        for each in self._lineup.remove(lambda claimed: claimed.delivery.id in lost):
            self._let_go(each.delivery.id)
        for number in lost & self._attempting:
            self._under_way[number].cancel()

    async def drain(self, seconds: float) -> None:
        """Finish what is under way; what isn't done then, or wasn't begun, is given back."""
        self._office.db.close_desk(self)
        self._stopped = True
        self._empty()
        if self._under_way:
            await asyncio.wait(set(self._under_way.values()), timeout=seconds)
        await self.abandon()
        try:
            await self._office.db.write(leases.give_back, self._node)
        except Unavailable as problem:
            log.event("spool-unavailable", reason=problem)  # the leases run out by themselves

    def _empty(self) -> None:
        for each in self._lineup.remove(lambda _: True):
            self._let_go(each.delivery.id)

    async def abandon(self) -> None:
        """Stop every attempt."""
        self._empty()
        unfinished = tuple(self._under_way.values())
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
