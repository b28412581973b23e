"""`sortingoffice export` and `import`: moving out, and moving in from another office."""

from __future__ import annotations

from pathlib import Path

import click

from sortingoffice.cli.progress import watched
from sortingoffice.cli.terminal import Terminal, interactive, say
from sortingoffice.errors import OfficeError
from sortingoffice.flows import importing, moving
from sortingoffice.flows.office import write_private

_COLUMNS = ("address", "what", "alias", "why", "note")


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def export(terminal: Terminal, file: Path) -> None:
    """Write what is yours to FILE: addresses where it ends in .csv, everything where it ends in .json.

    The file can be read by you alone; card values stand in it.
    """
    office, account = terminal.office, terminal.account
    written = {".csv": moving.addresses_csv, ".json": moving.everything_json}.get(file.suffix.lower())
    if written is None:
        raise click.UsageError("FILE must end in .csv (addresses) or .json (everything).")
    if file.exists():
        raise OfficeError(f"{file} is there already: name another file")
    octets = office.db.view(written, office, account).encode()
    try:
        write_private(file.absolute(), octets)
    except OSError as error:
        raise OfficeError(f"{file} can't be written ({error.strerror})") from None
    terminal.done(f"{file} written, {len(octets)} octets.", {"file": str(file), "octets": len(octets)})


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_obj
def import_(terminal: Terminal, file: Path, dry_run: bool, yes: bool) -> None:
    """Move addresses in from FILE: an export of SimpleLogin, addy.io, Firefox Relay or Fastmail.

    The plan is shown first.  Addresses on a domain that is hosted here stay what they were.
    """
    office, account = terminal.office, terminal.account
    try:
        kind, found = importing.read(file.read_bytes())
    except OSError as error:
        raise OfficeError(f"{file} can't be read ({error.strerror})") from None
    planned = [importing.row(each) for each in office.db.view(importing.plan, account, found)]
    number = sum(each["what"] != "skip" for each in planned)
    if dry_run or not number:
        terminal.rows(planned, _COLUMNS, empty="Nothing to move.", spare=("note",))
        say(f"{kind}: {number} of {len(planned)} would be moved; nothing was changed.")
        return
    if not yes:
        if not interactive():
            raise OfficeError(f"{number} addresses would be moved: look with --dry-run, then add --yes")
        terminal.rows(planned, _COLUMNS, empty="")
        click.confirm(f"Move these {number} addresses in?", abort=True, err=True)
    with watched("Moving in") as watcher:
        done = office.db.call(importing.carry_out, office, account, found, actor="cli", watcher=watcher)
    terminal.rows(done, _COLUMNS, empty="")
    say(f"{kind}: {sum(each['what'] != 'skip' for each in done)} of {len(done)} moved.")


commands: list[click.Command] = [export, import_]
