"""After an attempt: the delivery's next state, the attempt, and whom it makes us tell, in one transaction.

Promise: the outcome is committed as soon as it is known and is never given up, for an outcome that
isn't committed would be a second copy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Concatenate, ParamSpec

from sortingoffice import failpoint, log
from sortingoffice.core import delivery as states
from sortingoffice.core.delivery import Patience, Step, Tell, Tried
from sortingoffice.core.model import Attempt, DeliveryState, SpooledMessage
from sortingoffice.flows import returned
from sortingoffice.flows.office import Office
from sortingoffice.mail.reply import Reply
from sortingoffice.store import leases, spool
from sortingoffice.store.database import Transaction, Unavailable
from sortingoffice.store.spool import Claimed
from sortingoffice.store.taken import Brought, Taken

P = ParamSpec("P")

# Seconds between tries at a database that is out of reach.  When it is back, what one process knows is on
# disk before another takes over what seems to have run out (`flows.deliver`).
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 1.0


async def commit(office: Office, claimed: Claimed, tried: Tried, at: datetime) -> None:
    """Settle, however long it takes.

    at  when the attempt began
    """
    try:
        failpoint.at("after-reply")
        await patiently(office, settle, office, claimed, tried, at)
    except Exception as error:
        log.bug("settle-failed", error, message=claimed.message.token)
        await _again(office, claimed, tried, at)
    failpoint.at("settled")


async def _again(office: Office, claimed: Claimed, tried: Tried, at: datetime) -> None:
    """What failed once may have been that moment's, and who should be told of a return is told."""
    try:
        await patiently(office, settle, office, claimed, tried, at)
    except Exception as error:
        # Never without an end: unsettled, it would go out again with each lease.
        log.bug("settled-untold", error, message=claimed.message.token)
        await patiently(office, untold, office, claimed, tried, at)


async def catch_up(office: Office, taken: Taken) -> None:
    """Settle what a predecessor had brought and could not settle."""
    for place, brought in taken.left().items():
        try:
            await patiently(office, _catch_up, office, brought)
        except Exception as error:
            log.bug("settle-failed", error, message=brought.token)
        taken.forget(place)


def _catch_up(tx: Transaction, office: Office, brought: Brought) -> None:
    delivery = spool.delivery_by_id(tx, brought.delivery)
    message = spool.by_id(tx, delivery.message_id) if delivery is not None else None
    if delivery is None or message is None or message.token != brought.token:
        return  # of another database
    if delivery.state in (DeliveryState.QUEUED, DeliveryState.DROPPED):
        settle(tx, office, Claimed(message, delivery), brought.tried, brought.at)


async def patiently(
    office: Office, fn: Callable[Concatenate[Transaction, P], object], *args: P.args, **kwargs: P.kwargs
) -> None:
    """A write that goes before others, and waits for a database that is away."""
    wait = _FIRST_WAIT
    while True:
        try:
            await office.db.write_first(fn, *args, **kwargs)
            return
        except Unavailable as problem:
            log.event("spool-unavailable", reason=problem)
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)


def settle(tx: Transaction, office: Office, claimed: Claimed, tried: Tried, at: datetime) -> None:
    """The transaction."""
    _settle(tx, office, claimed, tried, at, _step(office, claimed, tried), tried.reply)


def tells(office: Office, claimed: Claimed, tried: Tried) -> bool:
    """Whether, if its attempt ended so now, somebody would be told."""
    return _step(office, claimed, tried).tell is not Tell.NOBODY


def untried(
    tx: Transaction, office: Office, claimed: Claimed, tried: Tried, at: datetime, due: datetime
) -> None:
    """The same for one that wasn't tried by itself: what another one met on its way to the same host is its
    answer, and its attempt says so.

    due  when it is tried again, while it stays queued
    """
    step = _step(office, claimed, tried)
    if step.state is DeliveryState.QUEUED:
        step = replace(step, due=due, reason=claimed.delivery.reason)
    _settle(tx, office, claimed, replace(tried, tls="", milliseconds=0), at, step, not_tried(tried.reply))


def not_tried(reply: Reply) -> Reply:
    """The reply to another one, as it is written down for this one."""
    spoken = f"{leases.UNTRIED}{reply.spoken}" if reply.spoken else ""
    return replace(reply, text=f"{leases.UNTRIED}{reply.text}", spoken=spoken)


def _settle(
    tx: Transaction, office: Office, claimed: Claimed, tried: Tried, at: datetime, step: Step, said: Reply
) -> None:
    message = claimed.message if step.tell is Tell.NOBODY else _whole(tx, claimed.message)
    if not _write(tx, office, claimed, tried, at, step, said):
        return  # dropped while we tried, or another node's now
    failpoint.at("in-settle")
    ended = replace(claimed.delivery, state=step.state, reason=step.reason, last_reply=str(said))
    if step.tell is Tell.FAILURE:
        returned.failed(tx, office, message, ended, tried.reply, office.clock())
    elif step.tell is Tell.DELAY:
        returned.delayed(tx, office, message, ended, tried.reply, office.clock())


def untold(tx: Transaction, office: Office, claimed: Claimed, tried: Tried, at: datetime) -> None:
    """The transaction without telling anybody: for when that is what fails."""
    _write(tx, office, claimed, tried, at, _step(office, claimed, tried), tried.reply)


def _step(office: Office, claimed: Claimed, tried: Tried) -> Step:
    config = office.config.delivery
    return states.step(
        claimed.delivery,
        claimed.message.direction,
        tried,
        now=office.clock(),
        patience=Patience(config.retry, config.delay_notice_after),
        fraction=int.from_bytes(office.random(4), "big") / 2**32,
    )


def _write(
    tx: Transaction, office: Office, claimed: Claimed, tried: Tried, at: datetime, step: Step, said: Reply
) -> bool:
    delivery = claimed.delivery
    told = replace(delivery, delay_told=delivery.delay_told or step.tell is Tell.DELAY)
    attempt = Attempt(0, delivery.id, at, tried.host, tried.tls, str(said), tried.milliseconds)
    return spool.settle(tx, told, attempt, step.state, step.reason, step.due, str(said), office.clock())


def _whole(tx: Transaction, message: SpooledMessage) -> SpooledMessage:
    """With its octets, which are not kept in memory while it waits; they go when the last delivery ends."""
    if message.raw:
        return message
    return spool.by_id(tx, message.id) or message
