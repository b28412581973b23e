"""A small receiving mail server, for the demo and the tests: the network's far end.

It keeps what it was given, octet for octet (dots unstuffed), and answers as it was told:
greylisting, refusing, hanging, going away before or after the dot.  It is no part of the
office's own way of a message.

Sources: RFC 5321 (SMTP), RFC 2920 (PIPELINING), RFC 3207 (STARTTLS), RFC 4954 (AUTH).
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from types import TracebackType

from sortingoffice.frozen import dataclass
from sortingoffice.net.conversing import Conversing

DROP = "drop"  # close the connection instead of answering
HANG = "hang"  # never answer, until the client goes away
_MAX = 256 * 1024 * 1024
_PATH = re.compile(r"(?i)(?:from|to):\s*<([^>]*)>\s*(.*)")

EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE 52428800")


@dataclass(frozen=True, slots=True)
class Late:
    """An answer after so many seconds."""

    seconds: float
    answer: str


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it came.

    session     number of the connection that brought it, from 1
    sender      between the brackets of MAIL, as written; "" for null
    parameters  of MAIL, as written: "BODY=8BITMIME SIZE=1234"
    recipients  of the accepted RCPTs, as written
    octets      after unstuffing; the line end before the dot is included
    username    whom the client authenticated as, "" nobody
    """

    session: int
    peer: str
    helo: str
    tls: str
    username: str
    sender: str
    parameters: str
    recipients: tuple[str, ...]
    octets: bytes
    at: float


Answer = str | Late
Answers = dict[str, Answer | list[Answer]]


