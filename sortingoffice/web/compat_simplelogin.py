"""SimpleLogin's dialect: what its extensions and apps, and Bitwarden's generator, ask for.

A translation and nothing else: an "alias" of theirs is a relationship by its current alias,
"disabled" is paused (nothing is lost), "deleted" is revoked (it can be restored elsewhere), a
"contact" is a contact.  What we don't have (PGP, pins, plans) is told as absent.

Sources: SimpleLogin's API documentation (docs/api.md of its repository) and the requests of its
browser extension, as in tests/clients.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from sortingoffice.core import naming
from sortingoffice.core.access import Scope
from sortingoffice.core.model import (
    Contact,
    Direction,
    Mailbox,
    Relationship,
    RelationshipState,
)
from sortingoffice.core.relationship import Action
from sortingoffice.errors import NotThere
from sortingoffice.flows import issue, relationships, signup, standing
from sortingoffice.flows.relationships import Change
from sortingoffice.flows.signup import Asked, Row
from sortingoffice.store import accounts, contacts, traffic
from sortingoffice.store import relationships as rows
from sortingoffice.store.database import Transaction
from sortingoffice.store.traffic import Counts, Passed
from sortingoffice.web import compat_simplelogin_account, limits
from sortingoffice.web.answers import Answer, Refused, said
from sortingoffice.web.auth import Call, Desk, route
from sortingoffice.web.typed import number, numbers, text, yes_or_no

PAGE = 20  # rows, as their documentation promises
_ACTIONS = {Direction.INWARD: "forward", Direction.OUTWARD: "reply"}


def routes(desk: Desk) -> list[BaseRoute]:
    """Paths below /api."""
    new, all_ = Scope.NEW, Scope.RELATIONSHIPS
    found: list[BaseRoute] = [
        *compat_simplelogin_account.routes(desk),
        route(desk, "/alias/random/new", _random, "POST", scope=new),
        route(desk, "/v4/alias/options", _options_old, "GET", scope=new),
        route(desk, "/v5/alias/options", _options, "GET", scope=new),
        route(desk, "/aliases/{id:int}", _one, "GET", scope=all_),
        route(desk, "/aliases/{id:int}", _change, "PUT", "PATCH", scope=all_),
        route(desk, "/aliases/{id:int}", _delete, "DELETE", scope=all_),
        route(desk, "/aliases/{id:int}/toggle", _toggle, "POST", scope=all_),
        route(desk, "/aliases/{id:int}/contacts", _contacts, "GET", scope=all_),
        route(desk, "/aliases/{id:int}/contacts", _add_contact, "POST", scope=all_),
        route(desk, "/aliases/{id:int}/activities", _activities, "GET", scope=all_),
        route(desk, "/contacts/{id:int}/toggle", _turn_contact, "POST", scope=all_),
        route(desk, "/contacts/{id:int}", _keep_contact, "DELETE", scope=all_),
    ]
    found += [route(desk, f"/{v}/alias/custom/new", _custom, "POST", scope=new) for v in ("v2", "v3")]
    found += [route(desk, f"{v}/aliases", _list, "GET", "POST", scope=all_) for v in ("", "/v2")]
    return found


# ---- making --------------------------------------------------------------------------------------


async def _random(call: Call) -> Response:
    given = await said(call.request)
    return await _made(call, Asked(hostname=_hostname(call), note=_note(given)))


async def _custom(call: Call) -> Response:
    given = await said(call.request)
    suffix = signup.opened_suffix(call.office, call.account, text(given, "signed_suffix"))
    ending, _, domain = suffix.partition("@")
    prefix = text(given, "alias_prefix").strip().lower().replace(" ", "")
    if not prefix:
        raise Refused(400, "alias_prefix is missing: the beginning of the address")
    chosen = await _mailbox(call, given)
    return await _made(
        call,
        Asked(
            hostname=_hostname(call),
            note=_note(given),
            local=prefix + ending,
            domain=domain,
            mailbox=chosen.address if chosen is not None else "",
        ),
        display_name=text(given, "name"),
    )


def _note(given: dict[str, Any]) -> str:
    """Their notes have lines; ours are one."""
    return " ".join(text(given, "note").split())


async def _made(call: Call, asked: Asked, display_name: str = "") -> Response:
    call.spend(limits.ADDRESSES, f"account {call.account.id}")
    row, latest = await call.office.db.write(_take, call, asked, display_name)
    return Answer({"alias": row.alias.address, **_alias(row, latest)}, 201)


def _take(tx: Transaction, call: Call, asked: Asked, display_name: str) -> tuple[Row, Latest]:
    made = signup.take(tx, call.office, call.account, asked, actor=call.actor)
    if display_name:
        wish = Change(display_name=display_name)
        relationships.change(tx, call.office, call.account, made.relationship.slug, wish, actor=call.actor)
    return _shown(tx, call, made.relationship.id)


async def _options_old(call: Call) -> Response:
    found = await call.office.db.read(_offer, call)
    return Answer({**found, "suffixes": [[suffix, signed] for suffix, signed in found["suffixes"]]})


async def _options(call: Call) -> Response:
    found = await call.office.db.read(_offer, call)
    offered = [
        {"suffix": suffix, "signed_suffix": signed, "is_custom": suffix.startswith("@"), "is_premium": False}
        for suffix, signed in found["suffixes"]
    ]
    return Answer({**found, "suffixes": offered})


def _offer(tx: Transaction, call: Call) -> dict[str, Any]:
    host = _hostname(call)
    known = signup.of_site(tx, call.office, call.account, host)
    found: dict[str, Any] = {
        "can_create": True,
        "prefix_suggestion": _prefix(signup.site(tx, host) or host),
        "suffixes": signup.suffixes(tx, call.office, call.account),
    }
    if known is not None:
        found["recommendation"] = {"alias": known.alias.address, "hostname": host}
    return found


def _hostname(call: Call) -> str:
    return call.request.query_params.get("hostname", "")[:255]


def _prefix(host: str) -> str:
    """The organization's name out of a host name; nothing out of an IP address."""
    from sortingoffice.mail.publicsuffix import organizational

    if ":" in host or host.rpartition(".")[2].isdigit():
        return ""
    organization = organizational(host.lower().removeprefix("www.")) or host.lower()
    name = organization.partition(".")[0]
    found = "".join(c for c in name if c.isascii() and (c.isalnum() or c == "-"))[:20]
    return f"my{found}" if naming.prefixed(found) else found  # new.example begins with a word of ours


