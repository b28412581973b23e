"""addy.io's dialect (AnonAddy's, as it was called): for its extension and apps, and Bitwarden's generator.

A translation and nothing else: an "alias" of theirs is a relationship by its current alias,
"inactive" is paused (nothing is lost), "deleted" and "forgotten" are revoked, a "recipient" is a
mailbox.  Bitwarden and the extension tell the site in `description`.

Sources: app.addy.io/docs; the requests of its browser extension and of Bitwarden, as in tests/clients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response
from starlette.routing import BaseRoute

from sortingoffice.core.access import Scope
from sortingoffice.core.model import RelationshipState
from sortingoffice.core.relationship import Action
from sortingoffice.flows import relationships, signup
from sortingoffice.flows.relationships import Change
from sortingoffice.flows.signup import Asked, Row
from sortingoffice.store import domains
from sortingoffice.store.database import Transaction
from sortingoffice.web import compat_addy_bulk, limits
from sortingoffice.web.answers import Answer, Refused, nothing, said
from sortingoffice.web.auth import Call, Desk, Handler, route
from sortingoffice.web.compat_addy_account import ALIAS, RECIPIENT, TABLE, alias_row, chosen, invalid, row_id
from sortingoffice.web.typed import number, text

PAGE = 100
FORMATS = (
    "random_characters",
    "random_words",
    "random_male_name",
    "random_female_name",
    "random_noun",
    "uuid",
    "custom",
)


def routes(desk: Desk) -> list[BaseRoute]:
    """Paths below /api/v1."""
    new, all_ = Scope.NEW, Scope.RELATIONSHIPS
    table: list[tuple[str, Handler, str, Scope | None]] = [
        ("/aliases", _list, "GET", all_),
        ("/aliases", _create, "POST", new),
        ("/aliases/{id}", _one, "GET", all_),
        ("/aliases/{id}", _change, "PATCH", all_),
        ("/aliases/{id}", _delete, "DELETE", all_),
        ("/aliases/{id}/restore", _restore, "PATCH", all_),
        ("/aliases/{id}/forget", _delete, "DELETE", all_),
        ("/active-aliases", _activate, "POST", all_),
        ("/active-aliases/{id}", _deactivate, "DELETE", all_),
        ("/pinned-aliases", _pin, "POST", all_),
        ("/pinned-aliases/{id}", _unpin, "DELETE", all_),
        ("/alias-recipients", _deliver_to, "POST", all_),
        *TABLE,
        *compat_addy_bulk.TABLE,
    ]
    return [
        route(desk, path, _told(handler), method, scope=scope, mistake=422)
        for path, handler, method, scope in table
    ]


def _told(handler: Handler) -> Handler:
    """What is of the wrong form is told with the name of the member, which the sentence begins with."""

    async def answered(call: Call) -> Response:
        try:
            return await handler(call)
        except Refused as refused:
            if refused.status != 400:
                raise
            raise invalid(refused.sentence.partition(" ")[0].rstrip(":"), refused.sentence) from None

    return answered


# ---- aliases -------------------------------------------------------------------------------------


async def _create(call: Call) -> Response:
    given = await said(call.request)
    description = text(given, "description")
    form = text(given, "format") or "random_words"
    if form not in FORMATS:
        raise invalid("format", "The selected format is invalid.")
    local = text(given, "local_part").strip().lower() if form == "custom" else ""
    if form == "custom" and not local:
        raise invalid("local_part", "The local part field is required when format is custom.")
    domain = await _domain(call, text(given, "domain"))
    mailbox = await chosen(call, given)
    asked = Asked(
        note=" ".join(description.split()),
        local=local,
        domain=domain,
        mailbox=mailbox.address if mailbox is not None else "",
    )
    call.spend(limits.ADDRESSES, f"account {call.account.id}")
    try:
        made = await call.office.db.write(signup.take, call.office, call.account, asked, actor=call.actor)
    except signup.Taken as taken:
        raise invalid("local_part_without_extension", str(taken)) from None
    return Answer({"data": alias_row(made, call.account)}, 201)


async def _domain(call: Call, wanted: str) -> str:
    """A hosted domain; the first one where the client names none."""
    names = [each.name for each in await call.office.db.read(domains.every)]
    named = wanted.strip().lower().rstrip(".")
    if named in ("", "random"):
        return ""
    if named not in names:
        raise invalid("domain", f"The selected domain is invalid: this office has {', '.join(names)}.")
    return named


async def _list(call: Call) -> Response:
    query = call.request.query_params
    size = number(query, "page[size]", PAGE, least=1, most=PAGE)
    page = number(query, "page[number]", 1, least=1, most=10**9)
    deleted = query.get("filter[deleted]") or query.get("deleted", "")
    foreign = any(_filter(query, name) for name in _FOREIGN)
    keep = _kept(deleted, query.get("filter[active]", ""), foreign)
    recipient = _filter(query, "recipient")
    mailbox = row_id(RECIPIENT, recipient) if recipient else None
    found, total = await call.office.db.read(
        signup.listed,
        call.office,
        call.account,
        search=query.get("filter[search]", ""),
        keep=keep,
        mailbox_id=mailbox,
        pinned={"true": True, "false": False}.get(query.get("filter[pinned]", "")),
        offset=(page - 1) * size,
        most=size,
        by=_SORTS.get(query.get("sort", "").removeprefix("-")),
        falling=query.get("sort", "").startswith("-"),
    )
    shown = [alias_row(row, call.account) for row in found]
    return Answer({"data": shown, **_pages(call, page, size, len(found), total)})


# What `sort` may name; nothing sorts last, as with them.
_SORTS: dict[str, Callable[[Row], tuple[bool, Any]]] = {
    "local_part": lambda row: (False, row.alias.address.partition("@")[0]),
    "domain": lambda row: (False, row.alias.address.partition("@")[2]),
    "email": lambda row: (False, row.alias.address),
    "description": lambda row: (False, row.words.casefold()),
    "active": lambda row: (False, row.enabled),
    "emails_forwarded": lambda row: (False, row.counts.inward),
    "emails_blocked": lambda row: (False, row.counts.refused),
    "emails_replied": lambda row: (False, row.counts.outward),
    "created_at": lambda row: (False, row.relationship.created),
    "updated_at": lambda row: (False, row.relationship.created),
    "deleted_at": lambda row: _at(row, row.ended),
    "last_forwarded": lambda row: _at(row, row.counts.inward_at),
    "last_blocked": lambda row: _at(row, row.counts.refused_at),
    "last_replied": lambda row: _at(row, row.counts.outward_at),
    "last_used": lambda row: _at(
        row, max(filter(None, (row.counts.inward_at, row.counts.outward_at)), default=None)
    ),
}


def _at(row: Row, at: datetime | None) -> tuple[bool, datetime]:
    return at is None, at or row.relationship.created


_FOREIGN = ("label", "domain", "username")


def _filter(query: Mapping[str, str], name: str) -> str:
    """An id to filter by, as their extension says it or as their apps do."""
    return query.get(f"filter[{name}]") or query.get(name, "")


def _kept(deleted: str, active: str, foreign: bool) -> Callable[[RelationshipState], bool]:
    """Which states a list holds; none where it asks for what nobody has here: labels, own domains."""

    def keep(state: RelationshipState) -> bool:
        gone = state is RelationshipState.REVOKED
        on = state in (RelationshipState.ACTIVE, RelationshipState.UNBOUND)
        if foreign or (deleted == "only" and not gone) or (deleted not in ("only", "with") and gone):
            return False
        return active not in ("true", "false") or on == (active == "true")

    return keep


def _pages(call: Call, page: int, size: int, here: int, total: int) -> dict[str, Any]:
    last = max(1, -(-total // size))
    base = str(call.request.url.replace(query="", fragment=""))
    others = [(k, v) for k, v in call.request.query_params.multi_items() if k != "page[number]"]

    def link(number: int) -> str | None:
        return f"{base}?{urlencode([*others, ('page[number]', number)])}" if 1 <= number <= last else None

    first = (page - 1) * size + 1
    back, on = link(page - 1), link(page + 1)
    shown = [("&laquo; Previous", back, False), ("Next &raquo;", on, False)]
    near = range(max(1, page - 3), min(last, page + 3) + 1)
    shown[1:1] = [(str(each), link(each), each == page) for each in near]
    return {
        "links": {"first": link(1), "last": link(last), "prev": back, "next": on},
        "meta": {
            "current_page": page,
            "from": first if here else None,
            "last_page": last,
            "links": [{"url": url, "label": label, "active": active} for label, url, active in shown],
            "path": base,
            "per_page": size,
            "to": first + here - 1 if here else None,
            "total": total,
        },
    }


async def _one(call: Call) -> Response:
    found = await call.office.db.read(signup.one, call.office, call.account, _wanted(call))
    return Answer({"data": alias_row(found, call.account)})


def _wanted(call: Call) -> int:
    return row_id(ALIAS, call.request.path_params["id"])


async def _change(call: Call) -> Response:
    given = await said(call.request)
    wish = Change(
        note=" ".join(text(given, "description").split()) if "description" in given else None,
        display_name=text(given, "from_name") if "from_name" in given else None,
    )
    return Answer({"data": await _set(call, _wanted(call), wish)})


async def _deliver_to(call: Call) -> Response:
    given = await said(call.request)
    mailbox = await chosen(call, given)
    wish = Change(mailbox=mailbox.address if mailbox is not None else "")
    return Answer({"data": await _set(call, row_id(ALIAS, text(given, "alias_id")), wish)})


async def _set(call: Call, relationship_id: int, wish: Change) -> dict[str, Any]:
    return alias_row(await call.office.db.write(_store, call, relationship_id, wish), call.account)


def _store(tx: Transaction, call: Call, relationship_id: int, wish: Change) -> Row:
    of = signup.one(tx, call.office, call.account, relationship_id)
    wish = signup.news(of, wish)
    if wish != Change():
        relationships.change(tx, call.office, call.account, of.relationship.slug, wish, actor=call.actor)
    return signup.one(tx, call.office, call.account, relationship_id)


async def _act(call: Call, action: Action) -> Row:
    return await call.office.db.write(
        signup.act, call.office, call.account, _wanted(call), action, actor=call.actor
    )


async def _delete(call: Call) -> Response:
    await _act(call, Action.REVOKE)
    return nothing()


async def _restore(call: Call) -> Response:
    return Answer({"data": alias_row(await _act(call, Action.RESTORE), call.account)})


async def _activate(call: Call) -> Response:
    given = await said(call.request)
    wanted = row_id(ALIAS, text(given, "id"))
    found = await call.office.db.write(
        signup.switch, call.office, call.account, wanted, on=True, actor=call.actor
    )
    call.office.wake()
    return Answer({"data": alias_row(found, call.account)})


async def _deactivate(call: Call) -> Response:
    await call.office.db.write(
        signup.switch, call.office, call.account, _wanted(call), on=False, actor=call.actor
    )
    return nothing()


async def _pin(call: Call) -> Response:
    given = await said(call.request)
    return Answer({"data": await _set(call, row_id(ALIAS, text(given, "id")), Change(pinned=True))})


async def _unpin(call: Call) -> Response:
    await _set(call, _wanted(call), Change(pinned=False))
    return nothing()
