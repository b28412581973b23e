"""`sortingoffice admin token`: tokens for programs that use the HTTP API."""

from __future__ import annotations

from datetime import datetime

import click

from sortingoffice.cli.terminal import Terminal
from sortingoffice.cli.when import UNTIL
from sortingoffice.core.access import Scope
from sortingoffice.flows import tokens

_ACTOR = "cli"


@click.group("token")
def token() -> None:
    """API tokens, for password managers and browser extensions: one for each device."""


@token.command("new")
@click.option("--label", default="", metavar="TEXT", help="Which device or program it is for.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What it may do; can be given several times.  Left out: everything.",
)
@click.option("--until", "expires", type=UNTIL, help="Works until then.")
@click.pass_obj
def new(terminal: Terminal, label: str, scopes: tuple[str, ...], expires: datetime | None) -> None:
    """Make a token and print it; it is shown this once."""
    office, account = terminal.office, terminal.account
    wish = tokens.Wish(label, frozenset(Scope(each) for each in scopes), expires)
    secret, made = office.db.call(tokens.new, office, account, wish, actor=_ACTOR)
    if terminal.json:
        terminal.data({"account": account.name, **tokens.describe(made, office.clock()), "token": secret})
    else:
        click.echo(secret)


@token.command("list")
@click.pass_obj
def list_(terminal: Terminal) -> None:
    """List tokens that were not revoked."""
    rows = terminal.office.db.view(tokens.listing, terminal.office, terminal.account)
    columns = ("id", "label", "scopes", "created", "expires", "last_used")
    terminal.rows(rows, columns, empty="No tokens: `sortingoffice admin token new` makes one.")


@token.command("revoke")
@click.argument("which", metavar="ID|LABEL")
@click.pass_obj
def revoke(terminal: Terminal, which: str) -> None:
    """Revoke a token."""
    office = terminal.office
    done = office.db.call(tokens.revoke, office, terminal.account, which, actor=_ACTOR)
    named = f"{done.id} ({done.label})" if done.label else str(done.id)
    terminal.done(f"Token {named} revoked.", {"id": done.id, "label": done.label, "revoked": done.revoked})
