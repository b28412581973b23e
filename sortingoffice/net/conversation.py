"""One SMTP connection to a next hop, once it is set up: transactions, pipelined.

The connection is made by aiosmtplib (`net.relay`): greeting, EHLO, STARTTLS, AUTH.  Then the
transport is handed to the protocol here, whose inner loop costs a tenth: MAIL, RCPT and DATA go
in one write where the peer offers PIPELINING.

Promise: every end is a `Reply`; whether the whole message had been sent when the connection
was lost is always known (`past_dot`).  Octets go out as they are but for dot-stuffing; a bare CR or LF
never does.

Sources: RFC 5321 §4.1.1.4, §4.5.2 (transparency), §4.5.3.2 (time-outs); RFC 2920 (PIPELINING);
RFC 1870 (SIZE); RFC 6152 (8BITMIME); RFC 6531 (SMTPUTF8).
"""

from __future__ import annotations

import asyncio
import fcntl
import re
import sys
import termios
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import cast

from sortingoffice import failpoint, log
from sortingoffice.frozen import dataclass
from sortingoffice.mail import address
from sortingoffice.mail.reply import Reply, heard
from sortingoffice.net.parcel import PIECE, Filed, Parcel, clean, stuffed

_MAX_PENDING = 32 * 1024  # octets of a reply that doesn't end
_MOST_REPLIES = 16  # that nobody has read yet; four answer what was sent in one write
_RSET, _DATA = b"RSET\r\n", b"DATA\r\n"
_TOO_LARGE = 552  # to MAIL with SIZE, RFC 1870 §6.1; many say it without an enhanced code
_SIZE = re.compile(r"[0-9]{1,20}")  # RFC 1870 §4


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; RFC 5321 §4.5.3.2 but for `dial`, which the other hosts wait for.

    rate  octets a second, over the whole of a message: who takes a block in each 179 s takes a day for one
    """

    dial: float = 30
    greeting: float = 300
    command: float = 300
    data: float = 120
    block: float = 180
    final: float = 600
    rate: float = 2048


class Lost(Exception):
    """The connection ended, or a time ran out; str() says which."""


@dataclass(frozen=True, slots=True)
class Answered:
    """How a transaction ended.

    reply       the peer's, or a 4xx of ours
    past_dot    everything was sent and no reply came
    lost        the connection is gone; with `past_dot` false nothing was delivered
    of_message  see `Tried.of_message`
    silent      it is gone without a word, as if the host was down; not so where the peer took it too slowly
    elsewhere   another host may have it in this attempt: RFC 5321 §5.1
    unable      the host was asked nothing: by what it offers, it can't take the message
    """

    reply: Reply
    past_dot: bool = False
    lost: bool = False
    of_message: bool = False
    silent: bool = False
    elsewhere: bool = False
    unable: bool = False


class Conversation(asyncio.Protocol):
    """See above.  Not for two transactions at once.

    extensions  what EHLO offered: keyword in lower case → parameters; empty after HELO
    tls         protocol and cipher, "" for plain text
    """

    def __init__(
        self, transport: asyncio.Transport, extensions: Mapping[str, str], tls: str, timeouts: Timeouts
    ) -> None:
        self.extensions = extensions
        self.tls = tls
        self.transactions = 0
        self.transport = transport
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._pending = b""
        self._lines: list[bytes] = []  # of a reply that hasn't ended
        self._codes: list[int] = []  # of those that have one
        self._octets = 0  # of all that came since the last reply ended
        self._replies: deque[Reply] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._paused = False
        self._gone = ""  # why, once it is
        self._closed = asyncio.Event()
        self._dirty = False  # a transaction was begun and not ended: RSET first
        self._of_message = False  # whether a refusal now would be rather of the message
        self._of_mail = False  # whether it would be MAIL's
        self._all_sent = False  # the dot, too: only its reply can come
        self._slow = False
        self._unsent = 0

    # ---- asyncio's side ----

    def data_received(self, data: bytes) -> None:
        lines = (self._pending + data).split(b"\n")
        self._pending = lines.pop()
        for raw in lines:
            self._octets += len(raw) + 1
            if self._octets > _MAX_PENDING:
                return self._end("the peer's reply doesn't end")
            if self._ends(raw.rstrip(b"\r")):
                if len(self._replies) >= _MOST_REPLIES:
                    return self._end("the peer answers what it wasn't asked")
                self._replies.append(self._one())
            if self._gone:
                return None
        if len(self._pending) + self._octets > _MAX_PENDING:
            return self._end("the peer's reply doesn't end")
        self._wake()
        return None

    def _ends(self, line: bytes) -> bool:
        """Whether a reply ends with it.  One without a code may stand in a reply, or before the only one that
        can come: else a stray line after the dot would make a second copy.
        """
        code, mark = line[:3], line[3:4]
        if len(code) < 3 or not code.isdigit() or mark not in (b" ", b"\t", b"-", b""):
            if self._lines:
                self._lines.append(line)
            elif not self._all_sent:
                self._end("the peer answered something that is no SMTP reply")
            return False
        self._codes.append(int(code))
        self._lines.append(line[4:])
        return mark != b"-"

    def _one(self) -> Reply:
        """RFC 5321 §4.2.1: one code for all lines.  Where some say yes and others no, nobody knows which."""
        codes, text = self._codes, b"\n".join(self._lines)
        self._codes, self._lines, self._octets = [], [], 0
        if len({code // 100 for code in codes}) == 1:
            return heard(codes[-1], text)
        self._end("the peer contradicted itself")
        both = " and ".join(str(code) for code in dict.fromkeys(codes))
        return heard(451, f"4.5.0 the peer answered {both[:80]}: ".encode() + text)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = self._gone or "the connection was lost"
        self._closed.set()
        self._wake()

    def eof_received(self) -> bool:
        self._gone = self._gone or "the peer closed the connection"
        self._wake()
        return False

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake()

    def _wake(self) -> None:
        for waiter in (self._waiter, self._writable):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    def _end(self, why: str) -> None:
        self._gone = self._gone or why
        self.transport.abort()
        self._wake()

    # ---- what the relay does with it ----

    @property
    def usable(self) -> bool:
        """Whether another transaction may begin: alive, and nothing unasked for came in (a 421)."""
        unasked = self._replies or self._octets or self._pending
        return not (self._gone or unasked or self.transport.is_closing())

    async def deliver(self, parcel: Parcel) -> Answered:
        """One transaction; never raises for what the peer or the network does.

        Raises OSError where the parcel's own file fails, and what its `seven` raises.
        """
        refusal = self._beforehand(parcel)
        if refusal is not None:
            return Answered(refusal, unable=True)
        self.transactions += 1
        if "8bitmime" not in self.extensions and parcel.seven is not None and not parcel.octets.isascii():
            parcel = replace(parcel, octets=await parcel.seven(), seven=None)  # RFC 6152 §3
        self._of_message = self._all_sent = False
        try:
            refusal = await self._envelope(parcel)
            if refusal is None:
                failpoint.at("after-envelope")
                if not parcel.ours():
                    self._end("it may be another's to bring")
                    reply = Reply(451, "4.3.0", "we stood still, and another may be bringing it")
                    return Answered(reply, lost=True, of_message=self._of_message)
                refusal = await self._upload(parcel.octets)
        except Lost as why:
            self._end(str(why))
            reply = Reply(451, "4.4.2", f"{why} before the message was sent")
            away = not self._slow  # else it is there, and the next would be sent all of it again
            return Answered(reply, lost=True, of_message=self._of_message, silent=away, elsewhere=away)
        if refusal is not None:
            # Of the host as it is now.  A 4xx to RCPT or DATA may be greylisting, which the next begins anew.
            host = refusal.code == 421 or (refusal.temporary and self._of_mail)
            return Answered(refusal, lost=bool(self._gone), of_message=self._of_message, elsewhere=host)
        try:
            failpoint.at("after-dot")
            reply = await self._reply(self._timeouts.final)
        except Lost as why:
            return self._unknown(str(why))
        except Exception as error:  # our bug; the message was sent all the same
            log.bug("answer-missed", error)
            return self._unknown("an internal error of the office")
        except asyncio.CancelledError:
            # What is known must be told: a second copy without a name is what RFC 1047 is about.
            stopped = asyncio.current_task()
            if stopped is not None:
                stopped.uncancel()
            return self._unknown("we had to stop")
        self._dirty = False
        if reply.code < 400 and reply.code // 100 != 2:
            self._end("the peer answered the message out of order")
            reply = Reply(451, "4.5.0", f"the peer answered {reply.code} to the message")
        return Answered(reply, of_message=True)

    def _unknown(self, why: str) -> Answered:
        self._end(why)
        reply = Reply(451, "4.4.2", f"{why} after the message was sent")
        return Answered(reply, past_dot=True, lost=True, of_message=True)

    async def quit(self) -> None:
        """Part politely, within three seconds."""
        if self.usable:
            self.transport.write(b"QUIT\r\n")
            with suppress(Lost):
                await self._reply(2)
        self.transport.close()
        with suppress(TimeoutError):  # TLS says good-bye, too, and would wait for an answer for long
            async with asyncio.timeout(1):
                await self._closed.wait()
        self.transport.abort()

    def abort(self) -> None:
        self._end("we gave up")

    # ---- the transaction ----

    def _beforehand(self, parcel: Parcel) -> Reply | None:
        """What the next hop has said it can't take is not tried."""
        if parcel.needs_utf8 and "smtputf8" not in self.extensions:
            header = (parcel.sender + parcel.recipient).isascii()
            what = "a header in other letters than ASCII's" if header else "internationalised addresses"
            # RFC 6531 §3.5 and RFC 5248 X.6.7
            return Reply(550, "5.6.7", f"the next host can't take {what} (SMTPUTF8)")
        size = self.extensions.get("size", "").strip()
        if _SIZE.fullmatch(size) and 0 < int(size) < len(parcel.octets):
            most = f"the {int(size)} octets the next host takes"
            return Reply(552, "5.3.4", f"the message is larger than {most}")
        for path in (parcel.sender, parcel.recipient):
            if path and address.parse(path) is None:
                return Reply(553, "5.1.3", "the address is no mailbox address")
        return None

    def _commands(self, parcel: Parcel) -> list[tuple[bytes, float]]:
        mail = f"MAIL FROM:<{parcel.sender}>"
        if "size" in self.extensions:
            mail += f" SIZE={len(parcel.octets)}"
        if "8bitmime" in self.extensions and not parcel.octets.isascii():
            mail += " BODY=8BITMIME"
        if parcel.needs_utf8:
            mail += " SMTPUTF8"
        commands = [
            (line.encode() + b"\r\n", self._timeouts.command)
            for line in (mail, f"RCPT TO:<{parcel.recipient}>")
        ]
        if self._dirty:
            commands.insert(0, (_RSET, self._timeouts.command))
        return [*commands, (_DATA, self._timeouts.data)]

    async def _envelope(self, parcel: Parcel) -> Reply | None:
        """Up to the 354; None then, else the first refusal."""
        commands = self._commands(parcel)
        piped = "pipelining" in self.extensions
        if piped:
            self._write(b"".join(command for command, _ in commands))
        refusal: Reply | None = None
        self._dirty = True
        for command, seconds in commands:
            if not piped:
                self._write(command)
            try:
                reply = await self._reply(seconds)
            except Lost:
                if refusal is not None:
                    return refusal  # its reason came first: "421 too busy", then the end
                raise
            if command == _RSET and reply.code // 100 != 2:  # it says nothing about this message
                raise Lost(f"the peer answered {reply.code} to RSET")
            last = command == _DATA
            if refusal is None:
                self._of_mail = command.startswith(b"MAIL")
                self._of_message = last or (reply.code == _TOO_LARGE and self._of_mail)
            if last and refusal is not None and reply.code == 354:
                await self._nothing()
            elif refusal is None:
                refusal = self._refused(reply, 3 if last else 2)
                if refusal is not None and not piped:
                    return refusal
        return refusal

    def _refused(self, reply: Reply, wanted: int) -> Reply | None:
        if reply.code // 100 == wanted:
            return None
        if reply.code >= 400:
            return reply
        self._end("the peer answered out of order")
        return Reply(451, "4.5.0", f"the peer answered {reply.code} out of order")

    async def _nothing(self) -> None:
        """RFC 2920 §3.1: DATA was taken though nobody may get it, so an empty message ends it."""
        try:
            self._write(b".\r\n")
            await self._reply(self._timeouts.final)
        except Lost as why:
            self._end(str(why))
        self._dirty = False

    async def _upload(self, octets: bytes | Filed) -> Reply | None:
        """Send the message and the dot; a reply only where the peer refused while we sent.

        In pieces that leave the loop time for others.
        """
        if isinstance(octets, bytes):
            octets = clean(octets)
        begun = self._loop.time()
        pending, fresh = b"", True
        for start in range(0, len(octets), PIECE):
            if pending:
                self._write(pending)
                await self._drained(begun + self._timeouts.block + start / self._timeouts.rate)
                failpoint.at("mid-upload")
                if self._replies:
                    return self._interrupted()
            piece = octets[start : start + PIECE] if isinstance(octets, bytes) else await octets.piece(start)
            pending = stuffed(piece, fresh=fresh)
            fresh = piece.endswith(b"\n")
        if self._replies:  # it speaks of a message that it hasn't got
            return self._interrupted()
        self._write(pending + b".\r\n")
        self._all_sent = True
        return None

    def _interrupted(self) -> Reply:
        reply = self._replies.popleft()
        self._end("the peer answered before the end of the message")
        early = Reply(451, "4.5.0", f"the peer answered {reply.code} too early")
        return reply if reply.code >= 400 else early

    # ---- octets ----

    def _write(self, octets: bytes) -> None:
        if self._gone:
            raise Lost(self._gone)
        self.transport.write(octets)

    async def _reply(self, seconds: float) -> Reply:
        if not self._replies:
            deadline = self._loop.call_later(seconds, self._late, seconds)
            try:
                while not self._replies:
                    if self._gone:
                        raise Lost(self._gone)
                    self._waiter = self._loop.create_future()
                    await self._waiter
            finally:
                deadline.cancel()
                self._waiter = None
        return self._replies.popleft()

    async def _drained(self, due: float) -> None:
        """Until the peer took most of what was sent: within a block's time, and before all of it is `due`."""
        if self._paused and not self._gone:
            seconds = self._timeouts.block
            midway = self._loop.call_later(seconds / 2, self._midway)
            if due - self._loop.time() < seconds:
                deadline = self._loop.call_at(due, self._overdue)
            else:
                deadline = self._loop.call_later(seconds, self._blocked, seconds)
            try:
                while self._paused and not self._gone:
                    self._writable = self._loop.create_future()
                    await self._writable
            finally:
                midway.cancel()
                deadline.cancel()
                self._writable = None
        else:
            await asyncio.sleep(0)  # let replies in, and let others work
        if self._gone and not self._replies:
            raise Lost(self._gone)

    def _overdue(self) -> None:
        self._slow = True
        self._end("the peer takes it too slowly")

    def _midway(self) -> None:
        self._unsent = self._in_kernel()

    def _blocked(self, seconds: float) -> None:
        # The kernel holds some megabytes, and wants more only when many of them are gone.
        self._slow = self._in_kernel() < self._unsent
        self._late(seconds)

    def _in_kernel(self) -> int:
        """Octets that the peer has not got, of those that left us; 0 where that can't be known."""
        try:
            answer = fcntl.ioctl(self.transport.get_extra_info("socket"), termios.TIOCOUTQ, bytes(4))
        except (OSError, ValueError):  # closed
            return 0
        return int.from_bytes(answer, sys.byteorder)

    def _late(self, seconds: float) -> None:
        came = "only something that is no SMTP reply" if self._octets or self._pending else "no answer"
        self._end(f"{came} within {seconds:g} seconds")


def taken_over(
    transport: asyncio.BaseTransport, extensions: Mapping[str, str], tls: str, timeouts: Timeouts
) -> Conversation:
    """Make the connection that aiosmtplib set up ours."""
    conversation = Conversation(cast(asyncio.Transport, transport), extensions, tls, timeouts)
    transport.set_protocol(conversation)
    return conversation
