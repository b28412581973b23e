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
from uuid import UUID

from starlette.responses import Response
from starlette.routing import BaseRoute

from sortingoffice.core.access import Scope
from sortingoffice.core.model import Account, Mailbox, MailboxState, RelationshipState
from sortingoffice.core.relationship import Action
from sortingoffice.flows import relationships, signup
from sortingoffice.flows.relationships import Change
from sortingoffice.flows.signup import Asked, Row
from sortingoffice.store import accounts, domains, traffic
from sortingoffice.store import relationships as rows
from sortingoffice.store.database import Transaction
from sortingoffice.web import limits
from sortingoffice.web.answers import Answer, Refused, nothing, said
from sortingoffice.web.auth import Call, Desk, Handler, route
from sortingoffice.web.typed import number, text

# The release of theirs whose dialect this is: their apps ask before they use something newer.
VERSION = (1, 4, 0)
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
_NONE_OF_IT = ("domains", "usernames", "rules", "failed-deliveries", "labels", "blocklist")


def routes(desk: Desk) -> list[BaseRoute]:
    """Paths below /api/v1."""
    new, all_ = Scope.NEW, Scope.RELATIONSHIPS
    table = [
        ("/api-token-details", _token, "GET", None),
        ("/account-details", _account, "GET", None),
        ("/app-version", _version, "GET", None),
        ("/domain-options", _domain_options, "GET", new),
        ("/recipients", _recipients, "GET", new),
        ("/recipients/{id}", _recipient, "GET", new),
        ("/aliases", _list, "GET", all_),
        ("/aliases", _create, "POST", new),
        ("/aliases/{id}", _one, "GET", all_),
        ("/aliases/{id}", _change, "PATCH", all_),
        ("/aliases/{id}", _delete, "DELETE", all_),
        ("/aliases/{id}/restore", _restore, "PATCH", all_),
        ("/aliases/{id}/forget", _delete, "DELETE", all_),
        ("/active-aliases", _activate, "POST", all_),
        ("/active-aliases/{id}", _deactivate, "DELETE", all_),
        ("/alias-recipients", _deliver_to, "POST", all_),
    ]
    table += [(f"/{name}", _nothing_there, "GET", None) for name in _NONE_OF_IT]
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
            raise invalid(refused.sentence.partition(" ")[0], refused.sentence) from None

    return answered


def invalid(member: str, sentence: str) -> Refused:
    """422, as Laravel says it: what is wrong with which member."""
    return Refused(422, sentence, more={"errors": {member: [sentence]}})


# ---- ids -----------------------------------------------------------------------------------------

_ALIAS, _RECIPIENT = 0x8000, 0x9000  # the fourth group: two kinds of ids that can't be mixed up


def _uuid(kind: int, row_id: int) -> str:
    """Their ids are UUIDs: ours in the last group of one, so that it can be read back."""
    return str(UUID(fields=(0, 0, 0x4000, kind >> 8, kind & 0xFF, row_id)))


def _row_id(kind: int, shown: str) -> int:
    """Raises `Refused` (404) for what is no id of ours."""
    try:
        found = UUID(shown)
    except ValueError:
        raise Refused(404, "there is no such address") from None
    if str(found) != _uuid(kind, found.node):
        raise Refused(404, "there is no such address")
    return found.node


# ---- the account ---------------------------------------------------------------------------------


async def _token(call: Call) -> Response:
    token = call.token
    return Answer(
        {"name": token.label, "created_at": _date(token.created), "expires_at": _date(token.expires)}
    )


async def _version(call: Call) -> Response:
    major, minor, patch = VERSION
    return Answer({"version": f"{major}.{minor}.{patch}", "major": major, "minor": minor, "patch": patch})


async def _account(call: Call) -> Response:
    return Answer({"data": await call.office.db.read(_account_row, call)})


