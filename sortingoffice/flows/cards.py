"""What a person does with cards: set, look, remove, select a view; permit and forbid.

Each function is one transaction and writes its event there.  No event names a value.

Promise: all of a command's changes are valid, or none is made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sortingoffice.core import derive, fields
from sortingoffice.core.model import (
    Account,
    Card,
    CardField,
    FieldType,
    FieldVersion,
    GrantMode,
    Sensitivity,
    View,
)
from sortingoffice.core.text import one_line
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.office import Office
from sortingoffice.flows.vault import Vault
from sortingoffice.frozen import dataclass
from sortingoffice.store import cards as rows
from sortingoffice.store import events, relationships
from sortingoffice.store.database import Transaction

MAX_FIELDS = 200  # of a card
MAX_CARDS = 200
SELF_ASSERTED = "self-asserted"
IMPORTED = "import"


@dataclass(frozen=True, slots=True)
class Assignment:
    """`NAME.FIELD=VALUE`, as typed."""

    card: str
    key: str
    value: str


# ---- cards ----------------------------------------------------------------------------------------


def set_fields(
    tx: Transaction,
    office: Office,
    account: Account,
    assignments: Sequence[Assignment],
    *,
    valid_from: datetime | None = None,
    sensitivity: Sensitivity | None = None,
    type: FieldType | None = None,
    provenance: str = SELF_ASSERTED,
    verified: str = "",
    actor: str,
) -> list[dict[str, Any]]:
    """New values, each a new version of its field; one row per assignment.  Raises OfficeError.

    verified  who has verified them, when and by what evidence, on one line; then the same value is a new
              version, too
    """
    if verified := one_line(verified, "who verified it", most=200):
        provenance = f"verified: {verified}"
    if sensitivity is Sensitivity.SEALED:
        raise OfficeError("a sealed card needs your passphrase: `card set` asks for it at a terminal")
    keys = vaults.open_for(office, account)
    now = office.clock()
    named = _named(assignments)
    result = []
    for card_name in dict.fromkeys(card for card, _ in named):
        card = _card(tx, account, card_name, sensitivity, now)
        before = {field.key: field for field in rows.fields(tx, card.id)}
        mine = {key: value for (name, key), value in named.items() if name == card_name}
        if len(before.keys() | mine.keys()) > MAX_FIELDS:
            raise OfficeError(f"a card has at most {MAX_FIELDS} fields")
        for key, value in mine.items():
            field = before.get(key) or rows.add_field(
                tx,
                CardField(
                    id=0,
                    card_id=card.id,
                    key=key,
                    type=type or fields.type_of(key),
                    category=fields.category_of(key),
                    position=max((each.position for each in rows.fields(tx, card.id)), default=0) + 1,
                    created=now,
                    removed=None,
                ),
            )
            if type is not None and type is not field.type:
                rows.set_type(tx, field.id, type)
                field = replace(field, type=type)
            result.append(_set(tx, keys, card, field, value, valid_from or now, provenance, now))
    changed = [f"{row['card']}.{row['field']}" for row in result if row["changed"]]
    if changed:
        _event(tx, now, actor, account, "card set", ", ".join(changed))
    return result


def _named(assignments: Sequence[Assignment]) -> dict[tuple[str, str], str]:
    named: dict[tuple[str, str], str] = {}
    for each in assignments:
        key = (fields.name(each.card), fields.name(each.key, "field"))
        if key in named:
            raise OfficeError(f"{'.'.join(key)} is set twice: give it once")
        named[key] = each.value
    return named


def _card(
    tx: Transaction, account: Account, name: str, sensitivity: Sensitivity | None, now: datetime
) -> Card:
    """The card of that name, made where there is none."""
    found = rows.by_name(tx, account.id, name)
    if found is None:
        _free(tx, account, name)
        made = Card(0, account.id, name, fields.kind_of(name), sensitivity or Sensitivity.NORMAL, now, None)
        return rows.add(tx, made)
    if found.sensitivity is Sensitivity.SEALED:
        raise OfficeError(f"card {name} is sealed: add --sensitivity sealed, at a terminal")
    if sensitivity is not None and sensitivity is not found.sensitivity:
        rows.set_sensitivity(tx, found.id, sensitivity)
        found = replace(found, sensitivity=sensitivity)
    return found


def _free(tx: Transaction, account: Account, name: str) -> None:
    """Raises OfficeError where a new card or view can't have this name."""
    if name == account.trigger:
        raise OfficeError(f'"{name}" is the word that asks for a card: choose another name')
    if any(view.name == name for view in rows.views(tx, account.id)):
        raise OfficeError(f"{name} is a view already: choose another name, or remove the view first")
    if rows.by_name(tx, account.id, name) is not None:
        raise OfficeError(f"{name} is a card already: choose another name")
    if len(rows.every(tx, account.id)) + len(rows.views(tx, account.id)) >= MAX_CARDS:
        raise OfficeError(f"an account has at most {MAX_CARDS} cards and views")


