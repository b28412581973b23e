"""Cards, their fields and versions, views and grants.

Values come and go sealed (`mail.cipher`); nothing here can read them.  Names are in the form
of `core.fields.name`.  What is removed stays as a row, for the ledger points at it.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from sortingoffice.core.model import Card, CardField, FieldVersion, Grant, InboundDirective, Sensitivity, View
from sortingoffice.frozen import dataclass
from sortingoffice.store import schema
from sortingoffice.store.schema import card, card_field, field_version, grant, inbound_directive, view


@dataclass(frozen=True, slots=True)
class Current:
    """A field as it is at one moment; version None where it has no value then."""

    card: Card
    field: CardField
    version: FieldVersion | None


# Asked for each outward message: built once.
_OF_ACCOUNT = (card.c.account_id == sa.bindparam("account_id")) & card.c.removed.is_(None)
_EVERY = sa.select(card).where(_OF_ACCOUNT).order_by(card.c.name)
_LIVE = card_field.c.card_id.in_(sa.select(card.c.id).where(_OF_ACCOUNT)) & card_field.c.removed.is_(None)
_LIVE_FIELDS = sa.select(card_field).where(_LIVE)
_NOW = sa.bindparam("now", type_=schema.Instant)
# What was true at once when it was said is true, also after a clock was set back; the newest wins.
_HOLDS = (field_version.c.valid_from <= _NOW) | (field_version.c.valid_from <= field_version.c.created)
_VALID = (
    sa.select(field_version)
    .where(
        field_version.c.field_id.in_(sa.select(card_field.c.id).where(_LIVE)),
        _HOLDS,
        field_version.c.valid_to.is_(None) | (field_version.c.valid_to > _NOW),
    )
    .order_by(field_version.c.number)
)
_VIEWS = sa.select(view).where(view.c.account_id == sa.bindparam("account_id")).order_by(view.c.name)
_GRANTS = (
    sa.select(grant)
    .where(grant.c.relationship_id == sa.bindparam("relationship_id"), grant.c.ended.is_(None))
    .order_by(grant.c.id)
)


# ---- cards ----------------------------------------------------------------------------------------


def add(tx: sa.Connection, new: Card) -> Card:
    return schema.insert(tx, new)


def every(tx: sa.Connection, account_id: int) -> tuple[Card, ...]:
    """The account's cards, by name; removed ones left out."""
    return schema.every(Card, tx.execute(_EVERY, {"account_id": account_id}))


def by_name(tx: sa.Connection, account_id: int, name: str) -> Card | None:
    found = sa.select(card).where(
        card.c.account_id == account_id, card.c.name == name, card.c.removed.is_(None)
    )
    return schema.one(Card, tx.execute(found))


def accounts_with(tx: sa.Connection, name: str) -> tuple[int, ...]:
    """The accounts that have a card or view of this name."""
    cards = sa.select(card.c.account_id).where(card.c.name == name, card.c.removed.is_(None))
    views = sa.select(view.c.account_id).where(view.c.name == name)
    return tuple(sorted(tx.execute(cards.union(views)).scalars()))


def set_sensitivity(tx: sa.Connection, card_id: int, sensitivity: Sensitivity) -> None:
    tx.execute(card.update().where(card.c.id == card_id).values(sensitivity=sensitivity))


def remove(tx: sa.Connection, card_id: int, now: datetime) -> None:
    """The card and its fields; their versions end, and stay."""
    tx.execute(card.update().where(card.c.id == card_id).values(removed=now))
    for each in fields(tx, card_id):
        remove_field(tx, each.id, now)


# ---- fields and versions --------------------------------------------------------------------------


def add_field(tx: sa.Connection, new: CardField) -> CardField:
    return schema.insert(tx, new)


def fields(tx: sa.Connection, card_id: int) -> tuple[CardField, ...]:
    """In the person's order; removed ones left out."""
    found = sa.select(card_field).where(card_field.c.card_id == card_id, card_field.c.removed.is_(None))
    return schema.every(CardField, tx.execute(found.order_by(card_field.c.position, card_field.c.id)))


def set_type(tx: sa.Connection, field_id: int, type: str) -> None:
    tx.execute(card_field.update().where(card_field.c.id == field_id).values(type=type))


def remove_field(tx: sa.Connection, field_id: int, now: datetime) -> None:
    tx.execute(card_field.update().where(card_field.c.id == field_id).values(removed=now))
    open_ended = (field_version.c.field_id == field_id) & (
        field_version.c.valid_to.is_(None) | (field_version.c.valid_to > now)
    )
    tx.execute(field_version.update().where(open_ended).values(valid_to=now))


def add_version(tx: sa.Connection, new: FieldVersion) -> FieldVersion:
    """A new value; whatever was valid from its beginning on ends there."""
    open_ended = (field_version.c.field_id == new.field_id) & (
        field_version.c.valid_to.is_(None) | (field_version.c.valid_to > new.valid_from)
    )
    tx.execute(field_version.update().where(open_ended).values(valid_to=new.valid_from))
    return schema.insert(tx, new)


def reseal(tx: sa.Connection, version_id: int, sealed: bytes, mac: bytes) -> None:
    """The same value under other keys."""
    tx.execute(field_version.update().where(field_version.c.id == version_id).values(sealed=sealed, mac=mac))


def reseal_unchanged(tx: sa.Connection, seen: FieldVersion, sealed: bytes) -> int:
    """The same value, unless somebody else sealed it anew since it was seen; how many (0 or 1)."""
    same = (field_version.c.id == seen.id) & (field_version.c.sealed == seen.sealed)
    return tx.execute(field_version.update().where(same).values(sealed=sealed)).rowcount


