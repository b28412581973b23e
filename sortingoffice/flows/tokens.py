"""API tokens: with one a program acts for an account; one for each device.

Promise: a token is shown once and stored as its hash; a revoked or expired one, and one of a
suspended account, is as good as none from the next request on.

Sources: RFC 6750 §5 (bearer tokens: short of life, narrow of scope); `core.access` for their form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from string import ascii_letters, digits
from typing import Any, TypeVar

from sortingoffice.core.access import TOKEN, ApiToken, Scope
from sortingoffice.core.model import Account, AccountState, AppPassword
from sortingoffice.core.text import one_line
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows.office import Office
from sortingoffice.frozen import dataclass
from sortingoffice.store import accounts, events
from sortingoffice.store import tokens as rows
from sortingoffice.store.database import Transaction

MOST = 100  # in force at once
TOUCH_EVERY = timedelta(minutes=1)
_LENGTH = 48  # letters and digits: 285 bits
_LETTERS = ascii_letters + digits
EVERYTHING = frozenset(Scope)
_Key = TypeVar("_Key", ApiToken, AppPassword)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a new token should be; scopes empty means everything, expires None never."""

    label: str = ""
    scopes: Collection[Scope] = EVERYTHING
    expires: datetime | None = None


def new(tx: Transaction, office: Office, account: Account, wish: Wish, *, actor: str) -> tuple[str, ApiToken]:
    """A fresh token, and its row.  Raises `OfficeError`."""
    now = office.clock()
    if wish.expires is not None and wish.expires <= now:
        raise OfficeError("the end lies in the past: give a later date, or a time such as 90d")
    if len(live(tx, account.id, now)) >= MOST:
        raise OfficeError(f"{account.name} has {MOST} tokens already: revoke one of them first")
    secret = letters(office.random, _LENGTH)
    assert TOKEN.fullmatch(secret)
    scopes = " ".join(scope.value for scope in Scope if scope in (wish.scopes or EVERYTHING))
    label = one_line(wish.label, "the label", most=60)
    made = rows.add(tx, ApiToken(0, account.id, label, digest(secret), scopes, now, wish.expires, None, None))
    _event(tx, made, now, actor, "token made")
    return secret, made


def letters(random: Callable[[int], bytes], number: int) -> str:
    """Letters and digits, each of the 62 as likely as any other."""
    found: list[str] = []
    while len(found) < number:
        found += (_LETTERS[octet & 63] for octet in random(number) if octet & 63 < len(_LETTERS))
    return "".join(found[:number])


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def opened(tx: Transaction, secret: str, now: datetime) -> tuple[ApiToken, Account] | None:
    """Whose token this is; None for whatever opens nothing."""
    if not TOKEN.fullmatch(secret):
        return None
    found = rows.by_hash(tx, digest(secret))
    if found is None or not found.in_force(now):
        return None
    account = accounts.by_id(tx, found.account_id)
    if account is None or account.state is not AccountState.ACTIVE:
        return None
    return found, account


def live(tx: Transaction, account_id: int, now: datetime) -> tuple[ApiToken, ...]:
    return tuple(each for each in rows.every(tx, account_id) if each.in_force(now))


def revoke(tx: Transaction, office: Office, account: Account, which: int | str, *, actor: str) -> ApiToken:
    """Revoke by number or label, a text that may be either; `NotThere` where none or several fit."""
    fit = [each for each in meant(rows.every(tx, account.id), which) if each.revoked is None]
    if len(fit) != 1:
        why = "is no token" if not fit else "is the label of several tokens: give its number"
        raise NotThere(f'"{which}" {why}; `sortingoffice admin token list` shows them')
    return withdraw(tx, office, fit[0], actor=actor)


def meant(every: Iterable[_Key], which: int | str) -> list[_Key]:
    """The one of this number, be it revoked; else those of this label, which may look like a number."""
    known = list(every)
    numbered = [each for each in known if str(each.id) == str(which)]
    return numbered or [each for each in known if each.label == which]


def withdraw(tx: Transaction, office: Office, token: ApiToken, *, actor: str) -> ApiToken:
    now = office.clock()
    rows.revoke(tx, token.id, now)
    _event(tx, token, now, actor, "token revoked")
    return replace(token, revoked=now)


def listing(tx: Transaction, office: Office, account: Account) -> list[dict[str, Any]]:
    """The account's tokens that were not revoked."""
    now = office.clock()
    return [describe(each, now) for each in rows.every(tx, account.id) if each.revoked is None]


def describe(each: ApiToken, now: datetime) -> dict[str, Any]:
    """One token as a person sees it; never the token itself."""
    return {
        "id": each.id,
        "label": each.label,
        "scopes": each.scopes.split(),
        "created": each.created,
        "expires": each.expires,
        "expired": each.expires is not None and each.expires <= now,
        "last_used": each.last_used,
    }


def _event(tx: Transaction, of: ApiToken, now: datetime, actor: str, what: str) -> None:
    detail = f"#{of.id} {of.label}".strip()
    events.add(tx, at=now, actor=actor, what=what, account_id=of.account_id, detail=detail)
