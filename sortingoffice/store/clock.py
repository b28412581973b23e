"""What the spool needs when the wall clock was set: stored times that a wrong clock has written.

Promise: what a clock that was ahead put off is due at once, where it was for longer than anything ever is, or
shows that clock's hand otherwise; nothing that was put off rightly is moved; what is done here may be done by
every process, and again.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from sortingoffice.core.retry import TOLERANCE
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction
from sortingoffice.store.leases import LEASE

_delivery, _attempt = schema.delivery, schema.attempt
_QUEUED = _delivery.c.state == sa.literal_column("'queued'")  # literal, as the partial indexes have it
_LEASED = _delivery.c.lease_node != sa.literal_column("''")


def went_back(tx: Transaction, now: datetime, farthest: datetime) -> int:
    """What was put off, or leased, by a clock that was ahead of ours: due now, or for one lease; how many.

    farthest  nothing is ever put off beyond it

    That a clock was ahead is seen by that, and by what else it has written: a delivery, or an attempt, of
    the future.
    """
    wanted = {"now": now, "soon": now + TOLERANCE, "farthest": farthest + TOLERANCE}
    retried = tx.execute(_DUE_AGAIN, wanted).rowcount
    until = now + LEASE
    leases = tx.execute(_LEASED_AGAIN, {"until": until, "after": until + TOLERANCE}).rowcount
    return int(retried + leases)


def others_hold(tx: Transaction, node: str) -> bool:
    """Whether another node holds a lease, run out or not."""
    return tx.execute(_OTHERS, {"node": node}).first() is not None


_SOON = sa.bindparam("soon", type_=schema.Instant)
_UNTIL = sa.bindparam("until", type_=schema.Instant)
_DUE_AGAIN = (
    _delivery.update()
    .where(_QUEUED, ~_LEASED, _delivery.c.due > _SOON)
    .where(
        sa.or_(
            _delivery.c.due > sa.bindparam("farthest", type_=schema.Instant),
            _delivery.c.created > _SOON,
            sa.exists().where(_attempt.c.delivery_id == _delivery.c.id, _attempt.c.at > _SOON),
        )
    )
    .values(due=sa.bindparam("now", type_=schema.Instant))
)
_LEASED_AGAIN = (
    _delivery.update()
    .where(_QUEUED, _LEASED, _delivery.c.lease_until > sa.bindparam("after", type_=schema.Instant))
    .values(lease_until=_UNTIL, due=_UNTIL)
)
_OTHERS = (
    sa.select(_delivery.c.id).where(_QUEUED, _LEASED, _delivery.c.lease_node != sa.bindparam("node")).limit(1)
)
