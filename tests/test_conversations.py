"""SMTP dialogues as files, spoken over a real socket to a real edge.

    # words          what the dialogue promises
    = limits.x 3     a key of the config
    @ submission     the port (else port 25)
    C: text          a line; lines that follow each other leave in one write
    C+ text          octets without a line end
    --               what was collected leaves now, and some time passes
    T:               the client begins TLS
    S: pattern       one line, with `*`; `S: ...` skips lines until the next pattern fits
    S.               the server has closed
    M: pattern       in the order of arrival, the messages that came through as
                     `sender → recipients | content`; `M: none`

In C: \\r \\n \\0 \\xNN \\\\; M shows CR LF as \\r\\n and 8-bit octets as Latin-1; <<text*count>> repeats.
"""

from __future__ import annotations

import asyncio
import re
from fnmatch import translate
from pathlib import Path
from typing import Any

import pytest

from sortingoffice.core.model import Envelope
from tests.edge import Client, Flows, client, running

FILES = sorted(Path(__file__).with_name("conversations").glob("*.smtp"))
_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|(.))")
_REPEAT = re.compile(r"<<(.+?)\*(\d+)>>")
_NAMED = {b"r": b"\r", b"n": b"\n", b"0": b"\0", b"\\": b"\\", b"t": b"\t"}


def octets(text: str) -> bytes:
    return _ESCAPE.sub(
        lambda m: bytes.fromhex(m[1].decode()) if m[1] else _NAMED[m[2]], repeated(text).encode()
    )


def repeated(text: str) -> str:
    return _REPEAT.sub(lambda m: m[1] * int(m[2]), text)


def fits(pattern: str, line: str) -> bool:
    # Only `*` is special: brackets and question marks stand in addresses.
    return re.fullmatch(translate(re.sub(r"([\[\]?])", r"[\1]", pattern)), line) is not None


def shown(message: tuple[Envelope, bytes]) -> str:
    envelope, raw = message
    to = ",".join(map(str, envelope.recipients))
    flags = "".join(f" {name}" for name in ("body_8bit", "utf8") if getattr(envelope, name))
    content = raw.decode("latin-1").replace("\\", "\\\\").replace("\r", "\\r").replace("\n", "\\n")
    return f"{envelope.sender or '<>'} → {to}{flags} | {content}"


class Dialogue:
    """One file, spoken."""

    def __init__(self, client: Client, flows: Flows) -> None:
        self.client = client
        self.flows = flows
        self.out = b""
        self.skipping = False
        self.seen = 0

    async def step(self, mark: str, text: str) -> None:
        if mark == "C:":
            self.out += octets(text) + b"\r\n"
        elif mark == "C+":
            self.out += octets(text)
        else:
            await self.send()
            await self.other(mark, text)

    async def other(self, mark: str, text: str) -> None:
        if mark == "--":
            await asyncio.sleep(0.05)
        elif mark == "T:":
            await self.client.starttls()
        elif mark == "S." or text == "...":
            self.skipping = True
            if mark == "S.":
                assert await self.line() == "", "the server has not closed"
        elif mark == "S:":
            line = await self.line()
            while self.skipping and not fits(text, line):
                assert line, f"closed before {text!r}"
                line = await self.line()
            self.skipping = False
            assert fits(text, line), f"{line!r} is not {text!r}"
        else:
            assert mark == "M:", mark
            await self.message(text)

    async def send(self) -> None:
        if self.out:
            self.client.writer.write(self.out)
            self.out = b""
            await self.client.writer.drain()

    async def line(self) -> str:
        try:
            octets = await asyncio.wait_for(self.client.reader.readline(), 10)
        except ConnectionResetError:
            return ""
        assert octets == b"" or octets.endswith(b"\r\n")
        return octets.decode("ascii").removesuffix("\r\n")

    async def message(self, text: str) -> None:
        messages = self.flows.messages[self.seen :]
        if text == "none":
            assert messages == []
        else:
            assert messages, "no further message"
            found = shown(messages[0])
            assert fits(repeated(text), found), f"{found[:200]!r} is not {text!r}"
            self.seen += 1


def read(path: Path) -> tuple[str, dict[str, Any], list[tuple[str, str]]]:
    port, keys, steps = "smtp", {}, []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        mark, text = line[:2], line[3:]
        if not line or line.startswith("#"):
            continue
        if line.startswith("@ "):
            port = line[2:]
        elif line.startswith("= "):
            name, _, value = line[2:].partition(" ")
            keys[name.replace(".", "__")] = int(value) if value.isdigit() else value.split(",")
        else:
            assert mark in ("C:", "C+", "S:", "S.", "T:", "M:", "--"), f"{path.name}:{number}: {line}"
            steps.append((mark, text))
    return port, keys, steps


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_the_dialogue_goes_as_written(path: Path) -> None:
    port, keys, steps = read(path)
    flows = Flows()
    async with running(flows, **keys) as edge, client(getattr(edge, port)[0].port) as peer:
        dialogue = Dialogue(peer, flows)
        for number, (mark, text) in enumerate(steps, 1):
            try:
                await dialogue.step(mark, text)
            except AssertionError as error:
                raise AssertionError(f"{path.name}, step {number} ({mark} {text[:60]}): {error}") from None
        await dialogue.send()
    assert len(flows.messages) == dialogue.seen, "messages came through that the dialogue does not name"


def test_there_are_dialogues() -> None:
    assert len(FILES) > 30
