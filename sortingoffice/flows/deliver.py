"""The spool empties: claim, line up, attempt, settle.

    claim    leases.claim               a lease on what is due; new mail has one from its birth, while we keep
                                       up, and is handed over without a claim (store.handover)
    line up  core.pace.Lineup          so many at once to one destination, and pauses for who is out of reach
    attempt  flows.attempt             route (net.route), sign late (flows.signing), bring (net.relay)
    settle   flows.settle              core.delivery decides; committed as soon as it is known, together
                                       with whom it makes us tell (flows.returned)

Promise: what was claimed is settled, given back, or its lease runs out; a destination that is slow or
dead takes no more than its share, so nobody waits for it but its own mail.

Sources: RFC 5321 §4.5.4.1, §4.5.4.2.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from sortingoffice import failpoint, log, metrics
from sortingoffice.core.delivery import Outcome, Tried
from sortingoffice.core.pace import Lineup
from sortingoffice.core.retry import Watch
from sortingoffice.flows import settle
from sortingoffice.flows.attempt import LARGE, Attempts
from sortingoffice.flows.office import Office
from sortingoffice.mail.reply import Reply
from sortingoffice.net.relay import Relay
from sortingoffice.store import clock, domains, leases
from sortingoffice.store.database import Transaction, Unavailable
from sortingoffice.store.handover import Lease
from sortingoffice.store.spool import Claimed
from sortingoffice.store.taken import Brought, Taken

AT_ONCE = 400  # attempts under way in this process: each is a connection, most of them wait
_CLAIM = 100  # deliveries in one claim
_AHEAD = 4  # times what may be under way to a destination is claimed of it, so that not each needs a claim
_WAITING = 5000  # claimed and not begun, at destinations out of reach
_UNSETTLED = 16  # outcomes that aren't on disk yet: a crash repeats them, so the next attempts wait
_HANDED = 1000  # held, beyond which new mail waits for a claim
_OCTETS = 32 << 20  # of messages that are kept in memory meanwhile; beyond, they are loaded when wanted
_HEARTBEAT = 10.0  # seconds between renewals: two may fail before a lease runs out
_POLL = 1.0  # seconds: what another process queued, and what became due, is seen within this
_OTHERS_SECONDS = 3.0  # in which every process has seen that the clock was set, and renewed its leases
_SMARTHOST = "the smarthost"  # the one destination where all mail goes through it


async def run(
    office: Office,
    node: str,
    stop: asyncio.Event,
    wake: asyncio.Event | None = None,
    *,
    relay: Relay | None = None,
    drain: float = 7.0,
    taken: Taken | None = None,
) -> None:
    """Deliver until `stop`; then finish what is under way within `drain` seconds and give the rest back.

    node  names this process's leases: the same after a restart, and no other process's
    wake  set by whoever queued something in this process
    taken where what a next hop took is noted until it is settled: the node's own, like its name
    """
    relay = relay or Relay(office.config.hostname)
    out = _Out(office, node, Attempts(office, relay), wake or asyncio.Event(), taken)
    if taken is not None:
        await settle.catch_up(office, taken)
    await settle.patiently(office, leases.take_back, node, office.clock())  # what our predecessor left
    await settle.patiently(office, clock.went_back, office.clock())  # while nobody looked
    heartbeat = asyncio.create_task(out.renew_leases())
    office.db.open_desk(out)
    try:
        await out.work(stop)
        await out.drain(drain)
    finally:
        office.db.close_desk(out)
        heartbeat.cancel()
        await asyncio.gather(heartbeat, out.abandon(), return_exceptions=True)
        await relay.close()


class _Out:
    """What this process holds leases on."""

    def __init__(
        self, office: Office, node: str, attempts: Attempts, wake: asyncio.Event, taken: Taken | None
    ) -> None:
        config = office.config.delivery
        self._office = office
        self._node = node
        self._attempts = attempts
        self._wake = wake
        self._taken = taken
        self._bound = config.concurrency_per_destination
        self._most_held = _AHEAD * self._bound  # of one destination
        self._smart = config.smarthost is not None
        self._lineup: Lineup[Claimed] = Lineup(self._bound, self._bound if self._smart else AT_ONCE)
        self._held: dict[int, int] = {}  # what is lined up or under way: delivery → octets in memory
        self._octets = 0
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._unsettled = 0
        self._attempting: set[int] = set()  # of those, whose outcome isn't known yet
        self._watch = Watch(office.clock(), time.monotonic())
        self._claims_from = 0.0  # time.monotonic()
        self._more = False  # whether the last claim found something: then its neighbours may wait
        self._loop = asyncio.get_running_loop()
        self._stopped = False
        self._open = False  # to new mail: while nothing older waits for a claim
        self._behind: frozenset[str] = frozenset()  # destinations of which something older may wait
        self._ours: frozenset[str] = frozenset()

    # ---- claiming ----

    async def work(self, stop: asyncio.Event) -> None:
        """Claim and begin until `stop`."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                self._wake.clear()
                await self._look_at_the_clock()
                room = self._room()
                claimed = await self._claim(room) if room > 0 else 0
                self._open = claimed < room
                self._begin()
                if claimed < room or room <= 0:
                    await self._something(stopping)
        finally:
            stopping.cancel()

    def _room(self) -> int:
        if time.monotonic() < self._claims_from:
            return 0
        if self._smart:  # nothing else could be begun meanwhile
            return self._most_held - len(self._held)
        waiting = len(self._held) - self._lineup.busy
        return min(_CLAIM, self._lineup.room(), _WAITING - waiting)

    async def _look_at_the_clock(self) -> None:
        """Where it was set, leases and waiting times are put right before anything is claimed by them."""
        moved = self._watch.moved(self._office.clock(), time.monotonic())
        if not moved:
            return
        log.event("clock-was-set", seconds=round(moved.total_seconds()))
        await self._renew()
        try:
            if moved < timedelta(0):
                await self._office.db.write(clock.went_back, self._office.clock())
            elif await self._office.db.read(clock.others_hold, self._node):  # they only seem to have run out
                self._claims_from = time.monotonic() + _OTHERS_SECONDS
        except Unavailable as problem:
            log.event("spool-unavailable", reason=problem)

    async def _claim(self, room: int) -> int:
        """Claim and line up; how many there were."""
        try:
            claimed, ours = await self._office.db.write(
                _claim, self._office.clock(), self._node, room, each=self._most_held
            )
        except Unavailable as problem:
            log.event("spool-unavailable", reason=problem)
            return 0
        except Exception as error:
            log.bug("claim-failed", error)
            return 0
        self._more = bool(claimed)
        if claimed:
            failpoint.at("claimed")
            self._ours = ours
        self._line_up_all(claimed)
        full = {self._lane(each) for each in claimed} | self._behind
        self._behind = frozenset(lane for lane in full if self._lineup.held(lane) >= self._most_held)
        return len(claimed)

    def _line_up_all(self, claimed: Iterable[Claimed]) -> None:
        for each in claimed:
            # Held already: its lease ran out in our own hands, for the clock jumped or we stood still.
            if each.delivery.id not in self._held:
                self._line_up(each)

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

    async def _something(self, stopping: asyncio.Task[bool]) -> None:
        """Until there may be something to do: told so, a pause over, a second gone, or the end."""
        pause = self._lineup.opens_in(time.monotonic())
        woken = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait(
                {woken, stopping},
                timeout=_POLL if pause is None else min(pause, _POLL),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            woken.cancel()

    # ---- the desk: new mail, handed over by the writer's thread ----

    def lease(self, destination: str, octets: int) -> Lease | None:
        lane = _SMARTHOST if self._smart else destination
        crowded = len(self._held) >= _HANDED or lane in self._behind or not self._lineup.open(lane)
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
        if self._unsettled >= _UNSETTLED:
            return
        for destination, claimed in self._lineup.ready(time.monotonic()):
            task = asyncio.create_task(self._one(destination, claimed))
            self._under_way[claimed.delivery.id] = task

    async def _one(self, destination: str, claimed: Claimed) -> None:
        number = claimed.delivery.id
        reached = True
        try:
            at = self._office.clock()
            tried = await self._tried(claimed)
            reached = not tried.unreachable
            await self._settled(claimed, tried, at)
        except Exception as error:
            log.bug("delivery-failed", error, message=claimed.message.token)  # its lease runs out
        finally:
            self._lineup.ended(destination, reached=reached, now=time.monotonic())
            self._let_go(number)
            del self._under_way[number]
            self._begin()
            # Its place may be wanted, in all or at its destination.
            if self._more and self._lineup.held(destination) <= self._most_held // 2:
                self._wake.set()

    async def _settled(self, claimed: Claimed, tried: Tried, at: datetime) -> None:
        noted = self._note(claimed, tried, at)
        self._unsettled += 1
        if self._watch.doubts(time.monotonic()):
            an_hour_more = max(claimed.delivery.expires, self._office.clock() + timedelta(hours=1))
            claimed = replace(claimed, delivery=replace(claimed.delivery, expires=an_hour_more))
        try:
            await settle.commit(self._office, claimed, tried, at)
        finally:
            self._unsettled -= 1
        if self._taken is not None and noted is not None:
            self._taken.forget(noted)

    def _note(self, claimed: Claimed, tried: Tried, at: datetime) -> int | None:
        """Before anything else: a crash from here on brings it no second time."""
        if self._taken is None or tried.outcome is not Outcome.TAKEN:
            return None
        return self._taken.note(Brought(claimed.message.token, claimed.delivery.id, tried, at))

    async def _tried(self, claimed: Claimed) -> Tried:
        self._attempting.add(claimed.delivery.id)
        try:
            tried = await self._attempts.make(claimed, ours=claimed.delivery.destination in self._ours)
        except Exception as error:
            # Our bug: the mail waits for the next release rather than being returned for it.
            log.bug("attempt-failed", error, message=claimed.message.token)
            tried = Tried(Reply(451, "4.3.0", "internal error of the office"))
        finally:
            self._attempting.discard(claimed.delivery.id)
        metrics.attempted(tried.reply.code, tried.milliseconds / 1000, unknown=tried.past_dot)
        if tried.outcome is Outcome.TAKEN:
            age = self._office.clock() - claimed.message.accepted
            metrics.delivered(age.total_seconds())
        log.event(
            "attempt",
            message=claimed.message.token,
            delivery=claimed.delivery.id,
            host=tried.host,
            tls=tried.tls,
            outcome=tried.outcome.value,
            code=tried.reply.code,
            status=tried.reply.status,
            ms=tried.milliseconds,
        )
        return tried

    # ---- leases ----

    async def renew_leases(self) -> None:
        """The heartbeat: 600 s may pass after the dot, and a lease lasts 30."""
        while True:
            await asyncio.sleep(_HEARTBEAT)
            await self._renew()

    async def _renew(self) -> None:
        held = tuple(self._held)
        if not held:
            return
        try:
            until = self._office.clock() + leases.LEASE
            kept = await self._office.db.write(leases.renew, held, self._node, until)
        except Unavailable as problem:
            log.event("spool-unavailable", reason=problem)
        except Exception as error:
            log.bug("renew-failed", error)
        else:
            self._lose(set(held) - set(kept))

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


def _claim(
    tx: Transaction, now: datetime, node: str, n: int, *, each: int
) -> tuple[tuple[Claimed, ...], frozenset[str]]:
    """What is due, and which domains are ours at this moment."""
    leases.lapse(tx, now)
    claimed = leases.claim(tx, now, node, n, each=each)
    if claimed:
        failpoint.at("at-claim")
    return claimed, _names(domain.name for domain in domains.every(tx)) if claimed else frozenset()


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)
