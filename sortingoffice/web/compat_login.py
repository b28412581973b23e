"""Signing in, at the path that both dialects have, POST /api/auth/login; and addy.io's way out.

There is no password to lose: what their apps call a password is one of our app passwords, and what
they get for it is a token that makes and manages addresses, and nothing else.

Sources: as `web.compat_simplelogin` and `web.compat_addy`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sortingoffice.core.access import ApiToken, Scope
from sortingoffice.core.model import Account, AccountState, MailboxState
from sortingoffice.flows import passwords, tokens
from sortingoffice.flows.office import Office
from sortingoffice.store import accounts
from sortingoffice.store.database import Transaction
from sortingoffice.web import limits
from sortingoffice.web.answers import Answer, Refused, nothing, said
from sortingoffice.web.auth import Call, Desk, peer, spend
from sortingoffice.web.compat_addy_account import date, invalid
from sortingoffice.web.typed import text

_WRONG = "the name and the app password don't belong together"
_LASTING = {"day": 1, "week": 7, "month": 30, "year": 365}  # days, as addy.io's extension offers them


async def log_in(desk: Desk, request: Request) -> Response:
    """The account's name or its mailbox, and an app password, give a token."""
    spend(desk, limits.GUESSES, peer(request))
    given = await said(request)
    if "username" not in given:
        return await _simplelogin(desk.office(), given)
    try:
        return await _addy(desk.office(), given)
    except Refused as refused:
        refused.more.setdefault("message", refused.sentence)  # which is what its extension shows
        raise


async def log_out(call: Call) -> Response:
    """addy.io's apps end what they signed in with: the token opens nothing any more."""
    await call.office.db.write(tokens.withdraw, call.office, call.token, actor=call.actor)
    return nothing()


async def _simplelogin(office: Office, given: dict[str, Any]) -> Response:
    made = await _token(office, given, "email", tokens.Wish(text(given, "device")))
    if made is None:
        raise Refused(400, _WRONG)
    secret, _, account = made
    return Answer(
        {
            "name": account.name,
            "email": text(given, "email"),
            "mfa_enabled": False,
            "mfa_key": None,  # a text, even an empty one, makes their clients ask for a second factor
            "api_key": secret,
        }
    )


async def _addy(office: Office, given: dict[str, Any]) -> Response:
    lasting = text(given, "expiration")
    if lasting and lasting not in _LASTING:
        raise invalid("expiration", "The selected expiration is invalid.")
    expires = office.clock() + timedelta(days=_LASTING[lasting]) if lasting else None
    made = await _token(office, given, "username", tokens.Wish(text(given, "device_name"), expires=expires))
    if made is None:
        raise Refused(401, _WRONG)
    secret, token, _ = made
    return Answer(
        {
            "api_key": secret,
            "name": token.label,
            "created_at": date(token.created),
            "expires_at": date(token.expires),
        }
    )


async def _token(
    office: Office, given: dict[str, Any], name: str, wish: tokens.Wish
) -> tuple[str, ApiToken, Account] | None:
    """None where the account that is called so has no such app password, or may not come in."""
    called = await office.db.read(_account_name, text(given, name))
    found = await passwords.check(office, called, text(given, "password").encode())
    return None if found is None else await office.db.write(_made, office, found, wish)


def _account_name(tx: Transaction, typed: str) -> str:
    """The account that an address or a name means, as a name; where nothing fits the answer takes as long."""
    if "@" not in typed:
        return typed
    held = accounts.mailboxes_by_address(tx, typed.strip().lower())
    verified = [each for each in held if each.state is MailboxState.VERIFIED]
    found = accounts.by_id(tx, verified[0].account_id) if len(verified) == 1 else None
    return found.name if found is not None else ""


def _made(
    tx: Transaction, office: Office, account_id: int, wish: tokens.Wish
) -> tuple[str, ApiToken, Account] | None:
    account = accounts.by_id(tx, account_id)
    if account is None or account.state is not AccountState.ACTIVE:
        return None
    may = frozenset({Scope.NEW, Scope.RELATIONSHIPS})
    narrow = tokens.Wish(wish.label[:60], may, wish.expires)
    secret, token = tokens.new(tx, office, account, narrow, actor=f"account {account.name}")
    return secret, token, account
