"""A relationship as programs read it: the keys of the interface, and what else `show` tells.

Promise: one and all of them are shown alike (a test asserts it); all take a fixed number of queries.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol, TypeVar

from sortingoffice.core.model import (
    Account,
    Alias,
    Binding,
    Contact,
    Mailbox,
    Relationship,
    RelationshipState,
)
from sortingoffice.core.relationship import mailbox_of, state_at
from sortingoffice.flows import relationships
from sortingoffice.flows.office import Office
from sortingoffice.frozen import dataclass
from sortingoffice.store import accounts as account_rows
from sortingoffice.store import belongings, contacts
from sortingoffice.store import relationships as rows
from sortingoffice.store.database import Transaction


@dataclass(frozen=True, slots=True)
class _Around:
    """What stands around one relationship; mailboxes are the account's."""

    aliases: Sequence[Alias]
    bindings: Sequence[Binding]
    contacts: Sequence[Contact]
    mailboxes: Sequence[Mailbox]


def of(tx: Transaction, office: Office, relationship: Relationship) -> dict[str, Any]:
    """A relationship as programs read it: the keys of the interface, and what else `show` tells."""
    around = _Around(
        rows.aliases(tx, relationship.id),
        rows.bindings(tx, relationship.id),
        contacts.every(tx, relationship.id),
        account_rows.mailboxes(tx, relationship.account_id),
    )
    return _view(relationship, around, office.clock())


def _view(of: Relationship, around: _Around, now: datetime) -> dict[str, Any]:
    alias = relationships.newest(around.aliases)
    mailbox = mailbox_of(of, around.mailboxes)
    return {
        "relationship": of.slug,
        "name": of.name,
        "alias": alias.address,
        "state": state_at(of, now).value,
        "site": of.site,
        "bindings": [each.identity for each in around.bindings if each.how != "refused"],
        "created": of.created,
        "contacts": [
            {"address": each.written, "name": each.name, "reverse_alias": each.reverse_alias}
            for each in around.contacts
        ],
        "kind": of.kind.value,
        "refused": [each.identity for each in around.bindings if each.how == "refused"],
        "older_aliases": [
            {"alias": each.address, "state": each.state.value}
            for each in around.aliases
            if each.id != alias.id
        ],
        "strangers": of.strangers.value,
        "remote_images": of.remote_images.value,
        "pixels": of.pixels,
        "unsubscribe": of.unsubscribe.value,
        "mailbox": mailbox.address if mailbox is not None else "",
        "display_name": of.display_name,
        "received": of.received,
        "max": of.max_messages,
        "until": of.until,
        "paused_until": of.muted_until,
        "closing_until": of.closing_until,
        "note": of.note,
        "pinned": of.pinned,
    }


def named(tx: Transaction, office: Office, account: Account, text: str) -> dict[str, Any]:
    """The relationship that `text` names, and who wrote to it."""
    from sortingoffice.flows import strangers  # it leads to cards, which are slow to import

    found = relationships.find(tx, account, text)
    return {**of(tx, office, found), "writers": strangers.of_relationship(tx, found)}


def every(
    tx: Transaction,
    office: Office,
    account: Account,
    *,
    state: RelationshipState | None = None,
    search: str = "",
) -> list[dict[str, Any]]:
    """The account's relationships, in the order in which they were made; a fixed number of queries."""
    now = office.clock()
    found = rows.every(tx, account.id, search=search)
    aliases = _grouped(belongings.of(tx, Alias, account.id))
    bindings = _grouped(belongings.of(tx, Binding, account.id))
    known = _grouped(belongings.of(tx, Contact, account.id))
    mailboxes = account_rows.mailboxes(tx, account.id)
    return [
        _view(each, _Around(aliases[each.id], bindings[each.id], known[each.id], mailboxes), now)
        for each in found
        if state is None or state_at(each, now) is state
    ]


class _OfOne(Protocol):
    @property
    def relationship_id(self) -> int: ...


_O = TypeVar("_O", bound=_OfOne)


def _grouped(owned: Iterable[_O]) -> dict[int, list[_O]]:
    found: dict[int, list[_O]] = defaultdict(list)
    for each in owned:
        found[each.relationship_id].append(each)
    return found
