"""Messages through the whole office on loopback, from the sender's first octet to the mailbox's server.

Each message is signed by its vendor; the office verifies SPF, DKIM and DMARC, rewrites, commits,
signs twice and delivers to a server in this process.  Beside it, as a yardstick for the machine
and the load generator, a bare aiosmtpd that accepts and forgets.

Sender, office and receiver share the machine, so the figures compare runs on one machine and
nothing else.  A case that loses or doubles a message fails the run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from sortingoffice.cli.stage import ORDERS, VENDOR, Stage, opened, until
from sortingoffice.mail import dkim
from sortingoffice.net.sink import Sink

SIZES = (4 << 10, 64 << 10)
SESSIONS = (1, 10, 50)
_TICKS = os.sysconf("SC_CLK_TCK")
_BARE = """
import asyncio
from aiosmtpd.smtp import SMTP
class Forget:
    async def handle_DATA(self, server, session, envelope):
        return "250 2.0.0 ok"
async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Forget(), hostname="bare.example"), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@dataclass(frozen=True)
class Figures:
    """One case, the median of its rounds.

    rate      messages per second, first octet sent to last message at its end
    p50, p99  milliseconds from our 250 to the mailbox's server's; 0 where nothing is delivered
    cpu       milliseconds of the server's processor time per message
    memory    the server's largest size so far, MB
    """

    server: str
    size: int
    sessions: int
    messages: int
    rate: float
    p50: float
    p99: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class Server:
    """What is measured: where it listens, which process it is, and how to see that a run has arrived."""

    name: str
    port: int
    pid: int
    recipient: str
    arrived: Callable[[int], dict[str, float]]


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m tests.bench")
    asked.add_argument("--messages", type=int, default=500, help="in each round")
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument(
        "--aliases", type=int, default=1000, help="live ones, beside the one that is written to"
    )
    asked.add_argument("--to", type=Path, default=Path("bench.json"))
    chosen = asked.parse_args()
    found: list[Figures] = []
    with opened() as stage, _bare() as bare:
        for server in (_office(stage, chosen.aliases), bare):
            for size in SIZES:
                for sessions in SESSIONS:
                    rounds = [
                        _round(stage, server, size, sessions, chosen.messages) for _ in range(chosen.rounds)
                    ]
                    found.append(_median(rounds))
                    print(_line(found[-1]), flush=True)
        assert "Traceback" not in stage.log
    chosen.to.write_text(json.dumps([asdict(each) for each in found], indent=2) + "\n")
    print(f"\nwritten to {chosen.to}; {os.cpu_count()} processors, shared by sender, server and receiver")


def _office(stage: Stage, aliases: int) -> Server:
    stage.configure(limits="connections_per_peer = 200\ncommands_per_session = 1000000")
    stage.init()
    for _ in range(0, aliases, 1000):
        stage.command("pocket", str(min(aliases, 1000)))
    alias = stage.command("new", "Lamp Shop", "--site", VENDOR)
    stage.start()
    assert stage.daemon is not None

    def arrived(count: int) -> dict[str, float]:
        until(lambda: len(stage.home.received) >= count, f"{count} messages", 300)
        return {_message_id(each.octets): each.at for each in tuple(stage.home.received)}

    return Server("sorting office", stage.smtp_port, stage.daemon.pid, alias, arrived)


