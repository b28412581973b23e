"""Rows: each table's dataclass in, and out.

Promise: `one` and `every` hand out what `insert` and `update` were given; each table has its dataclass's
fields as columns, in their order (a test asserts it).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Result

from sortingoffice.core import access, chain, evidence, model, names, proof, rejects, writers
from sortingoffice.core import notification as notifications
from sortingoffice.mail import mtasts
from sortingoffice.store.schema import accounts, cards, history, mail, relationships
from sortingoffice.store.schema.columns import metadata
from sortingoffice.store.statement import Rows, run

T = TypeVar("T")

TABLES: dict[type[Any], sa.Table] = {
    mtasts.Kept: mail.mta_sts,
    model.Account: accounts.account,
    model.Mailbox: accounts.mailbox,
    model.Domain: accounts.domain,
    model.DkimKey: accounts.dkim_key,
    model.AppPassword: accounts.app_password,
    model.Relationship: relationships.relationship,
    model.Alias: relationships.alias,
    model.Contact: relationships.contact,
    model.Binding: relationships.binding,
    model.SpooledMessage: mail.message,
    model.Delivery: mail.delivery,
    model.Attempt: mail.attempt,
    model.Reference: relationships.reference,
    model.Card: cards.card,
    model.CardField: cards.card_field,
    model.FieldVersion: cards.field_version,
    model.View: cards.view,
    model.Grant: cards.grant,
    model.Disclosure: cards.disclosure,
    model.DisclosureItem: cards.disclosure_item,
    model.Confirmation: cards.confirmation,
    model.InboundDirective: cards.inbound_directive,
    notifications.Notification: cards.notification,
    model.Event: history.event,
    access.ApiToken: accounts.api_token,
    access.Session: accounts.session,
    access.OneTime: accounts.one_time,
    access.Passkey: accounts.passkey,
    writers.Writer: relationships.writer,
    rejects.Reject: relationships.reject,
    rejects.Guesses: relationships.guesses,
    evidence.Evidence: history.kept,
    chain.Link: history.link,
    proof.Used: accounts.used,
    names.PrivateName: relationships.private_name,
}


# Made once: building a statement costs as much as running it.
_INSERTS = {kind: table.insert().returning(table.c.id) for kind, table in TABLES.items()}
_UPDATES = {kind: table.update().where(table.c.id == sa.bindparam("of")) for kind, table in TABLES.items()}


def values(noun: Any) -> dict[str, Any]:
    """A dataclass's columns for an INSERT; the id is left to the database."""
    kind: Any = type(noun)
    names, get = _columns(kind)
    return dict(zip(names, get(noun), strict=True))


@cache
def _columns(kind: Any) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    names = tuple(f.name for f in fields(kind) if f.name != "id")
    return names, attrgetter(*names)


def insert(tx: sa.Connection, noun: T) -> T:
    """Store a new row; returns it with its id."""
    key = run(tx, _INSERTS[type(noun)], values(noun)).scalar()
    return replace(noun, id=int(key))  # type: ignore[type-var]


def add_unless(tx: sa.Connection, noun: Any, *unique: str) -> bool:
    """Store a new row, unless one with the same `unique` columns stands there; whether it was stored."""
    statement = _insert_unless(TABLES[type(noun)].name, unique, tx.dialect.name)
    return run(tx, statement, values(noun)).rowcount == 1


@cache
def _insert_unless(table: str, unique: tuple[str, ...], dialect: str) -> sa.Insert:
    build = sqlite.insert if dialect == "sqlite" else postgresql.insert
    # Inline: a RETURNING of our own making would hide how many rows were stored.
    return build(metadata.tables[table]).on_conflict_do_nothing(index_elements=list(unique)).inline()


def update(tx: sa.Connection, noun: Any) -> bool:
    """Write all columns of the row with this id; whether there is one."""
    return bool(run(tx, _UPDATES[type(noun)], {**values(noun), "of": noun.id}).rowcount)


def one(kind: type[T], result: Result[Any] | Rows) -> T | None:
    """The first row as its dataclass, or None."""
    row = result.first()
    return None if row is None else _build(kind, row)


def every(kind: type[T], result: Iterable[Any]) -> tuple[T, ...]:
    """All rows as dataclasses; the SELECT must be of the whole table, in its column order."""
    return tuple(_build(kind, row) for row in result)


def _build(kind: type[T], row: Iterable[Any]) -> T:
    build: Callable[..., T] = kind
    return build(*row)
