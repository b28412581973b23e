"""The ledger of disclosures: append only, and what can be read out of it.

A line's fate is its delivery's state.  `superseded` is derived: the vendor was later given
another version of the same field, and that holds by now.

Promise: no function here updates or deletes a disclosure or an item of one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from sortingoffice.core import derive
from sortingoffice.core.model import DeliveryState, Disclosure, DisclosureItem, Via
from sortingoffice.core.wallet import Held
from sortingoffice.frozen import dataclass
from sortingoffice.store import schema
from sortingoffice.store.schema import (
    card_field,
    contact,
    delivery,
    disclosure,
    disclosure_item,
    field_version,
    grant,
    relationship,
)

_EPOCH = datetime.min.replace(tzinfo=UTC)
GIVEN = "given"  # without a message: by web form or on paper
SUPERSEDED = "superseded"
WITHDRAWN = "withdrawn"
WITHDRAWAL = "withdrawal"  # the form of a line without items; its purpose names what was withdrawn


@dataclass(frozen=True, slots=True)
class Line:
    """One value in one disclosure, with everything a person asks about it.

    number    the field version's number; None for the relationship's own alias
    latest    the number of the field's newest version; None likewise, or where the field is gone
    state     its delivery's state, "given", "superseded" or "withdrawn"
    terms     of the grant it was given under
    order     the last of a field's lines in this order is what the vendor holds of it
    sealed    the value, in `place`
    """

    item_id: int
    disclosure_id: int
    relationship_id: int
    slug: str
    vendor: str
    contact: str
    card: str
    field: str
    version_id: int | None
    number: int | None
    latest: int | None
    at: datetime
    form: str
    via: Via
    purpose: str
    state: str
    sealed: bytes
    mac: bytes
    message_id: int | None
    grant_id: int | None
    terms: str
    valid_from: datetime | None
    valid_to: datetime | None
    order: tuple[datetime, int, int] = (_EPOCH, 0, 0)

    @property
    def announced(self) -> datetime | None:
        """From when on it holds, where that was later than it was given, and wasn't called off since."""
        if self.valid_from is None or self.valid_from <= self.at:
            return None
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            return None
        return self.valid_from


@dataclass(frozen=True, slots=True)
class Queued:
    """One value that a delivery which waits is to give."""

    delivery_id: int
    message_id: int
    via: Via
    grant_id: int | None
    card: str
    field: str
    mac: bytes

    @property
    def named(self) -> str:
        return f"{self.card}.{self.field}"


def _carried() -> sa.ColumnElement[bool]:
    """The delivery that carried a disclosure: same message, same contact."""
    return (delivery.c.message_id == disclosure.c.message_id) & (
        delivery.c.contact_id.is_not_distinct_from(disclosure.c.contact_id)
    )


_LATEST = (
    sa.select(sa.func.max(field_version.c.number))
    .where(field_version.c.field_id == card_field.c.id)
    .correlate(card_field)
    .scalar_subquery()
)
_LINES = (
    sa.select(
        disclosure_item.c.id,
        disclosure.c.id,
        disclosure.c.relationship_id,
        relationship.c.slug,
        relationship.c.name,
        contact.c.address,
        disclosure_item.c.card,
        disclosure_item.c.field,
        disclosure_item.c.version_id,
        field_version.c.number,
        _LATEST,
        disclosure.c.at,
        disclosure.c.form,
        disclosure.c.via,
        disclosure.c.purpose,
        delivery.c.state,
        disclosure_item.c.sealed,
        disclosure_item.c.mac,
        disclosure.c.message_id,
        disclosure.c.grant_id,
        sa.func.coalesce(grant.c.terms, ""),
        field_version.c.valid_from,
        field_version.c.valid_to,
    )
    .join(disclosure, disclosure.c.id == disclosure_item.c.disclosure_id)
    .join(relationship, relationship.c.id == disclosure.c.relationship_id)
    .outerjoin(contact, contact.c.id == disclosure.c.contact_id)
    .outerjoin(grant, grant.c.id == disclosure.c.grant_id)
    .outerjoin(delivery, _carried())
    .outerjoin(field_version, field_version.c.id == disclosure_item.c.version_id)
    .outerjoin(card_field, card_field.c.id == field_version.c.field_id)
    .order_by(disclosure.c.id, disclosure_item.c.id)
)
_GONE = (DeliveryState.DROPPED.value, DeliveryState.RETURNED.value, DeliveryState.HELD.value)
_HELD = (
    sa.select(
        disclosure.c.id,
        disclosure.c.message_id,
        disclosure_item.c.card,
        disclosure_item.c.field,
        disclosure_item.c.mac,
    )
    .join(disclosure, disclosure.c.id == disclosure_item.c.disclosure_id)
    .outerjoin(delivery, _carried())
    .where(
        disclosure.c.relationship_id == sa.bindparam("relationship_id"),
        disclosure.c.message_id.is_(None) | delivery.c.state.not_in(_GONE),
    )
)


def add(tx: sa.Connection, line: Disclosure) -> Disclosure:
    return schema.insert(tx, line)


def add_item(tx: sa.Connection, item: DisclosureItem) -> DisclosureItem:
    return schema.insert(tx, item)


