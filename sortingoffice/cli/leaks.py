"""`sortingoffice leaks`: who got hold of an address, the report on it, and its proof."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from sortingoffice.cli import complete
from sortingoffice.cli.terminal import Terminal, say
from sortingoffice.core import report as core
from sortingoffice.errors import OfficeError

_COLUMNS = ("relationship", "alias", "class", "identity", "kept", "first", "last", "odds_one_in")
_MOST = 64 * 2**20  # octets of a file that is read


@click.group("leaks", invoke_without_command=True)
@click.pass_context
def leaks(ctx: click.Context) -> None:
    """List addresses that others than their one holder wrote to."""
    if ctx.invoked_subcommand is not None:
        return
    from sortingoffice.flows import leaks as flow

    terminal = ctx.find_object(Terminal)
    assert terminal is not None, "the front door makes it"
    terminal.rows(
        terminal.office.db.view(flow.listed, terminal.account),
        _COLUMNS,
        empty="No leaks.",
        spare=("odds_one_in", "first"),
    )


@leaks.command("report")
@click.argument("relationship", shell_complete=complete.relationships)
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where; leak-REL in this folder if left out.",
)
@click.pass_obj
def report(terminal: Terminal, relationship: str, folder: Path | None) -> None:
    """Write a folder that proves who wrote to RELATIONSHIP's address; print its path.

    Its seal is told, and stands in the log: noted elsewhere, it shows that the folder is still the same.
    """
    from sortingoffice.flows import leaks as flow
    from sortingoffice.flows import relationships

    office, account = terminal.office, terminal.account
    of = office.db.view(relationships.find, account, relationship)
    to = Path(f"leak-{of.slug}") if folder is None else folder
    try:
        if to.is_dir() and any(to.iterdir()):  # what is somebody else's stays as it is
            raise FileExistsError
        files = office.db.call(flow.made, office, account, of.slug, actor="cli")
        seal = core.seal(files)
        (to / core.MESSAGES).mkdir(parents=True)
        for name, octets in files.items():
            (to / name).write_bytes(octets)
    except FileExistsError:
        raise OfficeError(f"{to} is there already: name another with --to") from None
    except OSError as error:
        raise OfficeError(f"{to} can't be written ({error.strerror}): name another with --to") from None
    if terminal.json:
        terminal.data({"relationship": of.slug, "folder": str(to), "seal": seal, "files": sorted(files)})
    else:
        click.echo(str(to))
        say(f"Seal {seal}: note it, or mail it to yourself. `leaks verify {to} --seal SEAL` compares.")


@leaks.command("verify")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--seal", metavar="SEAL", help="As it was told when the report was made.")
@click.pass_context
def verify(ctx: click.Context, folder: Path, seal: str | None) -> None:
    """Check a report by itself: its chain, its messages, their signatures.  Needs no office.

    Exit status 1 where anything does not hold.
    """
    terminal = ctx.find_object(Terminal)
    assert terminal is not None, "the front door makes it"
    if seal is not None and not seal.strip():
        raise click.UsageError("--seal has nothing in it: it would compare with nothing")
    try:
        found = core.verify(_Folder(folder), seal or "")
    except core.Unreadable as error:
        raise OfficeError(f"{folder} is no report: {error}") from None
    if terminal.json:
        terminal.data([{"what": each.what, "holds": each.holds, "said": each.said} for each in found])
    else:
        rows = [
            {"state": "ok" if each.holds else "FAILED", "what": each.what, "said": each.said}
            for each in found
        ]
        terminal.rows(rows, ("state", "what", "said"), empty="")
    wrong = sum(not each.holds for each in found)
    if wrong:
        say(f"{wrong} of {len(found)} do not hold.")
        ctx.exit(1)


class _Folder(Mapping[str, bytes]):
    """Everything in the folder, by name, read when it is asked for; of links and the like the names alone:
    they lead out of it.  Raises OfficeError for a file that no report has."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, bool] = {}  # and whether it is a file
        data = folder / core.DATA
        if data.is_symlink() or not data.is_file():  # somebody's whole home, perhaps
            return
        for place, folders, names in os.walk(folder):
            linked = [name for name in folders if (Path(place) / name).is_symlink()]
            for path in (Path(place) / name for name in (*names, *linked)):
                name = path.relative_to(folder).as_posix()
                self._names[name] = path.is_file() and not path.is_symlink()

    def __getitem__(self, name: str) -> bytes:
        if not self._names[name]:
            return b""
        path = self._folder / name
        if path.stat().st_size > _MOST:
            raise OfficeError(f"{path} is larger than any file of a report")
        return path.read_bytes()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


commands: list[click.Command] = [leaks]
