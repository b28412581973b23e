"""`sortingoffice trace`: the way of a message, from our answer to the last attempt."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from sortingoffice.cli.counted import COUNT
from sortingoffice.cli.table import printable
from sortingoffice.cli.terminal import Terminal
from sortingoffice.flows import history


@click.command("trace")
@click.argument("message_or_address")
@click.option("--most", type=COUNT, default=20, help="Of an address, no more messages than this.")
@click.pass_obj
def trace(terminal: Terminal, message_or_address: str, most: int) -> None:
    """Follow a message by its id, or the mail of an address (an alias, a reverse alias, or anybody's)."""
    account = terminal.account if terminal.account_name else None
    found = terminal.office.db.view(history.trace, account, message_or_address, most)
    if terminal.json:
        terminal.data(found)
        return
    if not found:
        click.echo("No mail went through it yet.", err=True)
    for row in found:
        for line in _lines(row):
            click.echo(printable(line).rstrip())
        click.echo()


def _lines(row: dict[str, Any]) -> Iterator[str]:
    """One message, for a person."""
    if "direction" not in row:
        again = any(event["what"] == "repeated" for event in row["events"])
        yield f"{row['message']}  {'the same message again: delivered once' if again else 'not accepted'}"
    else:
        where = f"  {row['relationship']}" if row["relationship"] else ""
        yield f"{row['message']}  {row['direction']}{where}  {row['size']} octets"
        yield f"  from     {row['from'] or '<>'}"
        yield f"  subject  {row['subject'] or '-'}"
        yield f"  accepted {_when(row['accepted'])}  by rule {row['rule'] or '-'}"
        if row["results"]:
            yield f"  results  {row['results']}"
        for delivery in row["deliveries"]:
            yield from _delivery(delivery)
    for event in row["events"]:
        told = "  ".join(part for part in (event["what"], event["rule"], event["detail"]) if part)
        yield f"  {_when(event['at'])}  {told}  ({event['actor']})"


def _delivery(of: dict[str, Any]) -> Iterator[str]:
    reason = f" ({of['reason']})" if of["reason"] and of["reason"] != of["state"] else ""
    due = f", next attempt {_when(of['next_attempt'])}" if of["state"] == "queued" else ""
    yield f"  to       {of['to'] or '-'}: {of['state']}{reason}{due}  [{of['id']}]"
    for tried in of["attempts"]:
        took = f"{tried['milliseconds']} ms"
        parts = (_when(tried["at"]), tried["host"] or "-", tried["tls"], took, tried["reply"])
        yield "    " + "  ".join(part for part in parts if part)


def _when(at: datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


commands: list[click.Command] = [trace]
