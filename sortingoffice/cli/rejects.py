"""`sortingoffice rejects`: recipients that were never issued, and the slips among them."""

from __future__ import annotations

import click

from sortingoffice.cli import complete
from sortingoffice.cli.counted import COUNT
from sortingoffice.cli.terminal import Terminal
from sortingoffice.flows import rejects as flow

_COLUMNS = ("address", "times", "last", "near", "relationship", "peer")


@click.group("rejects", invoke_without_command=True)
@click.option("--near", is_flag=True, help="Only those one slip away from an address of yours.")
@click.option("--most", type=COUNT, default=100, show_default=True)
@click.pass_context
def rejects(ctx: click.Context, near: bool, most: int) -> None:
    """List the latest recipients that were refused because they never existed."""
    if ctx.invoked_subcommand is not None:
        return
    terminal = ctx.find_object(Terminal)
    assert terminal is not None, "the front door makes it"
    found = terminal.office.db.view(flow.listed, terminal.account, near=near, most=most)
    terminal.rows(found, _COLUMNS, empty="Nothing was refused.", spare=("peer", "near"))


@rejects.command("accept")
@click.argument("address")
@click.argument("relationship", shell_complete=complete.relationships)
@click.pass_obj
def accept(terminal: Terminal, address: str, relationship: str) -> None:
    """Let ADDRESS, a slip of somebody's, lead to RELATIONSHIP from now on."""
    office, account = terminal.office, terminal.account
    made = office.db.call(flow.accept, office, account, address, relationship, actor="cli")
    terminal.done(f"{made['alias']} leads to {made['relationship']} from now on.", made)


commands: list[click.Command] = [rejects]
