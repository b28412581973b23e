"""API tokens: rows found by the hash of what a client shows."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from sortingoffice.core.access import ApiToken
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction

_token = schema.api_token

_BY_HASH = sa.select(_token).where(_token.c.hash == sa.bindparam("hash"))
_EVERY = sa.select(_token).where(_token.c.account_id == sa.bindparam("account_id")).order_by(_token.c.id)
_CHANGE = _token.update().where(_token.c.id == sa.bindparam("of"))


def add(tx: Transaction, token: ApiToken) -> ApiToken:
    return schema.insert(tx, token)


def by_hash(tx: Transaction, digest: bytes) -> ApiToken | None:
    """Revoked and expired ones too."""
    return schema.one(ApiToken, tx.execute(_BY_HASH, {"hash": digest}))


def every(tx: Transaction, account_id: int) -> tuple[ApiToken, ...]:
    """Oldest first, revoked ones too."""
    return schema.every(ApiToken, tx.execute(_EVERY, {"account_id": account_id}))


def touch(tx: Transaction, token_id: int, now: datetime) -> None:
    tx.execute(_CHANGE, {"of": token_id, "last_used": now})


def revoke(tx: Transaction, token_id: int, now: datetime) -> bool:
    """Whether there was one to revoke."""
    return bool(
        tx.execute(_CHANGE.where(_token.c.revoked.is_(None)), {"of": token_id, "revoked": now}).rowcount
    )
