"""What passed in a relationship, as numbers and as a list: never any content but the subject."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from sortingoffice.core.model import DeliveryState, Direction
from sortingoffice.frozen import dataclass
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction

_message, _delivery, _event = schema.message, schema.delivery, schema.event
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_IDS: sa.BindParameter[int] = sa.bindparam("ids", expanding=True)
_PASSING = _message.c.direction.in_((Direction.INWARD, Direction.OUTWARD))


@dataclass(frozen=True, slots=True)
class Counts:
    """Messages of one relationship; `refused` counts recipients that were turned away.

    inward_at, outward_at, refused_at  when the latest of them was; None where there was none
    """

    inward: int = 0
    outward: int = 0
    refused: int = 0
    inward_at: datetime | None = None
    outward_at: datetime | None = None
    refused_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Passed:
    """One message to one recipient, that came in or went out.

    address  the other party's: envelope sender, or the recipient; "" for a null sender
    state    of its delivery; `reason` is why it is held, or how it ended
    """

    at: datetime
    token: str
    direction: Direction
    address: str
    subject: str
    rule: str
    state: DeliveryState
    reason: str


@dataclass(frozen=True, slots=True)
class Turned:
    """A recipient that was refused."""

    at: datetime
    rule: str


def counts(tx: Transaction, relationship_ids: Collection[int]) -> dict[int, Counts]:
    """For those of which anything ever came, went or was refused."""
    wanted = {"ids": list(relationship_ids)}
    found: dict[int, dict[str, Any]] = {}
    if wanted["ids"]:
        for row in tx.execute(_COUNTED, wanted):
            way = row.direction.value
            found.setdefault(row.relationship_id, {}).update({way: row.number, f"{way}_at": row.latest})
        for row in tx.execute(_REFUSED, wanted):
            found.setdefault(row.relationship_id, {}).update(refused=row.number, refused_at=row.latest)
    return {of: Counts(**numbers) for of, numbers in found.items()}


def passed(tx: Transaction, relationship_id: int, most: int, offset: int = 0) -> tuple[Passed, ...]:
    """The latest first."""
    found = tx.execute(_PASSED, {"of": relationship_id, "most": most, "offset": offset})
    return tuple(Passed(*row) for row in found)


def daily(
    tx: Transaction, account_id: int, since: datetime, relationship_id: int | None = None
) -> tuple[tuple[datetime, Direction, int], ...]:
    """How many messages came and went on each day (UTC) since then, of one relationship or of all."""
    statement = _DAILY
    if relationship_id is not None:
        statement = statement.where(_message.c.relationship_id == relationship_id)
    found = tx.execute(statement, {"account_id": account_id, "since": since})
    return tuple((_EPOCH + timedelta(days=row.day), row.direction, row.number) for row in found)


def turned_away(tx: Transaction, relationship_id: int, most: int) -> tuple[Turned, ...]:
    """The latest first."""
    return tuple(Turned(*row) for row in tx.execute(_TURNED, {"of": relationship_id, "most": most}))


def revoked_at(tx: Transaction, relationship_id: int) -> datetime | None:
    """When the relationship was last revoked; None where it never was, or ended by itself."""
    found: datetime | None = tx.execute(_REVOKED, {"of": relationship_id}).scalar()
    return found


_COUNTED = (
    sa.select(
        _message.c.relationship_id,
        _message.c.direction,
        sa.func.count().label("number"),
        sa.func.max(_message.c.accepted, type_=schema.Instant).label("latest"),
    )
    .where(_message.c.relationship_id.in_(_IDS), _PASSING)
    .group_by(_message.c.relationship_id, _message.c.direction)
)
_REFUSED = (
    sa.select(
        _event.c.relationship_id,
        sa.func.count().label("number"),
        sa.func.max(_event.c.at, type_=schema.Instant).label("latest"),
    )
    .where(_event.c.relationship_id.in_(_IDS), _event.c.what == "refused")
    .group_by(_event.c.relationship_id)
)
_PASSED = (
    sa.select(
        _message.c.accepted,
        _message.c.token,
        _message.c.direction,
        sa.case((_message.c.direction == Direction.OUTWARD, _delivery.c.recipient), else_=_message.c.sender),
        _message.c.subject,
        _message.c.rule,
        _delivery.c.state,
        _delivery.c.reason,
    )
    .join(_delivery, _delivery.c.message_id == _message.c.id)
    .where(_message.c.relationship_id == sa.bindparam("of"), _PASSING)
    .order_by(_message.c.id.desc(), _delivery.c.id.desc())
    .limit(sa.bindparam("most"))
    .offset(sa.bindparam("offset"))
)
_TURNED = (
    sa.select(_event.c.at, _event.c.rule)
    .where(_event.c.relationship_id == sa.bindparam("of"), _event.c.what == "refused")
    .order_by(_event.c.id.desc())
    .limit(sa.bindparam("most"))
)
_REVOKED = sa.select(sa.func.max(_event.c.at, type_=schema.Instant)).where(
    _event.c.relationship_id == sa.bindparam("of"), _event.c.what == "revoked"
)
_DAY = sa.type_coerce(_message.c.accepted, sa.BigInteger) // 86_400_000_000
_DAILY = (
    sa.select(_DAY.label("day"), _message.c.direction, sa.func.count().label("number"))
    .where(
        _message.c.relationship_id.in_(
            sa.select(schema.relationship.c.id).where(
                schema.relationship.c.account_id == sa.bindparam("account_id")
            )
        ),
        _PASSING,
        _message.c.accepted >= sa.bindparam("since", type_=schema.Instant),
    )
    .group_by(_DAY, _message.c.direction)
)
