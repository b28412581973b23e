"""Cards of personal data: set, look, select, remove.  What leaves and who has it: `cli.grant`.

Values are shown only with --reveal, or in the answer to a question at the terminal.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, BinaryIO

import click

from sortingoffice.cli import complete, dialogue, grant, notify
from sortingoffice.cli.dialogue import Answers
from sortingoffice.cli.moment import MOMENT
from sortingoffice.cli.terminal import Terminal, interactive, say
from sortingoffice.core import fields
from sortingoffice.core.model import Account, FieldType, Sensitivity
from sortingoffice.errors import OfficeError
from sortingoffice.flows import bymail, cardcontacts, cards, exchange, sealed
from sortingoffice.flows.cards import Assignment
from sortingoffice.flows.office import Office
from sortingoffice.flows.sealed import Seal
from sortingoffice.mail import vcard
from sortingoffice.store.database import Transaction

ACTOR = "cli"


@click.group()
def card() -> None:
    """Keep cards of personal data: name, home, shipping, phone …

    In any mail to a vendor's address of yours, "#card shipping" alone on a line puts the card in.
    """


@card.command("set")
@click.argument("assignments", nargs=-1, metavar="NAME.FIELD=VALUE …")
@click.option("--from", "valid_from", type=MOMENT, metavar="DATE", help="From when on it is true.")
@click.option(
    "--sensitivity",
    type=click.Choice([str(each) for each in Sensitivity]),
    help="Of the whole card: open, normal (the default), sensitive or sealed.",
)
@click.option(
    "--type",
    "kind",
    type=click.Choice([str(each) for each in FieldType]),
    help="Of the fields named here; else their names suggest it.",
)
@click.option(
    "--verified",
    default="",
    metavar="TEXT",
    help="Who has verified the values, when, and by what evidence; else they are self-asserted.",
)
@click.pass_obj
def set_(
    terminal: Terminal,
    assignments: tuple[str, ...],
    valid_from: datetime | None,
    sensitivity: str | None,
    kind: str | None,
    verified: str,
) -> None:
    """Give fields a value; a change makes a new version.  Without arguments, asks field by field."""
    level, type = Sensitivity(sensitivity) if sensitivity else None, FieldType(kind) if kind else None
    if assignments:
        chosen = [_assignment(text) for text in assignments]
        seal = _passphrase(terminal) if level is Sensitivity.SEALED else None
        answers = Answers(chosen, level, seal)
    elif interactive():
        answers = dialogue.ask(terminal, level, type)
    else:
        raise click.UsageError('give at least one NAME.FIELD=VALUE, for example shipping.city="Berlin"')
    if not answers.chosen:
        say("nothing was set")
        return
    office, account = terminal.office, terminal.account
    rows = office.db.call(_set, office, account, answers, valid_from, type, verified)
    if terminal.json:
        terminal.data(rows)
        return
    for row in rows:
        named = f"{row['card']}.{row['field']}"
        say(f"{named} is version {row['version']}" if row["changed"] else f"{named} is that already")
    if not assignments:
        dialogue.farewell(terminal, answers)


def _set(
    tx: Transaction,
    office: Office,
    account: Account,
    answers: Answers,
    valid_from: datetime | None,
    type: FieldType | None,
    verified: str,
) -> list[dict[str, Any]]:
    chosen = answers.chosen
    if answers.seal is not None:
        return sealed.set_fields(
            tx,
            office,
            account,
            chosen,
            answers.seal,
            valid_from=valid_from,
            type=type,
            verified=verified,
            actor=ACTOR,
        )
    return cards.set_fields(
        tx,
        office,
        account,
        chosen,
        valid_from=valid_from,
        sensitivity=answers.sensitivity,
        type=type,
        verified=verified,
        actor=ACTOR,
    )


def _passphrase(terminal: Terminal) -> Seal:
    if not interactive():
        raise OfficeError("a sealed card needs your passphrase: run this at a terminal")
    return dialogue.passphrase(terminal)


def _assignment(text: str) -> Assignment:
    named, equals, value = text.partition("=")
    name, dot, key = named.partition(".")
    if not equals or not dot:
        raise click.UsageError(
            f'{fields.shown(text)}: write NAME.FIELD=VALUE, for example shipping.city="Berlin"'
        )
    return Assignment(name, key, value)


@card.command("list")
@click.pass_obj
def list_(terminal: Terminal) -> None:
    """List the cards and views, without values."""
    office = terminal.office
    rows = office.db.view(cards.listing, terminal.account, office.clock())
    terminal.rows(
        rows,
        ("card", "kind", "sensitivity", "fields"),
        empty="there are no cards yet: `sortingoffice card set` asks for the first one",
    )


@card.command()
@click.argument("name", shell_complete=complete.cards)
@click.option("--reveal", is_flag=True, help="Show the values themselves.")
@click.pass_obj
def show(terminal: Terminal, name: str, reveal: bool) -> None:
    """Show a card's fields and versions."""
    office, account = terminal.office, terminal.account
    rows = office.db.view(cards.show, office, account, name, reveal=reveal)
    if reveal and interactive() and any(row["sensitivity"] == Sensitivity.SEALED for row in rows):
        rows = office.db.view(sealed.show, office, account, name, _passphrase(terminal))
    columns = ("field", "value", "version", "from", "provenance")
    terminal.rows(rows, columns, empty="this card has no fields yet", spare=("provenance", "version"))
    if rows and not reveal and not terminal.json:
        say("--reveal shows the values")


