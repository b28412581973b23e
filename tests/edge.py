"""An edge on loopback with hooks of a test's own, and a client that writes octets."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sortingoffice import config as settings
from sortingoffice.core.model import Envelope, Peer
from sortingoffice.edge.hooks import Hooks
from sortingoffice.edge.serve import Edge, serve
from sortingoffice.mail import certificate
from sortingoffice.mail.address import Address
from sortingoffice.mail.reply import Reply


@dataclass
class Flows:
    """Hooks that remember: the far side of the edge.

    Recipients at "nobody" are refused, "later" is asked to come again, "broken" raises.
    """

    messages: list[tuple[Envelope, bytes]] = field(default_factory=list)
    peers: list[Peer] = field(default_factory=list)
    passwords: dict[str, bytes] = field(default_factory=lambda: {"anna": b"correct horse"})
    asked: list[tuple[Address | None, Address]] = field(default_factory=list)
    logins: int = 0
    pause: float = 0.0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    most_at_once: int = 0
    at_once: int = 0

    async def rcpt(self, peer: Peer, sender: Address | None, recipient: Address) -> Reply:
        self.asked.append((sender, recipient))
        if recipient.local == "nobody":
            return Reply(550, "5.1.1", "no such address here")
        if recipient.local == "later":
            return Reply(451, "4.2.0", "try again later")
        if recipient.local == "broken":
            raise RuntimeError("secret detail")
        return Reply(250, "2.1.5", "recipient OK")

    async def data(self, peer: Peer, envelope: Envelope, raw: bytes) -> Reply:
        self.begun.set()
        self.at_once += len(raw)
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.pause)
        finally:
            self.at_once -= len(raw)
        if b"X-Broken:" in raw:
            raise RuntimeError("secret detail")
        if b"X-Refused:" in raw:
            return Reply(550, "5.7.1", "not wanted")
        self.peers.append(peer)
        self.messages.append((envelope, raw))
        return Reply(250, "2.0.0", "queued")

    async def authenticate(self, peer: Peer, name: str, password: bytes) -> int | None:
        self.logins += 1
        return 7 if self.passwords.get(name) == password else None

    async def mail(self, peer: Peer, sender: Address | None) -> Reply | None:
        return Reply(550, "5.7.1", "not yours") if sender and sender.local == "stranger" else None

    @property
    def hooks(self) -> Hooks:
        return Hooks(self.rcpt, self.data, self.authenticate, self.mail)


def trusting() -> ssl.SSLContext:
    """A client's context that takes any certificate."""
    made = ssl.create_default_context()
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


@cache
def context(hostname: str = "mx.sort.example") -> ssl.SSLContext:
    """A server's TLS context with a certificate made now."""
    chain, key = certificate.self_signed(hostname, datetime.now(UTC))
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        Path(folder, "chain.pem").write_bytes(chain)
        Path(folder, "key.pem").write_bytes(key)
        made.load_cert_chain(Path(folder, "chain.pem"), Path(folder, "key.pem"))
    return made


def config(**changes: Any) -> settings.Config:
    """The default config on ports that the system chooses; keys as "section__key"."""
    tables: dict[str, Any] = {"hostname": "mx.sort.example"}
    tables["smtp"] = {"listen": ["127.0.0.1:0"], "max_message_bytes": 200_000}
    tables["submission"] = {"listen": ["127.0.0.1:0"]}
    tables["limits"] = {}
    for name, value in changes.items():
        section, _, key = name.rpartition("__")
        (tables.setdefault(section, {}) if section else tables)[key] = value
    return settings.from_tables(tables, Path("/nonexistent/sortingoffice.toml"))


@asynccontextmanager
async def running(flows: Flows | None = None, *, tls: bool = True, **changes: Any) -> AsyncIterator[Edge]:
    edge = await serve(config(**changes), (flows or Flows()).hooks, context=context() if tls else None)
    edge.door.login_delay = 0.0
    try:
        yield edge
    finally:
        await edge.drain(0.2)


def tighten(edge: Edge, **limits: float) -> None:
    """Limits that no config allows, so that a test needn't wait."""
    changes: Any = limits
    edge.door.limits = replace(edge.door.limits, **changes)


class Client:
    """Octets out, lines in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, host: str = "127.0.0.1", **options: Any) -> Client:
        return cls(*await asyncio.open_connection(host, port, limit=2**20, **options))

    async def send(self, octets: bytes) -> None:
        self.writer.write(octets)
        await self.writer.drain()

    async def reply(self) -> str:
        """One reply, its lines joined by LF, without the last line end; "" at the end."""
        lines: list[str] = []
        while True:
            line = (await asyncio.wait_for(self.reader.readline(), 30)).decode()
            if not line:
                return "\n".join(lines)
            assert line.endswith("\r\n"), line
            lines.append(line[:-2])
            if line[3:4] != "-":
                return "\n".join(lines)

    async def say(self, octets: bytes | str) -> str:
        await self.send((octets.encode() if isinstance(octets, str) else octets) + b"\r\n")
        return await self.reply()

    async def begin(self, recipient: str = "x@sort.example") -> None:
        """Up to 354."""
        await self.send(b"EHLO client.example\r\nMAIL FROM:<a@b.example>\r\n")
        await self.send(f"RCPT TO:<{recipient}>\r\nDATA\r\n".encode())
        reply = await self.reply()
        while not reply.startswith("354"):
            assert reply, "closed"
            reply = await self.reply()

    async def starttls(self) -> None:
        await self.writer.start_tls(trusting(), server_hostname="mx.sort.example")

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


@asynccontextmanager
async def client(port: int, **options: Any) -> AsyncIterator[Client]:
    one = await Client.connect(port, **options)
    try:
        yield one
    finally:
        await one.close()
