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
from sortingoffice.core.model import Attempt, Delivery, DeliveryState, Direction, SpooledMessage
from sortingoffice.frozen import dataclass
from sortingoffice.store import schema
from sortingoffice.store.claim import STATEMENTS, WINDOW, by_index
from sortingoffice.store.engine import Transaction
from sortingoffice.store.handover import Claimed
from sortingoffice.store.statement import run

LEASE = timedelta(seconds=30)
CUT_SHORT = "451 4.3.0 cut short: the office stopped, and the host may have the message"
CLAIM_OCTETS = 32 << 20  # of messages that one claim loads; always at least one message

_message, _delivery, _attempt = schema.message, schema.delivery, schema.attempt
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
    passed: Collection[str] = (),
) -> tuple[Claimed, ...]:
    """Lease up to `n` due deliveries to a node.

    each    of one destination, counting those that the node already holds: a destination that
            hangs takes no more than this, however much waits for it
    octets  of messages loaded at once, roughly
    passed  destinations that are left to other nodes

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
        "passed": " ".join(("", *passed, "")),
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


def holds(tx: Transaction, delivery_id: int, node: str) -> bool:
    """Whether it still waits, leased to that node."""
    return run(tx, _HOLDS, {"of": delivery_id, "node": node}).first() is not None


_HOLDS = sa.select(_delivery.c.id).where(
    _delivery.c.id == sa.bindparam("of"), _QUEUED, _delivery.c.lease_node == sa.bindparam("node")
)
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
# Asked again: another node may have leased one anew meanwhile.  Also of what is over, or each claim finds it.
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


# ---- what waits for a destination out of reach ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Later:
    """When what is put off is due again, and what its `last_reply` says until then.

    start, width  from when on, and over how long it is spread: what is put off together doesn't come together
    """

    start: datetime
    width: timedelta
    reply: str


def put_off(tx: Transaction, delivery_ids: Collection[int], node: str, now: datetime, later: Later) -> int:
    """Give some of a node's leases back untried, due later, but never after they expire.  How many."""
    return int(tx.execute(_PUT_OFF, {"ids": list(delivery_ids), "node": node, **_later(now, later)}).rowcount)


def put_off_due(
    tx: Transaction, destination: str, now: datetime, later: Later, *, late: datetime, most: int
) -> int:
    """The same for what is due and nobody has leased, so that no claim has to look at it.  How many.

    destination  "" for all
    late         what the person sent before, and was told of no delay, stays due, as does what has expired:
                 a claim takes it, for somebody is to be told
    most         so many are looked at, those that are due longest
    """
    wanted = {"destination": destination, "now": now, "late": late, "most": most}
    with by_index(tx):
        found = tuple(tx.execute(_DUE if destination else _ALL_DUE, wanted).scalars())
    if not found:
        return 0
    return int(tx.execute(_PUT_OFF, {"ids": found, "node": "", **_later(now, later)}).rowcount)


def were_put_off(tx: Transaction, destination: str, now: datetime, most: int) -> tuple[int, ...]:
    """What is not due only for having been put off, the earliest first; "" for all destinations."""
    wanted = {"destination": destination, "now": now, "most": most}
    return tuple(tx.execute(_WERE_PUT_OFF if destination else _ALL_PUT_OFF, wanted).scalars())


def taken_since(tx: Transaction, seen: int | None) -> tuple[int, dict[str, datetime]]:
    """The last attempt's number, for each is looked at once; and where something was taken, by whichever
    process brought it, with the time when the last such attempt began.

    seen  what that was before; None where none was looked at, and nothing is found
    """
    latest = int(tx.execute(_LATEST).scalar() or 0)
    if seen is None or latest <= seen:
        return latest, {}
    found: dict[str, datetime] = {}
    with by_index(tx):
        for destination, at in tx.execute(_TAKEN, {"seen": max(seen, latest - _LOOKED_AT)}):
            found[destination] = max(at, found.get(destination, at))
    return latest, found


