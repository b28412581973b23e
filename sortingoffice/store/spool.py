"""The spool: messages that we have promised to deliver, one delivery per recipient.

Promise: what was put in leaves only by ending (delivered, returned, dropped), and a delivery is
worked on by one node at a time (`store.leases`).  A message's octets stay until its last delivery has
ended.

Sources: RFC 5321 §4.5.4 (queueing); sqlite.org/lang_returning.html.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sortingoffice import failpoint
from sortingoffice.core.model import Attempt, Delivery, DeliveryState, Direction, SpooledMessage
from sortingoffice.store import domains, handover, queued, schema
from sortingoffice.store.engine import Transaction
from sortingoffice.store.handover import Claimed as Claimed
from sortingoffice.store.statement import run

if TYPE_CHECKING:  # it leads to cards, which are slow to import
    from sortingoffice.core.checked import Checked

_message, _delivery, _attempt = schema.message, schema.delivery, schema.attempt
_QUEUED, _HELD, _WAITING, _UNLEASED = queued.QUEUED, queued.HELD, queued.WAITING, queued.UNLEASED
_OF = _delivery.c.id == sa.bindparam("of")
_IDS: sa.BindParameter[int] = sa.bindparam("ids", expanding=True)


def put(
    tx: Transaction,
    message: SpooledMessage,
    deliveries: tuple[Delivery, ...],
    checked: Checked | None = None,
) -> SpooledMessage:
    """Store a message with its deliveries; returns it with its id.

    checked  its octets as the leak guard saw them: what a vendor gets is stored no other way

    Raises ValueError for what a vendor would get unchecked, or with a finding that doesn't wait: our bug.
    """
    if message.direction in _TO_VENDORS:
        if checked is None or checked.octets != message.raw:
            raise ValueError("what a vendor gets goes through the gate")
        if checked.found and any(each.state is not DeliveryState.HELD for each in deliveries):
            raise ValueError("what the leak guard found waits for the person's word")
    stored = schema.insert(tx, message)
    births = handover.of(tx)
    for delivery in deliveries:
        given = None if births is None else _lease(tx, births, stored, delivery)
        _put(tx, births, stored, replace(delivery, message_id=stored.id), given)
    failpoint.at("in-put")
    return stored


def _lease(
    tx: Transaction, births: handover.Births, message: SpooledMessage, delivery: Delivery
) -> handover.Lease | None:
    """Only for what is due at once, and not for a domain of ours: a claim knows which those are."""
    if delivery.state is not DeliveryState.QUEUED or delivery.due > message.accepted:
        return None
    given = births.lease(delivery.destination, message.size)
    return None if given is None or domains.by_name(tx, delivery.destination) is not None else given


def _put(
    tx: Transaction,
    births: handover.Births | None,
    message: SpooledMessage,
    delivery: Delivery,
    given: handover.Lease | None,
) -> None:
    if births is None or given is None:
        run(tx, _PUT, schema.values(delivery))
        if births is not None and delivery.state is DeliveryState.QUEUED:
            births.waits()
        return
    leased = replace(delivery, lease_node=given.node, lease_until=given.until, due=given.until)
    births.leased(Claimed(message, schema.insert(tx, leased)))


_PUT = _delivery.insert().inline()
_TO_VENDORS = frozenset({Direction.OUTWARD, Direction.RETURN})


def settle(
    tx: Transaction,
    delivery: Delivery,
    attempt: Attempt | None,
    state: DeliveryState,
    reason: str,
    due: datetime,
    reply: str,
    now: datetime,
) -> bool:
    """Write down how an attempt went, and give the lease back; whether it changed the delivery.

    delivery  as it was claimed; its `delay_told` is stored
    due       the next attempt, while it stays queued

    An end holds even where the lease was lost meanwhile: what the peer took, it has.  "Later" counts
    only from the node that holds the lease.  A delivery that was dropped while its attempt ran
    stays dropped, unless it was delivered after all.
    """
    if attempt is not None:
        schema.insert(tx, attempt)
    change = {
        "of": delivery.id,
        "node": delivery.lease_node,
        "final": state.final,
        "taken": state is DeliveryState.DELIVERED,
        "tried": int(attempt is not None),
        "new_state": state,
        "new_reason": reason,
        "new_due": due,
        "new_reply": reply,
        "told": delivery.delay_told,
        "new_end": now if state.final else None,
    }
    changed = bool(run(tx, _SETTLE, change).rowcount)
    if changed and state.final:
        _erase(tx, delivery.message_id)
    return changed


_SETTLE = (
    _delivery.update()
    .where(
        _OF,
        sa.or_(
            sa.and_(
                _QUEUED,
                sa.or_(
                    _delivery.c.lease_node == sa.bindparam("node"), sa.bindparam("final", type_=sa.Boolean)
                ),
            ),
            sa.and_(_delivery.c.state == DeliveryState.DROPPED, sa.bindparam("taken", type_=sa.Boolean)),
        ),
    )
    .values(
        state=sa.bindparam("new_state", type_=_delivery.c.state.type),
        reason=sa.bindparam("new_reason"),
        due=sa.bindparam("new_due", type_=schema.Instant),
        last_reply=sa.bindparam("new_reply"),
        delay_told=sa.bindparam("told"),
        ended=sa.bindparam("new_end", type_=schema.Instant),
        attempts=_delivery.c.attempts + sa.bindparam("tried", type_=sa.Integer),
        lease_node="",
        lease_until=None,
    )
)


# ---- what a person or a flow decides -------------------------------------------------------------


def release(tx: Transaction, delivery_id: int, now: datetime) -> bool:
    """Held → queued, due at once, with as much time as it had when it was put in; whether it was held.

    It waits for its destination from now on: no delay is told, and no queue looks old, for the time before.
    """
    return bool(tx.execute(_RELEASE, {"of": delivery_id, "now": now}).rowcount)


def retry(tx: Transaction, delivery_id: int, now: datetime) -> bool:
    """Make a queued delivery due now; False where it is not queued, or somebody is at it."""
    return bool(tx.execute(_RETRY, {"of": delivery_id, "now": now}).rowcount)


def retry_all(tx: Transaction, delivery_ids: Collection[int], now: datetime) -> frozenset[int]:
    """The same for many; those that are due now."""
    return frozenset(tx.execute(_RETRY_ALL, {"ids": list(delivery_ids), "now": now}).scalars())


def drop(tx: Transaction, delivery_id: int, reason: str, now: datetime) -> bool:
    """Queued or held → dropped; whether it was."""
    found = tx.execute(_DROP, {"of": delivery_id, "new_reason": reason, "now": now}).scalar()
    if found is not None:
        _erase(tx, found)
    return found is not None


def drop_all(tx: Transaction, delivery_ids: Collection[int], reason: str, now: datetime) -> frozenset[int]:
    """The same for many; those that were.  One that another transaction is at now is passed over: who writes
    many rows waits for none of them."""
    found = tx.execute(_DROP_ALL, {"ids": list(delivery_ids), "new_reason": reason, "now": now}).all()
    erase(tx, {message_id for _, message_id in found})
    return frozenset(number for number, _ in found)


def cancel_relationship(
    tx: Transaction,
    relationship_id: int,
    now: datetime,
    reason: str = "revoked",
    directions: Collection[Direction] = (Direction.OUTWARD,),
) -> int:
    """Drop what still waits in a relationship; how many deliveries.

    By default only what the person sent: what the vendor was answered 250 for still reaches the person.
    """
    change = {
        "of_relationship": relationship_id,
        "new_reason": reason,
        "now": now,
        "directions": [direction.value for direction in directions],
    }
    found: list[int] = []
    for statement in _CANCEL:
        found += tx.execute(statement, change).scalars()
    for message_id in set(found):
        _erase(tx, message_id)
    return len(found)


_NOW = sa.bindparam("now", type_=schema.Instant)
_REASON = sa.bindparam("new_reason", type_=sa.Text)
_RELEASE = (
    _delivery.update()
    .where(_OF, _HELD)
    .values(
        state=DeliveryState.QUEUED,
        reason="",
        due=_NOW,
        created=_NOW,
        expires=sa.type_coerce(_delivery.c.expires, sa.BigInteger)
        - sa.type_coerce(_delivery.c.created, sa.BigInteger)
        + _NOW,
    )
)
_RETRYING = _delivery.update().where(_QUEUED, _UNLEASED).values(due=_NOW)
_RETRY = _RETRYING.where(_OF)
_RETRY_ALL = _RETRYING.where(_delivery.c.id.in_(_IDS)).returning(_delivery.c.id)
_ENDING = _delivery.update().values(
    state=DeliveryState.DROPPED, reason=_REASON, ended=_NOW, lease_node="", lease_until=None
)
_DROP = _ENDING.where(_OF, _WAITING).returning(_delivery.c.message_id)
_DROP_ALL = _ENDING.where(
    _delivery.c.id.in_(
        sa.select(_delivery.c.id).where(_delivery.c.id.in_(_IDS), _WAITING).with_for_update(skip_locked=True)
    )
).returning(_delivery.c.id, _delivery.c.message_id)
_CANCEL = tuple(
    _ENDING.where(state, _delivery.c.relationship_id == sa.bindparam("of_relationship"))
    .where(
        sa.exists().where(
            _message.c.id == _delivery.c.message_id,
            _message.c.direction.in_(sa.bindparam("directions", expanding=True, type_=sa.Text)),
        )
    )
    .returning(_delivery.c.message_id)
    for state in (_QUEUED, _HELD)
)


# ---- what is there -------------------------------------------------------------------------------


def by_token(tx: Transaction, token: str) -> SpooledMessage | None:
    return schema.one(SpooledMessage, run(tx, _BY_TOKEN, {"token": token}))


def by_id(tx: Transaction, message_id: int) -> SpooledMessage | None:
    return schema.one(SpooledMessage, run(tx, _BY_ID, {"of": message_id}))


def same(tx: Transaction, fingerprint: bytes, since: datetime) -> SpooledMessage | None:
    """A message with this idempotency key that was accepted since then, unless it came to nothing: who was
    told so, and sends it again, means it."""
    return schema.one(SpooledMessage, run(tx, _SAME, {"fingerprint": fingerprint, "since": since}))


def carried(tx: Transaction, fingerprint: bytes, since: datetime) -> dict[int, str]:
    """The contacts to whom such a message goes or went, each with its token: what came to nothing for one
    doesn't stand for that one."""
    found = run(tx, _CARRIED, {"fingerprint": fingerprint, "since": since})
    return {row[0]: row[1] for row in found}


