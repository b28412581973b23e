"""Where SQLite's file is: one that was moved away or replaced under a running office is not written to.

An open file goes on taking commits when its name has gone, or stands for another file: they would be found
by nobody after the next start.

Promise: what is begun is begun on the file that has the name now.  Where none has it, the database is out of
reach, and none is made: the right one may come back, and is then used again.

Sources: sqlite.org/howtocorrupt.html §2.5, §4.2; docs.sqlalchemy.org, "Disconnect Handling - Pessimistic".
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

_FILE = "file"  # in what is kept with a connection: the one that it opened


class Place:
    """One database's, for all of its engines."""

    def __init__(self, database: Path) -> None:
        self._path = database
        self._stood = False

    def watch(self, engine: sa.Engine) -> None:
        """After whatever else happens to a connection when it is made: SQLite opens the file late."""
        event.listen(engine, "do_connect", self._before)
        event.listen(engine, "connect", self._opened)
        event.listen(engine, "checkout", self._still)

    def watch_held(self, engine: sa.Engine, gone: type[Exception]) -> None:
        """The same where a connection is kept for many transactions: each raises `gone` in time."""
        self.watch(engine)

        def begun(tx: sa.Connection) -> None:
            if tx.info[_FILE] != self._there():
                raise gone("the database was moved")

        event.listen(engine, "begin", begun)

    def _there(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _before(self, *_: object) -> None:
        if self._stood and self._there() is None:
            raise sqlite3.OperationalError("there is no database where it was")

    def _opened(self, _: object, record: Any) -> None:
        record.info[_FILE] = self._there()
        self._stood = True

    def _still(self, _: object, record: Any, __: object) -> None:
        if record.info[_FILE] != self._there():
            raise sa.exc.DisconnectionError  # to the pool, which opens it anew
