"""The shape of an export: what an account owns as JSON, and JSON as what an account owns.

Each kind is a list; a row that belongs to another, or points at one, names it by its number in that
one's list, from 1 on.  Nothing in it depends on the office's own numbering, so two exports of the same
things are the same.

    noun(kind, row(kind, x)) == x, but for its id and account

Promise: every kind of row that leads to an account is in KINDS, or in LEFT_OUT with a reason; what is
read is checked as strictly as what is typed, column by column.

Sources: docs/export.md; RFC 8259 (JSON), RFC 3339 (times), RFC 4648 §4 (base64).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Any, get_args, get_type_hints

from sortingoffice.core import access, evidence, model, names, notification, proof, writers
from sortingoffice.frozen import dataclass

VERSION = 2


class Unreadable(ValueError):
    """Not the shape of an export; str() says where."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One list of the export.

    owner   the column that says what a row belongs to: it is taken over with its owner or not at all
    hidden  columns that are given in another form, or not at all
    """

    name: str
    noun: type[Any]
    owner: str = ""
    hidden: frozenset[str] = frozenset()


_SECRET = frozenset({"sealed"})  # given as "value", or as "closed" where only the person can open it

# Owners stand before what belongs to them.
KINDS: tuple[Kind, ...] = (
    Kind("mailboxes", model.Mailbox, hidden=frozenset({"verify_hash", "verify_expires"})),
    Kind("relationships", model.Relationship),
    Kind("aliases", model.Alias, "relationship_id", frozenset({"canonical"})),
    Kind("contacts", model.Contact, "relationship_id", frozenset({"reverse_canonical"})),
    Kind("bindings", model.Binding, "relationship_id"),
    Kind("references", model.Reference, "relationship_id"),
    Kind("writers", writers.Writer, "relationship_id"),
    Kind("planted", model.InboundDirective, "relationship_id"),
    Kind("private_names", names.PrivateName),
    Kind("cards", model.Card),
    Kind("fields", model.CardField, "card_id"),
    Kind("versions", model.FieldVersion, "field_id", _SECRET),
    Kind("views", model.View),
    Kind("grants", model.Grant, "relationship_id"),
    Kind("messages", model.SpooledMessage, "", frozenset({"raw", "fingerprint"})),
    Kind("deliveries", model.Delivery, "message_id", frozenset({"lease_node", "lease_until"})),
    Kind("disclosures", model.Disclosure, "relationship_id"),
    Kind("items", model.DisclosureItem, "disclosure_id", _SECRET),
    Kind("notifications", notification.Notification, "relationship_id"),
    Kind("evidence", evidence.Evidence, "relationship_id"),
    Kind("events", model.Event),
)

LEFT_OUT: Mapping[type[Any], str] = {
    model.Attempt: "how a message was tried is the office's business",
    model.Confirmation: "a question about held mail, which stays behind with the mail",
    model.AppPassword: "it opens the old office: make a new one",
    access.ApiToken: "it opens the old office: make a new one",
    access.Session: "a browser's sign-in to the old office",
    access.OneTime: "a link that was mailed by the old office",
    access.Passkey: "it is bound to the old office's name: make a new one",
    proof.Used: "signatures that were played to the old office",
}

# Columns that point at another row, and the list in which it stands.
REFERENCES: Mapping[str, str] = {
    "mailbox_id": "mailboxes",
    "relationship_id": "relationships",
    "contact_id": "contacts",
    "card_id": "cards",
    "field_id": "fields",
    "version_id": "versions",
    "grant_id": "grants",
    "message_id": "messages",
    "disclosure_id": "disclosures",
    "notification_id": "notifications",
}

# A name → (its id → its number), or the other way round.
Numbers = Mapping[str, Mapping[int, int]]


def row(kind: Kind, noun: Any, numbers: Numbers) -> dict[str, Any]:
    """A row of the export; what it points at and isn't exported becomes null."""
    found: dict[str, Any] = {}
    for name in _columns(kind):
        value = getattr(noun, name)
        if name in REFERENCES:
            found[name.removesuffix("_id")] = numbers[REFERENCES[name]].get(value)
        else:
            found[name] = plain(value)
    return found


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.value if isinstance(value, StrEnum) else value


