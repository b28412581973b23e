"""SMTP out: one attempt to bring a message to one of its destination's hosts.

aiosmtplib makes the connection (greeting, EHLO, STARTTLS, AUTH); `net.conversation` takes it
over for the transactions, and connections are kept for the next message to the same host.

Promise: `attempt` always returns a `Tried`; time-outs, resets and garbage are 4xx in it.  A host that
can't be talked to is no refusal: whatever it says before MAIL, the next host is tried, and when
none is left the attempt failed temporarily.  So it is where a host says 4xx to MAIL, or 421 before the
dot; but that one was in reach.

Sources: RFC 5321 §4.2.4.2, §4.5.3.2, §5.1; RFC 3207 (STARTTLS); RFC 4954 (AUTH).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import aiosmtplib

from sortingoffice.core.delivery import Tried
from sortingoffice.frozen import dataclass
from sortingoffice.mail.reply import Reply, heard
from sortingoffice.net import tls
from sortingoffice.net.conversation import Answered, Conversation, Timeouts, taken_over
from sortingoffice.net.parcel import Parcel
from sortingoffice.net.route import MAX_HOSTS, Host

__all__ = ["Login", "Maker", "Parcel", "Relay", "Timeouts", "Turn"]

Maker = Callable[[Host], Awaitable[Parcel]]
Turn = Callable[[Host], Awaitable[None]]

_IDLE_SECONDS = 10.0
_TRANSACTIONS = 200  # then a new connection, so that no peer is held for ever
_IDLE = 20  # kept per host
_MISSED_SECONDS = 60.0  # in which an address that could not be dialled is tried after the others
_MISSED = 1000  # addresses that are remembered for it


@dataclass(frozen=True, slots=True)
class Login:
    """How we introduce ourselves to the smarthost."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class _Place:
    """What connections are kept by."""

    host: Host
    policy: tls.Policy


@dataclass(slots=True)
class _Climb:
    """How far one try of a rung came: what must be closed, and whether TLS was what failed."""

    client: aiosmtplib.SMTP | None = None
    in_tls: bool = False
    taken: bool = False

    async def first_words(self, heard: Awaitable[object]) -> None:
        """Of the peer, in TLS: only they show that it went well.

        With TLS 1.3 a server judges us after our side of the handshake has ended (RFC 8446 §4.4.2.4), and its
        alert, or just the end, comes in place of a reply.  A reply, or a time-out, is no such thing.
        """
        try:
            await heard
        except (aiosmtplib.SMTPResponseException, TimeoutError):
            self.in_tls = False
            raise
        self.in_tls = False


