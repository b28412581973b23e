"""What a person sets for their account as a whole."""

from __future__ import annotations

from dataclasses import replace

from sortingoffice.core import directive
from sortingoffice.core.model import Account, FromForm
from sortingoffice.errors import OfficeError
from sortingoffice.flows.office import Office
from sortingoffice.store import accounts, cards, events
from sortingoffice.store.database import Transaction


def set_trigger(tx: Transaction, office: Office, account: Account, word: str, *, actor: str) -> Account:
    """The word after "#" that asks for a card.  Raises `OfficeError`."""
    wanted = directive.trigger_word(word)
    names = [each.name for each in cards.every(tx, account.id)]
    names += [each.name for each in cards.views(tx, account.id)]
    if wanted in names:
        raise OfficeError(f'"{wanted}" is a card or view of yours: choose another word')
    return _set(tx, office, replace(account, trigger=wanted), "trigger set", wanted, account, actor)


def set_from_form(
    tx: Transaction, office: Office, account: Account, form: FromForm, *, actor: str
) -> Account:
    """How vendors are named in the From of what they write."""
    return _set(tx, office, replace(account, from_form=form), "from form set", form.value, account, actor)


def set_new_contacts(
    tx: Transaction, office: Office, account: Account, wanted: bool, *, actor: str
) -> Account:
    """Whether whom a submitted mail names beside a contact becomes a contact of that relationship."""
    changed = replace(account, new_contacts=wanted)
    return _set(tx, office, changed, "new contacts set", "on" if wanted else "off", account, actor)


def _set(
    tx: Transaction, office: Office, changed: Account, what: str, detail: str, account: Account, actor: str
) -> Account:
    if changed != account:
        accounts.update(tx, changed)
        events.add(tx, at=office.clock(), actor=actor, what=what, account_id=account.id, detail=detail)
    return changed