def _account_row(tx: Transaction, call: Call) -> dict[str, Any]:
    account = call.account
    every = [each for each in rows.every(tx, account.id) if each.state is not RelationshipState.REVOKED]
    counts = traffic.counts(tx, [each.id for each in every]).values()
    preferred = accounts.preferred_mailbox(tx, account.id)
    hosted = domains.every(tx)
    return {
        "id": _uuid(_ALIAS, account.id),
        "username": account.name,
        "from_name": None,
        "email_subject": None,
        "banner_location": "off",
        "bandwidth": 0,
        "bandwidth_limit": 0,
        "username_count": 0,
        "username_limit": 0,
        "default_username_id": None,
        "default_recipient_id": None if preferred is None else _uuid(_RECIPIENT, preferred.id),
        "default_alias_domain": hosted[0].name if hosted else "",
        "default_alias_format": "random_words",
        "subscription": None,
        "subscription_ends_at": None,
        "recipient_count": len(accounts.mailboxes(tx, account.id)),
        "recipient_limit": 0,
        "active_domain_count": 0,
        "active_domain_limit": 0,
        "active_shared_domain_alias_count": len(every),
        "active_shared_domain_alias_limit": 0,
        "active_rule_count": 0,
        "active_rule_limit": 0,
        "aliases_count": len(every),
        "total_emails_forwarded": sum(each.inward for each in counts),
        "total_emails_blocked": sum(each.refused for each in counts),
        "total_emails_replied": sum(each.outward for each in counts),
        "total_emails_sent": 0,
        "created_at": _date(account.created),
        "updated_at": _date(account.created),
    }


async def _domain_options(call: Call) -> Response:
    names = [each.name for each in await call.office.db.read(domains.every)]
    return Answer(
        {
            "data": names,
            "sharedDomains": [],
            "defaultAliasDomain": names[0] if names else "",
            "defaultAliasFormat": "random_words",
        }
    )


async def _nothing_there(call: Call) -> Response:
    """Lists of theirs that are always empty here."""
    return Answer({"data": []})


# ---- recipients ----------------------------------------------------------------------------------


async def _recipients(call: Call) -> Response:
    found = await call.office.db.read(accounts.mailboxes, call.account.id)
    wanted = call.request.query_params.get("filter[verified]", "")
    chosen = [each for each in found if each.delivers]
    if wanted in ("true", "false"):
        chosen = [each for each in chosen if _verified(each) == (wanted == "true")]
    return Answer({"data": [_recipient_row(each, call.account) for each in chosen]})


async def _recipient(call: Call) -> Response:
    wanted = _row_id(_RECIPIENT, call.request.path_params["id"])
    found = await call.office.db.read(accounts.mailbox_by_id, wanted)
    if found is None or found.account_id != call.account.id:
        raise Refused(404, "there is no such recipient")
    return Answer({"data": _recipient_row(found, call.account)})


def _verified(mailbox: Mailbox) -> bool:
    return mailbox.state is not MailboxState.PENDING


def _recipient_row(mailbox: Mailbox, account: Account) -> dict[str, Any]:
    return {
        "id": _uuid(_RECIPIENT, mailbox.id),
        "user_id": _uuid(_ALIAS, account.id),
        "email": mailbox.address,
        "can_reply_send": True,
        "should_encrypt": False,
        "inline_encryption": False,
        "protected_headers": False,
        "fingerprint": None,
        "email_verified_at": _date(mailbox.created) if _verified(mailbox) else None,
        "aliases": [],
        "created_at": _date(mailbox.created),
        "updated_at": _date(mailbox.created),
    }


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
    mailbox = await _chosen(call, given)
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
    return Answer({"data": _alias(made, call.account)}, 201)


async def _domain(call: Call, wanted: str) -> str:
    """A hosted domain; the first one where the client names none."""
    names = [each.name for each in await call.office.db.read(domains.every)]
    named = wanted.strip().lower().rstrip(".")
    if named in ("", "random"):
        return ""
    if named not in names:
        raise invalid("domain", f"The selected domain is invalid: this office has {', '.join(names)}.")
    return named


async def _chosen(call: Call, given: Mapping[str, Any]) -> Mailbox | None:
    """The one mailbox that recipient_ids names; None where it names none."""
    ids = given.get("recipient_ids")
    if ids is None or ids == []:
        return None
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise invalid("recipient_ids", "The recipient ids must be an array.")
    if len(set(ids)) > 1:
        raise invalid("recipient_ids", "An address delivers to one mailbox here: choose one.")
    try:
        found = await call.office.db.read(accounts.mailbox_by_id, _row_id(_RECIPIENT, ids[0]))
    except Refused:
        found = None
    if found is None or found.account_id != call.account.id or not _verified(found):
        raise invalid("recipient_ids", "That is none of your verified mailboxes.")
    return found


async def _list(call: Call) -> Response:
    query = call.request.query_params
    size = number(query, "page[size]", PAGE, least=1, most=PAGE)
    page = number(query, "page[number]", 1, least=1, most=10**9)
    deleted = query.get("filter[deleted]") or query.get("deleted", "")
    keep = _kept(deleted, query.get("filter[active]", ""))
    found, total = await call.office.db.read(
        signup.listed,
        call.office,
        call.account,
        search=query.get("filter[search]", ""),
        keep=keep,
        offset=(page - 1) * size,
        most=size,
        by=_SORTS.get(query.get("sort", "").removeprefix("-")),
        falling=query.get("sort", "").startswith("-"),
    )
    shown = [_alias(row, call.account) for row in found]
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
    "deleted_at": lambda row: (row.ended is None, row.ended or row.relationship.created),
}


