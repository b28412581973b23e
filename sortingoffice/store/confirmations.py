"""What held messages ask the person, and their word.  A question ends once."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from sortingoffice.core.model import Confirmation, Delivery, DeliveryState
from sortingoffice.core.word import Word
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction
from sortingoffice.store.schema import attempt, confirmation, delivery


def add(tx: Transaction, new: Confirmation) -> Confirmation:
    return schema.insert(tx, new)


def by_hash(tx: Transaction, token_hash: bytes) -> Confirmation | None:
    """Open or not."""
    found = sa.select(confirmation).where(confirmation.c.token_hash == token_hash)
    return schema.one(Confirmation, tx.execute(found))


def of_message(tx: Transaction, message_id: int) -> Confirmation | None:
    """The open question about a message."""
    found = sa.select(confirmation).where(
        confirmation.c.message_id == message_id, confirmation.c.answered.is_(None)
    )
    return schema.one(Confirmation, tx.execute(found))


def agreed(tx: Transaction, message_id: int) -> bool:
    """Whether the person said yes to a message."""
    said = confirmation.c.answer.in_((Word.YES.value, Word.ALWAYS.value))
    found = sa.select(confirmation.c.id).where(confirmation.c.message_id == message_id, said)
    return tx.execute(found.limit(1)).first() is not None


def end(tx: Transaction, confirmation_id: int, answer: str, now: datetime) -> bool:
    """Whether it was open.  What it asked about is forgotten: it may quote what must not leave."""
    still = (confirmation.c.id == confirmation_id) & confirmation.c.answered.is_(None)
    changed = tx.execute(confirmation.update().where(still).values(answered=now, answer=answer, leaving=""))
    return bool(changed.rowcount)


def run_out(tx: Transaction, now: datetime, most: int = 100) -> tuple[Confirmation, ...]:
    """Open ones whose time is over, oldest first."""
    found = sa.select(confirmation).where(confirmation.c.answered.is_(None), confirmation.c.expires <= now)
    return schema.every(Confirmation, tx.execute(found.order_by(confirmation.c.id).limit(most)))


def held(tx: Transaction, message_id: int) -> tuple[Delivery, ...]:
    """The deliveries of a message that wait."""
    found = sa.select(delivery).where(
        delivery.c.message_id == message_id, delivery.c.state == DeliveryState.HELD
    )
    return schema.every(Delivery, tx.execute(found.order_by(delivery.c.id)))


def last_tls(tx: Transaction, contact_id: int) -> str | None:
    """How the last delivered mail to a contact travelled: "TLSv1.3 …", "" for plain; None: never yet."""
    found = (
        sa.select(attempt.c.tls)
        .join(delivery, delivery.c.id == attempt.c.delivery_id)
        .where(delivery.c.contact_id == contact_id, delivery.c.state == DeliveryState.DELIVERED)
        .order_by(attempt.c.id.desc())
        .limit(1)
    )
    row = tx.execute(found).first()
    return None if row is None else str(row.tls)