class Relay:
    """Connections to next hops; one per process.

    hostname  our name in EHLO
    """

    def __init__(
        self, hostname: str, *, contexts: tls.Contexts | None = None, timeouts: Timeouts | None = None
    ) -> None:
        self._hostname = hostname
        self._contexts = contexts or tls.Contexts()
        self._timeouts = timeouts or Timeouts()
        self._idle: dict[_Place, list[tuple[float, Conversation]]] = {}
        self._reaper: asyncio.TimerHandle | None = None
        self._partings: set[asyncio.Task[None]] = set()
        self._missed: dict[tuple[str, int], tuple[float, Reply]] = {}  # address and port → when last, and how

    @property
    def contexts(self) -> tls.Contexts:
        """What it trusts."""
        return self._contexts

    async def attempt(
        self,
        hosts: Sequence[Host],
        parcel: Parcel | Maker,
        *,
        policy: tls.Policy = tls.Policy.OPPORTUNISTIC,
        login: Login | None = None,
        turn: Turn | None = None,
    ) -> Tried:
        """Bring the parcel to the first host that can be talked to, in the order given; but those whose
        address could not be dialled a moment ago come last.

        parcel  or what makes it once a host is there: what can't leave is neither loaded nor signed
        turn    returns when a host may be called: meanwhile no connection is open, or taken, for the parcel
        """
        began = time.monotonic()
        tried = Tried(Reply(451, "4.4.4", "there was no host to try"), unreachable=True)
        for host in sorted(hosts, key=self._missed_lately)[:MAX_HOSTS]:
            waited = time.monotonic()
            if turn is not None:
                await turn(host)
            missed = self._missed.get((host.address, host.port))
            if missed is not None and missed[0] >= waited:  # by who had the turn before
                found, answered = _not_reached(host, missed[1])
            else:
                found, answered = await self._at(_Place(host, policy), parcel, login)
            # Who was talked to has more to say than who was not, and may take what a later one never could.
            if tried.unreachable or not (found.unreachable or answered.unable):
                tried = found
            if not answered.elsewhere:
                break
        return replace(tried, milliseconds=round((time.monotonic() - began) * 1000))

    async def close(self) -> None:
        """Part from every idle peer; attempts in flight keep theirs."""
        if self._reaper is not None:
            self._reaper.cancel()
        idle, self._idle = self._idle, {}
        for kept in idle.values():
            for _, conversation in kept:
                self._part(conversation)
        await asyncio.gather(*self._partings, return_exceptions=True)

    # ---- one host ----

    async def _at(self, place: _Place, parcel: Parcel | Maker, login: Login | None) -> tuple[Tried, Answered]:
        kept = self._take(place)
        if kept is not None:
            answered = await self._through(place, kept, parcel)
            # A kept connection may have died unseen, or be told 421: that says nothing about the host.
            stale = answered.lost and not answered.past_dot and not answered.reply.permanent
            if not stale:
                return _tried(place, kept, answered), answered
        conversation = await self._connect(place, login)
        if isinstance(conversation, Reply):
            return _not_reached(place.host, conversation)
        answered = await self._through(place, conversation, parcel)
        return _tried(place, conversation, answered), answered

    async def _through(self, place: _Place, conversation: Conversation, parcel: Parcel | Maker) -> Answered:
        try:
            made = parcel if isinstance(parcel, Parcel) else await parcel(place.host)
            answered = _of_us(await conversation.deliver(made))
        except BaseException:  # cancelled in the middle: the connection is in no known state
            conversation.abort()
            raise
        if answered.lost:
            return answered
        if answered.reply.code == 421:
            conversation.abort()
            return replace(answered, lost=True)
        self._keep(place, conversation)
        return answered

    # ---- connections ----

    async def _connect(self, place: _Place, login: Login | None) -> Conversation | Reply:
        reply = Reply(451, "4.4.1", "no connection")
        for rung in tls.LADDER[place.policy]:
            made = await self._climb(place, rung, login)
            if isinstance(made, Conversation):
                return made
            reply, again = made
            if not again:
                break
        return reply

    async def _climb(
        self, place: _Place, rung: tls.Rung, login: Login | None
    ) -> Conversation | tuple[Reply, bool]:
        """A connection on one rung of the ladder; else why not, and whether TLS was the reason."""
        state = _Climb()
        try:
            dialled = await self._dialled(place.host)
            made = await self._set_up(place, rung, login, dialled, state)
            return made if isinstance(made, Conversation) else (made, False)
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as problem:
            return _temporary(problem), state.in_tls
        finally:
            if state.client is not None and not state.taken:
                state.client.close()

    async def _set_up(
        self, place: _Place, rung: tls.Rung, login: Login | None, dialled: socket.socket, state: _Climb
    ) -> Conversation | Reply:
        context = self._context(rung)
        implicit = context is not None and place.host.port == tls.SUBMISSIONS
        name = place.host.name
        client = aiosmtplib.SMTP(
            hostname=place.host.address if name.startswith("[") else name,
            sock=dialled,
            local_hostname=self._hostname,
            timeout=self._timeouts.greeting,
            use_tls=implicit,
            start_tls=False,
            tls_context=context,
        )
        state.client, state.in_tls = client, implicit
        await state.first_words(client.connect())
        await _hello(client)
        if context is not None and not implicit and client.supports_extension("starttls"):
            state.in_tls = True
            await client.starttls()
            await state.first_words(_hello(client))
        secured = tls.described(client.get_transport_info("ssl_object"))
        if rung is tls.Rung.VERIFIED and not secured:
            return Reply(451, "4.7.0", f"{name} offers no TLS, which is required")
        if login is not None:
            if not (secured or place.host.local or place.policy is tls.Policy.NONE):
                return Reply(
                    451, "4.7.0", "the smarthost offers no TLS: the password isn't sent in the clear"
                )
            await client.login(login.username, login.password)
        if client.transport is None or not client.is_connected:
            return Reply(451, "4.4.2", "the connection was lost")
        state.taken = True
        return taken_over(client.transport, client.esmtp_extensions, secured, self._timeouts)

    async def _dialled(self, host: Host) -> socket.socket:
        """The same, and whether it went well is remembered."""
        where = host.address, host.port
        try:
            dialled = await self._dial(host)
        except OSError as problem:  # time-outs, too
            self._missed.pop(where, None)
            self._missed[where] = time.monotonic(), _temporary(problem)
            if len(self._missed) > _MISSED:
                del self._missed[next(iter(self._missed))]
            raise
        self._missed.pop(where, None)
        return dialled

    def _missed_lately(self, host: Host) -> bool:
        missed = self._missed.get((host.address, host.port))
        return missed is not None and missed[0] > time.monotonic() - _MISSED_SECONDS

    async def _dial(self, host: Host) -> socket.socket:
        """A connected socket: the address was chosen by `net.route`, so nothing is resolved here."""
        family = socket.AF_INET6 if ":" in host.address else socket.AF_INET
        dialled = socket.socket(family, socket.SOCK_STREAM)
        try:
            dialled.setblocking(False)
            async with asyncio.timeout(self._timeouts.dial):
                await asyncio.get_running_loop().sock_connect(dialled, (host.address, host.port))
        except BaseException:
            dialled.close()
            raise
        return dialled

    def _context(self, rung: tls.Rung) -> ssl.SSLContext | None:
        if rung is tls.Rung.PLAIN:
            return None
        return self._contexts.verified if rung is tls.Rung.VERIFIED else self._contexts.unverified

    # ---- keeping them ----

    def _take(self, place: _Place) -> Conversation | None:
        kept = self._idle.get(place)
        while kept:
            _, conversation = kept.pop()  # the one used last: the others may run out
            if conversation.usable:
                return conversation
            conversation.abort()
        return None

    def _keep(self, place: _Place, conversation: Conversation) -> None:
        kept = self._idle.setdefault(place, [])
        if not conversation.usable or conversation.transactions >= _TRANSACTIONS or len(kept) >= _IDLE:
            self._part(conversation)
            return
        kept.append((time.monotonic(), conversation))
        if self._reaper is None:
            self._reaper = asyncio.get_running_loop().call_later(_IDLE_SECONDS / 2, self._reap)

    def _reap(self) -> None:
        """Part from who was idle for long; comes again while somebody is kept."""
        oldest = time.monotonic() - _IDLE_SECONDS
        for place, kept in list(self._idle.items()):
            for since, conversation in kept:
                if since < oldest:
                    self._part(conversation)
            kept[:] = [(since, conversation) for since, conversation in kept if since >= oldest]
            if not kept:
                del self._idle[place]
        self._reaper = (
            asyncio.get_running_loop().call_later(_IDLE_SECONDS / 2, self._reap) if self._idle else None
        )

    def _part(self, conversation: Conversation) -> None:
        parting = asyncio.get_running_loop().create_task(conversation.quit())
        self._partings.add(parting)
        parting.add_done_callback(self._partings.discard)


