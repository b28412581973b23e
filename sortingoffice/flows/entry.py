"""Ledger lines: what leaves is written down, in the transaction that promises to send it.

Promise: each value is sealed for its one line; a grant that was used counts one use less, once
per message however many contacts it goes to.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sortingoffice.core.cards import Filled
from sortingoffice.core.model import Disclosure, DisclosureItem, Relationship, Via
from sortingoffice.core.wallet import Value
from sortingoffice.flows.vault import Vault
from sortingoffice.frozen import dataclass
from sortingoffice.store import cards as rows
from sortingoffice.store import ledger
from sortingoffice.store.database import Transaction


@dataclass(frozen=True, slots=True)
class Leaving:
    """One value on its way out, and how; grant_id None where it needed none."""

    value: Value
    form: str
    via: Via
    grant_id: int | None = None


def leaving(filled: Iterable[Filled]) -> tuple[Leaving, ...]:
    """Each field once per form and way."""
    found: dict[tuple[str, str, Via], Leaving] = {}
    for each in filled:
        for item in each.items:
            key = (item.value.named, each.ask.form, each.ask.via)
            found.setdefault(key, Leaving(item.value, each.ask.form, each.ask.via, item.grant_id))
    return tuple(found.values())


def line(
    to: Relationship,
    contact_id: int | None,
    message_id: int | None,
    *,
    form: str,
    via: Via,
    purpose: str,
    grant_id: int | None = None,
    now: datetime,
) -> Disclosure:
    return Disclosure(0, to.account_id, to.id, contact_id, grant_id, message_id, now, form, via, purpose)


def write(
    tx: Transaction,
    keys: Vault,
    to: Relationship,
    values: Iterable[Leaving],
    *,
    contacts: Iterable[int | None],
    message_id: int | None,
    purpose: str = "",
    now: datetime,
) -> tuple[Disclosure, ...]:
    """A line for each contact, form, way and grant.

    contacts  whom it goes to; (None,) for what no message carries
    purpose   where no grant says one
    """
    purposes = {grant.id: grant.purpose for grant in rows.grants(tx, to.id)}
    groups: dict[tuple[str, Via, int | None], list[Value]] = {}
    for each in values:
        groups.setdefault((each.form, each.via, each.grant_id), []).append(each.value)
    recipients = tuple(contacts)
    written: list[Disclosure] = []
    for (form, via, grant_id), group in groups.items():
        for contact_id in recipients:
            why = purpose if grant_id is None else purposes.get(grant_id, purpose)
            made = line(
                to, contact_id, message_id, form=form, via=via, purpose=why, grant_id=grant_id, now=now
            )
            written.append(ledger.add(tx, made))
            for value in group:
                _item(tx, keys, written[-1].id, value)
    for used in {grant_id for _, _, grant_id in groups if grant_id is not None}:
        rows.use_grant(tx, used)
    return tuple(written)


def _item(tx: Transaction, keys: Vault, disclosure_id: int, value: Value) -> None:
    """A sealed value that the person typed is told by its version: what it says is nobody's but theirs."""
    if value.text is None and value.like is None:
        raise ValueError(f"{value.named} has no value")
    sealed = keys.seal(keys.item(disclosure_id, value.card, value.key), value.text or "")
    ledger.add_item(
        tx, DisclosureItem(0, disclosure_id, value.card, value.key, value.version_id, sealed, value.mac)
    )