def _set(
    tx: Transaction,
    keys: Vault,
    card: Card,
    field: CardField,
    value: str,
    valid_from: datetime,
    provenance: str,
    now: datetime,
) -> dict[str, Any]:
    try:
        normal = fields.normalise(field.type, value)
    except OfficeError as error:
        raise OfficeError(f"{card.name}.{field.key}: {error}") from None
    mac = keys.mac(field.type, field.key, normal)
    earlier = rows.versions(tx, field.id)
    row = {"card": card.name, "field": field.key, "type": str(field.type)}
    last = earlier[-1] if earlier else None
    if last is not None and last.valid_to is None and last.valid_from <= valid_from:
        place = keys.version(field.id, last.number)
        known = provenance in (SELF_ASSERTED, IMPORTED, last.provenance)
        if known and last.mac == mac and keys.open(place, last.sealed) == normal:
            return {**row, "version": last.number, "from": last.valid_from, "changed": False}
    number = last.number + 1 if last is not None else 1
    version = FieldVersion(
        id=0,
        field_id=field.id,
        number=number,
        sealed=keys.seal(keys.version(field.id, number), normal),
        mac=mac,
        valid_from=valid_from,
        valid_to=None,
        provenance=provenance,
        created=now,
    )
    rows.add_version(tx, version)
    return {**row, "version": number, "from": valid_from, "changed": True}


def listing(tx: Transaction, account: Account, now: datetime) -> list[dict[str, Any]]:
    """The account's cards and views; no values."""
    found = []
    current = rows.current(tx, account.id, now)
    for card in rows.every(tx, account.id):
        mine = [each for each in current if each.card.id == card.id]
        found.append(
            {
                "card": card.name,
                "kind": card.kind,
                "sensitivity": str(card.sensitivity),
                "fields": [each.field.key for each in mine],
                "missing": [each.field.key for each in mine if each.version is None],
            }
        )
    for view in rows.views(tx, account.id):
        found.append(
            {
                "card": view.name,
                "kind": "view",
                "sensitivity": "",
                "fields": json.loads(view.members),
                "missing": [],
            }
        )
    return sorted(found, key=lambda row: row["card"])


def show(
    tx: Transaction, office: Office, account: Account, name: str, *, reveal: bool
) -> list[dict[str, Any]]:
    """A card's or a view's fields, one row each; values only where they are to be revealed."""
    now = office.clock()
    found = members(tx, account, name, now)
    keys = vaults.open_for(office, account)
    result = []
    for each in found:
        version = each.version
        value = None
        word = derive.split(each.field.key)[1]
        if version is not None and each.card.sensitivity is not Sensitivity.SEALED:
            value = keys.open(keys.version(each.field.id, version.number), version.sealed)
            if word:
                value = derive.value(word, each.field.type, value, now.date())
        coming = [v for v in rows.versions(tx, each.field.id) if v.valid_from > now]
        result.append(
            {
                "card": each.card.name,
                "field": each.field.key,
                "type": str(derive.type_of(word) if word else each.field.type),
                "sensitivity": str(each.card.sensitivity),
                "value": value if reveal or value is None else veiled(value),
                "version": version.number if version else None,
                "from": version.valid_from if version else None,
                "provenance": version.provenance if version else "",
                "next_from": coming[0].valid_from if coming else None,
            }
        )
    return result


def veiled(value: str) -> str:
    """What tells the person which value it is, and nobody who looks over a shoulder what it says."""
    return "•" * min(max(len(value), 4), 12)


def members(tx: Transaction, account: Account, name: str, now: datetime) -> list[rows.Current]:
    """The fields of a card, or of a view; what a view derives has its derivation in the key."""
    wanted = fields.name(name)
    current = rows.current(tx, account.id, now)
    if rows.by_name(tx, account.id, wanted) is not None:
        return [each for each in current if each.card.name == wanted]
    for view in rows.views(tx, account.id):
        if view.name == wanted:
            by_name = {f"{each.card.name}.{each.field.key}": each for each in current}
            found = []
            for member in json.loads(view.members):
                each = by_name.get(derive.split(member)[0])
                if each is not None:
                    key = member.partition(".")[2]
                    found.append(replace(each, field=replace(each.field, key=key)))
            return found
    raise unknown(tx, account, wanted)


def unknown(tx: Transaction, account: Account, name: str) -> NotThere:
    """The error for a card that isn't there, with what might have been meant."""
    names = tuple(card.name for card in rows.every(tx, account.id))
    names += tuple(view.name for view in rows.views(tx, account.id))
    sentence = f"there is no card {fields.shown(name)}"
    if close := fields.near(name, names):
        return NotThere(f"{sentence}; did you mean {close}?")
    if not names:
        return NotThere(f"{sentence}, and no other yet: `sortingoffice card set NAME.FIELD=VALUE` makes one")
    return NotThere(f"{sentence}; there are {', '.join(names[:20])}")


