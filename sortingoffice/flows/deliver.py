"""The spool empties: claim, sign, route, attempt, settle.

    claim    spool.claim               a lease on what is due, no more than can be begun
    sign     flows.signing.signed      Received, Authentication-Results, DKIM: late, per attempt
    route    net.route.find            or the smarthost
    attempt  net.relay.attempt         always a `Tried`; no transaction is open
    settle   core.delivery.step        the next state, committed as soon as it is known, together with
                                       whom it makes us tell (flows.returned)

Promise: what was claimed is settled, given back, or its lease runs out; a destination that is slow
or dead takes no more than its share of what is in flight, so nobody waits for it but its own mail.

Sources: RFC 5321 §4.5.4.1, §4.5.4.2.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Concatenate, ParamSpec

from sortingoffice import log
from sortingoffice.core import delivery as states
from sortingoffice.core.delivery import Patience, Step, Tell, Tried
from sortingoffice.core.model import Attempt
from sortingoffice.flows import returned, signing
from sortingoffice.flows.office import Office
from sortingoffice.mail import token
from sortingoffice.mail.reply import Reply
from sortingoffice.net import route, tls
from sortingoffice.net.relay import Login, Parcel, Relay
from sortingoffice.net.route import Here, Host
from sortingoffice.store import domains, spool
from sortingoffice.store.database import Transaction, Unavailable
from sortingoffice.store.spool import Claimed

LEASE = timedelta(seconds=30)
AT_ONCE = 100  # attempts in flight in this process
_OCTETS = 64 << 20  # of their messages; each is held twice, as it was spooled and as it leaves
_HEARTBEAT = 10.0  # seconds between renewals: two may fail before a lease runs out
_POLL = 1.0  # seconds: what another process queued, and what became due, is seen within this

P = ParamSpec("P")


async def run(
    office: Office,
    node: str,
    stop: asyncio.Event,
    wake: asyncio.Event | None = None,
    *,
    relay: Relay | None = None,
    drain: float = 7.0,
) -> None:
    """Deliver until `stop`; then finish what is in flight within `drain` seconds and give the rest back.

    node  names this process's leases: the same after a restart, and no other process's
    wake  set by whoever queued something in this process
    """
    out = _Out(office, node, relay or Relay(office.config.hostname), wake or asyncio.Event())
    await _patiently(office, spool.give_back, node)  # what our predecessor left behind
    heartbeat = asyncio.create_task(out.renew_leases())
    try:
        await out.work(stop)
        await out.drain(drain)
    finally:
        heartbeat.cancel()
        await asyncio.gather(heartbeat, return_exceptions=True)
        await out.relay.close()


@dataclass(frozen=True, slots=True)
class _Way:
    """How mail leaves, apart from where the hosts are."""

    policy: tls.Policy
    login: Login | None


class _Out:
    """What is under way in this process."""

    def __init__(self, office: Office, node: str, relay: Relay, wake: asyncio.Event) -> None:
        config = office.config.delivery
        self.relay = relay
        self._office = office
        self._node = node
        self._wake = wake
        self._under_way: dict[int, asyncio.Task[None]] = {}
        self._octets = 0  # of the messages under way
        self._each = config.concurrency_per_destination
        self._most = self._each if config.smarthost else AT_ONCE  # a smarthost is one destination
        self._attempting: set[int] = set()  # of those, whose outcome isn't known yet
        self._more = False  # whether the last claim found something: then its neighbours may wait
        self._patience = Patience(config.retry, config.delay_notice_after)
        self._here = _here(office)
        self._way = _way(office)
        self._ours: frozenset[str] = frozenset()

    # ---- claiming ----

    async def work(self, stop: asyncio.Event) -> None:
        """Claim and begin until `stop`."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                self._wake.clear()
                room = self._most - len(self._under_way) if self._octets < _OCTETS else 0
                claimed = await self._claim(room) if room > 0 else 0
                if claimed < room or room <= 0:
                    await self._something(stopping)
        finally:
            stopping.cancel()

    async def _claim(self, room: int) -> int:
        try:
            now = self._office.clock()
            octets = min(spool.CLAIM_OCTETS, _OCTETS - self._octets)
            claimed, ours = await self._office.db.write(
                _claim, now, self._node, room, each=self._each, octets=octets
            )
        except Unavailable as problem:
            log.event("spool-unavailable", reason=problem)
            return 0
        except Exception as error:
            log.bug("claim-failed", error)
            return 0
        if claimed:
            self._ours = ours
        self._more = bool(claimed)
        for each in claimed:
            self._begin(each)
        return len(claimed)

    async def _something(self, stopping: asyncio.Task[bool]) -> None:
        """Until there may be something to do: told so, a place free, a second gone, or the end."""
        woken = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait({woken, stopping}, timeout=_POLL, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    def _begin(self, claimed: Claimed) -> None:
        number = claimed.delivery.id
        task = asyncio.create_task(self._one(claimed))
        self._under_way[number] = task
        size = len(claimed.message.raw)
        self._octets += size
        task.add_done_callback(lambda _: self._ended(number, size))

    def _ended(self, number: int, size: int) -> None:
        del self._under_way[number]
        self._octets -= size
        if self._more:  # its place may be wanted, in all or at its destination
            self._wake.set()

    # ---- one delivery ----

    async def _one(self, claimed: Claimed) -> None:
        at = self._office.clock()
        self._attempting.add(claimed.delivery.id)
        try:
            tried = await self._attempt(claimed)
        except Exception as error:
            # Our bug: the mail waits for the next release rather than being returned for it.
            log.bug("attempt-failed", error, message=claimed.message.token)
            tried = Tried(Reply(451, "4.3.0", "internal error of the office"))
        finally:
            self._attempting.discard(claimed.delivery.id)
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
        try:
            await _patiently(self._office, settle, self._office, claimed, tried, at, self._patience)
        except Exception as error:
            # Never without an end: unsettled, it would go out again with each lease.
            log.bug("settle-failed", error, message=claimed.message.token)
            await _patiently(self._office, _settle_alone, self._office, claimed, tried, at, self._patience)

    async def _attempt(self, claimed: Claimed) -> Tried:
        hosts = await self._hosts(claimed.delivery.destination)
        if isinstance(hosts, Reply):
            return Tried(hosts)
        octets = await signing.signed(self._office, claimed.message, claimed.delivery)
        parcel = Parcel(
            sender=return_path(self._office, claimed),
            recipient=claimed.delivery.recipient,
            octets=octets,
            utf8=claimed.message.utf8,
            seven=lambda: signing.in_seven_bits(self._office, claimed.message, claimed.delivery),
        )
        return await self.relay.attempt(hosts, parcel, policy=self._way.policy, login=self._way.login)

    async def _hosts(self, destination: str) -> tuple[Host, ...] | Reply:
        smart = self._office.config.delivery.smarthost
        if smart is not None:
            return await self._office.resolver.run(route.smarthost(smart))
        program = route.find(destination, self._here, _shuffled, ours=destination in self._ours)
        return await self._office.resolver.run(program)

    # ---- leases ----

    async def renew_leases(self) -> None:
        """The heartbeat: 600 s may pass after the dot, and a lease lasts 30."""
        while True:
            await asyncio.sleep(_HEARTBEAT)
            held = tuple(self._under_way)
            if not held:
                continue
            try:
                until = self._office.clock() + LEASE
                kept = await self._office.db.write(spool.renew, held, self._node, until)
            except Unavailable as problem:
                log.event("spool-unavailable", reason=problem)
            except Exception as error:
                log.bug("renew-failed", error)
            else:
                self._abandon(set(held) - set(kept))

    def _abandon(self, lost: set[int]) -> None:
        """Stop attempts whose delivery was dropped, or taken over when our lease ran out."""
        for number in lost & self._attempting:
            self._under_way[number].cancel()

    async def drain(self, seconds: float) -> None:
        """Finish what is in flight; what isn't done then is given back."""
        if self._under_way:
            await asyncio.wait(set(self._under_way.values()), timeout=seconds)
        unfinished = tuple(self._under_way.values())
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        try:
            await self._office.db.write(spool.give_back, self._node)
        except Unavailable as problem:
            log.event("spool-unavailable", reason=problem)  # the leases run out by themselves


def _claim(
    tx: Transaction, now: datetime, node: str, n: int, *, each: int, octets: int
) -> tuple[tuple[Claimed, ...], frozenset[str]]:
    """What is due, and which domains are ours at this moment."""
    claimed = spool.claim(tx, now, node, n, LEASE, each=each, octets=octets)
    return claimed, frozenset(domain.name for domain in domains.every(tx)) if claimed else frozenset()


def settle(
    tx: Transaction, office: Office, claimed: Claimed, tried: Tried, at: datetime, patience: Patience
) -> None:
    """The transaction after an attempt: the delivery's next state, the attempt, and whom it makes us tell."""
    step, changed = _settle(tx, office, claimed, tried, at, patience)
    if not changed:
        return  # dropped while we tried, or another node's now
    ended = replace(claimed.delivery, state=step.state, reason=step.reason, last_reply=str(tried.reply))
    if step.tell is Tell.FAILURE:
        returned.failed(tx, office, claimed.message, ended, tried.reply, office.clock())
    elif step.tell is Tell.DELAY:
        returned.delayed(tx, office, claimed.message, ended, tried.reply, office.clock())


def _settle_alone(
    tx: Transaction, office: Office, claimed: Claimed, tried: Tried, at: datetime, patience: Patience
) -> None:
    """Without telling anybody: for when that is what fails."""
    _settle(tx, office, claimed, tried, at, patience)


def _settle(
    tx: Transaction, office: Office, claimed: Claimed, tried: Tried, at: datetime, patience: Patience
) -> tuple[Step, bool]:
    now = office.clock()
    delivery, direction = claimed.delivery, claimed.message.direction
    fraction = int.from_bytes(office.random(4), "big") / 2**32
    step = states.step(delivery, direction, tried, now=now, patience=patience, fraction=fraction)
    told = replace(delivery, delay_told=delivery.delay_told or step.tell is Tell.DELAY)
    attempt = Attempt(0, delivery.id, at, tried.host, tried.tls, str(tried.reply), tried.milliseconds)
    changed = spool.settle(tx, told, attempt, step.state, step.reason, step.due, str(tried.reply), now)
    return step, changed


def return_path(office: Office, claimed: Claimed) -> str:
    """The envelope sender: a VERP token that leads back to this delivery, or null."""
    domain = claimed.delivery.return_domain
    return f"{token.return_path(office.keys.token, claimed.delivery.id)}@{domain}" if domain else ""


async def _patiently(
    office: Office, fn: Callable[Concatenate[Transaction, P], object], *args: P.args, **kwargs: P.kwargs
) -> None:
    """A write that must not be given up: an outcome that isn't committed would be a second copy."""
    wait = 0.2
    while True:
        try:
            await office.db.write(fn, *args, **kwargs)
            return
        except Unavailable as problem:
            log.event("spool-unavailable", reason=problem)
            await asyncio.sleep(wait)
            wait = min(wait * 2, 5.0)


def _here(office: Office) -> Here:
    config = office.config
    loopback = any(
        each.host in ("::1", "localhost") or each.host.startswith("127.") for each in config.dns.nameservers
    )
    return Here(config.hostname, route.listening(config.smtp.listen), config.delivery.port, loopback)


def _way(office: Office) -> _Way:
    config = office.config.delivery
    if config.smarthost is None:
        return _Way(tls.Policy.OPPORTUNISTIC, None)
    login = None
    if config.smarthost_username and config.smarthost_password_file is not None:
        password = config.smarthost_password_file.read_text(encoding="utf-8").strip("\r\n")
        login = Login(config.smarthost_username, password)
    return _Way(tls.Policy(config.smarthost_tls), login)


def _shuffled(names: list[str]) -> list[str]:
    return random.sample(names, len(names))
