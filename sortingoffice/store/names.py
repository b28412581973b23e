"""Names that an account keeps to itself."""

from __future__ import annotations

import sqlalchemy as sa

from sortingoffice.core.names import Mark, PrivateName
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction
from sortingoffice.store.statement import run

_name = schema.private_name
_OF = _name.c.account_id == sa.bindparam("account")
_EVERY = sa.select(_name).where(_OF).order_by(_name.c.id)
_REMOVE = _name.delete().where(
    _OF,
    _name.c.mark == sa.bindparam("which", type_=_name.c.mark.type),
    _name.c.name == sa.bindparam("called"),
)
_FORGET = _name.delete().where(_OF)


def every(tx: Transaction, account_id: int) -> tuple[PrivateName, ...]:
    """In the order in which they were marked."""
    return schema.every(PrivateName, run(tx, _EVERY, {"account": account_id}))


def add(tx: Transaction, new: PrivateName) -> bool:
    """Whether it was not marked yet."""
    return schema.add_unless(tx, new, "account_id", "mark", "name")


def remove(tx: Transaction, account_id: int, mark: Mark, name: str) -> bool:
    """Whether it was marked."""
    found = run(tx, _REMOVE, {"account": account_id, "which": mark, "called": name})
    return bool(found.rowcount)


def forget(tx: Transaction, account_id: int) -> None:
    """All of an account that is removed."""
    run(tx, _FORGET, {"account": account_id})
