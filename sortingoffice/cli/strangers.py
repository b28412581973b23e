"""`sortingoffice strangers`: who wrote to which alias, and is not its vendor."""

from __future__ import annotations

import click

from sortingoffice.cli import complete
from sortingoffice.cli.terminal import Terminal, one_or_all
from sortingoffice.flows import strangers as flow

_COLUMNS = ("relationship", "identity", "class", "messages", "last", "word")


@click.command("strangers")
@click.argument("relationship", shell_complete=complete.relationships, required=False, callback=one_or_all)
@click.pass_obj
def strangers(terminal: Terminal, relationship: str) -> None:
    """List who wrote to RELATIONSHIP, or to any, and is not its vendor.

    `allow REL IDENTITY` and `refuse REL IDENTITY` say your word on one.
    """
    found = terminal.office.db.view(flow.listed, terminal.account, relationship)
    terminal.rows(found, _COLUMNS, empty="Nobody but the vendors wrote.")


commands: list[click.Command] = [strangers]
