"""Who works on a delivery, and until when: a node leases what is due.

Promise: a delivery is claimed by one node at a time.  A leased one is due again when its lease ends, so a
dead node needs no undertaker; what it may have handed over is written down as cut short.

Sources: PostgreSQL manual, SELECT, "The Locking Clause" (SKIP LOCKED); RFC 1047 (second copies).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import sqlalchemy as sa

from sortingoffice import failpoint
from sortingoffice.core.model import Attempt, Delivery, DeliveryState, SpooledMessage
from sortingoffice.store import schema
from sortingoffice.store.claim import STATEMENTS, WINDOW, by_index
from sortingoffice.store.engine import Transaction
from sortingoffice.store.handover import Claimed
from sortingoffice.store.statement import run

LEASE = timedelta(seconds=30)
CUT_SHORT = "451 4.3.0 cut short: the office stopped, and the host may have the message"
CLAIM_OCTETS = 32 << 20  # of messages that one claim loads; always at least one message

_message, _delivery = schema.message, schema.delivery
_QUEUED = _delivery.c.state == sa.literal_column("'queued'")  # literal, as the partial indexes have it
_IDS: sa.BindParameter[int] = sa.bindparam("ids", expanding=True)


def claim(
    tx: Transaction,
    now: datetime,
    node: str,
    n: int,
    lease: timedelta = LEASE,
    *,
    each: int = 50,
    octets: int = CLAIM_OCTETS,
) -> tuple[Claimed, ...]:
    """Lease up to `n` due deliveries to a node.

    each    of one destination, counting those that the node already holds: a destination that
            hangs takes no more than this, however much waits for it
    octets  of messages loaded at once, roughly

    A destination of which the node holds less comes first; within one, what is due longest.
    """
    wanted = {
        "now": now,
        "until": now + lease,
        "node": node,
        "n": n,
        "each": each,
        "octets": octets,
        "window": max(WINDOW, n),
    }
    with by_index(tx):
        found = schema.every(Delivery, run(tx, STATEMENTS[tx.dialect.name], wanted))
    messages = _messages(tx, {delivery.message_id for delivery in found})
    return tuple(Claimed(messages[delivery.message_id], delivery) for delivery in found)


def _messages(tx: Transaction, ids: Collection[int]) -> dict[int, SpooledMessage]:
    if not ids:
        return {}
    found = schema.every(SpooledMessage, tx.execute(_MESSAGES, {"ids": list(ids)}))
    return {message.id: message for message in found}


_MESSAGES = sa.select(_message).where(_message.c.id.in_(_IDS))


def renew(tx: Transaction, delivery_ids: Collection[int], node: str, until: datetime) -> tuple[int, ...]:
    """Prolong leases; the ids that still are this node's.  One that is missing was cancelled or lost."""
    if not delivery_ids:
        return ()
    change = {"ids": list(delivery_ids), "node": node, "lease_until": until, "due": until}
    return tuple(tx.execute(_RENEW, change).scalars())


_RENEW = (
    _delivery.update()
    .where(_delivery.c.id.in_(_IDS), _QUEUED, _delivery.c.lease_node == sa.bindparam("node"))
    .values(lease_until=sa.bindparam("lease_until"), due=sa.bindparam("due"))
    .returning(_delivery.c.id)
)


def take_back(tx: Transaction, node: str, now: datetime) -> int:
    """End a starting node's own leases: what held them is dead.  How many.

    Each is an attempt that may have been past the dot: it is written down, so that `trace` names a
    second copy.
    """
    cut = tuple(tx.execute(_TAKE_BACK, {"node": node}).scalars())
    failpoint.at("take-back")
    return _cut_short(tx, cut, now)


def lapse(tx: Transaction, now: datetime) -> int:
    """End the leases that ran out, written down in the same way: their node is dead, or stood still."""
    ran_out = tuple(tx.execute(_RAN_OUT, {"now": now}).scalars())
    if not ran_out:  # nearly always, and each claim asks
        return 0
    lapsed = tx.execute(_LAPSE, {"now": now, "ids": ran_out})
    return _cut_short(tx, [number for number, state in lapsed if state is DeliveryState.QUEUED], now)


def _cut_short(tx: Transaction, deliveries: Collection[int], now: datetime) -> int:
    for number in deliveries:
        schema.insert(tx, Attempt(0, number, now, "", "", CUT_SHORT, 0))
    return len(deliveries)


_OVER = _delivery.c.lease_until <= sa.bindparam("now", type_=schema.Instant)
# By themselves, for who asks for the queued ones as well walks the whole queue.
_RAN_OUT = sa.select(_delivery.c.id).where(_delivery.c.lease_node != sa.literal_column("''"), _OVER)
# Asked again: another node may have leased one anew meanwhile.  Of what is over, too: each claim would find it.
_LAPSE = (
    _delivery.update()
    .where(_delivery.c.id.in_(_IDS), _OVER)
    .values(lease_node="", lease_until=None)
    .returning(_delivery.c.id, _delivery.c.state)
)


def give_back(tx: Transaction, node: str) -> int:
    """End all leases of a node that stops in order: no attempt of it runs any more.  How many."""
    return int(tx.execute(_GIVE_BACK, {"node": node}).rowcount)


_GIVE_BACK = (
    _delivery.update()
    .where(_QUEUED, _delivery.c.lease_node != sa.literal_column("''"))
    .where(_delivery.c.lease_node == sa.bindparam("node"))
    .values(lease_node="", lease_until=None, due=_delivery.c.created)
)
_TAKE_BACK = _GIVE_BACK.returning(_delivery.c.id)


def next_due(tx: Transaction) -> datetime | None:
    """When the next delivery falls due, or a lease ends; None where nothing is queued."""
    found: datetime | None = tx.execute(_NEXT_DUE).scalar()
    return found


_NEXT_DUE = sa.select(_delivery.c.due).where(_QUEUED).order_by(_delivery.c.due).limit(1)