async def _hello(client: aiosmtplib.SMTP) -> None:
    """EHLO, and HELO for who doesn't know it (RFC 5321 §3.2)."""
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError as refusal:
        # A 4xx is of this moment: whoever knows EHLO would have to do without what it offers.
        if refusal.code // 100 not in (2, 5) or not client.is_connected:
            raise
        await client.helo()


def _of_us(answered: Answered) -> Answered:
    """RFC 4954 §6, RFC 3207 §4: who wants a login or TLS first has refused us, and not the message."""
    if answered.reply.code != 530 or answered.of_message:
        return answered
    said = heard(451, f"4.7.0 the host refused us: {answered.reply.shown}")
    return replace(answered, reply=said, elsewhere=True)


def _not_reached(host: Host, reply: Reply) -> tuple[Tried, Answered]:
    return Tried(reply, str(host), unreachable=True), Answered(reply, elsewhere=True)


def _tried(place: _Place, conversation: Conversation, answered: Answered) -> Tried:
    return Tried(
        answered.reply,
        str(place.host),
        conversation.tls,
        past_dot=answered.past_dot,
        unreachable=answered.silent,
        of_message=answered.of_message,
    )


def _temporary(problem: Exception) -> Reply:
    """What went wrong before MAIL, as a 4xx: it says nothing about the message."""
    if isinstance(problem, aiosmtplib.SMTPResponseException):
        said = heard(problem.code, problem.message)
        words = f"{said.status} {said.text}".strip()
        stage = "the login" if isinstance(problem, aiosmtplib.SMTPAuthenticationError) else "us"
        return heard(451, f"4.7.0 the host refused {stage}: {said.code} {words}")
    if isinstance(problem, ssl.SSLCertVerificationError):
        return heard(451, f"4.7.5 the host's certificate is not good: {problem.verify_message}")
    if isinstance(problem, ssl.SSLError):
        return heard(451, f"4.7.5 TLS failed: {problem.reason or 'no reason given'}")
    if isinstance(problem, TimeoutError):
        return Reply(451, "4.4.1", "the host didn't answer in time")
    if isinstance(problem, ConnectionRefusedError):
        return Reply(451, "4.4.1", "connection refused")
    return heard(451, f"4.4.1 no connection: {problem}")
