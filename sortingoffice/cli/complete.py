"""What a shell offers after a command: the person's own relationships and cards, by name.

Promise: it never asks, changes or prints anything else; where the office can't be opened, nothing is
offered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import click
from click.shell_completion import CompletionItem

from sortingoffice.cli.terminal import Terminal
from sortingoffice.errors import OfficeError

if TYPE_CHECKING:
    from sortingoffice.core.model import Account
    from sortingoffice.store.database import Transaction

MOST = 200
T = TypeVar("T")


def relationships(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Slugs, with the names beside them."""
    from sortingoffice.store import relationships as rows

    found = _seen(ctx, lambda tx, account: rows.every(tx, account.id))
    fitting = [each for each in found if each.slug.startswith(incomplete.lower())]
    return [CompletionItem(each.slug, help=each.name) for each in fitting[:MOST]]


def cards(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Cards and views."""
    from sortingoffice.store import cards as rows

    def named(tx: Transaction, account: Account) -> list[str]:
        cards = [each.name for each in rows.every(tx, account.id)]
        return sorted([*cards, *(each.name for each in rows.views(tx, account.id))])

    found = _seen(ctx, named)
    return [CompletionItem(each) for each in found if each.startswith(incomplete.lower())]


def _seen(ctx: click.Context, look: Callable[[Transaction, Account], Sequence[T]]) -> Sequence[T]:
    """What the office that the command line names has; nothing where it can't be opened."""
    root = ctx.find_root()
    with root:  # what is opened is closed at its end
        try:
            terminal = root.ensure_object(Terminal)
            return terminal.office.db.view(look, terminal.account)
        except OfficeError:
            return ()
