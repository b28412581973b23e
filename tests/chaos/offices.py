"""One office at a time, from the nursery: started, killed whole or by the worker, and looked after."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from datetime import datetime
from pathlib import Path

_START_SECONDS = 30.0
_FELL = re.compile(r"(?m)^(\S+ \S+) worker-ended .*\bstatus=-9\b")  # its own kill, at a failpoint


class Nursery:
    """See `tests.chaos.nursery`: one office at a time."""

    def __init__(self, config: Path, log: Path, port: int) -> None:
        self._config = config
        self._log = log
        self._port = port
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._born: asyncio.Queue[int] = asyncio.Queue()
        self.pid = 0
        self.died = asyncio.Event()
        self.status = 0
        self._read_to = 0  # octets of the log
        self._ended: dict[int, int] = {}  # status by number

    async def open(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.nursery", str(self._config)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            word, *numbers = line.decode().split()
            if word == "born":
                self._ended.pop(int(numbers[0]), None)  # numbers come again
                self._born.put_nowait(int(numbers[0]))
            else:
                self._ended[int(numbers[0])] = int(numbers[1])
                self._look()

    def _look(self) -> None:
        """Whether it has ended: it may have been, before we came to know its number."""
        if self.pid in self._ended:
            self.status = self._ended.pop(self.pid)
            self.died.set()

    async def start(self, setting: str = "-", count: int = 1) -> bool:
        """Whether it accepts; False where it died on the way, as a failpoint may have it.

        count  of processes
        """
        assert self._process is not None
        assert self._process.stdin is not None
        await self._alone()
        self.died.clear()
        self.pid = 0
        self._read_to = self._log.stat().st_size if self._log.exists() else 0
        self._process.stdin.write(f"start {self._log} {setting} {count}\n".encode())
        self.pid = await self._born.get()
        self._look()
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and not self.died.is_set():
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            writer.close()
            return True
        return False

    async def _alone(self) -> None:
        """The last office is gone with all its workers: who dies still has the port, and accepts."""
        end = time.monotonic() + _START_SECONDS
        while self.pid and time.monotonic() < end:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return
            await asyncio.sleep(0.005)

    def fallen(self) -> list[float]:
        """When workers were killed, since the last look and in this office."""
        with self._log.open("rb") as file:
            file.seek(self._read_to)
            told = file.read()
        told = told[: told.rfind(b"\n") + 1]
        self._read_to += len(told)
        found = _FELL.findall(told.decode(errors="replace"))
        return [datetime.strptime(at, "%Y-%m-%d %H:%M:%S,%f").timestamp() for at in found]  # noqa: DTZ007

    def kill_worker(self, number: int) -> bool:
        """One of its worker processes; whether it had one."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        try:
            workers = children.read_text().split()
            os.kill(int(workers[number % len(workers)]), signal.SIGKILL)
        except (OSError, ZeroDivisionError):
            return False
        return True

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self.died.wait()

    async def stop(self) -> None:
        """In order, with SIGTERM."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        await asyncio.wait_for(self.died.wait(), 20)

    async def close(self) -> None:
        if self.pid and not self.died.is_set():
            await self.kill()
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()
        if self._reading is not None:
            await self._reading
