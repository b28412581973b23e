"""The office's own API: relationships, their addresses, contacts, grants and log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from sortingoffice.core.access import Scope
from sortingoffice.core.model import RelationshipState, RemoteImages, Strangers, Unsubscribe, VendorKind
from sortingoffice.core.relationship import Action, state_at
from sortingoffice.flows import history, issue, overview, relationships
from sortingoffice.flows.issue import Wish
from sortingoffice.flows.relationships import Change, Done
from sortingoffice.store import relationships as rows
from sortingoffice.store import traffic
from sortingoffice.store.database import Transaction
from sortingoffice.web import limits
from sortingoffice.web.auth import Call
from sortingoffice.web.operations import WHOLE, In, Moment, Operation, Out, Query

Line = Annotated[str, Field(max_length=200)]
Note = Annotated[str, Field(max_length=1000)]
Page = Annotated[int, Field(ge=0, le=10**6)]
Size = Annotated[int, Field(ge=1, le=500)]
Count = Annotated[int, Field(ge=1, le=10**9), WHOLE]


# ---- what goes in --------------------------------------------------------------------------------


class NewRelationship(In):
    """site binds it to its vendor from the start; label begins the address, local is it; gave: cards, or
    single fields as CARD.FIELD, that you typed into the vendor's form."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    site: Line = ""
    kind: VendorKind = Field(VendorKind.VENDOR, strict=False)
    label: Line = ""
    local: Line = ""
    domain: Line = ""
    mailbox: Line = ""
    until: Moment | None = None
    max: Count | None = None
    note: Note = ""
    gave: list[Line] = Field(default_factory=list, max_length=50)


class ChangedRelationship(In):
    """What is left out stays; an empty `mailbox` is the preferred one, null lifts `until` and `max`."""

    name: Line | None = None
    kind: VendorKind | None = Field(None, strict=False)
    site: Line | None = None
    strangers: Strangers | None = Field(None, strict=False)
    remote_images: RemoteImages | None = Field(None, strict=False)
    unsubscribe: Unsubscribe | None = Field(None, strict=False)
    mailbox: Line | None = None
    display_name: Line | None = None
    note: Note | None = None
    until: Moment | None = None
    max: Count | None = None
    pinned: bool | None = None


class Pocket(In):
    number: Annotated[int, Field(ge=1, le=100), WHOLE] = issue.POCKET


class Pause(In):
    until: Moment | None = None


class Revocation(In):
    """properly: close over 45 days, in which answers to your requests still pass."""

    properly: bool = False


class Sender(In):
    sender: Annotated[str, Field(min_length=1, max_length=320)]


class NewContact(In):
    address: Annotated[str, Field(min_length=1, max_length=320)]


class Chosen(Query):
    state: RelationshipState | None = None
    search: Line = ""
    offset: Page = 0
    limit: Size = 100


class Part(Query):
    offset: Page = 0
    limit: Size = 100


# ---- what comes out ------------------------------------------------------------------------------


class ContactRow(Out):
    address: str
    name: str
    reverse_alias: str


class OlderAlias(Out):
    alias: str
    state: str


class RelationshipRow(Out):
    relationship: str
    name: str
    alias: str
    state: RelationshipState
    site: str
    bindings: list[str]
    created: datetime
    contacts: list[ContactRow]
    kind: VendorKind
    refused: list[str]
    older_aliases: list[OlderAlias]
    strangers: Strangers
    remote_images: RemoteImages
    pixels: int
    unsubscribe: Unsubscribe
    mailbox: str
    display_name: str
    received: int
    max: int | None
    until: datetime | None
    paused_until: datetime | None
    closing_until: datetime | None
    note: str
    pinned: bool


class DoneRow(RelationshipRow):
    """changed: false where it was so already; released: held messages that were let go."""

    changed: bool
    released: int


class ContactMade(Out):
    relationship: str
    address: str
    reverse_alias: str


class EventRow(Out):
    at: datetime
    actor: str
    what: str
    rule: str
    relationship: str
    message: str
    detail: str


class PassedRow(Out):
    at: datetime
    message: str
    direction: str
    address: str
    subject: str
    rule: str
    state: str
    reason: str


# ---- doing it ------------------------------------------------------------------------------------


