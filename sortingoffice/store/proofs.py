"""Signatures that have carried a message, by what `core.proof.digest` makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from sortingoffice.core.proof import Used
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction

_used = schema.used
_KNOWN = sa.select(_used.c.digest).where(
    _used.c.account_id == sa.bindparam("account"),
    _used.c.digest.in_(sa.bindparam("digests", expanding=True)),
)
_OLD = (
    sa.select(_used.c.id)
    .where(_used.c.until < sa.bindparam("before", type_=schema.Instant))
    .limit(sa.bindparam("most"))
)
_FORGET = _used.delete().where(_used.c.id.in_(sa.bindparam("ids", expanding=True)))


def known(tx: Transaction, account_id: int, digests: Sequence[bytes]) -> frozenset[bytes]:
    """Those of them that were used before."""
    if not digests:
        return frozenset()
    found = tx.execute(_KNOWN, {"account": account_id, "digests": list(digests)})
    return frozenset(bytes(row[0]) for row in found)


def add(tx: Transaction, used: Used) -> bool:
    """Write one down; whether it was new."""
    return schema.add_unless(tx, used, "account_id", "digest")


def prune(tx: Transaction, before: datetime, most: int) -> int:
    """Forget those that nothing could use any more; how many."""
    ids = [row[0] for row in tx.execute(_OLD, {"before": before, "most": most})]
    return int(tx.execute(_FORGET, {"ids": ids}).rowcount) if ids else 0