def delivery_by_id(tx: Transaction, delivery_id: int) -> Delivery | None:
    return schema.one(Delivery, run(tx, _DELIVERY, {"of": delivery_id}))


def deliveries(tx: Transaction, message_id: int) -> tuple[Delivery, ...]:
    return schema.every(Delivery, run(tx, _DELIVERIES, {"message_id": message_id}))


def attempts(tx: Transaction, delivery_id: int) -> tuple[Attempt, ...]:
    return schema.every(Attempt, run(tx, _ATTEMPTS, {"delivery_id": delivery_id}))


def outward_since(tx: Transaction, account_id: int, since: datetime) -> int:
    """How many messages the account has sent since then."""
    return int(tx.execute(_OUTWARD_SINCE, {"account_id": account_id, "since": since}).scalar_one())


def queue(
    tx: Transaction,
    *,
    state: DeliveryState | None = None,
    account_id: int | None = None,
    relationship_id: int | None = None,
    destination: str = "",
    address: str = "",
    most: int | None = None,
    before: int | None = None,
) -> tuple[Claimed, ...]:
    """Deliveries, the latest first, with their messages but without the octets.

    state    None: what waits, queued or held
    address  normal form, see `queued.about`; "" for all
    before   only those with a smaller id
    """
    statement = _LISTING.where(_WAITING if state is None else _delivery.c.state == state).limit(most)
    if before is not None:
        statement = statement.where(_delivery.c.id < before)
    if account_id is not None:
        statement = statement.where(_delivery.c.account_id == account_id)
    if relationship_id is not None:
        statement = statement.where(_delivery.c.relationship_id == relationship_id)
    if destination:
        statement = statement.where(_delivery.c.destination == destination)
    if address:
        statement = statement.where(queued.about(address))
    return _claimed(tx.execute(statement))


def numbered(tx: Transaction, delivery_ids: Collection[int]) -> tuple[Claimed, ...]:
    """These deliveries, in the same way."""
    return _claimed(tx.execute(_NUMBERED, {"ids": list(delivery_ids)}))


def _claimed(rows: Iterable[sa.Row[Any]]) -> tuple[Claimed, ...]:
    width = len(_message.c)
    return tuple(Claimed(SpooledMessage(*row[:width]), Delivery(*row[width:])) for row in rows)


def messages(
    tx: Transaction,
    *,
    account_id: int | None = None,
    relationship_id: int | None = None,
    address: str = "",
    most: int = 20,
) -> tuple[SpooledMessage, ...]:
    """The latest messages of a relationship, or with this sender or recipient (normal form), without
    the octets; newest first."""
    statement = _WITHOUT_OCTETS.limit(most)
    if account_id is not None:
        statement = statement.where(_message.c.account_id == account_id)
    if relationship_id is not None:
        statement = statement.where(_message.c.relationship_id == relationship_id)
    if address:
        to_it = sa.exists().where(_delivery.c.message_id == _message.c.id, _delivery.c.recipient == address)
        statement = statement.where(sa.or_(_message.c.sender == address, to_it))
    return schema.every(SpooledMessage, tx.execute(statement))


def census(tx: Transaction) -> dict[DeliveryState, tuple[int, datetime]]:
    """How many deliveries wait in each state, and since when the oldest does."""
    found = tx.execute(_CENSUS.where(_QUEUED).union_all(_CENSUS.where(_HELD)))
    return {DeliveryState(row.state): (row.number, row.oldest) for row in found}


_BY_ID = sa.select(_message).where(_message.c.id == sa.bindparam("of"))
_BY_TOKEN = sa.select(_message).where(_message.c.token == sa.bindparam("token"))
_KEYED = sa.and_(
    _message.c.fingerprint == sa.bindparam("fingerprint"), _message.c.accepted >= sa.bindparam("since")
)
_STANDS = sa.and_(
    _delivery.c.message_id == _message.c.id, _delivery.c.state != sa.literal_column("'returned'")
)
_SAME = sa.select(_message).where(_KEYED, sa.exists().where(_STANDS)).limit(1)
_CARRIED = sa.select(_delivery.c.contact_id, _message.c.token).where(_KEYED, _STANDS)
_DELIVERY = sa.select(_delivery).where(_OF)
_DELIVERIES = (
    sa.select(_delivery).where(_delivery.c.message_id == sa.bindparam("message_id")).order_by(_delivery.c.id)
)
_ATTEMPTS = (
    sa.select(_attempt).where(_attempt.c.delivery_id == sa.bindparam("delivery_id")).order_by(_attempt.c.id)
)
_OUTWARD_SINCE = (
    sa.select(sa.func.count())
    .select_from(_message)
    .where(_message.c.direction == sa.literal_column("'outward'"))
    .where(_message.c.account_id == sa.bindparam("account_id"), _message.c.accepted >= sa.bindparam("since"))
)
_NO_OCTETS: sa.ColumnElement[Any] = sa.literal(b"", sa.LargeBinary)
_COLUMNS = tuple(_NO_OCTETS if column is _message.c.raw else column for column in _message.c)
_WITHOUT_OCTETS = sa.select(*_COLUMNS).order_by(_message.c.id.desc())
_LISTING = (
    sa.select(*_COLUMNS, *_delivery.c)
    .join(_delivery, _delivery.c.message_id == _message.c.id)
    .order_by(_delivery.c.id.desc())
)
_NUMBERED = _LISTING.where(_delivery.c.id.in_(_IDS))
_CENSUS = sa.select(
    _delivery.c.state, sa.func.count().label("number"), sa.func.min(_delivery.c.created).label("oldest")
).group_by(_delivery.c.state)


# ---- forgetting ----------------------------------------------------------------------------------


def _erase(tx: Transaction, message_id: int) -> int:
    """Empty a message's octets once nothing waits for them; 1 if so."""
    return int(run(tx, _ERASE, {"of_message": message_id, "nothing": b""}).rowcount)


def left_behind(tx: Transaction, most: int = 1000) -> tuple[int, ...]:
    """Messages whose octets `settle` could not see ending: two nodes ended the last two deliveries of
    one at the same moment."""
    return tuple(tx.execute(_LEFT_BEHIND, {"most": most}).scalars())


def erase(tx: Transaction, message_ids: Collection[int]) -> int:
    """Empty the octets of those for which nothing waits; how many."""
    return sum(_erase(tx, message_id) for message_id in message_ids)


def prune_attempts(tx: Transaction, before: datetime, most: int = 5000) -> int:
    """Forget attempts older than `before`, the oldest first; how many."""
    return int(tx.execute(_PRUNE, {"before": before, "most": most}).rowcount)


_NOBODY_WAITS = ~sa.exists().where(_delivery.c.message_id == _message.c.id, _WAITING)
_ERASE = (
    _message.update()
    .where(_message.c.id == sa.bindparam("of_message"), _NOBODY_WAITS)
    .values(raw=sa.bindparam("nothing", type_=sa.LargeBinary))
)
_LEFT_BEHIND = (
    sa.select(_message.c.id)
    .where(sa.text("length(raw) > 0"), _NOBODY_WAITS)
    .order_by(_message.c.accepted)
    .limit(sa.bindparam("most"))
)
_PRUNE = _attempt.delete().where(
    _attempt.c.id.in_(sa.select(_attempt.c.id).order_by(_attempt.c.id).limit(sa.bindparam("most"))),
    _attempt.c.at < sa.bindparam("before", type_=schema.Instant),
)
