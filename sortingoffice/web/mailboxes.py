"""A mailbox that a program adds for a person; each API says in its own words what came of it.

Promise: it counts for nothing until its owner has answered the mail that asks.
"""

from __future__ import annotations

from sortingoffice.core.model import Mailbox
from sortingoffice.flows import accounts
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
