"""The tables.  One per dataclass of `core.model`, with the same columns (a test asserts it).

Core tables, no ORM.  Times are integer microseconds since 1970 in UTC, handed out as
aware datetimes; enums are their text.  `one` and `every` turn results into dataclasses.
`disclosure` and `event` have no update and no delete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from operator import attrgetter
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Result
from sqlalchemy.types import TypeDecorator

from sortingoffice.core import access, chain, evidence, model, names, proof, rejects, writers
from sortingoffice.core import notification as notifications
from sortingoffice.mail import mtasts
from sortingoffice.store.statement import Rows, run

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime as integer microseconds."""

    impl = sa.BigInteger
    cache_ok = True

    # The processors themselves, without TypeDecorator's detour by the driver's, of which an integer has none:
    # a message's rows hold some thirty times.
    def bind_processor(self, dialect: sa.Dialect) -> Callable[[datetime | None], int | None]:
        return _microseconds

    def result_processor(
        self, dialect: sa.Dialect, coltype: object
    ) -> Callable[[int | None], datetime | None]:
        return _moment


def _microseconds(value: datetime | None) -> int | None:
    if value is None:
        return None
    if value.tzinfo is None:
        raise ValueError("a time without a zone")
    return (value - _EPOCH) // _MICROSECOND


def _moment(value: int | None) -> datetime | None:
    return None if value is None else _EPOCH + timedelta(microseconds=value)


