"""A person's mailboxes as programs see them; each API says the same in its own words.

Promise: one that a program adds counts for nothing until its owner has answered the mail that asks.
"""

from __future__ import annotations

from collections import Counter

from sortingoffice.core.model import Mailbox, RelationshipState
from sortingoffice.core.relationship import mailbox_of
from sortingoffice.flows import accounts
from sortingoffice.store import accounts as account_rows
from sortingoffice.store import relationships
from sortingoffice.store.database import Transaction
from sortingoffice.web import limits
from sortingoffice.web.auth import Call


async def propose(call: Call, address: str, *, delivers: bool = True) -> Mailbox:
    """Add it and ask by mail whether it is the person's.  `delivers`: not for sending only."""
    call.spend(limits.LINKS, f"mailbox {call.account.id}")
    made = await call.office.db.write(
        accounts.admit_mailbox,
        call.office,
        call.account,
        address,
        delivers=delivers,
        preferred=False,
        verify=True,
        actor=call.actor,
    )
    call.office.wake()
    return made


def used(tx: Transaction, account_id: int) -> Counter[int]:
    """How many addresses deliver to each mailbox, by its number; the revoked don't count."""
    every = account_rows.mailboxes(tx, account_id)
    found = (
        mailbox_of(each, every)
        for each in relationships.every(tx, account_id)
        if each.state is not RelationshipState.REVOKED
    )
    return Counter(each.id for each in found if each is not None)
