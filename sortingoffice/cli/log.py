"""`sortingoffice log`: what happened, line by line."""

from __future__ import annotations

import click

from sortingoffice.cli import complete
from sortingoffice.cli.counted import COUNT
from sortingoffice.cli.progress import watched
from sortingoffice.cli.terminal import Terminal, one_or_all
from sortingoffice.errors import OfficeError
from sortingoffice.flows import history

_COLUMNS = ("at", "what", "rule", "relationship", "message", "actor", "detail")


@click.command("log")
@click.argument(
    "relationship",
    shell_complete=complete.relationships,
    required=False,
    callback=one_or_all,
    metavar="[REL]",
)
@click.option("--most", type=COUNT, default=100, help="No more lines than this, the latest.")
@click.pass_obj
def log(terminal: Terminal, relationship: str, most: int) -> None:
    """Show what happened in REL; without it, in the account that --account names, or in the whole office.

    `log verify` checks that no line of the log or the ledger was changed or taken out.
    """
    if relationship == "verify":
        _verify(terminal)
        return
    account = terminal.account if relationship or terminal.account_name else None
    rows = terminal.office.db.view(history.log, account, relationship, most)
    terminal.rows(rows, _COLUMNS, empty="Nothing happened yet.", spare=("message", "actor", "rule"))


def _verify(terminal: Terminal) -> None:
    with watched("Reading the log") as watcher:
        found = terminal.office.db.call(history.verify, watcher)
    if not found["holds"]:
        raise OfficeError(f"the log does not hold: {found['wrong']}, after {found['lines']} lines that do")
    sentence = f"All {found['lines']} lines hold. Note the last hash elsewhere: {found['hash']}"
    terminal.done(sentence, found)


commands: list[click.Command] = [log]
