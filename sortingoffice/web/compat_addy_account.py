"""addy.io's dialect, the account's side: ids, the account itself, recipients.

Sources: as `web.compat_addy`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from starlette.responses import Response

from sortingoffice.core.access import Scope
from sortingoffice.core.model import Account, Direction, Mailbox, MailboxState, RelationshipState
from sortingoffice.core.relationship import state_at
from sortingoffice.flows import accounts as account_flows
from sortingoffice.flows.signup import Row
from sortingoffice.store import accounts, domains, traffic
from sortingoffice.store import relationships as rows
from sortingoffice.store.database import Transaction
from sortingoffice.web import limits, mailboxes
from sortingoffice.web.answers import Answer, Refused, said
from sortingoffice.web.auth import Call, Handler
from sortingoffice.web.typed import text

# The release of theirs whose dialect this is: their apps for phones refuse an older one than they know.
VERSION = (1, 7, 3)
_NONE_OF_IT = (
    "domains",
    "usernames",
    "rules",
    "failed-deliveries",
    "labels",
    "blocklist",
    "account-notifications",
)


# ---- ids -----------------------------------------------------------------------------------------

ALIAS, RECIPIENT = 0x8000, 0x9000  # the fourth group: two kinds of ids that can't be mixed up


def uuid(kind: int, row_id: int) -> str:
    """Their ids are UUIDs: ours in the last group of one, so that it can be read back."""
    return str(UUID(fields=(0, 0, 0x4000, kind >> 8, kind & 0xFF, row_id)))


def row_id(kind: int, shown: str) -> int:
    """Raises `Refused` (404) for what is no id of ours."""
    try:
        found = UUID(shown)
    except ValueError:
        raise Refused(404, "there is no such address") from None
    if str(found) != uuid(kind, found.node):
        raise Refused(404, "there is no such address")
    return found.node


# ---- the account ---------------------------------------------------------------------------------


async def _token(call: Call) -> Response:
    token = call.token
    return Answer({"name": token.label, "created_at": date(token.created), "expires_at": date(token.expires)})


async def _version(call: Call) -> Response:
    major, minor, patch = VERSION
    return Answer({"version": f"{major}.{minor}.{patch}", "major": major, "minor": minor, "patch": patch})


async def _account(call: Call) -> Response:
    return Answer({"data": await call.office.db.read(_account_row, call)})


def _account_row(tx: Transaction, call: Call) -> dict[str, Any]:
    """A limit of null is none, as a server of one's own says it; 0 is where nothing can be added here.  What
    their app for iOS reads must be there and of its type, or its whole screen stays empty."""
    account = call.account
    every = rows.every(tx, account.id)
    now = call.office.clock()
    states = Counter(state_at(each, now) for each in every)
    deleted = states[RelationshipState.REVOKED]
    active = states[RelationshipState.ACTIVE] + states[RelationshipState.UNBOUND]
    counts = traffic.counts(tx, [each.id for each in every]).values()
    preferred = accounts.preferred_mailbox(tx, account.id)
    hosted = domains.every(tx)
    return {
        "id": uuid(ALIAS, account.id),
        "username": account.name,
        "from_name": None,
        "email_subject": None,
        "banner_location": "off",
        "bandwidth": 0,
        "bandwidth_limit": None,
        "username_count": 0,
        "username_limit": 0,
        "default_username_id": uuid(ALIAS, account.id),
        "default_recipient_id": None if preferred is None else uuid(RECIPIENT, preferred.id),
        "default_alias_domain": hosted[0].name if hosted else "",
        "default_alias_format": "random_words",
        "subscription": None,
        "subscription_ends_at": None,
        "recipient_count": len(accounts.mailboxes(tx, account.id)),
        "recipient_limit": None,
        "active_domain_count": 0,
        "active_domain_limit": 0,
        "active_shared_domain_alias_count": active,
        "active_shared_domain_alias_limit": None,
        "active_rule_count": 0,
        "active_rule_limit": 0,
        "total_aliases": len(every),
        "total_active_aliases": active,
        "total_inactive_aliases": len(every) - active - deleted,
        "total_deleted_aliases": deleted,
        "total_pinned_aliases": sum(each.pinned for each in every),
        "total_emails_forwarded": sum(each.inward for each in counts),
        "total_emails_blocked": sum(each.refused for each in counts),
        "total_emails_replied": sum(each.outward for each in counts),
        "total_emails_sent": 0,
        "created_at": date(account.created),
        "updated_at": date(account.created),
    }


async def _chart(call: Call) -> Response:
    """The last seven days, today last: what came, and what went."""
    today = call.office.clock().replace(hour=0, minute=0, second=0, microsecond=0)
    days = [today - timedelta(days=ago) for ago in range(6, -1, -1)]
    passed = await call.office.db.read(traffic.daily, call.account.id, days[0])
    numbers = {(day, way): number for day, way, number in passed}
    came, went = (
        [numbers.get((day, way), 0) for day in days] for way in (Direction.INWARD, Direction.OUTWARD)
    )
    return Answer(
        {
            "forwardsData": came,
            "repliesData": went,
            "sendsData": [0] * len(days),
            "labels": [f"{day:%A}" for day in days],
            "outboundMessageTotals": [sum(came), sum(went), 0],
        }
    )


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
        chosen = [each for each in chosen if verified(each) == (wanted == "true")]
    return Answer({"data": await _counted(call, chosen)})


async def _recipient(call: Call) -> Response:
    (found,) = await _counted(call, [await _own(call, call.request.path_params["id"])])
    return Answer({"data": found})


async def _counted(call: Call, found: list[Mailbox]) -> list[dict[str, Any]]:
    """Recipients, each with the number of addresses that deliver to it."""
    used = await call.office.db.read(mailboxes.used, call.account.id)
    return [{**recipient_row(each, call.account), "aliases_count": used[each.id]} for each in found]


async def _own(call: Call, shown: str) -> Mailbox:
    found = await call.office.db.read(accounts.mailbox_by_id, row_id(RECIPIENT, shown))
    if found is None or found.account_id != call.account.id:
        raise Refused(404, "there is no such recipient")
    return found


async def _add_recipient(call: Call) -> Response:
    """Added, and asked by mail whether it is the person's."""
    made = await mailboxes.propose(call, text(await said(call.request), "email"))
    return Answer({"data": recipient_row(made, call.account)}, 201)


