"""Contacts: a relationship's correspondents, and the reverse aliases that lead to them."""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa

from sortingoffice.core.model import Contact
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction
from sortingoffice.store.statement import run

_contact = schema.contact
_OF: sa.BindParameter[int] = sa.bindparam("relationship_id")

_BY_ID = sa.select(_contact).where(_contact.c.id == sa.bindparam("id"))
_BY_REVERSE = sa.select(_contact).where(_contact.c.reverse_canonical == sa.bindparam("canonical"))
_BY_ADDRESS = sa.select(_contact).where(
    _contact.c.relationship_id == _OF, _contact.c.address == sa.bindparam("address")
)
_EVERY = sa.select(_contact).where(_contact.c.relationship_id == _OF).order_by(_contact.c.id)


def by_id(tx: Transaction, contact_id: int) -> Contact | None:
    return schema.one(Contact, run(tx, _BY_ID, {"id": contact_id}))


def by_reverse(tx: Transaction, canonical: str) -> Contact | None:
    """The contact behind a reverse alias, by `naming.canonical` of it."""
    return schema.one(Contact, run(tx, _BY_REVERSE, {"canonical": canonical}))


def by_address(tx: Transaction, relationship_id: int, normal: str) -> Contact | None:
    found = run(tx, _BY_ADDRESS, {"relationship_id": relationship_id, "address": normal})
    return schema.one(Contact, found)


def get_or_add(tx: Transaction, relationship_id: int, contact: Contact) -> Contact:
    """The relationship's contact with this address: the one that is there, else `contact`, stored.

    Raises IntegrityError where the reverse alias is already another's.
    """
    found = by_address(tx, relationship_id, contact.address)
    if found is None:
        new = replace(contact, relationship_id=relationship_id)
        schema.add_unless(tx, new, "relationship_id", "address")
        found = by_address(tx, relationship_id, contact.address)
        assert found is not None, "it was stored, or stood there"
    return found


def update(tx: Transaction, contact: Contact) -> None:
    schema.update(tx, contact)


def every(tx: Transaction, relationship_id: int) -> tuple[Contact, ...]:
    return schema.every(Contact, run(tx, _EVERY, {"relationship_id": relationship_id}))
