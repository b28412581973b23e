"""The senders: `python -m tests.bench.load PORT SESSIONS RATE LETTERS`, a process of its own.

Reads letters from a pickle, shares them among sessions (MAIL, RCPT and DATA in one write where
the server offers PIPELINING), and prints for each when its MAIL was written and when it was accepted, on
the clock that all processes of the machine share (CLOCK_MONOTONIC).
"""

from __future__ import annotations

import asyncio
import gc
import json
import pickle
import sys
import time
from collections import deque
from pathlib import Path
from typing import cast

import uvloop

from tests.bench.letters import Letter


class Load:
    """What is sent and what became of it."""

    def __init__(self, letters: list[Letter], rate: float) -> None:
        self.left = deque(letters)
        self.expected = len(letters)
        self.rate = rate
        self.times: dict[str, tuple[float, float]] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._begun = 0.0
        self._taken = 0

    def begin(self, sessions: list[Session]) -> None:
        self._begun = asyncio.get_running_loop().time()
        for session in sessions:
            session.following()

    def take(self, session: Session) -> Letter | None:
        """The next letter; None: there is none, or its time has not come and the session is told then."""
        if not self.left:
            return None
        if self.rate:
            due = self._begun + self._taken / self.rate
            loop = asyncio.get_running_loop()
            if loop.time() < due:
                loop.call_at(due, session.following)
                return None
        self._taken += 1
        return self.left.popleft()

    def accepted(self, name: str, sent: float) -> None:
        self.times[name] = (sent, time.monotonic())
        if len(self.times) == self.expected:
            self.done.set_result(None)

    def failed(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(SystemExit(f"the server said: {why}"))


class Session(asyncio.Protocol):
    """One connection; `waits` are the replies that are still to come, by what they answer."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._waits = deque(["greeting"])
        self._piped = False
        self._letter: Letter | None = None
        self._sent = 0.0
        self._over = False
        self._transport: asyncio.Transport | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._over:
            self._load.failed(f"nothing more ({error or 'it closed the connection'})")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\r\n")
        for line in lines:
            if line[4:].upper() == b"PIPELINING":
                self._piped = True
            if line[3:4] != b"-":
                self._answered(self._waits.popleft(), line)

    def _answered(self, what: str, line: bytes) -> None:
        if line[:1] != (b"3" if what == "DATA" else b"2"):
            self._load.failed(f"{line.decode(errors='replace')} (to {what})")
        elif what == "greeting":
            self._say("EHLO", b"EHLO mx.shop.example\r\n")
        elif what == "EHLO":
            self.ready.set_result(None)
        elif what == "MAIL" and not self._piped:
            self._say("RCPT", self._command("RCPT"))
        elif what == "RCPT" and not self._piped:
            self._say("DATA", b"DATA\r\n")
        elif what == "DATA":
            assert self._letter is not None
            self._say(".", self._letter.wire)
        elif what == ".":
            assert self._letter is not None
            self._load.accepted(self._letter.name, self._sent)
            self.following()

    def following(self) -> None:
        """Send the next letter."""
        self._letter = self._load.take(self)
        if self._letter is None:
            return
        self._sent = time.monotonic()
        if self._piped:
            self._waits.extend(("MAIL", "RCPT"))
            self._say("DATA", self._command("MAIL") + self._command("RCPT") + b"DATA\r\n")
        else:
            self._say("MAIL", self._command("MAIL"))

    def _command(self, verb: str) -> bytes:
        assert self._letter is not None
        if verb == "MAIL":
            return f"MAIL FROM:<{self._letter.sender}>\r\n".encode()
        return f"RCPT TO:<{self._letter.recipient}>\r\n".encode()

    def _say(self, what: str, octets: bytes) -> None:
        assert self._transport is not None
        self._waits.append(what)
        self._transport.write(octets)

    def quit(self) -> None:
        self._over = True
        assert self._transport is not None
        self._transport.write(b"QUIT\r\n")
        self._transport.close()


async def _run(
    port: int, sessions: int, rate: float, letters: list[Letter]
) -> dict[str, tuple[float, float]]:
    loop = asyncio.get_running_loop()
    load = Load(letters, rate)
    made = [
        (await loop.create_connection(lambda: Session(load), "127.0.0.1", port))[1] for _ in range(sessions)
    ]
    await asyncio.gather(*(session.ready for session in made))
    load.begin(made)
    await load.done
    for session in made:
        session.quit()
    return load.times


def main() -> None:
    port, sessions, rate, path = sys.argv[1:]
    letters: list[Letter] = pickle.loads(Path(path).read_bytes())
    gc.disable()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        times = runner.run(_run(int(port), int(sessions), float(rate), letters))
    json.dump(times, sys.stdout)


if __name__ == "__main__":
    main()
