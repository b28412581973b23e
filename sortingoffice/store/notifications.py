"""Who was told of a change, and who answered."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from sortingoffice.core.model import DeliveryState
from sortingoffice.core.notification import Notification
from sortingoffice.frozen import dataclass
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction
from sortingoffice.store.schema import delivery, message, notification

_COLUMNS = len(notification.c)


@dataclass(frozen=True, slots=True)
class Told:
    """A notice with the delivery that carried it; ended None while it waits."""

    notification: Notification
    state: DeliveryState
    ended: datetime | None


def add(tx: Transaction, new: Notification) -> Notification:
    return schema.insert(tx, new)


_TOLD = sa.select(notification, delivery.c.state, delivery.c.ended).join(
    delivery, delivery.c.message_id == notification.c.message_id
)


def told(tx: Transaction, account_id: int, card: str = "") -> tuple[Told, ...]:
    """Every notice of an account, or of one card, oldest first."""
    found = _TOLD.where(notification.c.account_id == account_id).order_by(notification.c.id)
    return _built(tx.execute(found.where(notification.c.card == card) if card else found))


def silent(tx: Transaction, now: datetime, most: int) -> tuple[Told, ...]:
    """Notices that arrived, got no answer in time, and are the last word to that vendor on that card."""
    later = notification.alias("later")
    newer = (later.c.relationship_id == notification.c.relationship_id) & (
        later.c.card == notification.c.card
    )
    found = _TOLD.where(
        notification.c.acknowledged.is_(None),
        notification.c.silent_from <= now,
        notification.c.notification_id.is_(None),
        delivery.c.state == DeliveryState.DELIVERED,
        ~sa.exists().where(newer, later.c.id > notification.c.id),
    )
    return _built(tx.execute(found.order_by(notification.c.id).limit(most)))


def acknowledge(
    tx: Transaction, relationship_id: int, tokens: Collection[str], now: datetime
) -> tuple[str, ...]:
    """Mark what these messages told, and what was told before about the same cards; the cards."""
    of = notification.c.relationship_id == relationship_id
    answered = sa.select(message.c.id).where(message.c.token.in_(list(tokens)))
    found = sa.select(notification.c.card).where(of, notification.c.message_id.in_(answered))
    cards = sorted(set(tx.execute(found).scalars()))
    still = of & notification.c.card.in_(cards) & notification.c.acknowledged.is_(None)
    if not cards or not tx.execute(notification.update().where(still).values(acknowledged=now)).rowcount:
        return ()
    return tuple(cards)


def _built(rows: sa.CursorResult[Any]) -> tuple[Told, ...]:
    build: Any = Notification
    return tuple(Told(build(*row[:_COLUMNS]), row[_COLUMNS], row[_COLUMNS + 1]) for row in rows)
