"""Accounts, relationships and aliases by the hundred thousand, and a queue as long: rows that a bench
needs and no command would make in its time.

They are written by the store's own tables, in lots, into a database that `init` has made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from sortingoffice.core import model, naming
from sortingoffice.store import schema
from sortingoffice.store.database import Database, Transaction
from tests.bench.letters import HOME, OFFICE

_PER_ACCOUNT = 100
_LOT = 10_000
_FIRST = 1_000  # ids below are left to what `init` made


def alias(number: int) -> str:
    return f"lunar.otter{number:07d}@{OFFICE}"


def settle(db: Database, aliases: int) -> None:
    """So many live aliases, a relationship each, a hundred to an account; active, and no vendor bound."""
    for start in range(0, aliases, _LOT):
        db.call(_settle, range(start, min(start + _LOT, aliases)))
    db.call(lambda tx: tx.execute(sa.text("ANALYZE")))


def _settle(tx: Transaction, numbers: range) -> None:
    now = datetime.now(UTC)
    owners = range(numbers.start // _PER_ACCOUNT, (numbers.stop - 1) // _PER_ACCOUNT + 1)
    _store(tx, (_account(number, now) for number in owners))
    _store(tx, (_mailbox(number, now) for number in owners))
    _store(tx, (_relationship(number, now) for number in numbers))
    _store(tx, (_alias(number, now) for number in numbers))


def _store(tx: Transaction, rows: Iterator[Any]) -> None:
    nouns = list(rows)
    values = [{each.name: getattr(noun, each.name) for each in fields(noun)} for noun in nouns]
    tx.execute(schema.TABLES[type(nouns[0])].insert(), values)


def _account(number: int, now: datetime) -> model.Account:
    return model.Account(
        _FIRST + number, f"person{number}", model.AccountState.ACTIVE, False, None, "card", now
    )


def _mailbox(number: int, now: datetime) -> model.Mailbox:
    return model.Mailbox(
        id=_FIRST + number,
        account_id=_FIRST + number,
        address=f"person{number}@{HOME}",
        state=model.MailboxState.VERIFIED,
        delivers=True,
        preferred=True,
        dkim_seen=None,
        proof="",
        verify_hash=None,
        verify_expires=None,
        created=now,
    )


def _relationship(number: int, now: datetime) -> model.Relationship:
    return model.Relationship(
        id=_FIRST + number,
        account_id=_FIRST + number // _PER_ACCOUNT,
        slug=f"shop-{number}",
        name=f"Shop {number}",
        kind=model.VendorKind.VENDOR,
        state=model.RelationshipState.ACTIVE,
        site="",
        mailbox_id=None,
        strangers=model.Strangers.LEARN,
        display_name="",
        note="",
        created=now,
        received=0,
        max_messages=None,
        until=None,
        muted_until=None,
        closing_until=None,
    )


def _alias(number: int, now: datetime) -> model.Alias:
    address = alias(number)
    return model.Alias(
        _FIRST + number, _FIRST + number, address, naming.canonical(address), model.AliasState.LIVE, now
    )


# ---- a long queue --------------------------------------------------------------------------------


def queue(db: Database, count: int, destination: str, *, over: timedelta) -> None:
    """So many messages that wait for one destination, their next attempts spread over a time to come."""
    for start in range(0, count, _LOT):
        db.call(_queue, range(start, min(start + _LOT, count)), count, destination, over)
    db.call(lambda tx: tx.execute(sa.text("ANALYZE")))


def _queue(tx: Transaction, numbers: range, count: int, destination: str, over: timedelta) -> None:
    now = datetime.now(UTC)
    _store(tx, (_message(number, now) for number in numbers))
    _store(tx, (_delivery(number, now, destination, over * number / count) for number in numbers))


_QUEUED_FIRST = 1_000_000_000


def _message(number: int, now: datetime) -> model.SpooledMessage:
    raw = b"From: <a@b.example>\r\nSubject: waits\r\n\r\n" + b"It waits for a host that is dead.\r\n" * 110
    return model.SpooledMessage(
        id=_QUEUED_FIRST + number,
        token=f"waiting{number}",
        direction=model.Direction.INWARD,
        account_id=_FIRST,
        relationship_id=None,
        sender="a@b.example",
        origin="",
        results="",
        fingerprint=hashlib.sha256(b"%d" % number).digest(),
        rule="bound_vendor",
        subject="waits",
        bulk=False,
        authenticated=True,
        utf8=False,
        size=len(raw),
        accepted=now,
        raw=raw,
    )


def _delivery(number: int, now: datetime, destination: str, later: timedelta) -> model.Delivery:
    return model.Delivery(
        id=_QUEUED_FIRST + number,
        message_id=_QUEUED_FIRST + number,
        account_id=_FIRST,
        relationship_id=None,
        contact_id=None,
        recipient=f"person{number}@{destination}",
        destination=destination,
        return_domain=OFFICE,
        state=model.DeliveryState.QUEUED,
        reason="",
        attempts=1,
        due=now + later,
        expires=now + timedelta(days=5),
        delay_told=False,
        lease_node="",
        lease_until=None,
        last_reply="451 4.4.1 connection refused",
        created=now,
        ended=None,
    )
