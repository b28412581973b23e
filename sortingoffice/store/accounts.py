"""Accounts, their mailboxes and their app passwords."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from sortingoffice.core.model import Account, AppPassword, Mailbox, MailboxState, Relationship
from sortingoffice.core.relationship import mailbox_of
from sortingoffice.errors import NotThere
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction
from sortingoffice.store.statement import run

_account, _mailbox, _password = schema.account, schema.mailbox, schema.app_password
_OF_ACCOUNT: sa.BindParameter[int] = sa.bindparam("account_id")

_BY_ID = sa.select(_account).where(_account.c.id == sa.bindparam("id"))
_HOLD = sa.select(_account.c.id).where(_account.c.id == sa.bindparam("id")).with_for_update(key_share=True)
_BY_NAME = sa.select(_account).where(_account.c.name == sa.bindparam("name"))
_EVERY = sa.select(_account).order_by(_account.c.id)
_ADMIN = sa.select(_account).where(_account.c.admin).order_by(_account.c.id).limit(1)

_MAILBOX_BY_ID = sa.select(_mailbox).where(_mailbox.c.id == sa.bindparam("id"))
_MAILBOXES = sa.select(_mailbox).where(_mailbox.c.account_id == _OF_ACCOUNT).order_by(_mailbox.c.id)
_MAILBOXES_BY_ADDRESS = (
    sa.select(_mailbox).where(_mailbox.c.address == sa.bindparam("address")).order_by(_mailbox.c.id)
)
_PREFERRED = (
    sa.select(_mailbox)
    .where(
        _mailbox.c.account_id == _OF_ACCOUNT, _mailbox.c.delivers, _mailbox.c.state != MailboxState.PENDING
    )
    .order_by(_mailbox.c.preferred.desc(), _mailbox.c.id)
    .limit(1)
)

_PASSWORDS = sa.select(_password).where(_password.c.account_id == _OF_ACCOUNT).order_by(_password.c.id)
_USED = _password.update().where(_password.c.id == sa.bindparam("of"))


def add(tx: Transaction, account: Account) -> Account:
    return schema.insert(tx, account)


def by_id(tx: Transaction, account_id: int) -> Account | None:
    return schema.one(Account, run(tx, _BY_ID, {"id": account_id}))


def hold(tx: Transaction, account_id: int) -> None:
    """Nobody else changes what this account owns until the transaction ends: what is free now stays free."""
    run(tx, _HOLD, {"id": account_id})


def by_name(tx: Transaction, name: str) -> Account | None:
    return schema.one(Account, run(tx, _BY_NAME, {"name": name}))


def every(tx: Transaction) -> tuple[Account, ...]:
    return schema.every(Account, run(tx, _EVERY, {}))


def the_only(tx: Transaction) -> Account:
    """The account that need not be named.  Raises NotThere where there is none or a choice.

    One that was removed has no key any more, and is no choice.
    """
    found = [each for each in every(tx) if each.wrapped_key is not None]
    if not found:
        raise NotThere("there is no account yet; run: sortingoffice init")
    if len(found) > 1:
        raise NotThere(f"say which account with --account: {', '.join(sorted(a.name for a in found))}")
    return found[0]


def admin(tx: Transaction) -> Account | None:
    """Who gets what is written to postmaster; None before there is one."""
    return schema.one(Account, run(tx, _ADMIN, {}))


def update(tx: Transaction, account: Account) -> None:
    schema.update(tx, account)


def set_wrapped_key(tx: Transaction, account_id: int, wrapped: bytes) -> None:
    """The account's data keys, wrapped otherwise; an account that was shredded stays so."""
    still = (_account.c.id == account_id) & _account.c.wrapped_key.is_not(None)
    tx.execute(_account.update().where(still).values(wrapped_key=wrapped))


# ---- mailboxes -----------------------------------------------------------------------------------


def add_mailbox(tx: Transaction, mailbox: Mailbox) -> Mailbox:
    return schema.insert(tx, mailbox)


def set_mailbox(tx: Transaction, mailbox: Mailbox) -> None:
    schema.update(tx, mailbox)


def mailbox_by_id(tx: Transaction, mailbox_id: int) -> Mailbox | None:
    return schema.one(Mailbox, run(tx, _MAILBOX_BY_ID, {"id": mailbox_id}))


def mailboxes(tx: Transaction, account_id: int) -> tuple[Mailbox, ...]:
    return schema.every(Mailbox, run(tx, _MAILBOXES, {"account_id": account_id}))


def mailboxes_by_address(tx: Transaction, normal: str) -> tuple[Mailbox, ...]:
    """All accounts' mailboxes of this address; two accounts may share one."""
    return schema.every(Mailbox, run(tx, _MAILBOXES_BY_ADDRESS, {"address": normal}))


def preferred_mailbox(tx: Transaction, account_id: int) -> Mailbox | None:
    """Where an account's mail goes; a failing one is still it (its mail is held), a pending one never."""
    return schema.one(Mailbox, run(tx, _PREFERRED, {"account_id": account_id}))


def mailbox_for(tx: Transaction, relationship: Relationship) -> Mailbox | None:
    """Where a relationship's mail goes; None while the account has no verified mailbox."""
    return mailbox_of(relationship, mailboxes(tx, relationship.account_id))


# ---- app passwords -------------------------------------------------------------------------------


def add_password(tx: Transaction, password: AppPassword) -> AppPassword:
    return schema.insert(tx, password)


def passwords(tx: Transaction, account_id: int) -> tuple[AppPassword, ...]:
    """All of them, revoked ones too."""
    return schema.every(AppPassword, run(tx, _PASSWORDS, {"account_id": account_id}))


def touch_password(tx: Transaction, password_id: int, now: datetime) -> None:
    tx.execute(_USED, {"of": password_id, "last_used": now})


def revoke_password(tx: Transaction, password_id: int, now: datetime) -> bool:
    """Whether there was one to revoke."""
    return bool(
        tx.execute(_USED.where(_password.c.revoked.is_(None)), {"of": password_id, "revoked": now}).rowcount
    )
