"""`sortingoffice backup` and `restore-backup`: the whole database in one file, and back."""

from __future__ import annotations

from pathlib import Path

import click

from sortingoffice.cli.progress import watched
from sortingoffice.cli.terminal import Terminal, at_the_end, interactive
from sortingoffice.core.model import DeliveryState
from sortingoffice.errors import OfficeError
from sortingoffice.flows import rotation
from sortingoffice.store import backup as files
from sortingoffice.store import spool
from sortingoffice.store.database import Database


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_obj
def backup(terminal: Terminal, file: Path) -> None:
    """Write a backup to FILE, also while the office runs.  The keys are not in it."""
    source = _file(terminal)
    if not source.is_file():
        raise OfficeError(f"there is no database at {source} yet; run: sortingoffice init")
    with watched("Writing the backup") as watcher:
        files.save(source, file, watcher)
    keys = terminal.config.data_dir / "keys"
    sentence = (
        f"The backup is {file}. Card values in it can be read only with the keys: keep {keys} apart from it."
    )
    terminal.done(sentence, {"file": str(file), "octets": file.stat().st_size, "keys": str(keys)})


@click.command("restore-backup")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_obj
def restore_backup(terminal: Terminal, file: Path, yes: bool) -> None:
    """Put the backup FILE back.  What stood there is kept beside it.

    Aliases issued since the backup are lost, and mail that waited then waits again.
    """
    to = _file(terminal)
    files.revision(file)
    if interactive() and not yes:
        click.confirm(f"Replace {to} by {file}?", abort=True, err=True)
    to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with watched("Putting the backup back") as watcher:
        aside = files.put_back(file, to, watcher)
    database = Database(terminal.config.database)
    at_the_end(database.close)
    database.upgrade()
    adopted, closed = database.call(rotation.adopt, terminal.office)
    waiting = {state: number for state, (number, _) in database.view(spool.census).items()}
    queued = waiting.get(DeliveryState.QUEUED, 0)
    sentence = f"{file} was put back." + (f" What stood there is {aside}." if aside else "")
    if queued:
        waits = "1 delivery waits" if queued == 1 else f"{queued} deliveries wait"
        sentence += f" {waits} again, whatever became of it since: see queue list."
    if adopted:
        sentence += f" Cards of {adopted} accounts are from before a rotation: today's key opens them now."
    if closed:
        sentence += f" No key here opens the cards of {', '.join(closed)}: put the key of that time back."
    value = {
        "file": str(file),
        "kept": None if aside is None else str(aside),
        "queued": queued,
        "adopted": adopted,
        "closed": list(closed),
    }
    terminal.done(sentence, value)


def _file(terminal: Terminal) -> Path:
    database = Database(terminal.config.database)
    at_the_end(database.close)
    if database.path is None:
        raise OfficeError("this office's database is PostgreSQL: use pg_dump --format=custom, and pg_restore")
    return database.path


commands: list[click.Command] = [backup, restore_backup]