@card.command()
@click.argument("name", shell_complete=complete.cards, metavar="NAME[.FIELD]")
@click.pass_obj
def remove(terminal: Terminal, name: str) -> None:
    """Take away a card, a view, or one field; the ledger keeps what was given."""
    what = terminal.office.db.call(cards.remove, terminal.office, terminal.account, name, actor=ACTOR)
    terminal.done(f"{what} is removed", {"removed": what})


@card.command()
@click.argument("selection", metavar="NAME=CARD.FIELD,…")
@click.pass_obj
def view(terminal: Terminal, selection: str) -> None:
    """Name a selection of fields over cards, such as shipping-min=shipping.name,shipping.city.

    CARD.FIELD:over-18 gives less than the value; likewise year, town, country, initials, domain, last-4.
    """
    name, equals, members = selection.partition("=")
    if not equals:
        raise click.UsageError("write NAME=CARD.FIELD,CARD.FIELD")
    chosen = [each for each in members.split(",") if each.strip()]
    row = terminal.office.db.call(
        cards.set_view, terminal.office, terminal.account, name, chosen, actor=ACTOR
    )
    terminal.done(f"view {row['card']} has {', '.join(row['fields'])}", row)


@card.command("export")
@click.argument("name", shell_complete=complete.cards)
@click.option(
    "--as", "form", type=click.Choice(["vcard", "vcard4", "jscontact"]), default="vcard", show_default=True
)
@click.pass_obj
def export(terminal: Terminal, name: str, form: str) -> None:
    """Print a card or view as vCard 3.0, vCard 4.0 or JSContact 2.0."""
    octets = terminal.office.db.view(exchange.export, terminal.office, terminal.account, name, form)
    if terminal.json:
        terminal.data({"card": name, "form": form, "text": octets.decode()})
    else:
        click.echo(octets.decode(), nl=False)


@card.command("contacts")
@click.option("--renew", is_flag=True, help="Make New address and Pocket addresses anew; the old ones end.")
@click.pass_obj
def contacts(terminal: Terminal, renew: bool) -> None:
    """Print contacts for your address book.

    A card's contact in Cc: its card goes along.  A mail to New address, with the vendor as its subject, is
    answered with an address; one to Pocket addresses with a list of them.
    """
    account = terminal.account
    if renew:
        account = terminal.office.db.call(bymail.renew, terminal.office, account, actor=ACTOR)
    octets = terminal.office.db.view(cardcontacts.file, terminal.office, account)
    if terminal.json:
        terminal.data({"text": octets.decode()})
    else:
        click.echo(octets.decode(), nl=False)


@card.command("import")
@click.argument("file", type=click.File("rb"))
@click.pass_obj
def import_(terminal: Terminal, file: BinaryIO) -> None:
    """Take the values of a vCard (3.0 or 4.0) over into cards: name, home, work, contact."""
    octets = file.read(vcard.MAX_OCTETS + 1)
    office = terminal.office
    rows, left_out = office.db.call(exchange.import_vcard, office, terminal.account, octets, actor=ACTOR)
    if terminal.json:
        terminal.data({"set": rows, "left_out": left_out})
        return
    for row in rows:
        say(f"{row['card']}.{row['field']} is version {row['version']}")
    for each in left_out:
        say(f"left out: {each}")


card.add_command(notify.notify_)

commands: list[click.Command] = [card, *grant.commands]
