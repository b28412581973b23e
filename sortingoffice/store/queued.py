"""Deliveries as who runs the office chooses them: what waits for a domain, or concerns an address.

Reads only; what becomes of the chosen is in `spool`.
"""

from __future__ import annotations

import sqlalchemy as sa

from sortingoffice.core import naming
from sortingoffice.core.model import DeliveryState
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction

_message, _delivery = schema.message, schema.delivery
QUEUED = _delivery.c.state == sa.literal_column("'queued'")  # literal, as the partial indexes have it
HELD = _delivery.c.state == sa.literal_column("'held'")
WAITING = sa.or_(QUEUED, HELD)
UNLEASED = _delivery.c.lease_node == sa.literal_column("''")
_CHOICE = (
    sa.select(_delivery.c.id, _delivery.c.state)
    .join(_message, _message.c.id == _delivery.c.message_id)
    .order_by(_delivery.c.id)
)


def about(address: str) -> sa.ColumnElement[bool]:
    """What concerns an address: of an alias, all mail of its relationship; of a reverse alias, its contact's;
    of any other, mail from it or to it.

    address  normal form
    """
    canonical = naming.canonical(address)
    alias, contact = schema.alias.c, schema.contact.c
    return sa.or_(
        _message.c.sender == address,
        sa.func.lower(_delivery.c.recipient) == address,  # it and the next stand there as they were written
        sa.func.lower(_delivery.c.accepted_for) == address,
        _delivery.c.relationship_id.in_(sa.select(alias.relationship_id).where(alias.canonical == canonical)),
        _delivery.c.contact_id.in_(sa.select(contact.id).where(contact.reverse_canonical == canonical)),
    )


def untried(tx: Transaction, destination: str = "", address: str = "") -> tuple[int, ...]:
    """What is queued and under nobody's hands, the oldest first; see `waiting`."""
    found = tx.execute(_chosen(_CHOICE.where(QUEUED, UNLEASED), destination, address))
    return tuple(row.id for row in found)


def waiting(
    tx: Transaction, state: DeliveryState | None = None, destination: str = "", address: str = ""
) -> dict[int, DeliveryState]:
    """What waits, queued or held, being tried or not; the oldest first.

    state        only this one
    destination  only what is for this domain
    address      only what is `about` it
    """
    states = {None: WAITING, DeliveryState.QUEUED: QUEUED, DeliveryState.HELD: HELD}
    found = tx.execute(_chosen(_CHOICE.where(states[state]), destination, address))
    return {row.id: row.state for row in found}


def _chosen(
    statement: sa.Select[tuple[int, DeliveryState]], destination: str, address: str
) -> sa.Select[tuple[int, DeliveryState]]:
    if destination:
        statement = statement.where(_delivery.c.destination == destination)
    return statement.where(about(address)) if address else statement
