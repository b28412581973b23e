"""`sortingoffice queue`: the spool of the whole office, for who runs it."""

from __future__ import annotations

import sys

import click

from sortingoffice.cli.counted import COUNT, NUMBER
from sortingoffice.cli.progress import watched
from sortingoffice.cli.terminal import Terminal, say
from sortingoffice.core.model import DeliveryState
from sortingoffice.flows import queue as queues

_AT_A_TERMINAL = 1000  # rows that anybody may want to scroll through; a pipe gets all
_COLUMNS = ("id", "from", "to", "state", "attempts", "next_attempt", "last_reply")


@click.group("queue")
def queue() -> None:
    """Look at the spool; retry or drop."""


@queue.command("list")
@click.option("--state", type=click.Choice([state.value for state in DeliveryState]), help="Only this state.")
@click.option("--to", "destination", default="", metavar="DOMAIN", help="Only mail for this domain.")
@click.option("--address", default="", help="Only mail from or to this address.")
@click.option("--most", type=COUNT, help="No more rows than this, the latest first.")
@click.pass_obj
def list_(terminal: Terminal, state: str | None, destination: str, address: str, most: int | None) -> None:
    """List what waits, queued or held; with --state also what has ended."""
    limit = _AT_A_TERMINAL if most is None and not terminal.json and sys.stdout.isatty() else None
    pages = queues.pages(
        terminal.office,
        state=None if state is None else DeliveryState(state),
        destination=destination,
        address=address,
        most=most if limit is None else limit + 1,
    )
    if terminal.json:
        terminal.stream(pages)
        return
    rows = [row for page in pages for row in page]
    shown = rows[:limit]
    terminal.rows(shown, _COLUMNS, empty="Nothing waits.", spare=("from", "attempts", "next_attempt"))
    if len(rows) > len(shown):
        say(f"There is more: these are the latest {limit}.  --most N shows N; --to and --address choose.")


@queue.command("show")
@click.argument("number", type=NUMBER)
@click.pass_obj
def show(terminal: Terminal, number: int) -> None:
    """Show one delivery and its attempts."""
    found = terminal.office.db.view(queues.one, number)
    if terminal.json:
        terminal.data(found)
        return
    tries = found.pop("tries")
    terminal.sheet(found)
    click.echo()
    terminal.rows(tries, ("at", "host", "tls", "reply", "milliseconds"), empty="It was not tried yet.")


@queue.command("retry")
@click.argument("numbers", type=NUMBER, nargs=-1)
@click.option("--to", "destination", default="", metavar="DOMAIN", help="All that waits for this domain.")
@click.option("--all", "all_", is_flag=True, help="All that waits.")
@click.pass_obj
def retry(terminal: Terminal, numbers: tuple[int, ...], destination: str, all_: bool) -> None:
    """Try deliveries now, instead of when they are due."""
    office = terminal.office
    if bool(numbers) + bool(destination) + all_ != 1:
        raise click.UsageError("say which: numbers, --to DOMAIN, or --all")
    with watched("Retrying") as watcher:
        if numbers:
            done = office.db.call(queues.retry, office, numbers, actor="cli", watcher=watcher)
        else:
            done = queues.retry_all(office, destination, actor="cli", watcher=watcher)
    _done(terminal, done, "due now")


@queue.command("drop")
@click.argument("numbers", type=NUMBER, nargs=-1, required=True)
@click.pass_obj
def drop(terminal: Terminal, numbers: tuple[int, ...]) -> None:
    """Never deliver these; nobody is told."""
    office = terminal.office
    done = office.db.call(queues.drop, office, numbers, actor="cli")
    _done(terminal, done, "dropped")


def _done(terminal: Terminal, rows: list[dict[str, object]], what: str) -> None:
    if terminal.json:
        terminal.data(rows)
    else:
        say(f"{len(rows)} {'delivery' if len(rows) == 1 else 'deliveries'} {what}.")


commands: list[click.Command] = [queue]
