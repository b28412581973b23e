"""SQLite's log of the last commits, emptied: what a message held is not to be read there once it has left.

Promise: nobody who writes waits longer than `PATIENCE` and the last few pages; where somebody reads or writes
meanwhile, nothing is lost but time, and the next round tries again.

Erased octets are overwritten in the database (`secure_delete`), but the log holds the pages as they were
until it is used again.  A first, passive pass moves what there is without any lock that others wait for;
only then is the log cut to nothing.

Sources: sqlite.org/pragma.html#pragma_wal_checkpoint (PASSIVE, TRUNCATE); sqlite.org/wal.html §3.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

PATIENCE = 0.1  # seconds that we wait for others, and others for us


def truncate(database: Path) -> bool:
    """Whether the log is empty now.  Raises sqlite3.Error where the database is out of reach."""
    log = database.with_name(f"{database.name}-wal")
    if not log.exists() or not log.stat().st_size:
        return True
    with contextlib.closing(sqlite3.connect(database, timeout=PATIENCE, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy
