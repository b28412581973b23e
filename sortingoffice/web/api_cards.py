"""The office's own API: cards, grants, and who has what."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from sortingoffice.core.access import Scope
from sortingoffice.core.model import FieldType, GrantMode, Sensitivity, Via
from sortingoffice.flows import cards, grants, ledger, notified, notify
from sortingoffice.flows.cards import Assignment
from sortingoffice.flows.grants import Permission
from sortingoffice.store import cards as card_rows
from sortingoffice.store import relationships
from sortingoffice.store.database import Transaction
from sortingoffice.web.auth import Call
from sortingoffice.web.operations import WHOLE, In, Moment, Operation, Out, Query

Name = Annotated[str, Field(min_length=1, max_length=64)]


# ---- what goes in --------------------------------------------------------------------------------


class CardValues(In):
    """values: by field; from: when they begin to hold; type: of all the fields named; verified: by whom, when
    and by what evidence."""

    values: Annotated[
        dict[Name, Annotated[str, Field(max_length=10_000)]], Field(min_length=1, max_length=200)
    ]
    valid_from: Annotated[Moment | None, Field(alias="from")] = None
    sensitivity: Literal["open", "normal", "sensitive"] | None = None
    type: FieldType | None = Field(None, strict=False)
    verified: Annotated[str, Field(max_length=200)] = ""


class ViewFields(In):
    """fields: each as CARD.FIELD."""

    fields: Annotated[
        list[Annotated[str, Field(min_length=3, max_length=130)]], Field(min_length=1, max_length=200)
    ]


class NewGrant(In):
    """fields: of the card; none means all of them, also later ones."""

    card: Name
    fields: Annotated[list[Name], Field(max_length=200)] = Field(default_factory=list)
    mode: GrantMode = Field(GrantMode.AUTO, strict=False)
    purpose: Annotated[str, Field(max_length=200)] = ""
    since: Annotated[Moment | None, Field(alias="from")] = None
    until: Moment | None = None
    uses: Annotated[int, Field(ge=1, le=10**6), WHOLE] | None = None
    terms: Annotated[str, Field(max_length=500)] = ""


class Given(In):
    """What was typed into a vendor's form, or written on paper."""

    card: Name
    fields: Annotated[list[Name], Field(max_length=200)] = Field(default_factory=list)
    via: Literal["web-form", "paper"] = "web-form"
    purpose: Annotated[str, Field(max_length=200)] = ""


class Revealing(Query):
    reveal: bool = False


class Telling(Query):
    """notify: ask the vendor to forget what they got."""

    notify: bool = False


class Notification(In):
    """dry_run: only tell who would be written to, and what."""

    dry_run: bool = True


class OfRelationship(Query):
    relationship: Annotated[str, Field(max_length=200)] = ""


# ---- what comes out ------------------------------------------------------------------------------


class CardRow(Out):
    card: str
    kind: str
    sensitivity: str
    fields: list[str]
    missing: list[str]


class FieldRow(Out):
    """value: veiled unless it was to be revealed; null where there is none, or it is sealed."""

    card: str
    field: str
    type: str
    sensitivity: str
    value: str | None
    version: int | None
    valid_from: Annotated[datetime | None, Field(alias="from")]
    provenance: str
    next_from: datetime | None


class SetRow(Out):
    card: str
    field: str
    type: str
    version: int
    valid_from: Annotated[datetime, Field(alias="from")]
    changed: bool


class ViewRow(Out):
    card: str
    kind: str
    fields: list[str]


class GrantRow(Out):
    relationship: str
    card: str
    fields: list[str]
    mode: GrantMode
    purpose: str
    terms: str
    since: Annotated[datetime | None, Field(alias="from")]
    expires: datetime | None
    uses_left: int | None
    at: datetime
    ended: datetime | None


class DisclosureRow(Out):
    relationship: str
    card: str
    field: str
    version: int | None
    at: datetime
    via: str
    state: str
    name: str
    contact: str
    form: str
    purpose: str
    terms: str
    current: bool | None


class ChangedField(Out):
    card: str
    field: str
    old: str
    new: str
    since: Annotated[datetime | None, Field(alias="from")]


class NoticeState(Out):
    """What became of a notice; how: of one that is planned."""

    relationship: str
    name: str
    state: str
    how: str
    at: datetime | None
    sent: datetime | None
    acknowledged: datetime | None
    bounced: datetime | None
    silent_from: datetime | None
    again: bool


class NoticeRow(Out):
    """how: "mail", or why they are not written to."""

    relationship: str
    name: str
    to: str
    how: str
    fields: list[ChangedField]


# ---- doing it ------------------------------------------------------------------------------------


async def _list(call: Call) -> Any:
    return await call.office.db.read(cards.listing, call.account, call.office.clock())


async def _show(call: Call, query: Revealing, card: str) -> Any:
    return await call.office.db.read(cards.show, call.office, call.account, card, reveal=query.reveal)


async def _set(call: Call, body: CardValues, card: str) -> Any:
    chosen = [Assignment(card, key, value) for key, value in body.values.items()]
    return await call.office.db.write(
        cards.set_fields,
        call.office,
        call.account,
        chosen,
        valid_from=body.valid_from,
        sensitivity=None if body.sensitivity is None else Sensitivity(body.sensitivity),
        type=body.type,
        verified=body.verified,
        actor=call.actor,
    )