class Word(TypeDecorator[StrEnum]):
    """A StrEnum as its text."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, enum: type[StrEnum]) -> None:
        super().__init__()
        self.enum = enum

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[StrEnum | str | None], str | None]:
        member = self._member
        return lambda value: None if value is None else member(value).value

    def result_processor(
        self, dialect: sa.Dialect, coltype: object
    ) -> Callable[[str | None], StrEnum | None]:
        member = self._member
        return lambda value: None if value is None else member(value)

    @property
    def _member(self) -> Callable[[str], StrEnum]:
        """enum(value), five times as fast."""
        known: dict[str, StrEnum] = {each.value: each for each in self.enum}
        return lambda value: known.get(value) or self.enum(value)


metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite's rowid alias must be INTEGER; PostgreSQL's ids are BIGINT.
_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _id() -> sa.Column[int]:
    return sa.Column("id", _Id, primary_key=True, autoincrement=True)


def _to(table: str, *, null: bool = False, index: bool = False, unique: bool = False) -> sa.Column[Any]:
    key = sa.ForeignKey(f"{table}.id")
    return sa.Column(f"{table}_id", _Id, key, nullable=null, index=index, unique=unique)


def _text(name: str, **extra: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, **extra)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False)


def _count(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=null)


def _octets(name: str, *, null: bool = False, **extra: Any) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=null, **extra)


def _at(name: str, *, null: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, Instant, nullable=null)


def _word(name: str, enum: type[StrEnum]) -> sa.Column[Any]:
    return sa.Column(name, Word(enum), nullable=False)


def _table(name: str, *columns: Any) -> sa.Table:
    # AUTOINCREMENT: an id that was in a token or a log is never given out again.
    return sa.Table(name, metadata, *columns, sqlite_autoincrement=True)


account = _table(
    "account",
    _id(),
    _text("name", unique=True),
    _word("state", model.AccountState),
    _flag("admin"),
    _octets("wrapped_key", null=True),
    _text("trigger"),
    _at("created"),
    _count("contacts_renewed"),
    _word("from_form", model.FromForm),
)

mailbox = _table(
    "mailbox",
    _id(),
    _to("account"),
    _text("address", index=True),
    _word("state", model.MailboxState),
    _flag("delivers"),
    _flag("preferred"),
    _at("dkim_seen", null=True),
    _text("proof"),
    _octets("verify_hash", null=True),
    _at("verify_expires", null=True),
    _at("created"),
    sa.UniqueConstraint("account_id", "address"),
)

domain = _table("domain", _id(), _text("name", unique=True), _at("created"))

dkim_key = _table(
    "dkim_key",
    _id(),
    _to("domain"),
    _text("selector"),
    _text("algorithm"),
    _text("public"),
    _at("created"),
    _at("retired", null=True),
    sa.UniqueConstraint("domain_id", "selector"),
)

app_password = _table(
    "app_password",
    _id(),
    _to("account", index=True),
    _text("label"),
    _text("hash"),
    _at("created"),
    _at("last_used", null=True),
    _at("revoked", null=True),
)

relationship = _table(
    "relationship",
    _id(),
    _to("account"),
    _text("slug"),
    _text("name"),
    _word("kind", model.VendorKind),
    _word("state", model.RelationshipState),
    _text("site"),
    _to("mailbox", null=True),
    _word("strangers", model.Strangers),
    _text("display_name"),
    _text("note"),
    _at("created"),
    _count("received"),
    _count("max_messages", null=True),
    _at("until", null=True),
    _at("muted_until", null=True),
    _at("closing_until", null=True),
    _word("remote_images", model.RemoteImages),
    _count("pixels"),
    _word("unsubscribe", model.Unsubscribe),
    _text("leave_url"),
    _text("leave_mailto"),
    sa.UniqueConstraint("account_id", "slug"),
)

alias = _table(
    "alias",
    _id(),
    _to("relationship", index=True),
    _text("address"),
    _text("canonical", unique=True),
    _word("state", model.AliasState),
    _at("created"),
)

contact = _table(
    "contact",
    _id(),
    _to("relationship"),
    _text("address"),
    _text("written"),
    _text("name"),
    _text("reverse_alias"),
    _text("reverse_canonical", unique=True),
    _at("created"),
    sa.UniqueConstraint("relationship_id", "address"),
)

binding = _table(
    "binding",
    _id(),
    _to("relationship"),
    _text("identity"),
    _text("how"),
    _at("created"),
    sa.UniqueConstraint("relationship_id", "identity"),
)

message = _table(
    "message",
    _id(),
    _text("token", unique=True),
    _word("direction", model.Direction),
    _to("account", null=True),
    _to("relationship", null=True, index=True),
    _text("sender"),
    _text("origin"),
    _text("results"),
    _octets("fingerprint", null=True, index=True),
    _text("rule"),
    _text("subject"),
    _flag("bulk"),
    _flag("authenticated"),
    _flag("utf8"),
    _count("size"),
    _at("accepted"),
    _octets("raw"),
)

delivery = _table(
    "delivery",
    _id(),
    _to("message", index=True),
    _to("account", null=True),
    _to("relationship", null=True),
    _to("contact", null=True),
    _text("recipient"),
    _text("destination"),
    _text("return_domain"),
    _word("state", model.DeliveryState),
    _text("reason"),
    _count("attempts"),
    _at("due"),
    _at("expires"),
    _flag("delay_told"),
    _text("lease_node"),
    _at("lease_until", null=True),
    _text("last_reply"),
    _at("created"),
    _at("ended", null=True),
)


def _partial(name: str, where: str, *columns: sa.ColumnElement[Any]) -> sa.Index:
    """An index over the few rows that wait, however long the history grows."""
    condition = sa.text(where)
    return sa.Index(name, *columns, sqlite_where=condition, postgresql_where=condition)


# What `spool.claim` looks at: by time, and where a backlog stands in the way, by destination.
_partial("ix_delivery_queued", "state = 'queued'", delivery.c.due)
_partial("ix_delivery_destination", "state = 'queued'", delivery.c.destination, delivery.c.due)
_partial("ix_delivery_leased", "lease_node <> ''", delivery.c.lease_node, delivery.c.destination)
_partial("ix_delivery_held", "state = 'held'", delivery.c.account_id)
# What housekeeping looks at.
_partial("ix_message_outward", "direction = 'outward'", message.c.account_id, message.c.accepted)
_partial("ix_message_kept", "length(raw) > 0", message.c.accepted)
_partial("ix_relationship_until", "until IS NOT NULL", relationship.c.until)
_partial("ix_relationship_muted_until", "muted_until IS NOT NULL", relationship.c.muted_until)
_partial("ix_relationship_closing_until", "closing_until IS NOT NULL", relationship.c.closing_until)

attempt = _table(
    "attempt",
    _id(),
    _to("delivery", index=True),
    _at("at"),
    _text("host"),
    _text("tls"),
    _text("reply"),
    _count("milliseconds"),
)

reference = _table(
    "reference",
    _id(),
    _to("relationship"),
    _text("inside"),
    _text("outside"),
    _at("created"),
    sa.UniqueConstraint("relationship_id", "inside"),
    sa.Index("ix_reference_outside", "outside", "relationship_id"),
)

card = _table(
    "card",
    _id(),
    _to("account", index=True),
    _text("name"),
    _text("kind"),
    _word("sensitivity", model.Sensitivity),
    _at("created"),
    _at("removed", null=True),
)

card_field = _table(
    "card_field",
    _id(),
    _to("card", index=True),
    _text("key"),
    _word("type", model.FieldType),
    _text("category"),
    _count("position"),
    _at("created"),
    _at("removed", null=True),
)

field_version = _table(
    "field_version",
    _id(),
    sa.Column("field_id", _Id, sa.ForeignKey("card_field.id"), nullable=False),
    _count("number"),
    _octets("sealed"),
    _octets("mac"),
    _at("valid_from"),
    _at("valid_to", null=True),
    _text("provenance"),
    _at("created"),
    sa.UniqueConstraint("field_id", "number"),
)

view = _table(
    "view",
    _id(),
    _to("account"),
    _text("name"),
    _text("members"),
    _at("created"),
    sa.UniqueConstraint("account_id", "name"),
)

grant = _table(
    "grant",
    _id(),
    _to("account"),
    _to("relationship", index=True),
    _text("card"),
    _text("fields"),
    _word("mode", model.GrantMode),
    _text("purpose"),
    _text("terms"),
    _at("not_before", null=True),
    _at("expires", null=True),
    _count("uses_left", null=True),
    _at("created"),
    _at("ended", null=True),
)

disclosure = _table(
    "disclosure",
    _id(),
    _to("account", index=True),
    _to("relationship", index=True),
    _to("contact", null=True),
    _to("grant", null=True),
    _to("message", null=True),
    _at("at"),
    _text("form"),
    _word("via", model.Via),
    _text("purpose"),
)

disclosure_item = _table(
    "disclosure_item",
    _id(),
    _to("disclosure", index=True),
    _text("card"),
    _text("field"),
    sa.Column("version_id", _Id, sa.ForeignKey("field_version.id"), nullable=True),
    _octets("sealed"),
    _octets("mac"),
)

confirmation = _table(
    "confirmation",
    _id(),
    _to("account"),
    _to("relationship"),
    _to("message", index=True),
    _octets("token_hash", unique=True),
    _text("leaving"),
    _at("expires"),
    _at("created"),
    _at("answered", null=True),
    _text("answer"),
)

inbound_directive = _table(
    "inbound_directive",
    _id(),
    _to("relationship"),
    _octets("mac"),
    _at("created"),
    sa.UniqueConstraint("relationship_id", "mac"),
)

event = _table(
    "event",
    _id(),
    _at("at"),
    _text("actor"),
    _to("account", null=True),
    _to("relationship", null=True, index=True),
    _text("message", index=True),
    _text("what"),
    _text("rule"),
    _text("detail"),
)

api_token = _table(
    "api_token",
    _id(),
    _to("account", index=True),
    _text("label"),
    _octets("hash", unique=True),
    _text("scopes"),
    _at("created"),
    _at("expires", null=True),
    _at("last_used", null=True),
    _at("revoked", null=True),
)

session = _table(
    "session",
    _id(),
    _to("account", index=True),
    _octets("hash", unique=True),
    _octets("previous", null=True, index=True),
    _text("device"),
    _text("how"),
    _at("created"),
    _at("rotated"),
    _at("last_used"),
    _at("expires"),
    _at("revoked", null=True),
)

one_time = _table(
    "one_time",
    _id(),
    _to("account", null=True, index=True),
    _word("purpose", access.Purpose),
    _octets("hash", unique=True),
    _at("created"),
    _at("expires"),
    _at("used", null=True),
)

passkey = _table(
    "passkey",
    _id(),
    _to("account", index=True),
    _text("label"),
    _octets("credential", unique=True),
    _octets("public"),
    sa.Column("count", sa.BigInteger, nullable=False),
    _text("transports"),
    _at("created"),
    _at("last_used", null=True),
    _at("revoked", null=True),
)

writer = _table(
    "writer",
    _id(),
    _to("relationship"),
    _text("standing"),
    _text("identity"),
    _text("marks"),
    _count("number"),
    _at("first"),
    _at("last"),
    _text("last_message"),
    _flag("pending"),
    _at("told", null=True),
    sa.UniqueConstraint("relationship_id", "standing", "identity"),
)
_partial("ix_writer_pending", "pending", writer.c.relationship_id)

reject = _table(
    "reject",
    _id(),
    _text("address"),
    _text("canonical", unique=True),
    _to("alias", null=True),
    _text("peer"),
    _count("number"),
    _at("first"),
    _at("last"),
    _at("accepted", null=True),
    _flag("pending"),
    sa.Index("ix_reject_last", "last"),
)
_partial("ix_reject_near", "alias_id IS NOT NULL", reject.c.alias_id)

guesses = _table(
    "guesses",
    _id(),
    _text("domain"),
    _at("day"),
    _count("number"),
    sa.UniqueConstraint("domain", "day"),
)

kept = _table(
    "evidence",
    _id(),
    _to("account"),
    _to("relationship", index=True),
    _text("message"),
    _at("at"),
    _text("standing"),
    _text("identity"),
    _text("rule"),
    _text("peer"),
    _text("sender"),
    _text("recipient"),
    _text("results"),
    _text("records"),
    _count("guesses"),
    _count("live"),
    _count("size"),
    _text("sha256"),
    _octets("raw"),
    _text("previous"),
    _text("hash"),
)

mta_sts = _table(
    "mta_sts",
    _id(),
    _text("domain", unique=True),
    _text("record"),
    _octets("text"),
    _at("fetched"),
    _at("expires"),
)

notification = _table(
    "notification",
    _id(),
    _to("account", index=True),
    _to("relationship", index=True),
    _to("message", unique=True),
    _text("card"),
    _at("at"),
    _at("silent_from"),
    _at("acknowledged", null=True),
    _to("notification", null=True),
)
_partial("ix_notification_waiting", "acknowledged IS NULL", notification.c.silent_from)

link = _table(
    "link",
    _id(),
    _text("line"),
    sa.Column("number", sa.BigInteger, nullable=False),
    _text("digest"),
    _text("hash"),
    sa.UniqueConstraint("line", "number"),
)

used = _table(
    "used_proof",
    _id(),
    _to("account"),
    _octets("digest"),
    _at("until", null=True),
    sa.UniqueConstraint("account_id", "digest"),
)
_partial("ix_used_proof_until", "until IS NOT NULL", used.c.until)

private_name = _table(
    "private_name",
    _id(),
    _to("account"),
    _word("mark", names.Mark),
    _text("name"),
    sa.UniqueConstraint("account_id", "mark", "name"),
)

TABLES: dict[type[Any], sa.Table] = {
    mtasts.Kept: mta_sts,
    model.Account: account,
    model.Mailbox: mailbox,
    model.Domain: domain,
    model.DkimKey: dkim_key,
    model.AppPassword: app_password,
    model.Relationship: relationship,
    model.Alias: alias,
    model.Contact: contact,
    model.Binding: binding,
    model.SpooledMessage: message,
    model.Delivery: delivery,
    model.Attempt: attempt,
    model.Reference: reference,
    model.Card: card,
    model.CardField: card_field,
    model.FieldVersion: field_version,
    model.View: view,
    model.Grant: grant,
    model.Disclosure: disclosure,
    model.DisclosureItem: disclosure_item,
    model.Confirmation: confirmation,
    model.InboundDirective: inbound_directive,
    notifications.Notification: notification,
    model.Event: event,
    access.ApiToken: api_token,
    access.Session: session,
    access.OneTime: one_time,
    access.Passkey: passkey,
    writers.Writer: writer,
    rejects.Reject: reject,
    rejects.Guesses: guesses,
    evidence.Evidence: kept,
    chain.Link: link,
    proof.Used: used,
    names.PrivateName: private_name,
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
