"""The peers of a flood: slow ones, hasty ones, large ones, and honest ones among them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

DRIP_SECONDS = 10.0
PER_ADDRESS = 100  # connections, as `limits.connections_per_peer` has it
LARGE = 25 * 10**6


@dataclass(slots=True)
class Seen:
    """What became of it."""

    seconds: list[float] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    again: int = 0

    def no(self, said: str) -> None:
        self.refused[said[:60]] = self.refused.get(said[:60], 0) + 1


Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connected(port: int, address: str) -> Wire:
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))


async def reply(reader: asyncio.StreamReader) -> str:
    """The last line of a reply; "" where the connection ended."""
    while True:
        line = (await asyncio.wait_for(reader.readline(), 600)).decode("ascii", "replace")
        if line[3:4] != "-":
            return line.strip()


async def slow(port: int, number: int, seen: Seen, seconds: float = DRIP_SECONDS) -> None:
    """One byte, a long wait, one byte more; put out, it comes again."""
    words = b"EHLO slow.example\r\nMAIL FROM:<" + b"x" * 200
    while True:
        with contextlib.suppress(OSError):
            _, writer = await connected(port, f"127.0.1.{1 + number // PER_ADDRESS}")
            for at in range(len(words)):
                writer.write(words[at : at + 1])
                await writer.drain()
                await asyncio.sleep(seconds)
                if writer.is_closing():
                    break
        seen.again += 1


async def hasty(port: int, a_second: int, seen: Seen) -> None:
    """New connections at this rate, each left at once."""
    number = 0
    while True:
        number += 1
        with contextlib.suppress(OSError):
            _, writer = await connected(port, f"127.0.2.{1 + number % 200}")
            writer.transport.abort()
            seen.again += 1
        await asyncio.sleep(1 / a_second)


async def honest(port: int, letter: bytes, sender: str, to: str, seen: Seen) -> None:
    """One message from connecting to its 250."""
    before = time.monotonic()
    try:
        reader, writer = await connected(port, "127.0.0.1")
        said = await transaction(reader, writer, letter, sender, to)
    except (OSError, TimeoutError) as error:
        said = type(error).__name__
    else:
        writer.close()
    if said.startswith("250"):
        seen.seconds.append(time.monotonic() - before)
    else:
        seen.no(said)


async def transaction(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    letter: bytes,
    sender: str,
    to: str,
    head: bytes = b"",
) -> str:
    """The answer to the message, or the first that refuses it.  head: fields above the letter's"""
    said = await reply(reader)
    for line in ("EHLO mx.lampshop.example", f"MAIL FROM:<{sender}>", f"RCPT TO:<{to}>", "DATA"):
        if said[:1] not in "23" or not said:
            return said
        writer.write(f"{line}\r\n".encode())
        said = await reply(reader)
    if not said.startswith("354"):
        return said
    writer.write(head)
    for at in range(0, len(letter), 2**18):
        writer.write(letter[at : at + 2**18])
        await writer.drain()
    writer.write(b".\r\n")
    said = await reply(reader)
    writer.write(b"QUIT\r\n")
    return said


def large(empty: bool) -> bytes:
    """25 MB of lines, or of nothing but their ends; unsigned, so that none is stored."""
    head = b"From: orders@lampshop.example\r\nSubject: large\r\n\r\n"
    line = b"\r\n" if empty else b"x" * 76 + b"\r\n"
    return head + line * (LARGE // len(line))
