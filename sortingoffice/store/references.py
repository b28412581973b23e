"""Message-IDs that a relationship has carried: as the person's side and as the vendor's side knows them.

Promise: an id is mapped only where this relationship carried it, so that no thread joins two vendors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import sqlalchemy as sa

from sortingoffice.core.model import Direction, Reference, Relationship
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction
from sortingoffice.store.statement import run

_reference = schema.reference
_OF = _reference.c.relationship_id == sa.bindparam("relationship_id")
_BY_INSIDE = sa.select(_reference.c.outside).where(_OF, _reference.c.inside == sa.bindparam("known"))
_BY_OUTSIDE = (
    sa.select(_reference.c.inside)
    .where(_OF, _reference.c.outside == sa.bindparam("known"))
    .order_by(_reference.c.id)
    .limit(1)
)
_CARRIED = (
    sa.select(_reference.c.relationship_id, _reference.c.inside)
    .join(schema.relationship, schema.relationship.c.id == _reference.c.relationship_id)
    .where(_reference.c.outside == sa.bindparam("outside"))
    .where(schema.relationship.c.account_id == sa.bindparam("account_id"))
    .order_by((_reference.c.relationship_id == sa.bindparam("own")).desc(), _reference.c.id)
    .limit(1)
)
_IDS: sa.BindParameter[str] = sa.bindparam("ids", expanding=True)
_MANY_BY_INSIDE = sa.select(_reference.c.inside, _reference.c.outside).where(
    _OF, _reference.c.inside.in_(_IDS)
)
# The relationships first: the index of ids begins with theirs.
_ONLY_INSIDE = (
    sa.select(_reference.c.inside)
    .join(schema.relationship, schema.relationship.c.id == _reference.c.relationship_id)
    .where(schema.relationship.c.account_id == sa.bindparam("account_id"))
    .where(_reference.c.inside.in_(_IDS), _reference.c.inside != _reference.c.outside)
)
_FEW, _AT_ONCE = 20, 500
_delivery, _message = schema.delivery, schema.message
_CAME = (
    sa.select(_delivery.c.contact_id, _delivery.c.accepted_for)
    .join(_message, _message.c.id == _delivery.c.message_id)
    .where(_message.c.relationship_id == sa.bindparam("relationship_id"))
    .where(_message.c.direction == sa.literal_column(f"'{Direction.INWARD.value}'"))
)
# A pair is stored with the message that brought it, at the same moment.
_CAME_WITH = (
    _CAME.join(_reference, _reference.c.created == _message.c.accepted)
    .where(_OF, _reference.c.inside == sa.bindparam("inside"))
    .order_by(_delivery.c.id)
)
_CAME_LAST = (
    _CAME.where(_delivery.c.contact_id == sa.bindparam("contact_id")).order_by(_delivery.c.id.desc()).limit(1)
)
_PRUNE = _reference.delete().where(
    _reference.c.id.in_(sa.select(_reference.c.id).order_by(_reference.c.id).limit(sa.bindparam("most"))),
    _reference.c.created < sa.bindparam("before", type_=schema.Instant),
)


def remember(tx: Transaction, relationship_id: int, inside: str, outside: str, now: datetime) -> None:
    """Store a pair; what the person's side already knows keeps its first partner."""
    schema.add_unless(tx, Reference(0, relationship_id, inside, outside, now), "relationship_id", "inside")


def outside_of(tx: Transaction, relationship_id: int, ids: Iterable[str]) -> dict[str, str]:
    """Ids of the person's side → the vendor's side; those never carried are missing."""
    sought = list(ids)
    if len(sought) <= _FEW:
        return _partners(tx, _BY_INSIDE, relationship_id, sought)
    found: dict[str, str] = {}
    for some in _in_portions(sought):
        rows = tx.execute(_MANY_BY_INSIDE, {"relationship_id": relationship_id, "ids": some})
        found |= {row.inside: row.outside for row in rows}
    return found


def only_inside(tx: Transaction, account_id: int, ids: Iterable[str]) -> frozenset[str]:
    """Those that stand for another id in some relationship of the account: no vendor has seen them."""
    found: set[str] = set()
    for some in _in_portions(list(ids)):
        found.update(tx.execute(_ONLY_INSIDE, {"account_id": account_id, "ids": some}).scalars())
    return frozenset(found)


def _in_portions(ids: list[str]) -> Iterable[list[str]]:
    return (ids[at : at + _AT_ONCE] for at in range(0, len(ids), _AT_ONCE))


def inside_of(tx: Transaction, relationship_id: int, ids: Iterable[str]) -> dict[str, str]:
    """Ids of the vendor's side → the person's side (of several, the first that was carried)."""
    return _partners(tx, _BY_OUTSIDE, relationship_id, ids)


def _partners(
    tx: Transaction, statement: sa.Select[tuple[str]], relationship_id: int, ids: Iterable[str]
) -> dict[str, str]:
    """One look-up by the index for each: a message names few ids, and mostly none."""
    found = {
        known: run(tx, statement, {"relationship_id": relationship_id, "known": known}).scalar()
        for known in ids
    }
    return {known: partner for known, partner in found.items() if partner is not None}


def carried(tx: Transaction, relationship: Relationship, outside: str) -> tuple[int, str] | None:
    """Which relationship of the account has carried this id of a vendor's side, this one or else the first,
    and the id as the person's side knows it; None where none has."""
    wanted = {"account_id": relationship.account_id, "own": relationship.id, "outside": outside}
    row = run(tx, _CARRIED, wanted).first()
    return None if row is None else (int(row[0]), str(row[1]))


def came_with(tx: Transaction, relationship_id: int, inside: str) -> Sequence[tuple[int | None, str]]:
    """Who wrote the vendor's message of this id, and the address that it was accepted for ("" unknown)."""
    rows = run(tx, _CAME_WITH, {"relationship_id": relationship_id, "inside": inside})
    return [(row[0], row[1]) for row in rows]


def came_last(tx: Transaction, relationship_id: int, contact_id: int) -> str | None:
    """The address that this contact's latest message was accepted for ("" unknown); None without any."""
    wanted = {"relationship_id": relationship_id, "contact_id": contact_id}
    row = run(tx, _CAME_LAST, wanted).first()
    return None if row is None else str(row[1])


def prune(tx: Transaction, before: datetime, most: int = 5000) -> int:
    """Forget pairs older than `before`, the oldest first; how many."""
    return int(tx.execute(_PRUNE, {"before": before, "most": most}).rowcount)
