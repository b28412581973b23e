"""What the clock does while nobody looks: limits that are reached, and what need not be kept.

Each task is a transaction of its own; one that fails is logged and tried again at the next round.
Of several nodes one at a time does each.  Nothing here is waited for: at RCPT the clock is asked
itself, so an alias expires on the second.  Where each role has a process of its own, what needs the office's
key is done where port 25 is, which has it; all else by the one that delivers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

from sortingoffice import log
from sortingoffice.core.relationship import Action, No, after
from sortingoffice.flows import consent, notified, relationships, strangers
from sortingoffice.flows.office import Office
from sortingoffice.store import chain, policies, proofs, references, rejects, sessions, spool
from sortingoffice.store import relationships as rows
from sortingoffice.store.database import Transaction, Unavailable, my_turn

ROUND = timedelta(minutes=1)
TIDY_EVERY = 60  # rounds
KEEP_ATTEMPTS = timedelta(days=90)
KEEP_SESSIONS = timedelta(days=30)
KEEP_REJECTS = timedelta(days=90)  # recipients that never existed
KEEP_REFERENCES = timedelta(days=730)  # an answer to an older mail starts a new thread

_TURN = 0x486F7573  # "Hous": what the nodes take turns at
_BATCH = 1000  # rows in one transaction, so that arriving mail never waits long for us

Task = Callable[[Office], Awaitable[int]]


async def run(office: Callable[[], Office], stop: asyncio.Event, role: str = "all") -> None:
    """Keep house until told to stop; `office` is asked in each round, since a reload changes it."""
    rounds = 0
    while not stop.is_set():
        await look_after(office(), due(role, rounds))
        rounds += 1
        try:
            await asyncio.wait_for(stop.wait(), ROUND.total_seconds())
        except TimeoutError:
            continue


def due(role: str, rounds: int) -> tuple[Task, ...]:
    """What a role does in this round, counted from 0."""
    tasks: tuple[Task, ...] = ()
    if role in ("all", "queue"):
        tasks += EACH_ROUND if rounds % TIDY_EVERY else EACH_ROUND + NOW_AND_THEN
    if role in ("all", "smtp"):
        tasks += WITH_CARDS
    return tasks


async def look_after(office: Office, tasks: tuple[Task, ...]) -> None:
    """Do each task, whatever becomes of the others."""
    for task in tasks:
        try:
            number = await task(office)
        except Unavailable as problem:
            log.event("housekeeping-unavailable", task=task.__name__, reason=problem)
        except Exception as error:
            log.bug("housekeeping-failed", error, task=task.__name__)
        else:
            if number:
                log.event("housekeeping", task=task.__name__, number=number)


async def keep_time(office: Office) -> int:
    """Pauses and closings that end."""
    return await _in_turn(office, lambda tx: relationships.keep_time(tx, office))


async def expire(office: Office) -> int:
    """Relationships whose `until` has passed."""
    return await _in_turn(office, lambda tx: _expire(tx, office))


def _expire(tx: Transaction, office: Office) -> int:
    now = office.clock()
    lapsed = rows.lapsed(tx, now, _BATCH)
    for of in lapsed:
        made = after(of, Action.EXPIRE, now)
        assert not isinstance(made, No), "every state may expire"
        rows.update(tx, made)
        relationships.write_event(tx, office, made, "clock", "expired")
    return len(lapsed)


async def run_out(office: Office) -> int:
    """Held messages that nobody said a word about."""
    return await _in_turn(office, lambda tx: consent.expire(tx, office, office.clock()))


async def tell_of_strangers(office: Office) -> int:
    """The day's one mail about who wrote to which alias."""
    return await _in_turn(office, lambda tx: strangers.digests(tx, office))


async def ask_again(office: Office) -> int:
    """Vendors that were told of a change, and are silent."""
    return await _in_turn(office, lambda tx: notified.ask_again(tx, office))


async def extend_chain(office: Office) -> int:
    """New lines of log and ledger take their place in the chain; quietly, for there are always some."""
    await _in_turn(office, lambda tx: chain.extend(tx, _BATCH))
    return 0


async def erase_octets(office: Office) -> int:
    """Messages that have ended, and whose octets nobody erased."""
    found = await office.db.read(spool.left_behind, _BATCH)
    return await office.db.write(spool.erase, found) if found else 0


async def empty_log(office: Office) -> int:
    """What has left is not to be read in the database's log; where it is in use, at the next round."""
    await office.db.empty_log()
    return 0


async def prune_attempts(office: Office) -> int:
    return await _in_batches(office, spool.prune_attempts, KEEP_ATTEMPTS)


async def prune_rejects(office: Office) -> int:
    return await _in_batches(office, rejects.prune, KEEP_REJECTS)


async def prune_references(office: Office) -> int:
    return await _in_batches(office, references.prune, KEEP_REFERENCES)


async def prune_proofs(office: Office) -> int:
    """Signatures that prove nothing any more."""
    return await _in_batches(office, proofs.prune, timedelta(0))


async def forget_sessions(office: Office) -> int:
    """Sessions and sign-in links that ended."""
    return await _in_turn(office, lambda tx: sessions.forget(tx, office.clock() - KEEP_SESSIONS))


async def forget_policies(office: Office) -> int:
    """MTA-STS policies that ran out."""
    return await _in_turn(office, lambda tx: policies.forget(tx, office.clock()))


EACH_ROUND: tuple[Task, ...] = (
    keep_time,
    expire,
    run_out,
    tell_of_strangers,
    extend_chain,
    empty_log,
)
WITH_CARDS: tuple[Task, ...] = (ask_again,)
NOW_AND_THEN: tuple[Task, ...] = (
    erase_octets,
    prune_attempts,
    prune_rejects,
    prune_references,
    prune_proofs,
    forget_sessions,
    forget_policies,
)


async def _in_turn(office: Office, fn: Callable[[Transaction], int]) -> int:
    return await office.db.write(lambda tx: fn(tx) if my_turn(tx, _TURN) else 0)


async def _in_batches(office: Office, prune: Callable[..., int], keep: timedelta) -> int:
    """Forget what is older than `keep`, a batch at a time."""
    before = office.clock() - keep
    total = 0
    while number := await office.db.write(prune, before, _BATCH):
        total += number
    return total