# ---- looking -------------------------------------------------------------------------------------

# The latest thing that passed, and the contact it passed from or to.
Latest = tuple[Passed, Contact | None] | None


async def _list(call: Call) -> Response:
    given = await said(call.request)
    query = call.request.query_params
    page = number(query, "page_id", 0, least=0, most=10**9)
    found = await call.office.db.read(
        _page, call, text(given, "query") or query.get("query", ""), page, frozenset(query)
    )
    return Answer({"aliases": [_alias(row, latest) for row, latest in found]})


def _page(
    tx: Transaction, call: Call, search: str, page: int, wanted: frozenset[str]
) -> list[tuple[Row, Latest]]:
    def keep(state: RelationshipState) -> bool:
        on = state in (RelationshipState.ACTIVE, RelationshipState.UNBOUND)
        if state is RelationshipState.REVOKED:
            return False
        return on if "enabled" in wanted else not on if "disabled" in wanted else True

    found, _ = signup.listed(
        tx,
        call.office,
        call.account,
        search=search,
        keep=keep,
        pinned=True if "pinned" in wanted else None,
        offset=page * PAGE,
        most=PAGE,
    )
    return [(row, _latest(tx, row)) for row in found]


def _shown(tx: Transaction, call: Call, relationship_id: int) -> tuple[Row, Latest]:
    row = signup.one(tx, call.office, call.account, relationship_id)
    return row, _latest(tx, row)


def _latest(tx: Transaction, row: Row) -> Latest:
    found = traffic.passed(tx, row.relationship.id, 1) if row.counts != Counts() else ()
    return (found[0], contacts.by_address(tx, row.relationship.id, found[0].address)) if found else None


def _alias(row: Row, latest: Latest) -> dict[str, Any]:
    mailbox = None if row.mailbox is None else {"id": row.mailbox.id, "email": row.mailbox.address}
    return {
        "id": row.relationship.id,
        "email": row.alias.address,
        "name": row.relationship.display_name or None,
        "enabled": row.enabled,
        "creation_date": _date(row.relationship.created),
        "creation_timestamp": int(row.relationship.created.timestamp()),
        "note": row.words,
        "nb_block": row.counts.refused,
        "nb_forward": row.counts.inward,
        "nb_reply": row.counts.outward,
        "mailbox": mailbox,
        "mailboxes": [mailbox] if mailbox is not None else [],
        "support_pgp": False,
        "disable_pgp": False,
        "latest_activity": None if latest is None else _latest_activity(*latest),
        "pinned": row.relationship.pinned,
    }