async def _remove(call: Call, card: str) -> None:
    await call.office.db.write(cards.remove, call.office, call.account, card, actor=call.actor)


async def _remove_field(call: Call, card: str, field: str) -> None:
    named = f"{card}.{field}"
    await call.office.db.write(cards.remove, call.office, call.account, named, actor=call.actor)


async def _view(call: Call, body: ViewFields, view: str) -> Any:
    return await call.office.db.write(
        cards.set_view, call.office, call.account, view, body.fields, actor=call.actor
    )


async def _grants(call: Call, relationship: str) -> Any:
    return await call.office.db.read(_grant_rows, call, relationship)


def _grant_rows(tx: Transaction, call: Call, relationship: str) -> list[dict[str, Any]]:
    of = relationships.find(tx, call.account.id, relationship)
    return [grants.grant_row(each, of) for each in card_rows.grants(tx, of.id)]


async def _grant(call: Call, body: NewGrant, relationship: str) -> Any:
    permission = Permission(
        body.card, tuple(body.fields), body.mode, body.purpose, body.until, body.uses, body.terms, body.since
    )
    return await call.office.db.write(
        grants.grant, call.office, call.account, relationship, permission, actor=call.actor
    )


async def _ungrant(call: Call, query: Telling, relationship: str, card: str) -> Any:
    if not query.notify:
        return await call.office.db.write(
            grants.ungrant, call.office, call.account, relationship, card, actor=call.actor
        )
    ended, _ = await call.office.db.write(
        notify.ungrant, call.office, call.account, relationship, card, actor=call.actor
    )
    call.office.wake()
    return ended


async def _notify(call: Call, body: Notification, card: str) -> Any:
    if body.dry_run:
        steps = await call.office.db.read(notify.plan, call.office, call.account, card)
    else:
        steps = await call.office.db.write(notify.send, call.office, call.account, card, actor=call.actor)
        call.office.wake()
    return [notify.row(each) for each in steps]


async def _notices(call: Call, card: str) -> Any:
    return await call.office.db.read(notified.status, call.office, call.account, card)


async def _who_has(call: Call, what: str) -> Any:
    return await call.office.db.read(ledger.who_has, call.office, call.account, what)


async def _disclosures(call: Call, query: OfRelationship) -> Any:
    return await call.office.db.read(ledger.disclosures, call.office, call.account, query.relationship)


async def _disclosed(call: Call, body: Given, relationship: str) -> Any:
    return await call.office.db.write(
        ledger.disclosed,
        call.office,
        call.account,
        relationship,
        body.card,
        only=tuple(body.fields),
        via=Via(body.via),
        purpose=body.purpose,
        actor=call.actor,
    )


_SCOPE = Scope.CARDS

OPERATIONS = (
    Operation(
        "GET", "/cards", "listCards", "Your cards and views, without values", _SCOPE, _list, list[CardRow]
    ),
    Operation(
        "GET", "/cards/{card}", "showCard", "A card's fields", _SCOPE, _show, list[FieldRow], query=Revealing
    ),
    Operation(
        "PATCH", "/cards/{card}", "setCard", "Set values of a card", _SCOPE, _set, list[SetRow], CardValues
    ),
    Operation("DELETE", "/cards/{card}", "removeCard", "Take a card or view away", _SCOPE, _remove),
    Operation("DELETE", "/cards/{card}/{field}", "removeField", "Take a field away", _SCOPE, _remove_field),
    Operation(
        "PUT", "/views/{view}", "setView", "Name a selection of fields", _SCOPE, _view, ViewRow, ViewFields
    ),
    Operation(
        "GET",
        "/relationships/{relationship}/grants",
        "listGrants",
        "What it may receive",
        _SCOPE,
        _grants,
        list[GrantRow],
    ),
    Operation(
        "POST",
        "/relationships/{relationship}/grants",
        "grant",
        "Permit or forbid a card",
        _SCOPE,
        _grant,
        GrantRow,
        NewGrant,
        status=201,
    ),
    Operation(
        "DELETE",
        "/relationships/{relationship}/grants/{card}",
        "ungrant",
        "Take a permission back, for the future",
        _SCOPE,
        _ungrant,
        list[GrantRow],
        query=Telling,
    ),
    Operation(
        "GET",
        "/cards/{card}/notices",
        "listNotices",
        "Who was told of a change, and who has answered",
        _SCOPE,
        _notices,
        list[NoticeState],
    ),
    Operation(
        "POST",
        "/cards/{card}/notify",
        "notifyOfCard",
        "Tell those who hold an old value; first as a plan",
        _SCOPE,
        _notify,
        list[NoticeRow],
        Notification,
    ),
    Operation(
        "POST",
        "/relationships/{relationship}/disclosures",
        "disclosed",
        "Write down what you gave elsewhere",
        _SCOPE,
        _disclosed,
        list[DisclosureRow],
        Given,
        status=201,
    ),
    Operation(
        "GET",
        "/disclosures",
        "listDisclosures",
        "What was given to whom, and when",
        _SCOPE,
        _disclosures,
        list[DisclosureRow],
        query=OfRelationship,
    ),
    Operation(
        "GET", "/who-has/{what}", "whoHas", "Who holds a card or field", _SCOPE, _who_has, list[DisclosureRow]
    ),
)
