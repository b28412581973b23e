"""`sortingoffice export` and `import`: moving out, and moving in from another office."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sortingoffice.cli import files
from sortingoffice.cli.progress import watched
from sortingoffice.cli.terminal import Terminal, interactive, say
from sortingoffice.core.progress import Watcher
from sortingoffice.errors import OfficeError
from sortingoffice.flows import importing, moving, restoring
from sortingoffice.frozen import dataclass

_ACTOR = "cli"
_MOST = 512 << 20  # octets of an export; whatever has more, such as a device, is none
_LONGEST = 4096  # characters of a passphrase
_PHRASE = click.option("--passphrase", is_flag=True, help="Ask for a passphrase that closes the file.")
_PHRASE_FILE = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="Take the passphrase from FILE's first line.",
)


# ---- out -----------------------------------------------------------------------------------------


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_PHRASE
@_PHRASE_FILE
@click.pass_obj
def export(terminal: Terminal, file: Path, passphrase: bool, passphrase_file: Path | None) -> None:
    """Write what is yours to FILE: everything where it ends in .json or .zip, the addresses where in .csv.

    A .zip holds a CSV for each table; `import` takes the .json.  The file can be read by you alone;
    card values stand in it, but for those of sealed cards.
    """
    kind = file.suffix.lower()
    if kind not in (".json", ".zip", ".csv"):
        raise click.UsageError("FILE must end in .json or .zip (everything), or .csv (addresses).")
    files.may_stand(file)
    closed = passphrase or passphrase_file is not None
    phrase = _phrase(passphrase, passphrase_file, confirm=True)
    if closed and kind != ".json":
        raise click.UsageError("A passphrase closes a .json only.")
    octets = _octets(terminal, kind)
    if closed:
        octets = moving.locked(octets, phrase, terminal.office.random)
    files.write(file, octets)
    sentence = f"{file} written, {len(octets)} octets."
    if kind != ".csv" and not closed:
        sentence += " Your card values stand in it, readable: keep it as you keep the keys."
    terminal.done(sentence, {"file": str(file), "octets": len(octets), "locked": closed})


def _octets(terminal: Terminal, kind: str) -> bytes:
    office, account = terminal.office, terminal.account
    if kind == ".csv":
        return office.db.view(moving.addresses_csv, office, account).encode()
    with watched("Moving out") as watcher:
        if kind == ".zip":
            return moving.tables_zip(office.db.view(moving.everything, office, account, watcher))
        return office.db.view(moving.everything_json, office, account, watcher).encode()


# ---- in ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Move:
    """A file that moves in: what would be done, and the doing.

    whose  whose export it is
    kept   what a row says that nothing is done for
    """

    whose: str
    columns: tuple[str, ...]
    kept: tuple[str, ...]
    planned: list[dict[str, Any]]
    carry_out: Callable[[Watcher], list[dict[str, Any]]]

    def number(self, rows: list[dict[str, Any]]) -> int:
        return sum(each["what"] not in self.kept for each in rows)


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@_PHRASE_FILE
@click.pass_obj
def import_(terminal: Terminal, file: Path, dry_run: bool, yes: bool, passphrase_file: Path | None) -> None:
    """Move in from FILE: an export of your own, or of SimpleLogin, addy.io, Firefox Relay or Fastmail.

    The plan is shown first.  Addresses on a domain that is hosted here stay what they were.
    """
    try:
        with file.open("rb") as opened:
            octets = opened.read(_MOST + 1)
    except OSError as error:
        raise OfficeError(f"{file} can't be read ({error.strerror})") from None
    if len(octets) > _MOST:
        raise OfficeError(f"{file} is nobody's export: it is larger than {_MOST >> 20} MiB")
    move = _own(terminal, octets, passphrase_file) if restoring.ours(octets) else _others(terminal, octets)
    number = move.number(move.planned)
    if dry_run or not number:
        terminal.rows(move.planned, move.columns, empty="Nothing to move.", spare=("note", "why"))
        say(f"{move.whose}: {number} of {len(move.planned)} would be moved; nothing was changed.")
        return
    if not yes:
        if not interactive():
            raise OfficeError(f"{number} would be moved: look with --dry-run, then add --yes")
        terminal.rows(move.planned, move.columns, empty="", spare=("note", "why"))
        click.confirm(f"Move these {number} in?", abort=True, err=True)
    with watched("Moving in") as watcher:
        done = move.carry_out(watcher)
    terminal.rows(done, move.columns, empty="", spare=("note", "why"))
    say(f"{move.whose}: {move.number(done)} of {len(done)} moved.")


def _others(terminal: Terminal, octets: bytes) -> _Move:
    office, account = terminal.office, terminal.account
    kind, found = importing.read(octets)
    planned = [importing.row(each) for each in office.db.view(importing.plan, account, found)]

    def carry_out(watcher: Watcher) -> list[dict[str, Any]]:
        return office.db.call(importing.carry_out, office, account, found, actor=_ACTOR, watcher=watcher)

    return _Move(kind, ("address", "what", "alias", "why", "note"), ("skip",), planned, carry_out)


def _own(terminal: Terminal, octets: bytes, passphrase_file: Path | None) -> _Move:
    office, account = terminal.office, terminal.account
    document = restoring.read(octets)
    if "locked" in document:
        phrase = _phrase(True, passphrase_file, confirm=False)
        document = restoring.read(moving.unlocked(document["locked"], phrase))

    def carry_out(watcher: Watcher) -> list[dict[str, Any]]:
        return office.db.call(restoring.carry_out, office, account, document, actor=_ACTOR, watcher=watcher)

    columns = ("what", "kind", "name", "address", "why")
    planned = restoring.planned(office, account, document)
    return _Move("Your export", columns, ("there", "conflict"), planned, carry_out)


def _phrase(asked: bool, file: Path | None, *, confirm: bool) -> str:
    """The passphrase, "" where none was asked for."""
    if file is not None:
        try:
            with file.open(encoding="utf-8") as opened:
                line = opened.readline(_LONGEST + 1).removesuffix("\n")
        except (OSError, UnicodeDecodeError):
            raise OfficeError(f"{file} can't be read as text") from None
        if len(line) > _LONGEST:
            raise OfficeError(f"{file}: its first line is longer than any passphrase")
        return line
    if not asked:
        return ""
    if not interactive():
        raise OfficeError("the passphrase is asked for at a terminal: or give --passphrase-file")
    return str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True))


commands: list[click.Command] = [export, import_]
