"""One attempt: where to, what, and how it went.

Promise: always a `Tried`, counted and logged, and no transaction is open while the network is waited for.
A message is loaded and signed only when a host is there to take it.  A large one waits without a connection
for its turn at a host, and is in memory only while it is signed, and converted, one at a time; then it leaves
from a file, so that a host that takes it slowly keeps nobody else's waiting.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

from sortingoffice import failpoint, log, metrics, processors
from sortingoffice.config import smarthost_password
from sortingoffice.core.delivery import Outcome, Tried
from sortingoffice.core.model import Delivery, SpooledMessage
from sortingoffice.flows import signing, strict
from sortingoffice.flows.office import Office
from sortingoffice.flows.strict import Policies
from sortingoffice.frozen import dataclass
from sortingoffice.mail import seven, token
from sortingoffice.mail.message import Message
from sortingoffice.mail.reply import Reply
from sortingoffice.net import route, tls
from sortingoffice.net.parcel import Filed, Parcel
from sortingoffice.net.relay import Login, Relay
from sortingoffice.net.route import Here, Host
from sortingoffice.store import leases, spool
from sortingoffice.store.database import Transaction, Unavailable
from sortingoffice.store.spool import Claimed

T = TypeVar("T")

Signer = Callable[[Office, Message, SpooledMessage, Delivery], bytes]
SmallSigner = Callable[[Office, SpooledMessage, Delivery], bytes]

LARGE = 1 << 20  # octets
_LARGE_AT_ONCE = 2  # to one host: what it has not begun to take is neither signed nor on the disk twice
_SMALL = 1 << 17  # octets that are signed in a millisecond or two
_ROUTE_SECONDS = 5.0  # a burst to one destination is routed once
_ROUTES = 1000

_FRESH = timedelta(seconds=1)  # since it was claimed

_NO_MAILBOX = Tried(Reply(451, "4.2.1", "there is no mailbox to deliver to"))
_GONE = Tried(Reply(451, "4.3.0", "the message is no longer in the spool"))
_NO_ROOM = Tried(Reply(452, "4.3.1", "there is no room on our disk to send it from"))
_BUG = Tried(Reply(451, "4.3.0", "internal error of the office"))
_NO_SPOOL = Tried(Reply(451, "4.3.0", "the spool is out of reach"))


class _Gone(Exception):
    """Dropped while it waited: its octets are erased."""


@dataclass(frozen=True, slots=True)
class _Way:
    """How mail leaves, apart from where the hosts are."""

    policy: tls.Policy
    login: Login | None


@dataclass(frozen=True, slots=True)
class _Route:
    """Where to, and what TLS it takes there."""

    hosts: tuple[Host, ...]
    policy: tls.Policy


class Attempts:
    """How this process makes attempts; as long as its config stands."""

    def __init__(self, office: Office, relay: Relay | None = None, policies: Policies | None = None) -> None:
        """Raises `OfficeError` where the smarthost's password can't be read."""
        self._office = office
        self._relay = relay or Relay(office.config.hostname)
        self._here = here(office)
        self._policies = policies or Policies(office, self._relay.contexts, self._here)
        self._way = _way(office)
        # As long as somebody waits or sends: the turns at each address, and what is sent.
        self._large: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._files: WeakValueDictionary[tuple[int, str, Signer], Filed] = WeakValueDictionary()
        self._signing = asyncio.Lock()
        cores = len(processors.ALLOWED)
        self._cores_are_taken = (office.config.processes.count or cores) >= cores
        self._routes: dict[str, tuple[float, _Route]] = {}  # destination → until when, where

    @property
    def office(self) -> Office:
        """With that config."""
        return self._office

    async def part(self, after: Collection[asyncio.Task[None]] = ()) -> None:
        """Part from every host, once these attempts are over."""
        if after:
            await asyncio.wait(after)
        await self._relay.close()

    async def tried(self, claimed: Claimed, *, ours: bool, leased: Callable[[], bool]) -> Tried:
        """Try once, and say how it went."""
        try:
            tried = await self.make(claimed, ours=ours, leased=leased)
        except Exception as error:
            # Our bug: the mail waits for the next release rather than being returned for it.
            log.bug("attempt-failed", error, message=claimed.message.token)
            tried = _BUG
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

    async def make(self, claimed: Claimed, *, ours: bool, leased: Callable[[], bool] = lambda: True) -> Tried:
        """Try once.

        ours    the destination is a domain that is hosted here
        leased  whether the delivery still is ours; asked before the message is sent
        """
        if not claimed.delivery.recipient:
            return _NO_MAILBOX
        found = await self._route(claimed.delivery.destination, ours=ours)
        if isinstance(found, Reply):
            return Tried(found, unreachable=found.temporary)
        made: list[Parcel] = []
        turns = AsyncExitStack()

        async def turn(host: Host) -> None:
            """With no connection open: hosts part from who says nothing for a few minutes."""
            if claimed.message.size > LARGE:
                await turns.aclose()  # of the host before it
                few = self._large.setdefault(host.address, asyncio.Semaphore(_LARGE_AT_ONCE))
                await turns.enter_async_context(few)

        async def parcel(host: Host) -> Parcel:
            if not made:
                await self._look(claimed.delivery)
                made.append(replace(await self._parcel(claimed), ours=leased))
            return made[0]

        try:
            async with turns:
                return await self._relay.attempt(
                    found.hosts, parcel, policy=found.policy, login=self._way.login, turn=turn
                )
        except _Gone:
            return _GONE
        except Unavailable:
            return _NO_SPOOL
        except OSError as problem:  # of the file: what the network does is a reply
            log.event("no-room", message=claimed.message.token, reason=problem.strerror or problem)
            return _NO_ROOM

    async def _route(self, destination: str, *, ours: bool) -> _Route | Reply:
        now = time.monotonic()
        known = self._routes.get(destination)
        if known is not None and known[0] > now:
            return known[1]
        smart = self._office.config.delivery.smarthost
        found: _Route | Reply
        if smart is not None:
            hosts = await self._office.resolver.run(route.smarthost(smart))
            found = hosts if isinstance(hosts, Reply) else _Route(hosts, self._way.policy)
        else:
            found = await self._direct(destination, ours=ours)
        if isinstance(found, Reply):
            self._routes.pop(destination, None)
        else:
            if len(self._routes) >= _ROUTES:
                self._routes.clear()
            self._routes[destination] = (now + _ROUTE_SECONDS, found)
        return found

    async def _direct(self, destination: str, *, ours: bool) -> _Route | Reply:
        """Straight to the MX, as far as the destination's MTA-STS policy lets us."""
        hosts = await self._office.resolver.run(route.find(destination, self._here, _shuffled, ours=ours))
        policy = None if ours or isinstance(hosts, Reply) else await self._policies.of(destination)
        if isinstance(policy, Reply):
            return policy
        if isinstance(hosts, Reply) or not strict.strict(policy):
            return hosts if isinstance(hosts, Reply) else _Route(hosts, self._way.policy)
        fit = strict.allowed(policy, hosts, destination)
        return fit if isinstance(fit, Reply) else _Route(fit, tls.Policy.REQUIRED)

    async def _look(self, delivery: Delivery) -> None:
        """What waited for its turn may have been dropped, and a heartbeat is long: those who dropped it were
        told that nothing left."""
        until = delivery.lease_until
        if until is not None and self._office.clock() < until - leases.LEASE + _FRESH:
            return
        if not await self._office.db.read(leases.holds, delivery.id, delivery.lease_node):
            raise _Gone

    async def _parcel(self, claimed: Claimed) -> Parcel:
        failpoint.at("before-parcel")
        message, delivery = claimed.message, claimed.delivery
        octets: bytes | Filed
        converted: Callable[[], Awaitable[bytes | Filed]]
        if message.size > LARGE:
            octets = await self._filed(message, delivery, signing.of_parsed)
            converted = partial(self._filed, message, delivery, _in_seven_bits)
        else:
            whole = await self._loaded(message)
            octets = await self._signed(whole, delivery, signing.signed)
            converted = partial(self._signed, whole, delivery, signing.in_seven_bits)
        sender = return_path(self._office, claimed)
        return Parcel(sender, delivery.recipient, octets, message.utf8, _once(converted))

    async def _filed(self, message: SpooledMessage, delivery: Delivery, sign: Signer) -> Filed:
        """In its file, one for all who take it meanwhile: a list of recipients is no list of copies."""
        which = message.id, delivery.return_domain, sign
        async with self._signing:  # several copies of it in memory, for a moment
            filed = self._files.get(which)
            if filed is None:
                filed = self._files[which] = await self._signed_large(message, delivery, sign)
            return filed

    async def _signed_large(self, message: SpooledMessage, delivery: Delivery, sign: Signer) -> Filed:
        """With the body in memory twice at most: as it was spooled, and as it leaves; more often while it is
        converted.
        """
        found = [await self._office.db.read(_parsed, message.id)]
        if found[0] is None:
            raise _Gone
        work = partial(_written, self._office, found, message, delivery, sign)
        return await asyncio.get_running_loop().run_in_executor(None, work)

    async def _signed(self, message: SpooledMessage, delivery: Delivery, sign: SmallSigner) -> bytes:
        """In a thread where a core is free for it: changing threads costs half a signature."""
        if self._cores_are_taken and message.size <= _SMALL:
            return sign(self._office, message, delivery)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, sign, self._office, message, delivery)

    async def _loaded(self, message: SpooledMessage) -> SpooledMessage:
        if message.raw:
            return message
        found = await self._office.db.read(spool.by_id, message.id)
        if found is None or not found.raw:
            raise _Gone
        return found


