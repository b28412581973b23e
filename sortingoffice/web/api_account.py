"""The office's own API: the account itself, its mailboxes, tokens and app passwords."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from sortingoffice.core.access import Scope
from sortingoffice.core.model import Account, FromForm
from sortingoffice.flows import accounts, passwords, tokens
from sortingoffice.store import accounts as account_rows
from sortingoffice.store import domains
from sortingoffice.store.database import Transaction
from sortingoffice.web import mailboxes
from sortingoffice.web.answers import Refused
from sortingoffice.web.auth import Call
from sortingoffice.web.operations import In, Moment, Operation, Out


class NewMailbox(In):
    """delivers: false for an address that you only send from."""

    address: Annotated[str, Field(min_length=3, max_length=320)]
    delivers: bool = True


class NewToken(In):
    """scopes: none means those of the token that asks; it can't give more than it has."""

    label: Annotated[str, Field(max_length=60)] = ""
    scopes: list[Annotated[Scope, Field(strict=False)]] = Field(default_factory=list)
    expires: Moment | None = None


class NewPassword(In):
    label: Annotated[str, Field(max_length=60)] = ""


class MailboxRow(Out):
    id: int
    address: str
    state: str
    delivers: bool
    preferred: bool
    proof: str
    created: datetime


class AccountRow(Out):
    name: str
    trigger: str
    from_form: FromForm
    new_contacts: bool
    created: datetime
    domains: list[str]
    mailboxes: list[MailboxRow]


class TokenRow(Out):
    id: int
    label: str
    scopes: list[str]
    created: datetime
    expires: datetime | None
    expired: bool
    last_used: datetime | None


class TokenMade(TokenRow):
    """token: shown this once."""

    token: str


class PasswordRow(Out):
    id: int
    label: str
    created: datetime
    last_used: datetime | None


class PasswordMade(Out):
    """password: shown this once."""

    account: str
    label: str
    password: str


async def _account(call: Call) -> Any:
    return await call.office.db.read(account_row, call.account)


def account_row(tx: Transaction, account: Account) -> dict[str, Any]:
    return {
        "name": account.name,
        "trigger": account.trigger,
        "from_form": account.from_form,
        "new_contacts": account.new_contacts,
        "created": account.created,
        "domains": [each.name for each in domains.every(tx)],
        "mailboxes": [accounts.describe(each) for each in account_rows.mailboxes(tx, account.id)],
    }


async def _mailboxes(call: Call) -> Any:
    return (await _account(call))["mailboxes"]


async def _add_mailbox(call: Call, body: NewMailbox) -> Any:
    return accounts.describe(await mailboxes.propose(call, body.address, delivers=body.delivers))


async def _prefer(call: Call, address: str) -> Any:
    made = await call.office.db.write(
        accounts.prefer_mailbox, call.office, call.account, address, actor=call.actor
    )
    return accounts.describe(made)


async def _tokens(call: Call) -> Any:
    return await call.office.db.read(tokens.listing, call.office, call.account)


async def _new_token(call: Call, body: NewToken) -> Any:
    scopes = frozenset(body.scopes) or frozenset(Scope(name) for name in call.token.scopes.split())
    lacking = [scope.value for scope in scopes if not call.token.may(scope)]
    if lacking:
        raise Refused(403, f"this token can't give what it lacks: {', '.join(sorted(lacking))}")
    ends = [at for at in (body.expires, call.token.expires) if at is not None]
    wish = tokens.Wish(body.label, scopes, min(ends, default=None))
    secret, made = await call.office.db.write(tokens.new, call.office, call.account, wish, actor=call.actor)
    return {**tokens.describe(made, call.office.clock()), "token": secret}


async def _revoke_token(call: Call, number: int) -> None:
    await call.office.db.write(tokens.revoke, call.office, call.account, number, actor=call.actor)


async def _passwords(call: Call) -> Any:
    found = await call.office.db.read(passwords.live, call.account.id)
    return [PasswordRow.model_validate(each, from_attributes=True) for each in found]


async def _new_password(call: Call, body: NewPassword) -> Any:
    made = await asyncio.to_thread(passwords.new, call.office, call.account, body.label, actor=call.actor)
    return {"account": call.account.name, "label": body.label, "password": made}


async def _revoke_password(call: Call, number: int) -> None:
    await call.office.db.write(passwords.revoke, call.office, call.account, number, actor=call.actor)


_SCOPE = Scope.ACCOUNT

OPERATIONS = (
    Operation("GET", "/account", "account", "Your account", None, _account, AccountRow),
    Operation("GET", "/mailboxes", "listMailboxes", "Your mailboxes", _SCOPE, _mailboxes, list[MailboxRow]),
    Operation(
        "POST",
        "/mailboxes",
        "newMailbox",
        "Add a mailbox; it is asked by mail",
        _SCOPE,
        _add_mailbox,
        MailboxRow,
        NewMailbox,
        status=201,
    ),
    Operation(
        "POST",
        "/mailboxes/{address}/prefer",
        "preferMailbox",
        "Deliver there what has no mailbox of its own",
        _SCOPE,
        _prefer,
        MailboxRow,
    ),
    Operation("GET", "/tokens", "listTokens", "Your API tokens", _SCOPE, _tokens, list[TokenRow]),
    Operation(
        "POST",
        "/tokens",
        "newToken",
        "Make an API token",
        _SCOPE,
        _new_token,
        TokenMade,
        NewToken,
        status=201,
    ),
    Operation("DELETE", "/tokens/{number:int}", "revokeToken", "Revoke an API token", _SCOPE, _revoke_token),
    Operation(
        "GET", "/passwords", "listPasswords", "Your app passwords", _SCOPE, _passwords, list[PasswordRow]
    ),
    Operation(
        "POST",
        "/passwords",
        "newPassword",
        "Make an app password",
        _SCOPE,
        _new_password,
        PasswordMade,
        NewPassword,
        status=201,
    ),
    Operation(
        "DELETE",
        "/passwords/{number:int}",
        "revokePassword",
        "Revoke an app password",
        _SCOPE,
        _revoke_password,
    ),
)
