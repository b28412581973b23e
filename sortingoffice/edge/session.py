"""One SMTP connection: octets in lines, replies in batches, deadlines, TLS; no policy.

aiosmtpd's `SMTP` makes the connection, the session and the STARTTLS layer; its reading loop is
replaced, because a stranger's octets reach it first (docs/quirks.md says what it would accept)
and because it writes each reply for itself.

Promise: whatever happens in a command, the peer gets one reply or a closed connection, and the
daemon lives.  A command is never cancelled because its client went away.

Sources: RFC 5321 §3, §4.1.1, §4.5.3.2; RFC 2920 (pipelining); RFC 3207 (STARTTLS).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, AnyStr, ClassVar, cast

from aiosmtpd.smtp import SMTP, TLSSetupException

from sortingoffice import log, metrics, transaction
from sortingoffice.core.model import Peer
from sortingoffice.edge import replies
from sortingoffice.edge.door import Door
from sortingoffice.edge.peer import listed, plain
from sortingoffice.edge.proxy import proxied
from sortingoffice.edge.reader import TOO_LONG, Hangup, Reader
from sortingoffice.mail.reply import Reply

LINE = 2048  # octets of a command line: RFC 5321 §4.5.3.1.4 and its extensions ask for less
LINGER_SECONDS = 5.0  # how long an unread last reply may hold a closing connection
LINGER_OCTETS = 2**20
HANDSHAKE_SECONDS = 30.0

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
# What an HTTP client, or a proxy that we were not told of, opens with: not worth ten errors.
_FOREIGN = frozenset({b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"PROXY"})
# Commands at which mail is not taken, where we fail.
_STAGES = {b"MAIL": "mail", b"RCPT": "rcpt", b"DATA": "data"}

Command = Callable[[Any, bytes], Awaitable[None]]


class Session(SMTP):
    """What every port has in common; `commands` are the subclass's."""

    commands: ClassVar[Mapping[bytes, Command]] = {}
    line_limit: ClassVar[int] = LINE

    def __init__(self, door: Door) -> None:
        # SMTP.__init__ looks through all members of its class for each connection (0.4 ms).  These
        # are the attributes of it that the methods which we keep use.
        self.loop = asyncio.get_running_loop()
        self._unused = asyncio.StreamReader(loop=self.loop)  # SMTP hands octets to it; ours takes them
        asyncio.StreamReaderProtocol.__init__(self, self._unused, self._cb_client_connected, self.loop)
        self.hostname = door.hostname
        self.tls_context = door.context
        self.transport = None
        self.session = None
        self.envelope = None
        self._timeout_handle = None
        self._handle_hooks = {}
        self._tls_handshake_okay = True
        self._tls_protocol = None
        self._original_transport = None
        self._handler_coroutine = None

        self.door = door
        self.wire: asyncio.Transport | None = None
        self.reader = Reader(self.loop)
        self.started = self.loop.time()
        self.connected = ""  # who speaks to us; behind a listed proxy its client, whatever XCLIENT says
        self.peer = Peer("")
        self._out: list[bytes] = []
        self._ending: asyncio.TimerHandle | None = None
        self._over = False
        self._bye = False
        self._receiving = False
        self._counted = ""  # the address under which the gate counts us
        self._give_up: Callable[[], object] | None = None  # while its TLS is not there yet
        self._commands = self._errors = 0

    # ---- the protocol: called by the transport -----------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._give_up = None
        self.door.sessions.add(self)
        self.wire = cast(asyncio.Transport, transport)
        self.reader.connect(self.wire)
        super().connection_made(transport)
        peername = transport.get_extra_info("peername")
        cipher = transport.get_extra_info("cipher")
        if not self.connected:
            self.connected = plain(peername[0]) if isinstance(peername, tuple) else "local"
        self.peer = Peer(ip=self.peer.ip or self.connected, tls=f"{cipher[1]} {cipher[0]}" if cipher else "")

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)

    def eof_received(self) -> bool:
        # What came before the end is still answered (`printf … | nc`); TLS can't be half closed.
        self.reader.feed_eof()
        return not self.peer.tls

    def connection_lost(self, error: Exception | None) -> None:
        # SMTP would cancel the command that runs: it may be between commit and 250.
        if self._original_transport is not None:
            self._original_transport.close()
        asyncio.StreamReaderProtocol.connection_lost(self, None)
        self.wire = self.transport = None
        if self._ending is not None:
            self._ending.cancel()
        self.reader.feed_eof()

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Each wait has its own limit here."""

    def reset(self) -> None:
        """No transaction is open (RFC 5321 §4.1.1.5)."""
        self.envelope = self._create_envelope()

    # ---- replies -----------------------------------------------------------------------------------

    def say(self, reply: Reply) -> None:
        """Queue a reply; it is written when nothing is left to read (RFC 2920 §3.2)."""
        self._out.append(bytes(reply))
        if reply.code == 421:
            self._over = True

    @staticmethod
    def counted(stage: str, reply: Reply) -> Reply:
        """The same, by which mail is not taken."""
        metrics.refused(stage, "refuse" if reply.permanent else "defer", replies.RULES[reply])
        return reply

    def fault(self, reply: Reply) -> None:
        """A reply to what breaks the protocol: too many, and it is over."""
        self.say(reply)
        self._errors += 1
        if self._errors >= self.door.limits.errors_per_session:
            self.say(replies.TOO_MANY_ERRORS)
            log.event("session.errors", ip=self.peer.ip, errors=self._errors)

    async def push(self, status: AnyStr) -> None:
        """What aiosmtpd itself says, which is the reply to STARTTLS; at once, and with the enhanced
        code that RFC 2034 §4 wants."""
        text = status if isinstance(status, str) else status.decode("ascii")
        self.say(Reply(int(text[:3]), f"{text[0]}.0.0", text[4:]))
        self._flush()

    def _flush(self) -> None:
        if self._out and self.wire is not None:
            self.wire.write(b"".join(self._out))
        self._out.clear()

    async def more(self, seconds: float) -> None:
        """Write what is queued, then wait for octets; raises `Hangup`."""
        self._flush()
        seconds = min(seconds, self.started + self.door.limits.session_seconds - self.loop.time())
        if self.wire is not None and self.wire.get_write_buffer_size():
            await self._written(seconds)
        await self.reader.wait(seconds)

    async def _written(self, seconds: float) -> None:
        """Until a peer that reads slowly has read enough; one that doesn't is cut off."""
        try:
            async with asyncio.timeout(seconds):
                await self._writer.drain()
        except TimeoutError:
            if self.wire is not None:
                self.wire.abort()
            raise Hangup(None) from None
        except ConnectionError:
            raise Hangup(None) from None

    # ---- the session -------------------------------------------------------------------------------

    async def _handle_client(self) -> None:
        """The whole session; replaces aiosmtpd's loop."""
        try:
            try:
                if await self.admit():
                    await self._converse()
            except Hangup as end:
                if end.reply is not None:
                    self.say(end.reply)
            except Exception as error:
                self._answer_for(error)
            await self._linger()
        finally:
            self.door.sessions.discard(self)
            self._leave()
            self._hang_up()

    @property
    def task(self) -> asyncio.Task[None] | None:
        return self._handler_coroutine

    async def admit(self) -> bool:
        """Find out who the peer is, count it in and greet it."""
        if self.door.closing:
            self.say(replies.SHUTTING_DOWN)
            return False
        if not self.peer.tls and listed(self.peer.ip, self.door.proxies):
            self.connected = await proxied(self, self.connected)
            self.peer = replace(self.peer, ip=self.connected)
        if not self._counted and not self.enter():
            return False
        self.greet()
        return True

    def secure(self, client: str, give_up: Callable[[], object]) -> bool:
        """Count the peer in before its TLS begins; whether it may.  give_up  ends its handshake"""
        self.connected = client
        self.peer = Peer(client)
        if not self.enter():  # nothing that it could read can be said before TLS
            return False
        self._give_up = give_up
        self.door.sessions.add(self)
        return True

    def missed(self) -> None:
        """TLS came to nothing, so this never became a session; nothing happens where it did."""
        if self.task is None:
            self._leave()
            self.door.sessions.discard(self)

    def enter(self) -> bool:
        """Count the peer in, as who it is now; one that may not come in is told, and that is all."""
        self._leave()
        rule = self.door.enter(self.peer.ip, self.loop.time())
        if rule:
            self.say(
                replies.TOO_HASTY if rule == "peer_connections_per_minute" else replies.TOO_MANY_CONNECTIONS
            )
            log.event("session.refused", ip=self.peer.ip, rule=rule)
            metrics.refused("connect", "defer", rule)
            return False
        self._counted = self.peer.ip
        return True

    def greet(self) -> None:
        self._out.append(f"220 {self.hostname} ESMTP\r\n".encode("ascii"))

    @property
    def evictable(self) -> bool:
        """Whether it takes room and only waits for its peer."""
        return bool(self._counted) and (self.reader.waiting or self._give_up is not None)

    def evict(self) -> None:
        """Make room for another."""
        self._leave()
        if self._give_up is not None:
            self._give_up()
        self.reader.interrupt(replies.MAKING_ROOM)

    def dismiss(self) -> None:
        """The office shuts down: whoever waits for a command's line is told so; the rest may end."""
        if not self.busy:
            self.reader.interrupt(replies.SHUTTING_DOWN)

    def cut(self) -> None:
        """End it as it is."""
        if self.wire is not None:
            self.wire.abort()
        if self.task is not None:
            self.task.cancel()
        self._leave()  # one whose task has not begun does nothing any more
        self.door.sessions.discard(self)

    @property
    def busy(self) -> bool:
        """Whether a command runs, content is on its way, or a line is to be answered."""
        return not self.reader.waiting or self._receiving

    def _leave(self) -> None:
        if self._counted:
            self.door.gate.leave(self._counted)
            self._counted = ""

    async def _converse(self) -> None:
        while not self._over:
            line = self.reader.line(self.line_limit)
            if line is None:
                await self.more(self.door.limits.command_seconds)
                continue
            self._commands += 1
            if self._commands > self.door.limits.commands_per_session:
                self.say(replies.TOO_MANY_COMMANDS)
                return
            try:
                await self._command(line)
            except (Hangup, TLSSetupException):
                raise
            except Exception as error:  # answered 451, logged once
                self._answer_for(error, _STAGES.get(line[:4].upper(), ""))
            if self.door.closing and not self._over:
                self.say(replies.SHUTTING_DOWN)

    async def _command(self, line: bytes) -> None:
        text = line[:-2].rstrip(b" \t")  # RFC 5321 §4.1.1: trailing blanks are tolerated
        if line == TOO_LONG:
            self.fault(replies.LINE_TOO_LONG)
        elif not line.endswith(b"\r\n") or _CONTROL.search(text):
            self.fault(replies.BAD_LINE_END)
        else:
            verb, _, argument = text.partition(b" ")
            command = self.commands.get(verb.upper())
            if command is not None:
                await command(self, argument.strip(b" "))
            elif verb.upper() in _FOREIGN:
                self.say(replies.NOT_SMTP)
                self._over = True
            else:
                self.fault(replies.UNKNOWN)

    def _answer_for(self, error: Exception, stage: str = "") -> None:
        """451 for what we could not foresee: never 5xx, never 250, never its words."""
        self.say(replies.LOCAL_ERROR)
        unavailable = isinstance(error, self.door.hooks.unavailable)
        if stage:
            metrics.refused(stage, "defer", "unavailable" if unavailable else "internal_error")
        if unavailable:
            log.event("session.unavailable", ip=self.peer.ip, message=transaction.message(), why=error)
        else:
            log.bug("session.bug", error, ip=self.peer.ip, message=transaction.message())

    # ---- TLS ---------------------------------------------------------------------------------------

    async def starttls(self, argument: bytes) -> None:
        if argument:
            self.fault(replies.NO_ARGUMENT)
        elif self.peer.tls or self.door.context is None:
            self.fault(replies.TLS_NOT_OFFERED)
        elif not self.reader.empty:
            # Octets that came in the clear must not be read as if TLS had protected them
            # (RFC 3207 §4.2, CVE-2011-0411).
            self.say(replies.NOTHING_AFTER_STARTTLS)
            self._over = True
        else:
            self.tls_context = self.door.context
            try:
                async with asyncio.timeout(HANDSHAKE_SECONDS) as deadline:
                    self._give_up = lambda: deadline.reschedule(self.loop.time())
                    await self.smtp_STARTTLS("")
            except (TLSSetupException, TimeoutError) as error:
                log.debug("session.tls", ip=self.peer.ip, error=error.__cause__ or "timed out")
                raise Hangup(None) from None
            finally:
                self._give_up = None

    # ---- the end -----------------------------------------------------------------------------------

    async def _linger(self) -> None:
        """Let the last reply arrive: closing over unread octets would reset the connection."""
        self._flush()
        if self.wire is None or self.wire.is_closing() or not self.wire.can_write_eof():
            return
        if self.reader.arrived == 0 or (self.reader.empty and (self._bye or self.door.closing)):
            return  # nothing is unread, and nobody waits for more
        end = self.loop.time() + LINGER_SECONDS
        with suppress(Hangup, OSError):  # OSError: the peer has reset the connection
            self.wire.write_eof()
            enough = self.reader.arrived + LINGER_OCTETS
            while self.reader.arrived < enough:
                self.reader.take()
                await self.reader.wait(end - self.loop.time())

    def _hang_up(self) -> None:
        self._flush()
        wire, self.wire = self.wire, None
        if wire is not None:
            unsent = wire.get_write_buffer_size()
            wire.close()
            if unsent or self.peer.tls:  # TLS waits for the peer to say that it ends, too
                self._ending = self.loop.call_later(LINGER_SECONDS, wire.abort)
