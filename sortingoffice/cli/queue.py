"""`sortingoffice queue`: the spool of the whole office, for who runs it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from sortingoffice.cli.counted import COUNT, NUMBER
from sortingoffice.cli.progress import watched
from sortingoffice.cli.terminal import Terminal, interactive, one_or_all, say
from sortingoffice.core.model import DeliveryState
from sortingoffice.errors import OfficeError
from sortingoffice.flows import queue as queues

_AT_A_TERMINAL = 1000  # rows that anybody may want to scroll through; a pipe gets all
_COLUMNS = ("id", "from", "to", "state", "attempts", "next_attempt", "last_reply")
_NAMED = 20  # numbers that one sentence names
_WAITS = (DeliveryState.QUEUED, DeliveryState.HELD)
_TO = click.option(
    "--to", "destination", callback=one_or_all, metavar="DOMAIN", help="Only mail for this domain."
)
_ADDRESS = click.option(
    "--address",
    callback=one_or_all,
    help="Only mail from or to this address; an alias stands for its relationship.",
)


@click.group("queue")
def queue() -> None:
    """Look at the spool; retry or drop."""


@queue.command("list")
@click.option("--state", type=click.Choice([state.value for state in DeliveryState]), help="Only this state.")
@_TO
@_ADDRESS
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
@_TO
@_ADDRESS
@click.option("--all", "all_", is_flag=True, help="All that is queued.")
@click.pass_obj
def retry(terminal: Terminal, numbers: tuple[int, ...], destination: str, address: str, all_: bool) -> None:
    """Try deliveries now, instead of when they are due.

    A number that can't be is named and passed over, with exit status 1; the others are done.
    """
    office = terminal.office
    _one_way(numbers, destination or address, all_)
    with watched("Retrying") as watcher:
        if numbers:
            rows = queues.retry(office, numbers, actor="cli", watcher=watcher)
        else:
            rows = queues.retry_all(office, destination, address, actor="cli", watcher=watcher)
    _told(terminal, rows, "due now")


@queue.command("drop")
@click.argument("numbers", type=NUMBER, nargs=-1)
@_TO
@_ADDRESS
@click.option("--all", "all_", is_flag=True, help="All that waits, queued or held.")
@click.option(
    "--state", type=click.Choice([state.value for state in _WAITS]), help="Of those, only this state."
)
@click.option("--yes", is_flag=True, help="Don't ask.")
@click.pass_obj
def drop(
    terminal: Terminal,
    numbers: tuple[int, ...],
    destination: str,
    address: str,
    all_: bool,
    state: str | None,
    yes: bool,
) -> None:
    """Never deliver these; nobody is told.

    A number that can't be is named and passed over, with exit status 1; the others are done.  Stopped
    half-way, it has dropped what it came to, and the rest waits as before.
    """
    office = terminal.office
    _one_way(numbers, destination or address, all_)
    if numbers and state:
        raise click.UsageError("--state goes with --to, --address and --all")
    chosen: Mapping[int, DeliveryState] = {}
    if not numbers:
        chosen = queues.waiting(office, DeliveryState(state) if state else None, destination, address)
        if chosen and not yes:
            _asked(chosen)
    with watched("Dropping") as watcher:
        if numbers:
            rows = queues.drop(office, numbers, actor="cli", watcher=watcher)
        else:
            rows = queues.drop_all(office, chosen, actor="cli", watcher=watcher)
    _told(terminal, rows, "dropped")


def _one_way(numbers: Sequence[int], filtered: str, all_: bool) -> None:
    if bool(numbers) + bool(filtered) + all_ != 1:
        raise click.UsageError("say which: numbers, --to DOMAIN, --address ADDRESS, or --all")


def _asked(found: Mapping[int, DeliveryState]) -> None:
    """Ask before what was only described, not named, is gone."""
    held = sum(state is DeliveryState.HELD for state in found.values())
    what = _count(len(found)) + (f", {held} of them held for the person's word" if held else "")
    if not interactive():
        comma = "," if held else ""
        raise OfficeError(f"{what}{comma} would be dropped, which can't be undone: add --yes to do it")
    click.confirm(f"Drop {what}? This can't be undone, and nobody is told.", abort=True, err=True)


def _count(number: int) -> str:
    return f"{number} {'delivery' if number == 1 else 'deliveries'}"


def _told(terminal: Terminal, rows: Sequence[Mapping[str, Any]], what: str) -> None:
    """Say what became of each; exit status 1 where one that was named is not done."""
    if terminal.json:
        terminal.data(rows)
    passed: dict[str, list[str]] = {}
    for row in rows:
        if not row["done"]:
            passed.setdefault(row["why"], []).append(str(row["id"]))
    sentence = f"{_count(sum(row['done'] for row in rows))} {what}"
    if not passed:
        if not terminal.json:
            say(f"{sentence}.")
        return
    reasons = "; ".join(f"{_some(numbers)}: {why}" for why, numbers in passed.items())
    say(f"{sentence}.  Passed over {reasons}.")
    click.get_current_context().exit(1)


def _some(numbers: Sequence[str]) -> str:
    more = len(numbers) - _NAMED
    return ", ".join(numbers[:_NAMED]) + (f" and {more} more (--json names all)" if more > 0 else "")


commands: list[click.Command] = [queue]
