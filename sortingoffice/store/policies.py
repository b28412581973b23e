"""MTA-STS policies that were fetched: kept for their age, whatever DNS says meanwhile (RFC 8461 §5.1)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from sortingoffice.mail.mtasts import Kept
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction

_kept = schema.mta_sts
_OF = sa.select(_kept).where(_kept.c.domain == sa.bindparam("domain"))
_ENDED = _kept.delete().where(_kept.c.expires < sa.bindparam("before", type_=schema.Instant))


def of(tx: Transaction, domain: str) -> Kept | None:
    """The policy of a domain, run out or not."""
    return schema.one(Kept, tx.execute(_OF, {"domain": domain}))


def keep(tx: Transaction, kept: Kept) -> None:
    """Store it in the place of an older one."""
    if schema.add_unless(tx, kept, "domain"):
        return
    found = of(tx, kept.domain)
    if found is not None:
        schema.update(tx, replace(kept, id=found.id))


def forget(tx: Transaction, before: datetime) -> int:
    """Those that ran out before; how many."""
    return int(tx.execute(_ENDED, {"before": before}).rowcount)