def remove(tx: Transaction, office: Office, account: Account, name: str, *, actor: str) -> str:
    """Take away a card, a view, or one field (`NAME.FIELD`); says which.

    The ledger keeps what was given.  Grants of a card or a view end with it: another one of that name may
    be anything.  A denial of a card stays, and one by a view keeps the view, which says what is denied.
    """
    now = office.clock()
    card_name, dot, key = name.partition(".")
    wanted = fields.name(card_name)
    card = rows.by_name(tx, account.id, wanted)
    if dot and card is not None:
        key = fields.name(key, "field")
        mine = rows.fields(tx, card.id)
        field = next((each for each in mine if each.key == key), None)
        if field is None:
            raise NotThere(f"card {wanted} has no field {fields.shown(key)}" + _others(mine))
        rows.remove_field(tx, field.id, now)
        what = f"field {wanted}.{key}"
    elif card is not None:
        rows.remove(tx, card.id, now)
        _end_grants(tx, account, wanted, now)
        what = f"card {wanted}"
    else:
        view = next((each for each in rows.views(tx, account.id) if each.name == wanted), None)
        if view is None or dot:
            raise unknown(tx, account, wanted)
        _undenied(tx, account, wanted)
        rows.remove_view(tx, view.id)
        _end_grants(tx, account, wanted, now)
        what = f"view {wanted}"
    _event(tx, now, actor, account, "card removed", what)
    return what


def _end_grants(tx: Transaction, account: Account, name: str, now: datetime) -> None:
    for each in rows.grants_of(tx, account.id, name):
        if each.mode is not GrantMode.NEVER:
            rows.end_grant(tx, each.id, now)


def _undenied(tx: Transaction, account: Account, view: str) -> None:
    """Raises OfficeError where a denial rests on the view."""
    for each in rows.grants_of(tx, account.id, view):
        to = relationships.by_id(tx, each.relationship_id) if each.mode is GrantMode.NEVER else None
        if to is not None:
            raise OfficeError(
                f"{to.name} is never given {view}: `sortingoffice ungrant {to.slug} {view}` lifts that first"
            )


def _others(mine: Sequence[CardField]) -> str:
    return f"; it has {', '.join(each.key for each in mine)}" if mine else ""


def set_view(
    tx: Transaction, office: Office, account: Account, name: str, members: Sequence[str], *, actor: str
) -> dict[str, Any]:
    """A named selection of fields over cards, and of what is derived of them (`core.derive`)."""
    now = office.clock()
    wanted = fields.name(name, "view")
    before = next((view for view in rows.views(tx, account.id) if view.name == wanted), None)
    if before is None:
        _free(tx, account, wanted)
    chosen: list[str] = []
    for member in members:
        named = _member(tx, account, member)
        if named in chosen:
            raise OfficeError(f"{named} is named twice: name it once")
        chosen.append(named)
    if not chosen:
        raise OfficeError("a view selects at least one field: write CARD.FIELD,CARD.FIELD")
    if before is not None and not set(chosen).issuperset(json.loads(before.members)):
        _undenied(tx, account, wanted)
    rows.set_view(tx, View(0, account.id, wanted, json.dumps(chosen, ensure_ascii=False), now))
    _event(tx, now, actor, account, "view set", f"{wanted}: {', '.join(chosen)}")
    return {"card": wanted, "kind": "view", "fields": chosen}


def _member(tx: Transaction, account: Account, text: str) -> str:
    """`CARD.FIELD` or `CARD.FIELD:DERIVATION` of a view, checked."""
    card_name, dot, key = text.strip().partition(".")
    if not dot:
        raise OfficeError(f"{fields.shown(text)} names no field: write CARD.FIELD,CARD.FIELD")
    card = rows.by_name(tx, account.id, fields.name(card_name))
    if card is None:
        raise unknown(tx, account, fields.name(card_name))
    mine = rows.fields(tx, card.id)
    key = fields.key(key)
    base, word = derive.split(key)
    field = next((each for each in mine if each.key == base), None)
    if field is None:
        raise NotThere(f"card {card.name} has no field {fields.shown(base)}" + _others(mine))
    if word and not derive.suits(word, field.type):
        raise OfficeError(f"{card.name}.{base} is of type {field.type}: {word} can't be derived of it")
    return f"{card.name}.{key}"


def _event(
    tx: Transaction,
    now: datetime,
    actor: str,
    account: Account,
    what: str,
    detail: str,
) -> None:
    events.add(
        tx,
        at=now,
        actor=actor,
        what=what,
        account_id=account.id,
        detail=detail[:500],
    )
