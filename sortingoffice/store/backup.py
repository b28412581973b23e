"""A backup of an SQLite database while it is in use, and the way back.

Promise: a backup is the database as it stood at one moment, whole and checked, or there is no
file; putting one back either happens whole or not at all, and what stood there is kept aside.

PostgreSQL has tools of its own for this.

Sources: sqlite.org/backup.html; sqlite.org/pragma.html (quick_check, foreign_key_check).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from sortingoffice.core.progress import Watcher, unwatched
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.store import migrations

_STEP = 2048  # pages, 8 MiB, between two words to the watcher


def save(source: Path, to: Path, watcher: Watcher = unwatched) -> None:
    """Write a backup of the database file `source`, which may be in use.  The watcher counts pages.

    Raises OfficeError where `to` exists or can't be written.
    """
    if to.exists():
        raise OfficeError(f"{to} is there already; name another file")
    unfinished = to.with_name(f"{to.name}.unfinished")
    try:
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with _opened(source) as live, _opened(unfinished) as copy:
            # One moment, and nobody who writes has to wait: the steps share one read transaction.
            live.execute("BEGIN")
            live.execute("SELECT count(*) FROM sqlite_master").fetchone()
            live.backup(copy, pages=_STEP, progress=_told(watcher))
            live.execute("ROLLBACK")
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
            _check(copy, unfinished)
        _sync(unfinished)
        unfinished.rename(to)
        _sync(to.parent)
    except (OSError, sqlite3.Error) as error:
        raise OfficeError(f"the backup can't be written to {to}: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def revision(backup: Path) -> str:
    """The schema's revision in a backup, after looking it through.

    Raises NotThere where there is no such file, OfficeError where it is damaged, or no office's
    database, or a newer version's.
    """
    if not backup.is_file():
        raise NotThere(f"there is no file {backup}")
    try:
        with _opened(backup) as copy:
            found = str(copy.execute("SELECT version_num FROM alembic_version").fetchone()[0])
            _check(copy, backup)
    except (sqlite3.Error, TypeError):
        raise OfficeError(f"{backup} is no backup of an office, or is damaged") from None
    if found not in migrations.REVISIONS:
        raise OfficeError(f"{backup} was written by a newer version ({found}); install that version")
    return found


def put_back(backup: Path, to: Path, watcher: Watcher = unwatched) -> Path | None:
    """Replace the database file `to`, which may be in use, by a backup.

    The caller looked it through with `revision`.  Returns where the replaced one was kept; None
    where there was none.
    """
    aside: Path | None = None
    if to.exists():
        aside = next(
            p for n in range(1, 10_000) if not (p := to.with_name(f"{to.name}.before-restore-{n}")).exists()
        )
        save(to, aside)
    else:
        os.close(os.open(to, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        with _opened(backup) as copy, _opened(to) as live:
            copy.backup(live, pages=_STEP, progress=_told(watcher))
    except sqlite3.Error as error:
        raise OfficeError(f"the backup can't be put back: {error}; nothing was changed") from error
    return aside


def _told(watcher: Watcher) -> Callable[[int, int, int], None]:
    return lambda _, remaining, total: watcher(total - remaining, total)


def problems(database: Path) -> tuple[str, ...]:
    """What SQLite finds wrong with a file in use; nothing where all is well."""
    with _opened(database) as connection:
        return _wrong(connection)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, timeout=5, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def _check(connection: sqlite3.Connection, path: Path) -> None:
    wrong = _wrong(connection)
    if wrong:
        raise OfficeError(f"{path} is damaged: {wrong[0]}")


def _wrong(connection: sqlite3.Connection) -> tuple[str, ...]:
    found = [row[0] for row in connection.execute("PRAGMA quick_check") if row[0] != "ok"]
    found += [f"a row of {row[0]} points nowhere" for row in connection.execute("PRAGMA foreign_key_check")]
    return tuple(found)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
