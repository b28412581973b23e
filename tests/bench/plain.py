"""A forwarder as one writes it in an afternoon: aiosmtpd's handler signs with dkimpy and forwards by
aiosmtplib before it answers 250.  Nothing is verified, and nothing is kept on disk.

`python -m tests.bench.plain PORT SINK_HOST SINK_PORT ALIASES KEY` runs it as a process of its own.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiosmtplib
import dkim
from aiosmtpd.smtp import SMTP, Envelope, Session

from sortingoffice.cli.stage import free_port
from sortingoffice.mail import keys
from tests.bench import residents
from tests.bench.letters import HOME, HOSTNAME, OFFICE
from tests.bench.system import System, listens, started, stopped

NAME = "plain aiosmtpd handler"


@contextmanager
def running(folder: Path, sink: tuple[str, int], aliases: int) -> Iterator[System]:
    folder.mkdir()
    key = folder / "dkim.pem"
    key.write_bytes(keys.generate_rsa()[0])
    port = free_port()
    log = folder / "log"
    arguments = [sys.executable, "-m", "tests.bench.plain", port, *sink, aliases, key]
    process = started([str(each) for each in arguments], log)
    try:
        listens(port, log, speaks=b"220")
        proofs = (rb"DKIM-Signature: [^\n]*a=rsa-sha256",)
        yield System(NAME, port, lambda: [process.pid], proofs, share=0.15)
    finally:
        stopped(process)


class _Handler:
    def __init__(self, host: str, port: int, aliases: dict[str, str], key: bytes) -> None:
        self._next_hop = host, port
        self._aliases = aliases
        self._key = key

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address not in self._aliases:
            return "550 5.1.1 no such address"
        envelope.rcpt_tos.append(self._aliases[address])
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        signature = dkim.sign(
            envelope.content,
            b"plain",
            OFFICE.encode(),
            self._key,
            canonicalize=(b"relaxed", b"relaxed"),
            include_headers=[b"from", b"to", b"subject", b"date", b"message-id"],
        )
        host, port = self._next_hop
        sender = f"forward@{OFFICE}"
        octets = signature + envelope.content
        await aiosmtplib.send(
            octets, sender=sender, recipients=envelope.rcpt_tos, hostname=host, port=port, start_tls=False
        )
        return "250 OK"


async def _serve(port: int, handler: _Handler) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, hostname=HOSTNAME, data_size_limit=40_000_000), "127.0.0.1", port
    )
    await server.serve_forever()


def main() -> None:
    port, host, sink_port, count, key = sys.argv[1:]
    aliases = {residents.alias(number): f"person{number // 100}@{HOME}" for number in range(int(count))}
    asyncio.run(_serve(int(port), _Handler(host, int(sink_port), aliases, Path(key).read_bytes())))


if __name__ == "__main__":
    main()
