"""Names that the person keeps to themselves: marked, listed, and no longer marked.

Promise: the log says that something was marked, and never what.
"""

from __future__ import annotations

from typing import Any

from sortingoffice.core import secrets
from sortingoffice.core.model import Account
from sortingoffice.core.names import LONGEST, MOST, Mark, PrivateName
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows.office import Office
from sortingoffice.store import events, names
from sortingoffice.store.database import Transaction


def every(tx: Transaction, account: Account) -> list[dict[str, Any]]:
    return [_row(account, each) for each in names.every(tx, account.id)]


def add(
    tx: Transaction, office: Office, account: Account, mark: Mark, name: str, *, actor: str
) -> dict[str, Any]:
    """Look for it in everything that leaves.  Raises `OfficeError`.

    name  "" for the other marks than Mark.NAME
    """
    written = _written(mark, name)
    sought = account.name if mark is Mark.LOGIN else written
    if mark is not Mark.DISPLAY and not secrets.name_words(sought):
        raise OfficeError(f'"{sought}" is too short to be looked for: it needs a word of four letters')
    if len(written) > LONGEST or not written.isprintable():
        raise OfficeError(f"a name is one line of at most {LONGEST} characters")
    if len(names.every(tx, account.id)) >= MOST:
        raise OfficeError(f"{MOST} names are marked already; `sortingoffice names remove` takes one off")
    new = PrivateName(0, account.id, mark, written)
    if names.add(tx, new):
        _event(tx, office, account, actor, "name marked private")
    return _row(account, new)


def remove(
    tx: Transaction, office: Office, account: Account, mark: Mark, name: str, *, actor: str
) -> dict[str, Any]:
    """Look for it no longer.  Raises `NotThere`."""
    gone = PrivateName(0, account.id, mark, _written(mark, name))
    if not names.remove(tx, account.id, mark, gone.name):
        raise NotThere(f"{gone.name or mark.value} is not marked; `sortingoffice names list` shows what is")
    _event(tx, office, account, actor, "name no longer private")
    return _row(account, gone)


def _written(mark: Mark, name: str) -> str:
    return " ".join(name.split()) if mark is Mark.NAME else ""


def _row(account: Account, each: PrivateName) -> dict[str, Any]:
    shown = {Mark.LOGIN: account.name, Mark.DISPLAY: ""}.get(each.mark, each.name)
    return {"mark": each.mark.value, "name": shown, "looked_for": list(secrets.name_words(shown))}


def _event(tx: Transaction, office: Office, account: Account, actor: str, what: str) -> None:
    events.add(tx, at=office.clock(), actor=actor, what=what, account_id=account.id)