def _latest_activity(passed: Passed, contact: Contact | None) -> dict[str, Any]:
    return {
        "action": _ACTIONS[passed.direction],
        "timestamp": int(passed.at.timestamp()),
        "contact": {
            "email": passed.address,
            "name": contact.name or None if contact is not None else None,
            "reverse_alias": _named(contact) if contact is not None else "",
        },
    }


def _date(at: datetime) -> str:
    return at.isoformat(" ", "seconds")


async def _one(call: Call) -> Response:
    row, latest = await call.office.db.read(_shown, call, call.request.path_params["id"])
    return Answer(_alias(row, latest))


# ---- changing ------------------------------------------------------------------------------------


async def _change(call: Call) -> Response:
    given = await said(call.request)
    chosen = await _mailbox(call, given)
    wish = Change(
        note=_note(given) if "note" in given else None,
        display_name=text(given, "name") if "name" in given else None,
        mailbox=chosen.address if chosen is not None else None,
        pinned=yes_or_no(given, "pinned"),
    )
    await call.office.db.write(_set, call, call.request.path_params["id"], wish)
    return Answer({"ok": True})


def _set(tx: Transaction, call: Call, relationship_id: int, wish: Change) -> None:
    row = signup.one(tx, call.office, call.account, relationship_id)
    wish = signup.news(row, wish)
    if row.mailbox is not None and wish.mailbox == row.mailbox.address:
        wish = replace(wish, mailbox=None)  # else it no longer follows the account to another preferred one
    if wish != Change():
        slug = row.relationship.slug
        relationships.change(tx, call.office, call.account, slug, wish, actor=call.actor)


async def _mailbox(call: Call, given: dict[str, Any]) -> Mailbox | None:
    """The one mailbox that mailbox_ids or mailbox_id names; None where neither is there."""
    chosen = set(numbers(given, "mailbox_ids")) | set(numbers(given, "mailbox_id"))
    if not chosen:
        if "mailbox_ids" in given:
            raise Refused(400, "mailbox_ids is empty: an address delivers to one of your mailboxes")
        return None
    if len(chosen) > 1:
        raise Refused(400, "an address delivers to one mailbox here: choose one")
    found = await call.office.db.read(accounts.mailbox_by_id, chosen.pop())
    if found is None or found.account_id != call.account.id:
        raise Refused(400, "that is none of your mailboxes")
    return found


async def _toggle(call: Call) -> Response:
    row = await call.office.db.write(_turn, call, call.request.path_params["id"])
    call.office.wake()
    return Answer({"enabled": row.enabled})


def _turn(tx: Transaction, call: Call, relationship_id: int) -> Row:
    row = signup.one(tx, call.office, call.account, relationship_id)
    # An old list shows it on: a switch never reopens what was closed.
    if row.state is RelationshipState.REVOKED:
        raise NotThere("this address was deleted: it can be restored on its page")
    return signup.switch(tx, call.office, call.account, relationship_id, on=not row.enabled, actor=call.actor)


async def _delete(call: Call) -> Response:
    wanted = call.request.path_params["id"]
    await call.office.db.write(signup.act, call.office, call.account, wanted, Action.REVOKE, actor=call.actor)
    return Answer({"deleted": True})


# ---- contacts and activities ---------------------------------------------------------------------


async def _contacts(call: Call) -> Response:
    page = number(call.request.query_params, "page_id", 0, least=0, most=10**9)
    found = await call.office.db.read(_contact_rows, call, call.request.path_params["id"])
    return Answer({"contacts": found[page * PAGE : (page + 1) * PAGE]})


def _contact_rows(tx: Transaction, call: Call, relationship_id: int) -> list[dict[str, Any]]:
    of = signup.own(tx, call.account, relationship_id)
    sent: dict[str, datetime] = {}
    for each in traffic.passed(tx, of.id, 1000):
        if each.direction is Direction.OUTWARD:
            sent.setdefault(each.address.lower(), each.at)
    refused = _refused(tx, of)
    every = contacts.every(tx, of.id)[::-1]
    return [_contact(each, sent.get(each.address), standing.identity(each) in refused) for each in every]