def noun(kind: Kind, row: Any, where: str, number: Callable[[str, int], int | None]) -> dict[str, Any]:
    """The columns of a row; those that are hidden, and the ids, are the caller's.

    number  the id of a row by its list and number; None where it wasn't taken over

    Raises Unreadable.
    """
    if not isinstance(row, dict):
        raise Unreadable(f"{where} is no object")
    known = {name.removesuffix("_id") if name in REFERENCES else name for name in _columns(kind)}
    strange = set(row) - known - {"value", "closed"}
    if strange:
        raise Unreadable(f"{where} has {sorted(strange)[0]!r}, which is unknown here")
    found: dict[str, Any] = {}
    hints, defaults = _hints(kind), _with_default(kind)
    for name in _columns(kind):
        key = name.removesuffix("_id") if name in REFERENCES else name
        if key not in row:
            if name in defaults:
                continue
            raise Unreadable(f"{where} lacks {key!r}")
        if name in REFERENCES:
            found[name] = _reference(row[key], f"{where}.{key}", REFERENCES[name], number)
            if found[name] is None and hints[name] is int:
                raise Unreadable(f"{where}.{key} names nothing that there is")
        else:
            found[name] = read(hints[name], row[key], f"{where}.{key}")
    return found


def _reference(value: Any, where: str, to: str, number: Callable[[str, int], int | None]) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unreadable(f"{where} is no number of one of {to}")
    return number(to, value)


def read(type: Any, value: Any, where: str) -> Any:
    """A value of a column.  Raises Unreadable."""
    if isinstance(type, UnionType):
        if value is None:
            return None
        type = next(each for each in get_args(type) if each is not None.__class__)
    if type is datetime:
        return _moment(value, where)
    if type is bytes:
        return octets(value, where)
    if type in (bool, int) and (isinstance(value, bool) is (type is bool)) and isinstance(value, int):
        if abs(value) >= 1 << 63:
            raise Unreadable(f"{where} is too large")
        return value
    if type is str and isinstance(value, str):
        return _text(value, where)
    if issubclass(type, StrEnum) and isinstance(value, str):
        try:
            return type(value)
        except ValueError:
            raise Unreadable(f"{where} is {value!r}, which is unknown here") from None
    raise Unreadable(f"{where} is no {type.__name__}")


def octets(value: Any, where: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise Unreadable(f"{where} is no base64") from None


def _moment(value: Any, where: str) -> datetime:
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is None:
            raise ValueError
        return found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise Unreadable(f"{where} is no time with a zone") from None


def _text(value: str, where: str) -> str:
    """Text that any database keeps and no header, table or terminal breaks of."""
    for character in value:
        if (character < " " and character not in "\t\n") or "\x7f" <= character <= "\x9f":
            raise Unreadable(f"{where} holds a control character (U+{ord(character):04X})")
        if "\ud800" <= character <= "\udfff":
            raise Unreadable(f"{where} holds half a character")
    return value


@cache
def _columns(kind: Kind) -> tuple[str, ...]:
    left_out = kind.hidden | {"id", "account_id"}
    return tuple(each.name for each in fields(kind.noun) if each.name not in left_out)


@cache
def _hints(kind: Kind) -> dict[str, Any]:
    return get_type_hints(kind.noun)


@cache
def _with_default(kind: Kind) -> frozenset[str]:
    return frozenset(each.name for each in fields(kind.noun) if each.default is not MISSING)


@cache
def of_an_account(kind: Kind) -> bool:
    """Whether its rows name the account themselves."""
    return any(each.name == "account_id" for each in fields(kind.noun))