def sealed_otherwise(
    tx: sa.Connection, account_id: int, key_id: bytes, most: int
) -> tuple[FieldVersion, ...]:
    """Versions that are sealed under another key than this one (`mail.cipher.key_id`), oldest first."""
    mine = sa.select(card_field.c.id).join(card, card.c.id == card_field.c.card_id)
    found = sa.select(field_version).where(
        field_version.c.field_id.in_(mine.where(card.c.account_id == account_id)),
        sa.func.substr(field_version.c.sealed, 2, len(key_id)) != key_id,
    )
    return schema.every(FieldVersion, tx.execute(found.order_by(field_version.c.id).limit(most)))


def versions(tx: sa.Connection, field_id: int) -> tuple[FieldVersion, ...]:
    """All of a field, oldest first."""
    found = sa.select(field_version).where(field_version.c.field_id == field_id)
    return schema.every(FieldVersion, tx.execute(found.order_by(field_version.c.number)))


def version(tx: sa.Connection, version_id: int) -> FieldVersion | None:
    return schema.one(
        FieldVersion, tx.execute(sa.select(field_version).where(field_version.c.id == version_id))
    )


def current(tx: sa.Connection, account_id: int, now: datetime) -> tuple[Current, ...]:
    """Every live field with its value of `now`, by card name and in the person's order."""
    cards = {each.id: each for each in every(tx, account_id)}
    rows = schema.every(CardField, tx.execute(_LIVE_FIELDS, {"account_id": account_id}))
    found = schema.every(FieldVersion, tx.execute(_VALID, {"account_id": account_id, "now": now}))
    newest = {each.field_id: each for each in found}
    ordered = sorted(rows, key=lambda each: (cards[each.card_id].name, each.position, each.id))
    return tuple(Current(cards[each.card_id], each, newest.get(each.id)) for each in ordered)


# ---- views ----------------------------------------------------------------------------------------


def views(tx: sa.Connection, account_id: int) -> tuple[View, ...]:
    return schema.every(View, tx.execute(_VIEWS, {"account_id": account_id}))


def set_view(tx: sa.Connection, new: View) -> View:
    """A new view, or other members for one of the same name."""
    same = (view.c.account_id == new.account_id) & (view.c.name == new.name)
    changed = tx.execute(view.update().where(same).values(members=new.members))
    if changed.rowcount:
        found = schema.one(View, tx.execute(sa.select(view).where(same)))
        assert found is not None, "it was just updated"
        return found
    return schema.insert(tx, new)


def remove_view(tx: sa.Connection, view_id: int) -> None:
    tx.execute(view.delete().where(view.c.id == view_id))


# ---- grants ---------------------------------------------------------------------------------------


def add_grant(tx: sa.Connection, new: Grant) -> Grant:
    return schema.insert(tx, new)


def grants(tx: sa.Connection, relationship_id: int) -> tuple[Grant, ...]:
    """Those of a relationship that were not taken back, expired ones included, oldest first."""
    return schema.every(Grant, tx.execute(_GRANTS, {"relationship_id": relationship_id}))


def grants_of(tx: sa.Connection, account_id: int, name: str) -> tuple[Grant, ...]:
    """Those of a card or a view, whoever has them, that were not taken back, oldest first."""
    found = sa.select(grant).where(
        grant.c.account_id == account_id, grant.c.card == name, grant.c.ended.is_(None)
    )
    return schema.every(Grant, tx.execute(found.order_by(grant.c.id)))


def every_grant(tx: sa.Connection, relationship_id: int) -> tuple[Grant, ...]:
    """Those that were taken back too, oldest first."""
    found = sa.select(grant).where(grant.c.relationship_id == relationship_id)
    return schema.every(Grant, tx.execute(found.order_by(grant.c.id)))


def end_grant(tx: sa.Connection, grant_id: int, now: datetime) -> None:
    tx.execute(grant.update().where(grant.c.id == grant_id).values(ended=now))


def use_grant(tx: sa.Connection, grant_id: int) -> None:
    """One use less, where uses are counted."""
    counted = (grant.c.id == grant_id) & grant.c.uses_left.is_not(None) & (grant.c.uses_left > 0)
    tx.execute(grant.update().where(counted).values(uses_left=grant.c.uses_left - 1))


# ---- what the vendor's own mail said --------------------------------------------------------------


def remember_inbound(tx: sa.Connection, relationship_id: int, macs: frozenset[bytes], now: datetime) -> None:
    new = sorted(macs - inbound(tx, relationship_id, macs))
    rows = [schema.values(InboundDirective(0, relationship_id, mac, now)) for mac in new]
    if rows:
        tx.execute(inbound_directive.insert(), rows)


def inbound(tx: sa.Connection, relationship_id: int, macs: frozenset[bytes]) -> frozenset[bytes]:
    """Those of the MACs that an inbound message of this relationship has carried."""
    found: set[bytes] = set()
    wanted = sorted(macs)
    for start in range(0, len(wanted), 500):  # SQLite's and PostgreSQL's bounds on parameters
        rows = tx.execute(
            sa.select(inbound_directive.c.mac).where(
                inbound_directive.c.relationship_id == relationship_id,
                inbound_directive.c.mac.in_(wanted[start : start + 500]),
            )
        )
        found.update(bytes(row.mac) for row in rows)
    return frozenset(found)
