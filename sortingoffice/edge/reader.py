"""The octets of one connection, in the order they came.

Promise: at most `HIGH_WATER` octets and one read of the transport are held; a line is handed out
only when its LF has come; what was not asked for stays.  Waiting ends with more octets or with a
`Hangup`, and never later than its limit.

Sources: RFC 5321 §2.3.8 (lines), §4.5.3.2 (time-outs).
"""

from __future__ import annotations

import asyncio

from sortingoffice.edge.replies import TIMED_OUT
from sortingoffice.mail.reply import Reply

HIGH_WATER = 131072
TOO_LONG = b""  # what `line` returns, once, for a line beyond its limit


class Hangup(Exception):
    """The session is over: the peer left (reply None), or is told why with a 421."""

    def __init__(self, reply: Reply | None) -> None:
        super().__init__(str(reply) if reply else "the peer left")
        self.reply = reply


class Reader:
    """What has arrived and is not yet read.  One task reads, the protocol feeds."""

    __slots__ = (
        "_at",
        "_buffer",
        "_ended",
        "_interrupted",
        "_loop",
        "_paused",
        "_skipping",
        "_transport",
        "_waiter",
        "arrived",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.arrived = 0  # octets, over the whole connection
        self._buffer = b""
        self._at = 0
        self._skipping = False
        self._ended = False
        self._paused = False
        self._interrupted: Reply | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.ReadTransport | None = None

    # ---- the protocol's side -----------------------------------------------------------------------

    def connect(self, transport: asyncio.ReadTransport) -> None:
        self._transport = transport
        self._paused = False

    def feed(self, octets: bytes) -> None:
        self.arrived += len(octets)
        rest = self._buffer[self._at :] if self._at else self._buffer
        self._buffer = rest + octets if rest else bytes(octets)
        self._at = 0
        if len(self._buffer) > HIGH_WATER:
            self.pause()
        self._wake()

    def pause(self) -> None:
        """Let the peer wait until what is there was read."""
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            self._paused = True

    def feed_eof(self) -> None:
        self._ended = True
        self._wake()

    def interrupt(self, reply: Reply) -> None:
        """End the next wait, or the present one, with this reply."""
        self._interrupted = reply
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # ---- the session's side ------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        return self._waiter is not None

    @property
    def empty(self) -> bool:
        return self._at >= len(self._buffer)

    def line(self, limit: int) -> bytes | None:
        """The next line with its LF; None: it hasn't come yet; `TOO_LONG`: it was, and is gone."""
        end = self._buffer.find(b"\n", self._at) + 1
        if not end:
            if len(self._buffer) - self._at > limit:
                self.take()
                self._skipping = True
            return None
        line = self._buffer[self._at : end]
        self._at = end
        self._resume()
        if self._skipping or len(line) > limit:
            self._skipping = False
            return TOO_LONG
        return line

    def take(self) -> bytes:
        """All that is there."""
        octets = self._buffer[self._at :] if self._at else self._buffer
        self._buffer, self._at = b"", 0
        self._resume()
        return octets

    def take_exactly(self, count: int) -> bytes | None:
        """That many octets, or None while fewer are there."""
        if len(self._buffer) - self._at < count:
            return None
        octets = self._buffer[self._at : self._at + count]
        self._at += count
        return octets

    def give_back(self, octets: bytes) -> None:
        """Octets that belong before everything else."""
        self._buffer, self._at = octets + self._buffer[self._at :], 0

    def _resume(self) -> None:
        if self._paused and len(self._buffer) - self._at <= HIGH_WATER // 2 and self._transport is not None:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    async def wait(self, seconds: float) -> None:
        """Until more has come; raises `Hangup` at the end, when interrupted, and after `seconds`."""
        if self._interrupted is not None:
            raise Hangup(self._interrupted)
        if self._ended:
            raise Hangup(None)
        if seconds <= 0:
            raise Hangup(TIMED_OUT)
        before = self.arrived
        waiter = self._waiter = self._loop.create_future()
        timer = self._loop.call_later(seconds, self._wake)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None
        if self._interrupted is not None:
            raise Hangup(self._interrupted)
        if self.arrived == before:
            raise Hangup(None if self._ended else TIMED_OUT)
