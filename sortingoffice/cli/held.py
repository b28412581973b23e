"""`sortingoffice held`: mail that waits for the person's word."""

from __future__ import annotations

import click

from sortingoffice.cli.counted import NUMBER
from sortingoffice.cli.table import printable
from sortingoffice.cli.terminal import Terminal, say
from sortingoffice.errors import OfficeError
from sortingoffice.flows import held as holding

_SHOWN = 4000  # octets of the mail that `show` prints


@click.group("held")
def held() -> None:
    """Look at held mail; release or drop it."""


@held.command("list")
@click.pass_obj
def list_(terminal: Terminal) -> None:
    """List held mail, the latest first."""
    rows = terminal.office.db.view(holding.every, terminal.account)
    columns = ("id", "relationship", "reason", "from", "to", "subject", "since")
    terminal.rows(rows, columns, empty="No mail is held.", spare=("to", "from"))


@held.command("show")
@click.argument("number", type=NUMBER)
@click.pass_obj
def show(terminal: Terminal, number: int) -> None:
    """Show one held mail, and the beginning of its text."""
    found = terminal.office.db.view(holding.one, terminal.account, number)
    text = found.pop("raw").decode("utf-8", "replace")
    if terminal.json:
        terminal.data({**found, "text": text})
        return
    findings = found.pop("findings")
    terminal.sheet(found)
    for each in findings:
        click.echo(printable(f"found in {each['where']}: {each['what']}"))
        click.echo(printable(f"    {each['around']}"))
    click.echo()
    for line in text[:_SHOWN].splitlines():
        click.echo(printable(line))
    if len(text) > _SHOWN:
        say("… there is more of it; --json prints all.")


@held.command("release")
@click.argument("number", type=NUMBER)
@click.pass_obj
def release(terminal: Terminal, number: int) -> None:
    """Deliver it after all."""
    office = terminal.office
    done = office.db.call(holding.release, office, terminal.account, number, actor="cli")
    if "refused" in done:
        raise OfficeError(f"Not sent: {done['refused']}; its words were sent back to you")
    terminal.done(f"Released: {done['subject'] or 'mail without a subject'}.", done)


@held.command("drop")
@click.argument("number", type=NUMBER)
@click.pass_obj
def drop(terminal: Terminal, number: int) -> None:
    """Never deliver it."""
    office = terminal.office
    done = office.db.call(holding.drop, office, terminal.account, number, actor="cli")
    terminal.done(f"Dropped: {done['subject'] or 'mail without a subject'}.", done)


commands: list[click.Command] = [held]
