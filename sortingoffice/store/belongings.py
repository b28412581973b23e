"""Whatever an account owns, a table at a time: one query each, however much it is.

Promise: `of` returns every row of its kind that leads to the account, oldest first, and no other's.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import sqlalchemy as sa

from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction

T = TypeVar("T")

# What leads to the account where a table doesn't name it, nearest first.
_THROUGH = (
    ("relationship_id", schema.relationship),
    ("card_id", schema.card),
    ("field_id", schema.card_field),
    ("disclosure_id", schema.disclosure),
    ("message_id", schema.message),
    ("delivery_id", schema.delivery),
)


def of(tx: Transaction, kind: type[T], account_id: int) -> tuple[T, ...]:
    return schema.every(kind, tx.execute(_every(schema.TABLES[kind]), {"owner": account_id}))


def add(tx: Transaction, row: T) -> T:
    """Store a row of any kind; returns it with its id."""
    return schema.insert(tx, row)


@cache
def _every(table: sa.Table) -> sa.Select[Any]:
    return sa.select(table).where(_owned(table)).order_by(table.c.id)


def _owned(table: sa.Table) -> sa.ColumnElement[bool]:
    if table is schema.account:
        return table.c.id == sa.bindparam("owner")
    if "account_id" in table.c:
        return table.c.account_id == sa.bindparam("owner")
    for name, owner in _THROUGH:
        if name in table.c:
            return table.c[name].in_(sa.select(owner.c.id).where(_owned(owner)))
    raise AssertionError(f"{table.name} leads to no account")
