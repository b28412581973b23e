"""An account's end: everything it owns stops, and what it kept can't be read again.

Rows that tell who was given what stay, without the person: an alias is never issued twice, and
the log is append only.  Deleting the wrapped key shreds the cards here at once; a backup holds it still,
until the office's key of that time is destroyed (`flows.rotation`).
"""

from __future__ import annotations

from dataclasses import replace

from sortingoffice.core.model import Account, AccountState, MailboxState
from sortingoffice.core.relationship import Action, No, after
from sortingoffice.errors import OfficeError
from sortingoffice.flows.office import Office
from sortingoffice.store import accounts, events, names, relationships, sessions, spool, tokens
from sortingoffice.store.database import Transaction


def remove(tx: Transaction, office: Office, account: Account, *, actor: str) -> Account:
    """End an account for ever.  Raises `OfficeError` for the last one that gets the postmaster's mail."""
    admins = [each for each in accounts.every(tx) if each.admin and each.state is AccountState.ACTIVE]
    if [each.id for each in admins] == [account.id]:
        raise OfficeError(
            f"{account.name} gets what is written to postmaster: "
            "add another account with --admin first, or somebody's complaints reach nobody"
        )
    now = office.clock()
    for each in relationships.every(tx, account.id):
        made = after(each, Action.REVOKE, now)
        assert not isinstance(made, No), "whatever is, can be revoked"
        relationships.update(tx, made)
    for waiting in spool.queue(tx, account_id=account.id):
        spool.drop(tx, waiting.delivery.id, "account removed", now)
    for password in accounts.passwords(tx, account.id):
        accounts.revoke_password(tx, password.id, now)
    for token in tokens.every(tx, account.id):
        tokens.revoke(tx, token.id, now)
    sessions.end(tx, account.id, now)
    for passkey in sessions.passkeys(tx, account.id):
        sessions.set_passkey(tx, replace(passkey, revoked=now))
    for mailbox in accounts.mailboxes(tx, account.id):
        accounts.set_mailbox(
            tx,
            replace(  # RFC 2606 §2: nobody's address, where a person's was
                mailbox,
                address=f"removed-{mailbox.id}@removed.invalid",
                state=MailboxState.PENDING,
                verify_hash=None,
                verify_expires=None,
            ),
        )
    names.forget(tx, account.id)
    ended = replace(account, state=AccountState.SUSPENDED, admin=False, wrapped_key=None)
    accounts.update(tx, ended)
    events.add(tx, at=now, actor=actor, what="account removed", account_id=account.id, detail=account.name)
    return ended