async def _ask_again(call: Call) -> Response:
    found = await _own(call, text(await said(call.request), "recipient_id"))
    call.spend(limits.LINKS, f"mailbox {call.account.id}")
    await call.office.db.write(
        account_flows.ask_mailbox, call.office, call.account, found.address, actor=call.actor
    )
    call.office.wake()
    return Answer({"message": "A new verification link has been sent to your email address."})


def verified(mailbox: Mailbox) -> bool:
    return mailbox.state is not MailboxState.PENDING


def recipient_row(mailbox: Mailbox, account: Account) -> dict[str, Any]:
    return {
        "id": uuid(RECIPIENT, mailbox.id),
        "user_id": uuid(ALIAS, account.id),
        "email": mailbox.address,
        "can_reply_send": True,
        "should_encrypt": False,
        "inline_encryption": False,
        "protected_headers": False,
        "remove_pgp_keys": False,
        "remove_pgp_signatures": False,
        "fingerprint": None,
        "email_verified_at": date(mailbox.created) if verified(mailbox) else None,
        "aliases": [],
        "created_at": date(mailbox.created),
        "updated_at": date(mailbox.created),
    }


def date(at: datetime | None) -> str | None:
    return None if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


# ---- aliases, as every answer shows them -----------------------------------------------------------


def alias_row(row: Row, account: Account) -> dict[str, Any]:
    local, _, domain = row.alias.address.rpartition("@")
    return {
        "id": uuid(ALIAS, row.relationship.id),
        "user_id": uuid(ALIAS, account.id),
        "aliasable_id": None,
        "aliasable_type": None,
        "local_part": local,
        "extension": None,
        "domain": domain,
        "email": row.alias.address,
        "active": row.enabled,
        "pinned": row.relationship.pinned,
        "description": row.words,
        "from_name": row.relationship.display_name or None,
        "attached_recipients_only": False,
        "emails_forwarded": row.counts.inward,
        "emails_blocked": row.counts.refused,
        "emails_replied": row.counts.outward,
        "emails_sent": 0,
        "recipients": [] if row.mailbox is None else [recipient_row(row.mailbox, account)],
        "last_forwarded": date(row.counts.inward_at),
        "last_blocked": date(row.counts.refused_at),
        "last_replied": date(row.counts.outward_at),
        "last_sent": None,
        "created_at": date(row.relationship.created),
        "updated_at": date(row.relationship.created),
        "deleted_at": date(row.ended),
    }


def invalid(member: str, sentence: str) -> Refused:
    """422, as Laravel says it: what is wrong with which member."""
    return Refused(422, sentence, more={"errors": {member: [sentence]}})


async def chosen(call: Call, given: Mapping[str, Any]) -> Mailbox | None:
    """The one mailbox that recipient_ids names; None where it names none."""
    ids = given.get("recipient_ids")
    if ids is None or ids == []:
        return None
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise invalid("recipient_ids", "The recipient ids must be an array.")
    if len(set(ids)) > 1:
        raise invalid("recipient_ids", "An address delivers to one mailbox here: choose one.")
    try:
        found = await call.office.db.read(accounts.mailbox_by_id, row_id(RECIPIENT, ids[0]))
    except Refused:
        found = None
    if found is None or found.account_id != call.account.id or not verified(found):
        raise invalid("recipient_ids", "That is none of your verified mailboxes.")
    return found


# Paths below /api/v1: handler, method and scope of each.
TABLE: list[tuple[str, Handler, str, Scope | None]] = [
    ("/api-token-details", _token, "GET", None),
    ("/account-details", _account, "GET", None),
    ("/app-version", _version, "GET", None),
    ("/chart-data", _chart, "GET", None),
    ("/domain-options", _domain_options, "GET", Scope.NEW),
    ("/recipients", _recipients, "GET", Scope.NEW),
    ("/recipients", _add_recipient, "POST", Scope.ACCOUNT),
    ("/recipients/email/resend", _ask_again, "POST", Scope.ACCOUNT),
    ("/recipients/{id}", _recipient, "GET", Scope.NEW),
    *((f"/{name}", _nothing_there, "GET", None) for name in _NONE_OF_IT),
]
