"""addy.io's dialect, the account's side: ids, the account itself, recipients.

Sources: as `web.compat_addy`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from starlette.responses import Response

from sortingoffice.core.access import Scope
from sortingoffice.core.model import Account, Mailbox, MailboxState, RelationshipState
from sortingoffice.store import accounts, domains, traffic
from sortingoffice.store import relationships as rows
from sortingoffice.store.database import Transaction
from sortingoffice.web.answers import Answer, Refused
from sortingoffice.web.auth import Call, Handler

# The release of theirs whose dialect this is: their apps ask before they use something newer.
VERSION = (1, 4, 0)
_NONE_OF_IT = ("domains", "usernames", "rules", "failed-deliveries", "labels", "blocklist")


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
    account = call.account
    every = [each for each in rows.every(tx, account.id) if each.state is not RelationshipState.REVOKED]
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
        "bandwidth_limit": 0,
        "username_count": 0,
        "username_limit": 0,
        "default_username_id": None,
        "default_recipient_id": None if preferred is None else uuid(RECIPIENT, preferred.id),
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
        "created_at": date(account.created),
        "updated_at": date(account.created),
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
        chosen = [each for each in chosen if verified(each) == (wanted == "true")]
    return Answer({"data": [recipient_row(each, call.account) for each in chosen]})


async def _recipient(call: Call) -> Response:
    wanted = row_id(RECIPIENT, call.request.path_params["id"])
    found = await call.office.db.read(accounts.mailbox_by_id, wanted)
    if found is None or found.account_id != call.account.id:
        raise Refused(404, "there is no such recipient")
    return Answer({"data": recipient_row(found, call.account)})


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
        "fingerprint": None,
        "email_verified_at": date(mailbox.created) if verified(mailbox) else None,
        "aliases": [],
        "created_at": date(mailbox.created),
        "updated_at": date(mailbox.created),
    }


def date(at: datetime | None) -> str | None:
    return None if at is None else at.strftime("%Y-%m-%d %H:%M:%S")


# Paths below /api/v1: handler, method and scope of each.
TABLE: list[tuple[str, Handler, str, Scope | None]] = [
    ("/api-token-details", _token, "GET", None),
    ("/account-details", _account, "GET", None),
    ("/app-version", _version, "GET", None),
    ("/domain-options", _domain_options, "GET", Scope.NEW),
    ("/recipients", _recipients, "GET", Scope.NEW),
    ("/recipients/{id}", _recipient, "GET", Scope.NEW),
    *((f"/{name}", _nothing_there, "GET", None) for name in _NONE_OF_IT),
]
