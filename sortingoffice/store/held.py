"""What waits for a word or for a mailbox: whom it is for, and why it waits.  `store.spool` lets it go."""

from __future__ import annotations

import sqlalchemy as sa

from sortingoffice.core.model import Direction
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction

_message, _delivery = schema.message, schema.delivery
_HELD = _delivery.c.state == sa.literal_column("'held'")  # literal, as the partial indexes have it
_OF = _delivery.c.id == sa.bindparam("of")


def readdress(tx: Transaction, delivery_id: int, recipient: str, destination: str) -> None:
    tx.execute(_READDRESS, {"of": delivery_id, "to": recipient, "domain": destination})


def waits_for(tx: Transaction, delivery_id: int, reason: str) -> None:
    tx.execute(_WAITS_FOR, {"of": delivery_id, "why": reason})


def notices(tx: Transaction, account_id: int) -> int:
    """How many of the office's own mails to the account wait."""
    return int(tx.execute(_NOTICES, {"account_id": account_id}).scalar_one())


_READDRESS = (
    _delivery.update()
    .where(_OF, _HELD)
    .values(recipient=sa.bindparam("to"), destination=sa.bindparam("domain"))
)
_WAITS_FOR = _delivery.update().where(_OF, _HELD).values(reason=sa.bindparam("why"))
_NOTICES = (
    sa.select(sa.func.count())
    .select_from(_delivery.join(_message, _message.c.id == _delivery.c.message_id))
    .where(_HELD, _delivery.c.account_id == sa.bindparam("account_id"))
    .where(_message.c.direction == Direction.NOTICE)
)