def _kept(deleted: str, active: str) -> Callable[[RelationshipState], bool]:
    def keep(state: RelationshipState) -> bool:
        gone = state is RelationshipState.REVOKED
        on = state in (RelationshipState.ACTIVE, RelationshipState.UNBOUND)
        if (deleted == "only" and not gone) or (deleted not in ("only", "with") and gone):
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
    return {
        "links": {"first": link(1), "last": link(last), "prev": link(page - 1), "next": link(page + 1)},
        "meta": {
            "current_page": page,
            "from": first if here else None,
            "last_page": last,
            "path": base,
            "per_page": size,
            "to": first + here - 1 if here else None,
            "total": total,
        },
    }


async def _one(call: Call) -> Response:
    found = await call.office.db.read(signup.one, call.office, call.account, _wanted(call))
    return Answer({"data": _alias(found, call.account)})


def _wanted(call: Call) -> int:
    return _row_id(_ALIAS, call.request.path_params["id"])


async def _change(call: Call) -> Response:
    given = await said(call.request)
    wish = Change(
        note=" ".join(text(given, "description").split()) if "description" in given else None,
        display_name=text(given, "from_name") if "from_name" in given else None,
    )
    return Answer({"data": await _set(call, _wanted(call), wish)})


async def _deliver_to(call: Call) -> Response:
    given = await said(call.request)
    chosen = await _chosen(call, given)
    wish = Change(mailbox=chosen.address if chosen is not None else "")
    return Answer({"data": await _set(call, _row_id(_ALIAS, text(given, "alias_id")), wish)})


async def _set(call: Call, relationship_id: int, wish: Change) -> dict[str, Any]:
    return _alias(await call.office.db.write(_store, call, relationship_id, wish), call.account)


def _store(tx: Transaction, call: Call, relationship_id: int, wish: Change) -> Row:
    of = signup.own(tx, call.account, relationship_id)
    if wish != Change():
        relationships.change(tx, call.office, call.account, of.slug, wish, actor=call.actor)
    return signup.one(tx, call.office, call.account, relationship_id)


async def _act(call: Call, action: Action) -> Row:
    return await call.office.db.write(
        signup.act, call.office, call.account, _wanted(call), action, actor=call.actor
    )


async def _delete(call: Call) -> Response:
    await _act(call, Action.REVOKE)
    return nothing()


async def _restore(call: Call) -> Response:
    return Answer({"data": _alias(await _act(call, Action.RESTORE), call.account)})


async def _activate(call: Call) -> Response:
    given = await said(call.request)
    wanted = _row_id(_ALIAS, text(given, "id"))
    found = await call.office.db.write(
        signup.switch, call.office, call.account, wanted, on=True, actor=call.actor
    )
    call.office.wake()
    return Answer({"data": _alias(found, call.account)})


async def _deactivate(call: Call) -> Response:
    await call.office.db.write(
        signup.switch, call.office, call.account, _wanted(call), on=False, actor=call.actor
    )
    return nothing()


def _alias(row: Row, account: Account) -> dict[str, Any]:
    local, _, domain = row.alias.address.rpartition("@")
    return {
        "id": _uuid(_ALIAS, row.relationship.id),
        "user_id": _uuid(_ALIAS, account.id),
        "aliasable_id": None,
        "aliasable_type": None,
        "local_part": local,
        "extension": None,
        "domain": domain,
        "email": row.alias.address,
        "active": row.enabled,
        "description": row.words,
        "from_name": row.relationship.display_name or None,
        "attached_recipients_only": False,
        "emails_forwarded": row.counts.inward,
        "emails_blocked": row.counts.refused,
        "emails_replied": row.counts.outward,
        "emails_sent": 0,
        "recipients": [] if row.mailbox is None else [_recipient_row(row.mailbox, account)],
        "last_forwarded": None,
        "last_blocked": None,
        "last_replied": None,
        "last_sent": None,
        "created_at": _date(row.relationship.created),
        "updated_at": _date(row.relationship.created),
        "deleted_at": _date(row.ended),
    }


def _date(at: datetime | None) -> str | None:
    return None if at is None else at.strftime("%Y-%m-%d %H:%M:%S")
