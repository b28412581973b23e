"""Who writes to the office: vendors to aliases, the person to reverse aliases.

A sender that isn't answered sends the same message again, as a mail server does, so that a 250
that got lost is part of the test.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from sortingoffice.cli.stage import MAILBOX, ORDERS, VENDOR

_PATIENCE = 15.0
_FILLER = b"0123456789 the quick brown fox jumps over the lazy dog.\r\n..a dot\r\n"


@dataclass(frozen=True, slots=True)
class Target:
    """One address that may be written to; its name is how the reckoning finds the recipient."""

    address: str
    relationship: int
    outward: bool


@dataclass(frozen=True, slots=True)
class Letter:
    name: str
    sender: str
    to: tuple[Target, ...]
    octets: bytes


@dataclass
class Promises:
    """What was answered 250, and how often anything else.

    kept   (subject, relationship, outward) of each accepted recipient
    other  first digit and enhanced code of what was answered instead → how often
    """

    kept: set[tuple[str, int, bool]] = field(default_factory=set)
    messages: int = 0
    tries: int = 0
    other: dict[str, int] = field(default_factory=dict)


class Gone(Exception):
    """The office left us without an answer."""


class Senders:
    """`rate` messages a second in all, over `sessions` connections, until `stop`.

    rate  may be changed while they run
    """

    def __init__(self, targets: list[Target], port: int, *, rate: float, seed: int) -> None:
        self.promises = Promises()
        self.rate = rate
        self._in = [target for target in targets if not target.outward]
        self._out = [target for target in targets if target.outward]
        self._port = port
        self._next = 0.0
        self._number = 0
        self._random = random.Random(seed)
        self._stopping = False

    async def run(self, sessions: int) -> None:
        await asyncio.gather(*(self._session() for _ in range(sessions)))

    def stop(self) -> None:
        self._stopping = True

    async def _turn(self) -> None:
        """Until it is time for the next letter, at the wanted rate."""
        loop = asyncio.get_running_loop()
        self._next = max(self._next + 1 / self.rate, loop.time() - 1)
        await asyncio.sleep(max(0.0, self._next - loop.time()))

    async def _session(self) -> None:
        letter: Letter | None = None
        while not self._stopping:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            try:
                await self._expect(reader, b"2")
                writer.write(f"EHLO mx.{VENDOR}\r\n".encode())
                await self._expect(reader, b"2")
                while not self._stopping:
                    if letter is None:
                        await self._turn()
                        letter = self._letter()
                    if await self._sent(reader, writer, letter):
                        letter = None
            except (OSError, Gone, TimeoutError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.02)
            finally:
                writer.close()

    def _letter(self) -> Letter:
        self._number += 1
        name = f"n{self._number}"
        outward = self._random.random() < 0.1
        chosen = self._random.sample(self._out if outward else self._in, 1 if outward else self._many())
        sender = MAILBOX if outward else ORDERS
        to = ", ".join(each.address for each in chosen)
        head = (
            f"From: {sender}\r\nTo: {to}\r\nSubject: {name}\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\n"
            f"Message-ID: <{name}@{sender.partition('@')[2]}>\r\n\r\n"
        )
        size = 200_000 if self._random.random() < 0.01 else self._random.randrange(100, 4096)
        body = _FILLER * (size // len(_FILLER) + 1)
        return Letter(name, sender, tuple(chosen), head.encode() + body)

    def _many(self) -> int:
        return self._random.choices((1, 2, 4), (8, 1, 1))[0]

    async def _sent(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, letter: Letter) -> bool:
        """Whether the letter is done with: taken, or refused for good."""
        self.promises.tries += 1
        lines = [f"MAIL FROM:<{letter.sender}>", *(f"RCPT TO:<{to.address}>" for to in letter.to), "DATA"]
        writer.write("".join(f"{line}\r\n" for line in lines).encode())
        replies = [await self._reply(reader) for _ in lines]
        taken = [to for to, reply in zip(letter.to, replies[1:-1], strict=True) if reply.startswith(b"2")]
        if not replies[-1].startswith(b"3"):
            for reply in replies:
                self._note(reply)
            writer.write(b"RSET\r\n")
            await self._expect(reader, b"2")
            await asyncio.sleep(0.05)
            return False
        stuffed = letter.octets.replace(b"\n.", b"\n..")
        for at in range(0, len(stuffed), 16384):
            writer.write(stuffed[at : at + 16384])
            await writer.drain()
        writer.write(b".\r\n")
        reply = await self._reply(reader)
        self._note(reply)
        if reply.startswith(b"2"):
            self.promises.messages += 1
            self.promises.kept.update((letter.name, to.relationship, to.outward) for to in taken)
            return True
        await asyncio.sleep(0.05)
        return reply.startswith(b"5")

    def _note(self, reply: bytes) -> None:
        if not reply.startswith((b"2", b"3")):
            key = reply[:9].decode("ascii", "replace")
            self.promises.other[key] = self.promises.other.get(key, 0) + 1

    async def _reply(self, reader: asyncio.StreamReader) -> bytes:
        while True:
            line = await asyncio.wait_for(reader.readline(), _PATIENCE)
            if not line:
                raise Gone
            if line[3:4] != b"-":
                return line

    async def _expect(self, reader: asyncio.StreamReader, digit: bytes) -> None:
        if not (await self._reply(reader)).startswith(digit):
            raise Gone