@contextmanager
def _bare() -> Iterator[Server]:
    process = subprocess.Popen([sys.executable, "-c", _BARE], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        yield Server("bare aiosmtpd, discards", port, process.pid, "anna@home.example", lambda count: {})
    finally:
        process.terminate()
        process.wait(10)


def _round(stage: Stage, server: Server, size: int, sessions: int, count: int) -> Figures:
    messages = _messages(stage, server.recipient, size, count)
    _forget(stage.home)
    spent = _processor(server.pid)
    begun = time.time()
    accepted = asyncio.run(_send(server, messages, sessions))
    arrived = server.arrived(count)
    ended = max([*arrived.values(), *accepted.values()])
    if arrived and (set(arrived) != set(accepted) or len(stage.home.received) != count):
        raise SystemExit(f"{server.name}: {len(stage.home.received)} messages arrived of {count}")
    waits = sorted(max(0.0, arrived[name] - at) * 1000 for name, at in accepted.items() if name in arrived)
    return Figures(
        server.name,
        size,
        sessions,
        count,
        rate=count / (ended - begun),
        p50=waits[len(waits) // 2] if waits else 0.0,
        p99=waits[len(waits) * 99 // 100] if waits else 0.0,
        cpu=(_processor(server.pid) - spent) * 1000 / count,
        memory=_memory(server.pid),
    )


def _forget(sink: Sink) -> None:
    sink.received.clear()
    sink.commands.clear()


def _messages(stage: Stage, recipient: str, size: int, count: int) -> dict[str, bytes]:
    """By Message-ID, signed before the clock runs."""
    line = b"All work and no play makes a dull letter, and this one is as long as it was asked to be.\r\n"
    body = (line * (size // len(line) + 1))[: size - 2] + b"\r\n"
    made: dict[str, bytes] = {}
    for _ in range(count):
        name = f"{os.urandom(8).hex()}@{VENDOR}"
        head = (
            f"From: Lamp Shop <{ORDERS}>\r\nTo: {recipient}\r\nSubject: Your lamp\r\nMessage-ID: <{name}>\r\n"
            f"Date: {datetime.now(UTC):%a, %d %b %Y %H:%M:%S +0000}\r\n\r\n"
        )
        raw = head.encode() + body
        signed = dkim.sign(raw, [stage.keys[VENDOR]], datetime.now(UTC))
        made[name] = b"".join(each.raw for each in signed) + raw
    return made


async def _send(server: Server, messages: dict[str, bytes], sessions: int) -> dict[str, float]:
    """Share the messages among sessions; when each was accepted."""
    left = list(messages.items())
    accepted: dict[str, float] = {}

    async def session() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await _heard(reader, b"2")
        await _said(reader, writer, f"EHLO mx.{VENDOR}", b"2")
        while left:
            name, octets = left.pop()
            await _said(reader, writer, f"MAIL FROM:<{ORDERS}>", b"2")
            await _said(reader, writer, f"RCPT TO:<{server.recipient}>", b"2")
            await _said(reader, writer, "DATA", b"3")
            writer.write(octets.replace(b"\r\n.", b"\r\n..") + b".\r\n")
            await _heard(reader, b"2")
            accepted[name] = time.time()
        await _said(reader, writer, "QUIT", b"2")
        writer.close()

    await asyncio.gather(*(session() for _ in range(sessions)))
    return accepted


async def _said(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: str, wanted: bytes) -> None:
    writer.write(line.encode() + b"\r\n")
    await _heard(reader, wanted)


async def _heard(reader: asyncio.StreamReader, wanted: bytes) -> None:
    while True:
        line = await asyncio.wait_for(reader.readline(), 60)
        if not line.startswith(wanted):
            raise SystemExit(f"the server said: {line.decode('ascii', 'replace').strip()}")
        if line[3:4] != b"-":
            return


def _message_id(octets: bytes) -> str:
    match = re.search(rb"(?im)^Message-ID: <([^>]*)>", octets)
    return match[1].decode() if match else ""


def _processor(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / _TICKS


def _memory(pid: int) -> float:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(match[1]) / 1024 if match else 0.0


def _median(rounds: list[Figures]) -> Figures:
    def of(name: str) -> float:
        return round(float(statistics.median(getattr(each, name) for each in rounds)), 2)

    one = rounds[0]
    return Figures(
        one.server,
        one.size,
        one.sessions,
        one.messages,
        rate=of("rate"),
        p50=of("p50"),
        p99=of("p99"),
        cpu=of("cpu"),
        memory=of("memory"),
    )


def _line(of: Figures) -> str:
    return (
        f"{of.server:<24} {of.size >> 10:>3} KiB {of.sessions:>3} sessions {of.rate:>8.1f}/s "
        f"p50 {of.p50:>8.1f} ms  p99 {of.p99:>8.1f} ms  cpu {of.cpu:>6.2f} ms/message  {of.memory:>6.1f} MB"
    )


if __name__ == "__main__":
    main()
