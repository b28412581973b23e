"""Hosted domains and their published signing keys."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from sortingoffice.core.model import DkimKey, Domain
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction
from sortingoffice.store.statement import run

_domain, _key = schema.domain, schema.dkim_key

_BY_NAME = sa.select(_domain).where(_domain.c.name == sa.bindparam("name"))
_EVERY = sa.select(_domain).order_by(_domain.c.id)
_KEYS = sa.select(_key).where(_key.c.domain_id == sa.bindparam("domain_id")).order_by(_key.c.id)
_RETIRE = _key.update().where(_key.c.id == sa.bindparam("of"), _key.c.retired.is_(None))


def add(tx: Transaction, domain: Domain) -> Domain:
    return schema.insert(tx, domain)


def by_name(tx: Transaction, name: str) -> Domain | None:
    return schema.one(Domain, run(tx, _BY_NAME, {"name": name}))


def every(tx: Transaction) -> tuple[Domain, ...]:
    return schema.every(Domain, run(tx, _EVERY, {}))


def add_key(tx: Transaction, key: DkimKey) -> DkimKey:
    return schema.insert(tx, key)


def keys(tx: Transaction, domain_id: int) -> tuple[DkimKey, ...]:
    """All keys ever published for the domain, retired ones too."""
    return schema.every(DkimKey, run(tx, _KEYS, {"domain_id": domain_id}))


def retire_key(tx: Transaction, key_id: int, now: datetime) -> bool:
    """Whether it was in use until now."""
    return bool(tx.execute(_RETIRE, {"of": key_id, "retired": now}).rowcount)
