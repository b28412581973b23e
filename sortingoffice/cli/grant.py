"""Permissions and the ledger: who may have which card, and who has what."""

from __future__ import annotations

from datetime import datetime

import click

from sortingoffice.cli import complete
from sortingoffice.cli.counted import COUNT
from sortingoffice.cli.moment import MOMENT
from sortingoffice.cli.terminal import Terminal, one_or_all, say
from sortingoffice.core.model import GrantMode, Via
from sortingoffice.flows import grants, ledger
from sortingoffice.flows import notify as letters
from sortingoffice.flows.grants import Permission

ACTOR = "cli"
_LINE = ("relationship", "card", "field", "version", "at", "via", "state")


def _listed(text: str | None) -> tuple[str, ...]:
    """What --fields selects; () where it isn't given.  Given and empty, it would give away the whole card."""
    found = tuple(each.strip() for each in (text or "").split(",") if each.strip())
    if text is not None and not found:
        raise click.UsageError("--fields names no field: leave it out where the whole card is meant")
    return found


@click.command()
@click.argument("relationship", shell_complete=complete.relationships)
@click.argument("card", shell_complete=complete.cards)
@click.option("--fields", metavar="a,b", help="Only these fields; else all of the card, also later ones.")
@click.option(
    "--mode",
    type=click.Choice([str(each) for each in GrantMode]),
    default=str(GrantMode.AUTO),
    show_default=True,
    help="auto: goes out when you ask for it; ask: waits for your yes each time; never: a denial.",
)
@click.option("--purpose", default="", help="What it is for; stands in the ledger.")
@click.option(
    "--terms", default="", metavar="TEXT", help="On which terms: what they are called, or their link."
)
@click.option("--from", "since", type=MOMENT, metavar="DATE|14d", help="When the permission begins.")
@click.option("--until", type=MOMENT, metavar="DATE|14d", help="When the permission ends.")
@click.option("--uses", type=COUNT, help="For how many messages it lasts.")
@click.pass_obj
def grant(
    terminal: Terminal,
    relationship: str,
    card: str,
    fields: str | None,
    mode: str,
    purpose: str,
    terms: str,
    since: datetime | None,
    until: datetime | None,
    uses: int | None,
) -> None:
    """Permit RELATIONSHIP to receive CARD (or a view), or forbid it with --mode never."""
    row = terminal.office.db.call(
        grants.grant,
        terminal.office,
        terminal.account,
        relationship,
        Permission(card, _listed(fields), GrantMode(mode), purpose, until, uses, terms, since),
        actor=ACTOR,
    )
    what = f"{row['card']} ({', '.join(row['fields'])})" if row["fields"] else row["card"]
    verb = {"auto": "may receive", "ask": "may receive, after your yes,", "never": "is never given"}[
        row["mode"]
    ]
    terminal.done(f"{row['relationship']} {verb} {what}", row)


@click.command()
@click.argument("relationship", shell_complete=complete.relationships)
@click.argument("card", shell_complete=complete.cards)
@click.option("--notify", is_flag=True, help="Also ask them to delete what they received.")
@click.pass_obj
def ungrant(terminal: Terminal, relationship: str, card: str, notify: bool) -> None:
    """Take the permission (or the denial) of CARD back; what was given stays in the ledger."""
    office, account = terminal.office, terminal.account
    told = False
    if notify:
        rows, told = office.db.call(letters.ungrant, office, account, relationship, card, actor=ACTOR)
    else:
        rows = office.db.call(grants.ungrant, office, account, relationship, card, actor=ACTOR)
    if terminal.json:
        terminal.data([{**row, "notified": told} for row in rows])
        return
    terminal.done(f"{rows[0]['relationship']} has no grant of {rows[0]['card']} any more", {})
    if notify:
        say("they are asked to delete it" if told else "they hold nothing of it: nobody was written to")


@click.command("who-has")
@click.argument("named", shell_complete=complete.cards, metavar="CARD[.FIELD]")
@click.pass_obj
def who_has(terminal: Terminal, named: str) -> None:
    """Say who holds a card, a view or a field, since when, and how they got it."""
    rows = terminal.office.db.view(ledger.who_has, terminal.office, terminal.account, named)
    columns = (*_LINE, "purpose", "terms") if any(each["terms"] for each in rows) else (*_LINE, "purpose")
    terminal.rows(rows, columns, empty="nobody has it from here", spare=("version", "purpose", "terms"))


@click.command()
@click.argument("relationship", shell_complete=complete.relationships, required=False, callback=one_or_all)
@click.pass_obj
def disclosures(terminal: Terminal, relationship: str) -> None:
    """List what was given, to RELATIONSHIP or to all, oldest first."""
    rows = terminal.office.db.view(ledger.disclosures, terminal.office, terminal.account, relationship)
    terminal.rows(rows, (*_LINE, "contact"), empty="nothing was given yet", spare=("version", "contact"))


@click.command()
@click.argument("relationship", shell_complete=complete.relationships)
@click.argument("card", shell_complete=complete.cards)
@click.option("--fields", metavar="a,b", help="Only these fields.")
@click.option(
    "--via",
    type=click.Choice([str(Via.WEB_FORM), str(Via.PAPER)]),
    required=True,
    help="How they got it.",
)
@click.option("--purpose", default="", help="What it is for.")
@click.pass_obj
def disclosed(
    terminal: Terminal, relationship: str, card: str, fields: str | None, via: str, purpose: str
) -> None:
    """Write down that RELATIONSHIP was given CARD in a web form or on paper."""
    rows = terminal.office.db.call(
        ledger.disclosed,
        terminal.office,
        terminal.account,
        relationship,
        card,
        _listed(fields),
        via=Via(via),
        purpose=purpose,
        actor=ACTOR,
    )
    if terminal.json:
        terminal.data(rows)
    else:
        terminal.rows(rows, _LINE, empty="")


commands: list[click.Command] = [grant, ungrant, who_has, disclosures, disclosed]
