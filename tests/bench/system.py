"""What is measured: a mail server that runs, and how to see that it does its work."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class System:
    """A server under test.

    roots   its processes; what descends from them counts too
    proofs  patterns that a delivered message (envelope sender on top) must show: that the work was done
    share   of the messages that the fastest gets: a slow one needs fewer for the same certainty
    wrong   what it has complained of, "" for nothing
    """

    name: str
    port: int
    roots: Callable[[], list[int]]
    proofs: tuple[bytes, ...]
    share: float = 1.0
    wrong: Callable[[], str] = lambda: ""

    def check(self, delivered: bytes) -> None:
        """Raises SystemExit where the work has not been done."""
        for proof in self.proofs:
            if not re.search(proof, delivered):
                head = delivered.partition(b"\r\n\r\n")[0].decode(errors="replace")
                raise SystemExit(f"{self.name}: {proof.decode()} is missing in\n{head}")


def started(arguments: Sequence[str | Path], log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """A process of its own, its words in a file."""
    with log.open("ab") as words:
        return subprocess.Popen(
            [str(each) for each in arguments],
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            env={**os.environ, **environment},
            start_new_session=True,
        )


def stopped(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(at: int | Path, log: Path, *, speaks: bytes = b"") -> None:
    """Until something accepts on the port or local socket, and says this first; SystemExit with its log
    where it doesn't."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            with _connected(at) as connection:
                if not speaks or connection.recv(64).startswith(speaks):
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on {at}: {log.read_text(errors='replace')[-2000:]}")


def _connected(at: int | Path) -> socket.socket:
    if isinstance(at, int):
        return socket.create_connection(("127.0.0.1", at), 1)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(at))
    except OSError:
        connection.close()
        raise
    return connection