@dataclass(slots=True)
class Sink:
    """The server.  `answers` may be changed while it runs.

    answers     what to say instead of the usual, by "CONNECT", verb ("EHLO", "MAIL", "RCPT", "DATA",
                "RSET", "QUIT"), "." for after the data, or "RCPT address": a reply ("451 4.7.1 later";
                lines joined with CR LF), DROP, HANG or Late(seconds, …).  A list is used up one by one.
    extensions  EHLO keywords; STARTTLS and AUTH come by `tls` and `users`
    users       name → password, for AUTH PLAIN and LOGIN
    received    what was taken, also where the connection was then dropped at the dot
    commands    every command line, "(session) line"
    """

    hostname: str = "sink.example"
    extensions: Sequence[str] = EXTENSIONS
    answers: Answers = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    implicit_tls: bool = False
    users: dict[str, str] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    sessions: int = 0
    open_sessions: int = 0
    most_open: int = 0
    port: int = 0
    on_message: Callable[[Received], None] | None = None
    _news: threading.Condition = field(default_factory=threading.Condition)
    _server: Conversing | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None
    _end: asyncio.Event | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; `self.port` is the port."""
        context = self.tls if self.implicit_tls else None
        self._server = Conversing(self._serve)
        self.port = await self._server.listen(host, port, limit=_MAX, context=context)

    async def close(self) -> None:
        """Stop listening and end every session."""
        if self._server is not None:
            await self._server.close()

    def start_in_thread(self, host: str = "127.0.0.1", port: int = 0) -> Sink:
        """Listen in a thread with its own loop; returns itself when the port is open."""
        ready = threading.Event()
        failure: list[BaseException] = []

        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            try:
                await self.start(host, port)
            except OSError as problem:
                failure.append(problem)
                return
            finally:
                ready.set()
            self._end = asyncio.Event()
            await self._end.wait()
            await self.close()

        self._thread = threading.Thread(target=asyncio.run, args=(main(),), name="sink", daemon=True)
        self._thread.start()
        ready.wait()
        if failure:
            raise failure[0]
        return self

    def stop(self) -> None:
        """End the thread."""
        if self._thread is None or self._loop is None:
            return
        loop = self._loop
        if not loop.is_closed():
            loop.call_soon_threadsafe(lambda: self._end.set() if self._end else None)
        self._thread.join(10)
        self._thread = None

    def __enter__(self) -> Sink:
        return self if self._thread else self.start_in_thread()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait(self, n: int = 1, timeout: float = 10) -> list[Received]:
        """Block until `n` messages are here; returns all of them.  From another thread than the loop's.

        Raises TimeoutError with what came instead.
        """
        with self._news:
            if not self._news.wait_for(lambda: len(self.received) >= n, timeout):
                came = [(message.sender, message.recipients) for message in self.received]
                raise TimeoutError(f"{len(came)} of {n} messages after {timeout} s: {came}")
            return list(self.received)

    def take(self, message: Received) -> None:
        with self._news:
            self.received.append(message)
            self._news.notify_all()
        if self.on_message is not None:
            self.on_message(message)

    def answer(self, *keys: str) -> Answer | None:
        """What was programmed for the first of the keys that has something left."""
        for key in keys:
            planned = self.answers.get(key)
            if isinstance(planned, list):
                if planned:
                    return planned.pop(0)
            elif planned is not None:
                return planned
        return None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sessions += 1
        self.open_sessions += 1
        self.most_open = max(self.most_open, self.open_sessions)
        try:
            await _Session(self, self.sessions, reader, writer).run()
        except _Dropped:
            pass
        finally:
            self.open_sessions -= 1


class _Dropped(Exception):
    pass


@dataclass(slots=True)
class _Session:
    """One conversation."""

    sink: Sink
    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    helo: str = ""
    tls: str = ""
    username: str = ""
    sender: str | None = None
    parameters: str = ""
    recipients: tuple[str, ...] = ()

    async def run(self) -> None:
        if self.sink.implicit_tls:
            self._note_tls()
        await self.say(f"220 {self.sink.hostname} ESMTP", "CONNECT")
        while line := await self.reader.readline():
            text = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
            self.sink.commands.append(f"({self.number}) {text}")
            verb, _, rest = text.partition(" ")
            step = getattr(self, f"on_{verb.lower()}", None)
            if step is None:
                await self.say("500 5.5.2 what?")
            elif await step(rest.strip()):
                return

    async def say(self, usual: str, *keys: str) -> str:
        """Answer as programmed, else as usual; returns what was said."""
        answer = self.sink.answer(*keys)
        if isinstance(answer, Late):
            await asyncio.sleep(answer.seconds)
            answer = answer.answer
        if answer == HANG:
            await self.reader.read()
            raise _Dropped
        if answer == DROP:
            self.writer.transport.abort()
            raise _Dropped
        text = answer or usual
        self.writer.write(text.encode("utf-8", "surrogateescape") + b"\r\n")
        await self.writer.drain()
        return text

    async def on_ehlo(self, rest: str) -> None:
        self.helo, self.sender, self.recipients = rest, None, ()
        lines = [self.sink.hostname, *self.sink.extensions]
        if self.sink.tls and not self.tls:
            lines.append("STARTTLS")
        if self.sink.users:
            lines.append("AUTH PLAIN LOGIN")
        last = len(lines) - 1
        await self.say("\r\n".join(f"250{' ' if i == last else '-'}{x}" for i, x in enumerate(lines)), "EHLO")

    async def on_helo(self, rest: str) -> None:
        self.helo, self.sender, self.recipients = rest, None, ()
        await self.say(f"250 {self.sink.hostname}", "HELO")

    async def on_starttls(self, rest: str) -> None:
        if self.sink.tls is None:
            await self.say("502 5.5.1 no TLS here")
            return
        if (await self.say("220 2.0.0 go ahead", "STARTTLS")).startswith("220"):
            await self.writer.start_tls(self.sink.tls)
            self._note_tls()

    def _note_tls(self) -> None:
        cipher = self.writer.get_extra_info("cipher")
        version = self.writer.get_extra_info("ssl_object").version()
        self.tls = f"{version} {cipher[0]}"

    async def on_auth(self, rest: str) -> None:
        method, _, initial = rest.partition(" ")
        if method.upper() == "PLAIN":
            _, name, password = (await self._secret(initial, "")).split("\0")
        else:
            name = await self._secret(initial, "VXNlcm5hbWU6")
            password = await self._secret("", "UGFzc3dvcmQ6")
        good = self.sink.users.get(name) == password
        said = await self.say("235 2.7.0 welcome" if good else "535 5.7.8 no", "AUTH")
        self.username = name if said.startswith("235") else ""

    async def _secret(self, initial: str, challenge: str) -> str:
        if not initial:
            await self.say(f"334 {challenge}")
            initial = (await self.reader.readline()).decode("ascii", "replace").strip()
        return base64.b64decode(initial).decode("utf-8", "replace")

    async def on_mail(self, rest: str) -> None:
        path = _PATH.fullmatch(rest)
        usual = "250 2.1.0 ok" if path else "501 5.5.4 syntax"
        if self.sink.users and not self.username:
            usual = "530 5.7.0 authentication required"
        if (await self.say(usual, f"MAIL {path[1] if path else ''}", "MAIL")).startswith("2") and path:
            self.sender, self.parameters, self.recipients = path[1], path[2], ()

    async def on_rcpt(self, rest: str) -> None:
        path = _PATH.fullmatch(rest)
        usual = "501 5.5.4 syntax" if not path else "250 2.1.5 ok"
        if self.sender is None:
            usual = "503 5.5.1 MAIL first"
        if (await self.say(usual, f"RCPT {path[1] if path else ''}", "RCPT")).startswith("2") and path:
            self.recipients += (path[1],)

    async def on_data(self, rest: str) -> None:
        usual = "354 go on" if self.recipients else "554 5.5.1 no valid recipients"
        if not (await self.say(usual, "DATA")).startswith("3"):
            return
        octets = await self._data()
        message = Received(
            self.number,
            self.writer.get_extra_info("peername")[0],
            self.helo,
            self.tls,
            self.username,
            self.sender or "",
            self.parameters,
            self.recipients,
            octets,
            time.time(),
        )
        self.sender, self.recipients = None, ()
        await self._end_of_data(message)

    async def _end_of_data(self, message: Received) -> None:
        answer = self.sink.answer(".")
        late = answer.seconds if isinstance(answer, Late) else 0.0
        text = answer.answer if isinstance(answer, Late) else answer
        await asyncio.sleep(late)
        if text is None or text.startswith("2") or text in (DROP, HANG):
            self.sink.take(replace(message, at=time.time()))
        if text == DROP:
            self.writer.transport.abort()
            raise _Dropped
        if text == HANG:
            await self.reader.read()
            raise _Dropped
        await self.say(text or "250 2.0.0 taken")

    async def _data(self) -> bytes:
        # Only CR LF . CR LF ends it: a sink that took LF . LF would hide what we got wrong.
        chunks: list[bytes] = []
        while True:
            chunks.append(await self.reader.readuntil(b".\r\n"))
            if chunks[-1] == b".\r\n" or chunks[-1].endswith(b"\r\n.\r\n"):
                octets = b"".join(chunks)[: -len(b".\r\n")]
                return octets.removeprefix(b".").replace(b"\r\n.", b"\r\n")

    async def on_rset(self, rest: str) -> None:
        self.sender, self.recipients = None, ()
        await self.say("250 2.0.0 ok", "RSET")

    async def on_noop(self, rest: str) -> None:
        await self.say("250 2.0.0 ok", "NOOP")

    async def on_quit(self, rest: str) -> bool:
        await self.say("221 2.0.0 bye", "QUIT")
        return True
