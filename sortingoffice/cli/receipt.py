"""`sortingoffice consent-receipt`: what a vendor was permitted and given, as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sortingoffice.cli import complete, files
from sortingoffice.cli.terminal import Terminal
from sortingoffice.flows import receipts


@click.command("consent-receipt")
@click.argument("relationship", shell_complete=complete.relationships)
@click.option("--values", is_flag=True, help="With the values that they were given.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Not to be there yet."
)
@click.pass_obj
def consent_receipt(terminal: Terminal, relationship: str, values: bool, out: Path | None) -> None:
    """Print what RELATIONSHIP was permitted and given, in the fields of ISO/IEC TS 27560."""
    office, account = terminal.office, terminal.account
    document = office.db.view(receipts.receipt, office, account, relationship, values=values)
    if out is None:
        terminal.data(document)
        return
    octets = json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n"
    files.write(out, octets)
    terminal.done(f"{out} written, {len(octets)} octets.", {"file": str(out), "octets": len(octets)})


commands: list[click.Command] = [consent_receipt]