def _parsed(tx: Transaction, number: int) -> Message | None:
    found = spool.by_id(tx, number)
    return Message.parse(found.raw) if found is not None and found.raw else None


def _once(make: Callable[[], Awaitable[T]]) -> Callable[[], Awaitable[T]]:
    """For the hosts of one attempt."""
    made: list[T] = []

    async def found() -> T:
        if not made:
            made.append(await make())
        return made[0]

    return found


def _in_seven_bits(office: Office, parsed: Message, message: SpooledMessage, delivery: Delivery) -> bytes:
    return signing.of_parsed(office, seven.downgraded(parsed), message, delivery)


def _written(
    office: Office, found: list[Message | None], message: SpooledMessage, delivery: Delivery, sign: Signer
) -> Filed:
    parsed = found.pop()  # nobody else holds it: while the disk takes its time, it is in memory once
    assert parsed is not None
    octets = sign(office, parsed, message, delivery)
    del parsed
    folder = office.config.data_dir
    return Filed(octets, folder if folder.is_dir() else None)


def return_path(office: Office, claimed: Claimed) -> str:
    """The envelope sender: a VERP token that leads back to this delivery, or null."""
    domain = claimed.delivery.return_domain
    return f"{token.return_path(office.keys.token, claimed.delivery.id)}@{domain}" if domain else ""


def here(office: Office) -> Here:
    """What a route must know of this office."""
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
    if config.smarthost_username:
        login = Login(config.smarthost_username, smarthost_password(office.config))
    return _Way(tls.Policy(config.smarthost_tls), login)


def _shuffled(names: list[str]) -> list[str]:
    return random.sample(names, len(names))
