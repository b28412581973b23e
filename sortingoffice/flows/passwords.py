"""App passwords: with one a mail client submits mail; one for each device.

Promise: a password is shown once and stored as its hash; an unknown name takes as long to
refuse as a wrong password; a revoked one is refused from the next login on.

Sources: RFC 9106 §4 (argon2id); OWASP's password storage parameters.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from sortingoffice.core.model import Account, AccountState, AppPassword
from sortingoffice.core.text import one_line
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows.office import Office
from sortingoffice.flows.tokens import meant
from sortingoffice.store import accounts as rows
from sortingoffice.store import events
from sortingoffice.store.database import Transaction

_MOST = 20  # in force at once: each is tried at a login

# App passwords are 100 random bits: argon2's cost is for the office, not against a dictionary.
_TIME, _MEMORY_KIB, _LANES = 2, 19456, 1


def new(office: Office, account: Account, label: str, *, actor: str) -> str:
    """A fresh app password, committed before it is returned: 20 letters and digits in four groups."""
    from argon2 import PasswordHasher

    letters = base64.b32encode(office.random(15)).decode("ascii").lower()[:20]
    password = "-".join(letters[at : at + 5] for at in range(0, 20, 5))
    hashed = PasswordHasher(_TIME, _MEMORY_KIB, _LANES).hash(password)
    office.db.call(_add, office, account, one_line(label, "the label", most=60), hashed, actor)
    return password


def _add(tx: Transaction, office: Office, account: Account, label: str, hashed: str, actor: str) -> None:
    if len(live(tx, account.id)) >= _MOST:
        raise OfficeError(f"{account.name} has {_MOST} app passwords already: revoke one of them first")
    now = office.clock()
    made = rows.add_password(tx, AppPassword(0, account.id, label, hashed, now, None, None))
    events.add(
        tx,
        at=now,
        actor=actor,
        what="password made",
        rule="",
        account_id=account.id,
        detail=f"#{made.id} {label}",
    )


def live(tx: Transaction, account_id: int) -> tuple[AppPassword, ...]:
    return tuple(each for each in rows.passwords(tx, account_id) if each.revoked is None)


def revoke(tx: Transaction, office: Office, account: Account, which: int | str, *, actor: str) -> AppPassword:
    """Revoke by number or label, a text that may be either; `NotThere` where none or several fit."""
    fit = [each for each in meant(rows.passwords(tx, account.id), which) if each.revoked is None]
    if len(fit) != 1:
        why = "is no app password" if not fit else "is the label of several app passwords: give its number"
        raise NotThere(f'"{which}" {why}; `admin password list` shows them')
    now = office.clock()
    rows.revoke_password(tx, fit[0].id, now)
    events.add(
        tx,
        at=now,
        actor=actor,
        what="password revoked",
        rule="",
        account_id=account.id,
        detail=f"#{fit[0].id} {fit[0].label}",
    )
    return replace(fit[0], revoked=now)


async def check(office: Office, name: str, password: bytes) -> int | None:
    """The id of the active account whose app password this is; None otherwise.

    Hashing runs in a thread, and an unknown name costs as much as a wrong password.
    """
    found, known = await office.db.read(_live_for, name)
    used = await asyncio.to_thread(_matching, known, password)
    if used is None or found is None:
        return None
    now = office.clock()
    if used.last_used is None or now - used.last_used > timedelta(minutes=10):
        await office.db.write(rows.touch_password, used.id, now)
    return found.id


def _live_for(tx: Transaction, name: str) -> tuple[Account | None, tuple[AppPassword, ...]]:
    found = rows.by_name(tx, name.strip().lower())
    if found is None or found.state is not AccountState.ACTIVE:
        return None, ()
    return found, live(tx, found.id)


def _matching(known: Sequence[AppPassword], password: bytes) -> AppPassword | None:
    """The password that fits; a hash is always computed, so that silence takes as long as a no."""
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    hasher = PasswordHasher(_TIME, _MEMORY_KIB, _LANES)
    typed = password.strip().lower()  # a phone's keyboard begins with a capital
    if not known:
        hasher.hash(typed)
    recent_first = sorted(known, key=lambda each: each.last_used or each.created, reverse=True)
    for each in recent_first:
        try:
            hasher.verify(each.hash, typed)
        except (VerificationError, InvalidHashError):
            continue
        return each
    return None