def _later(now: datetime, later: Later) -> dict[str, object]:
    step = later.width / _PLACES
    return {"now": now, "start": later.start, "step": step // timedelta(microseconds=1), "said": later.reply}


UNTRIED = "not tried by itself: "  # in the `last_reply` of what was put off
_PLACES = 97  # in the width of a spread
_LOOKED_AT = 1000  # attempts at once
_BIG = sa.BigInteger()
_NOW = sa.bindparam("now", type_=schema.Instant)
_HERE = _delivery.c.destination == sa.bindparam("destination")
_BY_DESTINATION = _delivery.c.destination, _delivery.c.due  # as the index has them
_UNLEASED = _delivery.c.lease_node == sa.literal_column("''")
# Whole numbers, as times are stored; `start` comes last, where it keeps its own type.
_PLACE: sa.ColumnElement[int] = sa.type_coerce(
    _delivery.c.id % sa.literal_column(str(_PLACES)), _BIG
) * sa.bindparam("step", type_=_BIG) + sa.bindparam("start", type_=schema.Instant)
_EXPIRES: sa.ColumnElement[int] = sa.type_coerce(_delivery.c.expires, _BIG)
_PUT_OFF = (
    _delivery.update()
    .where(_delivery.c.id.in_(_IDS), _QUEUED, _delivery.c.lease_node == sa.bindparam("node"))
    .values(
        lease_node="",
        lease_until=None,
        due=sa.case(
            (sa.and_(_delivery.c.expires > _NOW, _EXPIRES < _PLACE), _EXPIRES),
            else_=_PLACE,
        ),
        last_reply=sa.bindparam("said"),
    )
)
_LATEST = sa.select(sa.func.max(_attempt.c.id))
# Each delivery is looked up, for PostgreSQL would rather join what it takes for a short queue.
_WHERE_TO = sa.select(_delivery.c.destination).where(_delivery.c.id == _attempt.c.delivery_id)
_TAKEN = sa.select(_WHERE_TO.scalar_subquery(), _attempt.c.at).where(
    _attempt.c.id > sa.bindparam("seen"), _attempt.c.reply.startswith("2")
)
_FIRST_DUE = (
    sa.select(_delivery)
    .where(_QUEUED, _UNLEASED, _delivery.c.due <= _NOW)
    .order_by(_delivery.c.due)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True)
)


def _nobody_to_tell(due: sa.Select[tuple[object, ...]]) -> sa.Select[tuple[int]]:
    first = due.subquery("first")
    outward = sa.exists().where(
        _message.c.id == first.c.message_id, _message.c.direction == Direction.OUTWARD
    )
    late = sa.and_(
        ~first.c.delay_told, first.c.created <= sa.bindparam("late", type_=schema.Instant), outward
    )
    return sa.select(first.c.id).where(first.c.expires > _NOW, ~late)


_ALL_DUE = _nobody_to_tell(_FIRST_DUE)
_DUE = _nobody_to_tell(_FIRST_DUE.where(_HERE).order_by(None).order_by(*_BY_DESTINATION))
_ALL_PUT_OFF = (
    sa.select(_delivery.c.id)
    .where(_QUEUED, _UNLEASED, _delivery.c.due > _NOW, _delivery.c.last_reply.contains(UNTRIED))
    .order_by(_delivery.c.due)
    .limit(sa.bindparam("most"))
)
_WERE_PUT_OFF = _ALL_PUT_OFF.where(_HERE).order_by(None).order_by(*_BY_DESTINATION)


# ---- when ----------------------------------------------------------------------------------------


def next_due(tx: Transaction) -> datetime | None:
    """When the next delivery falls due, or a lease ends; None where nothing is queued."""
    found: datetime | None = tx.execute(_NEXT_DUE).scalar()
    return found


_NEXT_DUE = sa.select(_delivery.c.due).where(_QUEUED).order_by(_delivery.c.due).limit(1)
