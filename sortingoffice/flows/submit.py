"""Submission: a person's own mail program, authenticated as its account.

The message itself takes the way of all outward mail: `flows.receive.data` with the account in
the peer.

Sources: RFC 6409 §4, §6.1 (a submission server may check the sender), RFC 4954.
"""

from __future__ import annotations

from sortingoffice import log, metrics
from sortingoffice.core.model import AccountState, Peer
from sortingoffice.flows import passwords
from sortingoffice.flows.office import Office
from sortingoffice.mail.address import Address
from sortingoffice.mail.reply import Reply
from sortingoffice.store import accounts as rows

_SUSPENDED = Reply(550, "5.7.1", "this account is suspended, ask the admin of this office")


async def authenticate(office: Office, peer: Peer, name: str, password: bytes) -> int | None:
    """The account's id, None where name and app password don't fit."""
    account_id = await passwords.check(office, name, password)
    log.event("authenticated" if account_id is not None else "authentication-failed", peer=peer.ip)
    return account_id


async def mail(office: Office, peer: Peer, sender: Address | None) -> Reply | None:
    """A refusal of MAIL, or None.  Who the author is stands in From, and is asked after DATA: mail
    programs write mailbox, alias or identity into the envelope as they please."""
    account = await office.db.read(rows.by_id, peer.account_id or 0)
    if account is None or account.state is not AccountState.ACTIVE:
        metrics.refused("mail", "refuse", "suspended_account")
        return _SUSPENDED
    return None
