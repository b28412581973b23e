"""Recipients that were never issued: each address once, and how many in a day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from sortingoffice.core.model import Alias, AliasState
from sortingoffice.core.rejects import Guesses, Reject
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction

_reject, _guesses, _alias, _relationship = schema.reject, schema.guesses, schema.alias, schema.relationship

_ONE = sa.select(_reject).where(_reject.c.canonical == sa.bindparam("which"))
_AGAIN = (
    _reject.update()
    .where(_reject.c.canonical == sa.bindparam("which"))
    .values(number=_reject.c.number + 1, last=sa.bindparam("now"), peer=sa.bindparam("from_peer"))
)
_NEAR = (
    sa.select(_alias)
    .where(_alias.c.canonical.in_(sa.bindparam("candidates", expanding=True)))
    .where(_alias.c.state != AliasState.REVOKED)
    .limit(1)
)
_COUNT = (
    _guesses.update()
    .where(_guesses.c.domain == sa.bindparam("at"), _guesses.c.day == sa.bindparam("on"))
    .values(number=_guesses.c.number + 1)
)
_SINCE = sa.select(sa.func.coalesce(sa.func.sum(_guesses.c.number), 0)).where(
    _guesses.c.domain == sa.bindparam("at"), _guesses.c.day >= sa.bindparam("since")
)
_LATEST = sa.select(_reject).order_by(_reject.c.last.desc()).limit(sa.bindparam("most"))
_OF_ACCOUNT = (
    _LATEST.join(_alias, _alias.c.id == _reject.c.alias_id)
    .join(_relationship, _relationship.c.id == _alias.c.relationship_id)
    .where(_relationship.c.account_id == sa.bindparam("account"), _reject.c.accepted.is_(None))
)
_PENDING = _OF_ACCOUNT.where(_reject.c.pending)
_TELL = (
    _reject.update()
    .where(_reject.c.id.in_(sa.bindparam("ids", expanding=True)))
    .values(pending=False, told=sa.bindparam("now"))
)
_OLD = (
    sa.select(_reject.c.id)
    .where(_reject.c.last < sa.bindparam("before"), _reject.c.accepted.is_(None))
    .limit(sa.bindparam("most"))
)
_FORGET = _reject.delete().where(_reject.c.id.in_(sa.bindparam("ids", expanding=True)))


def again(tx: Transaction, canonical: str, peer: str, now: datetime) -> bool:
    """Count an address that was rejected before; whether it was."""
    return bool(tx.execute(_AGAIN, {"which": canonical, "now": now, "from_peer": peer}).rowcount)


def add(tx: Transaction, reject: Reject) -> None:
    schema.add_unless(tx, reject, "canonical")


def count(tx: Transaction, domain: str, day: datetime) -> None:
    """One wrong guess more at this domain, on this day."""
    if not schema.add_unless(tx, Guesses(0, domain, day, 1), "domain", "day"):
        tx.execute(_COUNT, {"at": domain, "on": day})


def guessed(tx: Transaction, domain: str, since: datetime) -> int:
    """Wrong guesses at this domain, from the day of `since` on."""
    day = since.replace(hour=0, minute=0, second=0, microsecond=0)
    return int(tx.execute(_SINCE, {"at": domain, "since": day}).scalar_one())


def near_alias(tx: Transaction, candidates: Sequence[str]) -> Alias | None:
    """An alias that is not revoked, with one of these canonical forms."""
    return schema.one(Alias, tx.execute(_NEAR, {"candidates": list(candidates)})) if candidates else None


def by_canonical(tx: Transaction, canonical: str) -> Reject | None:
    return schema.one(Reject, tx.execute(_ONE, {"which": canonical}))


def update(tx: Transaction, reject: Reject) -> None:
    schema.update(tx, reject)


def latest(tx: Transaction, most: int) -> tuple[Reject, ...]:
    """Of the whole office, the latest first."""
    return schema.every(Reject, tx.execute(_LATEST, {"most": most}))


def near(tx: Transaction, account_id: int, most: int) -> tuple[Reject, ...]:
    """Those one edit from an alias of this account that wait for a word, the latest first."""
    return schema.every(Reject, tx.execute(_OF_ACCOUNT, {"account": account_id, "most": most}))


def pending(tx: Transaction, account_id: int, most: int) -> tuple[Reject, ...]:
    return schema.every(Reject, tx.execute(_PENDING, {"account": account_id, "most": most}))


def tell(tx: Transaction, ids: Sequence[int], now: datetime) -> None:
    tx.execute(_TELL, {"ids": list(ids), "now": now})


def prune(tx: Transaction, before: datetime, most: int) -> int:
    """Forget rejects older than this; how many."""
    ids = [row[0] for row in tx.execute(_OLD, {"before": before, "most": most})]
    return int(tx.execute(_FORGET, {"ids": ids}).rowcount) if ids else 0
