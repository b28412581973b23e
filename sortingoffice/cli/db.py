"""`sortingoffice db`: the database's schema and health."""

from __future__ import annotations

import click

from sortingoffice.cli.terminal import Terminal, at_the_end
from sortingoffice.errors import OfficeError
from sortingoffice.flows.office import look_at
from sortingoffice.store import backup
from sortingoffice.store.database import Database


@click.group("db")
def db() -> None:
    """Upgrade or check the database."""


@db.command("upgrade")
@click.pass_obj
def upgrade(terminal: Terminal) -> None:
    """Bring the database's schema up to this version; where it is, nothing changes."""
    database = _unchecked(terminal)
    before = database.revision()
    database.upgrade()
    after = database.revision()
    if before == after:
        sentence = f"The database is up to date ({after}); nothing was changed."
    else:
        sentence = f"The database was upgraded from {before or 'nothing'} to {after}."
    terminal.done(sentence, {"before": before, "after": after, "changed": before != after})


@db.command("check")
@click.pass_obj
def check(terminal: Terminal) -> None:
    """Say whether the schema is this version's and, of SQLite, whether the file is sound."""
    database = _unchecked(terminal)
    if database.path is not None:
        look_at(database.path)
    database.check()
    wrong = backup.problems(database.path) if database.path is not None else ()
    if wrong:
        raise OfficeError(f"the database is damaged ({wrong[0]}); put a backup back with restore-backup")
    revision = database.revision()
    terminal.done(
        f"The database is sound and up to date ({revision}).", {"revision": revision, "sound": True}
    )


def _unchecked(terminal: Terminal) -> Database:
    """The database as it is: an older one may be upgraded, so it can't be opened as an office."""
    database = Database(terminal.config.database)
    at_the_end(database.close)
    if database.path is not None and not database.path.parent.is_dir():
        raise OfficeError(f"there is no folder {database.path.parent}; run: sortingoffice init")
    if database.path is not None and database.path.exists():
        look_at(database.path)
    return database


commands: list[click.Command] = [db]
