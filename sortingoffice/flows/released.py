"""Held mail is let go: to where its person's mail goes now, which need not be where it went when it came.

    inward   to the relationship's mailbox
    notice   to the mailbox that is told
    others   to whom they were written

Promise: nothing is let go to a mailbox that takes no mail; it waits on, as mail that comes now would.
"""

from __future__ import annotations

from datetime import datetime

from sortingoffice.core.model import Direction, Mailbox, MailboxState
from sortingoffice.flows import notices
from sortingoffice.store import accounts, held, relationships, spool
from sortingoffice.store.database import Transaction
from sortingoffice.store.spool import Claimed


def let_go(tx: Transaction, found: Claimed, now: datetime) -> bool:
    """Whether it is on its way; otherwise it waits on, from now on for a mailbox alone.

    found  a held delivery; its message's octets aren't needed
    """
    number = found.delivery.id
    if found.message.direction in (Direction.INWARD, Direction.NOTICE):
        to = mailbox(tx, found)
        if to is None or to.state is not MailboxState.VERIFIED:
            held.waits_for(tx, number, notices.UNUSABLE)
            return False
        held.readdress(tx, number, to.address, to.address.rpartition("@")[2])
    return spool.release(tx, number, now)


def mailbox(tx: Transaction, found: Claimed) -> Mailbox | None:
    """Where mail for the person would go now; None where there is no mailbox for it."""
    delivery = found.delivery
    if delivery.account_id is None:
        return None
    if found.message.direction is Direction.NOTICE:
        return notices.mailbox(tx, delivery.account_id, delivery.recipient)
    of = None if delivery.relationship_id is None else relationships.by_id(tx, delivery.relationship_id)
    return None if of is None else accounts.mailbox_for(tx, of)