async def _list(call: Call, query: Chosen) -> Any:
    return await call.office.db.read(_page, call, query)


def _page(tx: Transaction, call: Call, query: Chosen) -> list[dict[str, Any]]:
    now = call.office.clock()
    every = rows.every(tx, call.account.id, search=query.search)
    found = [each for each in every if query.state in (None, state_at(each, now))]
    return [overview.of(tx, call.office, each) for each in found[query.offset :][: query.limit]]


async def _new(call: Call, body: NewRelationship) -> Any:
    call.spend(limits.ADDRESSES, f"account {call.account.id}")
    wish = Wish(
        name=body.name,
        kind=body.kind,
        site=body.site,
        label=body.label,
        local=body.local,
        domain=body.domain,
        mailbox=body.mailbox,
        until=body.until,
        max_messages=body.max,
        note=body.note,
        gave=tuple(body.gave),
    )
    return await call.office.db.write(issue.issue, call.office, call.account, wish, actor=call.actor)


async def _pocket(call: Call, body: Pocket) -> Any:
    for _ in range(-(-body.number // 10)):
        call.spend(limits.ADDRESSES, f"account {call.account.id}")
    return await call.office.db.write(issue.pocket, call.office, call.account, body.number, actor=call.actor)


async def _show(call: Call, relationship: str) -> Any:
    return await call.office.db.read(overview.named, call.office, call.account, relationship)


async def _change(call: Call, body: ChangedRelationship, relationship: str) -> Any:
    given = body.model_fields_set
    wish = Change(
        name=body.name,
        kind=body.kind,
        site=body.site,
        strangers=body.strangers,
        remote_images=body.remote_images,
        unsubscribe=body.unsubscribe,
        mailbox=body.mailbox,
        display_name=body.display_name,
        note=body.note,
        until="" if "until" in given and body.until is None else body.until,
        max_messages="" if "max" in given and body.max is None else body.max,
        pinned=body.pinned,
    )

    def change(tx: Transaction) -> dict[str, Any]:
        done = relationships.change(tx, call.office, call.account, relationship, wish, actor=call.actor)
        return _done(tx, call, done)

    return await call.office.db.write(change)


def _done(tx: Transaction, call: Call, done: Done) -> dict[str, Any]:
    shown = overview.of(tx, call.office, done.relationship)
    return {**shown, "changed": done.changed, "released": done.released}


async def _act(call: Call, relationship: str, action: Action, until: datetime | None = None) -> Any:
    def act(tx: Transaction) -> dict[str, Any]:
        done = relationships.act(
            tx, call.office, call.account, relationship, action, actor=call.actor, until=until
        )
        return _done(tx, call, done)

    done = await call.office.db.write(act)
    call.office.wake()
    return done


async def _pause(call: Call, body: Pause, relationship: str) -> Any:
    return await _act(call, relationship, Action.PAUSE, body.until)


async def _resume(call: Call, relationship: str) -> Any:
    return await _act(call, relationship, Action.RESUME)


async def _revoke(call: Call, body: Revocation, relationship: str) -> Any:
    return await _act(call, relationship, Action.CLOSE if body.properly else Action.REVOKE)


async def _restore(call: Call, relationship: str) -> Any:
    return await _act(call, relationship, Action.RESTORE)


async def _rotate(call: Call, relationship: str) -> Any:
    call.spend(limits.ADDRESSES, f"account {call.account.id}")
    return await call.office.db.write(issue.rotate, call.office, call.account, relationship, actor=call.actor)


async def _judge(call: Call, relationship: str, sender: str, *, allow: bool) -> Any:
    def judge(tx: Transaction) -> dict[str, Any]:
        done, _ = relationships.judge(
            tx, call.office, call.account, relationship, sender, allow=allow, actor=call.actor
        )
        return _done(tx, call, done)

    return await call.office.db.write(judge)


async def _allow(call: Call, body: Sender, relationship: str) -> Any:
    return await _judge(call, relationship, body.sender, allow=True)


async def _refuse(call: Call, body: Sender, relationship: str) -> Any:
    return await _judge(call, relationship, body.sender, allow=False)


async def _contacts(call: Call, relationship: str) -> Any:
    return (await _show(call, relationship))["contacts"]


async def _contact(call: Call, body: NewContact, relationship: str) -> Any:
    of, made = await call.office.db.write(
        issue.contact, call.office, call.account, relationship, body.address, actor=call.actor
    )
    return {"relationship": of.slug, "address": made.written, "reverse_alias": made.reverse_alias}


async def _log(call: Call, query: Part, relationship: str) -> Any:
    return await log(call, query, relationship)


async def log(call: Call, query: Part, relationship: str) -> list[dict[str, Any]]:
    """A page of the log, the latest first; of the whole account with ""."""
    most = query.offset + query.limit
    found = await call.office.db.read(history.log, call.account, relationship, most)
    return found[::-1][query.offset :]


async def _mail(call: Call, query: Part, relationship: str) -> Any:
    return await call.office.db.read(_passed, call, query, relationship)


def _passed(tx: Transaction, call: Call, query: Part, relationship: str) -> list[dict[str, Any]]:
    of = relationships.find(tx, call.account, relationship)
    return [
        {
            "at": each.at,
            "message": each.token,
            "direction": each.direction.value,
            "address": each.address,
            "subject": each.subject,
            "rule": each.rule,
            "state": each.state.value,
            "reason": each.reason,
        }
        for each in traffic.passed(tx, of.id, query.limit, query.offset)
    ]


_SCOPE = Scope.RELATIONSHIPS
_ONE = "/relationships/{relationship}"

OPERATIONS = (
    Operation(
        "GET",
        "/relationships",
        "listRelationships",
        "Your relationships, oldest first",
        _SCOPE,
        _list,
        list[RelationshipRow],
        query=Chosen,
    ),
    Operation(
        "POST",
        "/relationships",
        "newRelationship",
        "Issue a fresh address for a vendor",
        Scope.NEW,
        _new,
        RelationshipRow,
        NewRelationship,
        status=201,
    ),
    Operation(
        "POST",
        "/pocket",
        "pocket",
        "Issue addresses ahead, for vendors not yet known",
        Scope.NEW,
        _pocket,
        list[RelationshipRow],
        Pocket,
        status=201,
    ),
    Operation("GET", _ONE, "showRelationship", "One relationship", _SCOPE, _show, RelationshipRow),
    Operation(
        "PATCH",
        _ONE,
        "changeRelationship",
        "Change its settings",
        _SCOPE,
        _change,
        DoneRow,
        ChangedRelationship,
    ),
    Operation("POST", f"{_ONE}/pause", "pause", "Hold its mail for a while", _SCOPE, _pause, DoneRow, Pause),
    Operation("POST", f"{_ONE}/resume", "resume", "End a pause", _SCOPE, _resume, DoneRow),
    Operation("POST", f"{_ONE}/revoke", "revoke", "Close its address", _SCOPE, _revoke, DoneRow, Revocation),
    Operation("POST", f"{_ONE}/restore", "restore", "Undo a revocation", _SCOPE, _restore, DoneRow),
    Operation(
        "POST",
        f"{_ONE}/rotate",
        "rotate",
        "A new address; the old one goes on, flagged",
        _SCOPE,
        _rotate,
        RelationshipRow,
        status=201,
    ),
    Operation("POST", f"{_ONE}/allow", "allow", "Let a sender write to it", _SCOPE, _allow, DoneRow, Sender),
    Operation("POST", f"{_ONE}/refuse", "refuse", "Turn a sender away", _SCOPE, _refuse, DoneRow, Sender),
    Operation(
        "GET", f"{_ONE}/contacts", "listContacts", "Who writes to it", _SCOPE, _contacts, list[ContactRow]
    ),
    Operation(
        "POST",
        f"{_ONE}/contacts",
        "newContact",
        "The address through which to write to somebody",
        _SCOPE,
        _contact,
        ContactMade,
        NewContact,
        status=201,
    ),
    Operation(
        "GET", f"{_ONE}/log", "relationshipLog", "What happened", _SCOPE, _log, list[EventRow], query=Part
    ),
    Operation(
        "GET",
        f"{_ONE}/mail",
        "relationshipMail",
        "What came and went",
        _SCOPE,
        _mail,
        list[PassedRow],
        query=Part,
    ),
)
