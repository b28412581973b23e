"""The receiver of everything: takes any message on one port, in a thread of its own, and keeps its name
and time.

Leaner than `net.sink`, for it shares the processors with what is measured.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from types import TracebackType
from typing import Self, cast

import uvloop

_NAME = re.compile(rb"(?im)^Message-ID:\s*<([^>]*)>")
_HELLO = b"250-sink.home.example\r\n250-PIPELINING\r\n250-SIZE 99999999\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
_END = b"\r\n.\r\n"


class Sink:
    """The server.

    arrived  Message-ID → when its dot came (CLOCK_MONOTONIC)
    doubles  messages that came again
    last     the latest message, envelope sender first: to look at what was done to it
    """

    def __init__(self, host: str = "127.0.0.3") -> None:
        self.host = host
        self.port = 0
        self.arrived: dict[str, float] = {}
        self.doubles = 0
        self.last = b""
        self._ready = threading.Event()
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="sink", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the sink did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        listening = socket.create_server((self.host, 0), backlog=512)
        self.port = listening.getsockname()[1]
        server = self._loop.run_until_complete(
            self._loop.create_server(lambda: _Session(self), sock=listening)
        )
        self._ready.set()
        self._loop.run_forever()
        server.close()
        self._loop.close()

    def forget(self) -> None:
        self.arrived.clear()
        self.doubles = 0

    def wait(self, count: int, seconds: float) -> None:
        """Until so many different messages are here; SystemExit where they don't come."""
        end = time.monotonic() + seconds
        while len(self.arrived) < count:
            if time.monotonic() > end:
                raise SystemExit(f"{len(self.arrived)} of {count} messages arrived within {seconds:.0f} s")
            time.sleep(0.02)

    def take(self, sender: bytes, octets: bytes) -> None:
        match = _NAME.search(octets, 0, 65536)
        name = match[1].decode("ascii", "replace") if match else ""
        if name in self.arrived:
            self.doubles += 1
        self.last = sender + b"\r\n" + octets
        self.arrived[name] = time.monotonic()


class _Session(asyncio.Protocol):
    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = b""
        self._pieces: list[bytes] | None = None  # of the message, while one comes
        self._sender = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(b"220 sink.home.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        said: list[bytes] = []
        while self._content(said) if self._pieces is not None else self._command(said):
            pass
        if said:
            self._transport.write(b"".join(said))

    def _content(self, said: list[bytes]) -> bool:
        """Whether the message has ended."""
        assert self._pieces is not None
        end = self._buffer.find(_END)
        if end < 0:
            if len(self._buffer) > 65536:  # a long one is not searched again from its start
                self._pieces.append(self._buffer[:-4])
                self._buffer = self._buffer[-4:]
            return False
        octets = b"".join(self._pieces) + self._buffer[: end + 2]
        self._buffer = self._buffer[end + 5 :]
        self._pieces = None
        self._sink.take(self._sender, octets)
        said.append(b"250 2.0.0 taken\r\n")
        return True

    def _command(self, said: list[bytes]) -> bool:
        """Whether there was a line."""
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        verb = line[:4].upper()
        if verb == b"DATA":
            self._pieces = []
            said.append(b"354 go on\r\n")
        elif verb == b"EHLO":
            said.append(_HELLO)
        elif verb == b"QUIT":
            said.append(b"221 2.0.0 bye\r\n")
        else:
            if verb == b"MAIL":
                self._sender = line
            said.append(b"250 2.0.0 ok\r\n")
        return True