def _refused(tx: Transaction, of: Relationship) -> frozenset[str]:
    return frozenset(each.identity for each in rows.bindings(tx, of.id) if each.how == "refused")


def _contact(each: Contact, sent: datetime | None, blocked: bool = False) -> dict[str, Any]:
    return {
        "id": each.id,
        "contact": each.written,
        "creation_date": _date(each.created),
        "creation_timestamp": int(each.created.timestamp()),
        "last_email_sent_date": None if sent is None else _date(sent),
        "last_email_sent_timestamp": None if sent is None else int(sent.timestamp()),
        "reverse_alias": _named(each),
        "reverse_alias_address": each.reverse_alias,
        "block_forward": blocked,
    }


def _named(contact: Contact) -> str:
    """The reverse alias as a person pastes it into a mail's To."""
    shown = contact.name or contact.address.replace("@", " at ")
    quoted = shown.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{contact.reverse_alias}>'


async def _add_contact(call: Call) -> Response:
    given = await said(call.request)
    wanted = text(given, "contact").strip()
    name, _, bare = wanted.removesuffix(">").rpartition("<") if wanted.endswith(">") else ("", "", wanted)
    shown = name.strip().strip('"')
    made, existed = await call.office.db.write(_write_to, call, call.request.path_params["id"], bare, shown)
    return Answer({**_contact(made, None), "existed": existed}, 200 if existed else 201)


def _write_to(
    tx: Transaction, call: Call, relationship_id: int, address: str, name: str
) -> tuple[Contact, bool]:
    of = signup.own(tx, call.account, relationship_id)
    before = {each.id for each in contacts.every(tx, of.id)}
    _, made = issue.contact(tx, call.office, call.account, of.slug, address, name=name, actor=call.actor)
    return made, made.id in before


async def _turn_contact(call: Call) -> Response:
    """What they call blocking a contact: its identity, a domain or an address, is turned away or allowed."""
    blocked = await call.office.db.write(_turn_identity, call, call.request.path_params["id"])
    return Answer({"block_forward": blocked})


def _turn_identity(tx: Transaction, call: Call, contact_id: int) -> bool:
    found, of = _own_contact(tx, call, contact_id)
    block = standing.identity(found) not in _refused(tx, of)
    relationships.judge(
        tx, call.office, call.account, of.slug, found.address, allow=not block, actor=call.actor
    )
    return block


def _own_contact(tx: Transaction, call: Call, contact_id: int) -> tuple[Contact, Relationship]:
    found = contacts.by_id(tx, contact_id) if 0 < contact_id < 2**63 else None
    of = rows.by_id(tx, found.relationship_id) if found is not None else None
    if found is None or of is None or of.account_id != call.account.id:
        raise NotThere("there is no such contact")
    return found, of


async def _keep_contact(call: Call) -> Response:
    """A reverse alias leads to its contact for ever: somebody may have it in a mail."""
    await call.office.db.read(_own_contact, call, call.request.path_params["id"])
    raise Refused(403, "a contact stays, so that older mails can still be answered: switch it off instead")


async def _activities(call: Call) -> Response:
    page = number(call.request.query_params, "page_id", 0, least=0, most=10**9)
    found = await call.office.db.read(_activity_rows, call, call.request.path_params["id"], page)
    return Answer({"activities": found})


def _activity_rows(tx: Transaction, call: Call, relationship_id: int, page: int) -> list[dict[str, Any]]:
    row = signup.one(tx, call.office, call.account, relationship_id)
    known = {each.address: each for each in contacts.every(tx, row.relationship.id)}
    found = []
    for each in traffic.passed(tx, row.relationship.id, PAGE, page * PAGE):
        other = known.get(each.address.lower())
        inward = each.direction is Direction.INWARD
        found.append(
            {
                "action": _ACTIONS[each.direction],
                "timestamp": int(each.at.timestamp()),
                "from": each.address if inward else row.alias.address,
                "to": row.alias.address if inward else each.address,
                "reverse_alias": _named(other) if other is not None else "",
                "reverse_alias_address": other.reverse_alias if other is not None else "",
            }
        )
    return found