def items(tx: sa.Connection, account_id: int) -> int:
    """How many values the ledger of an account has."""
    found = (
        sa.select(sa.func.count())
        .select_from(disclosure_item.join(disclosure, disclosure.c.id == disclosure_item.c.disclosure_id))
        .where(disclosure.c.account_id == account_id)
    )
    return int(tx.execute(found).scalar_one())


def held(tx: sa.Connection, relationship_id: int, *, but: Collection[int] = frozenset()) -> frozenset[Held]:
    """What a vendor has, or is about to get: a queued message was answered for by the person already.

    Dropped and held ones never left, and a returned one is not sure to have been read: there the
    person is asked again rather than not.  What they were asked to forget since is no longer theirs.

    but  messages that don't count
    """
    found = tx.execute(_HELD, {"relationship_id": relationship_id})
    forgotten = _withdrawals(tx, disclosure.c.relationship_id == relationship_id)
    return frozenset(
        Held(row.card, row.field, bytes(row.mac))
        for row in found
        if row.message_id not in but
        and forgotten.get((relationship_id, f"{row.card}.{row.field}"), 0) < row.id
    )


def lines(
    tx: sa.Connection,
    account_id: int,
    now: datetime,
    *,
    relationship_id: int | None = None,
    card: str = "",
    field: str = "",
) -> tuple[Line, ...]:
    """The ledger of an account, oldest first, narrowed where asked.

    field  what was derived of it counts too
    """
    found = _LINES.where(disclosure.c.account_id == account_id)
    if relationship_id is not None:
        found = found.where(disclosure.c.relationship_id == relationship_id)
    if card:
        found = found.where(disclosure_item.c.card == card)
    if field:
        derived = disclosure_item.c.field.startswith(field + derive.MARK, autoescape=True)
        found = found.where((disclosure_item.c.field == field) | derived)
    build: Any = Line
    return _with_states(
        [build(*row) for row in tx.execute(found)],
        _withdrawals(tx, disclosure.c.account_id == account_id),
        now,
    )


def queued(tx: sa.Connection, relationship_id: int) -> tuple[Queued, ...]:
    """What mail that waits is to give a vendor, in the order in which it was written down."""
    found = (
        sa.select(
            delivery.c.id,
            delivery.c.message_id,
            disclosure.c.via,
            disclosure.c.grant_id,
            disclosure_item.c.card,
            disclosure_item.c.field,
            disclosure_item.c.mac,
        )
        .join(disclosure, _carried())
        .join(disclosure_item, disclosure_item.c.disclosure_id == disclosure.c.id)
        .where(
            disclosure.c.relationship_id == relationship_id,
            delivery.c.state.in_((DeliveryState.QUEUED, DeliveryState.HELD)),
        )
        .order_by(disclosure_item.c.id)
    )
    return tuple(Queued(*row) for row in tx.execute(found))


def withdrawals(tx: sa.Connection, relationship_id: int) -> tuple[Disclosure, ...]:
    """Lines that asked a vendor to forget what they name in their purpose, oldest first."""
    found = sa.select(disclosure).where(
        disclosure.c.relationship_id == relationship_id, disclosure.c.form == WITHDRAWAL
    )
    return schema.every(Disclosure, tx.execute(found.order_by(disclosure.c.id)))


def _withdrawals(tx: sa.Connection, of: sa.ColumnElement[bool]) -> dict[tuple[int, str], int]:
    """(relationship, "card.field") → the latest line that withdrew it; what came back withdrew nothing.

    of  which lines
    """
    found = (
        sa.select(disclosure.c.id, disclosure.c.relationship_id, disclosure.c.purpose)
        .outerjoin(delivery, _carried())
        .where(
            of,
            disclosure.c.form == WITHDRAWAL,
            delivery.c.state.is_(None) | delivery.c.state.not_in(_GONE),
        )
        .order_by(disclosure.c.id)
    )
    return {
        (row.relationship_id, named): row.id for row in tx.execute(found) for named in row.purpose.split()
    }


def _with_states(
    rows: Iterable[Line], withdrawals: dict[tuple[int, str], int], now: datetime
) -> tuple[Line, ...]:
    """Mark what was withdrawn, and what a later line of the field replaced, once that arrived and holds."""
    arrived: dict[tuple[int, str, str], bytes] = {}
    result: list[Line] = []
    for line in sorted(_ordered(rows), key=lambda each: each.order, reverse=True):
        state = GIVEN if not line.state else str(line.state)
        key = (line.relationship_id, line.card, line.field)
        there = state in (GIVEN, DeliveryState.DELIVERED)
        named = (line.relationship_id, f"{line.card}.{line.field}")
        if there and withdrawals.get(named, 0) > line.disclosure_id:
            state, there = WITHDRAWN, False
        if there and arrived.get(key, line.mac) != line.mac:
            state = SUPERSEDED
        elif there and (line.announced is None or line.announced <= now):
            arrived.setdefault(key, line.mac)
        result.append(replace(line, contact=line.contact or "", state=state))
    return tuple(sorted(result, key=lambda each: (each.disclosure_id, each.item_id)))


def _ordered(rows: Iterable[Line]) -> Iterator[Line]:
    """With each line's place: as they were written, also where the clock was set back in between, and what
    was announced where its day comes."""
    latest = _EPOCH
    for line in rows:
        latest = max(latest, line.at)
        yield replace(line, order=(max(latest, line.announced or latest), line.disclosure_id, line.item_id))
