"""A delivery that came back after the next hop had taken it, whether or not we know yet that it had."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from sortingoffice.core.delivery import End
from sortingoffice.core.model import DeliveryState
from sortingoffice.store import schema, spool
from sortingoffice.store.engine import Transaction

_delivery = schema.delivery

_BOUNCED = (
    _delivery.update()
    .where(
        _delivery.c.id == sa.bindparam("of"),
        _delivery.c.state.in_((DeliveryState.DELIVERED, DeliveryState.QUEUED)),
    )
    .values(
        state=DeliveryState.RETURNED,
        reason="bounced",
        last_reply=sa.bindparam("said"),
        ended=sa.bindparam("at", type_=schema.Instant),
        lease_node="",
        lease_until=None,
    )
    .returning(_delivery.c.message_id)
)
_LATEST = (
    sa.select(_delivery.c.state, _delivery.c.reason, _delivery.c.last_reply, _delivery.c.ended)
    .where(
        _delivery.c.account_id == sa.bindparam("account_id"),
        _delivery.c.recipient == sa.bindparam("recipient"),
        _delivery.c.state.in_((DeliveryState.DELIVERED, DeliveryState.RETURNED)),
    )
    .order_by(_delivery.c.id.desc())
    .limit(sa.bindparam("most"))
)


def bounced(tx: Transaction, delivery_id: int, reply: str, now: datetime) -> bool:
    """Delivered or queued → returned; whether it was: the second bounce of one delivery changes nothing.

    What comes back was taken, though the reply that said so was lost, or is still on its way to the disk
    (RFC 1047).  The message's octets go, unless it waits for others.
    """
    found = tx.execute(_BOUNCED, {"of": delivery_id, "said": reply, "at": now}).scalar()
    if found is not None:
        spool.erase(tx, (found,))
    return found is not None


def latest_ends(tx: Transaction, account_id: int, recipient: str, most: int) -> tuple[End, ...]:
    """How the last deliveries to a mailbox ended, the newest first."""
    wanted = {"account_id": account_id, "recipient": recipient, "most": most}
    return tuple(End(*row) for row in tx.execute(_LATEST, wanted))
