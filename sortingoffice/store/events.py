"""The audit log: who, what, which rule.  Append only; the database itself refuses anything else."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa

from sortingoffice.core.model import Event
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction

_event = schema.event

_OF_RELATIONSHIP = (
    sa.select(_event).where(_event.c.relationship_id == sa.bindparam("relationship_id")).order_by(_event.c.id)
)
_OF_MESSAGE = sa.select(_event).where(_event.c.message == sa.bindparam("message")).order_by(_event.c.id)
_LATEST = sa.select(_event).order_by(_event.c.id.desc()).limit(sa.bindparam("most"))
_OF_ACCOUNT = _LATEST.where(_event.c.account_id == sa.bindparam("account_id"))


def add(
    tx: Transaction,
    *,
    at: datetime,
    actor: str,
    what: str,
    rule: str = "",
    account_id: int | None = None,
    relationship_id: int | None = None,
    message: str = "",
    detail: str = "",
) -> Event:
    """See `Event` for what stands in each; `detail` holds no mailbox address."""
    return schema.insert(tx, Event(0, at, actor, account_id, relationship_id, message, what, rule, detail))


def add_all(tx: Transaction, every: Collection[Event]) -> None:
    """Many at once; their ids are the database's."""
    if every:
        tx.execute(_event.insert(), [schema.values(each) for each in every])


def of_relationship(tx: Transaction, relationship_id: int) -> tuple[Event, ...]:
    """Oldest first."""
    return schema.every(Event, tx.execute(_OF_RELATIONSHIP, {"relationship_id": relationship_id}))


def of_message(tx: Transaction, token: str) -> tuple[Event, ...]:
    """What happened to the message with this public id, oldest first; nothing for ""."""
    return schema.every(Event, tx.execute(_OF_MESSAGE, {"message": token})) if token else ()


def every(tx: Transaction, account_id: int | None = None, most: int = 1000) -> tuple[Event, ...]:
    """The latest `most` of an account, or of the office, oldest first."""
    if account_id is None:
        found = tx.execute(_LATEST, {"most": most})
    else:
        found = tx.execute(_OF_ACCOUNT, {"most": most, "account_id": account_id})
    return schema.every(Event, found)[::-1]
