"""Outward mail that the office writes for the person, spooled in the caller's transaction."""

from __future__ import annotations

from datetime import datetime

from sortingoffice.core import letter as letters
from sortingoffice.core.letter import Letter
from sortingoffice.core.model import (
    Contact,
    Delivery,
    DeliveryState,
    Direction,
    Relationship,
    SpooledMessage,
)
from sortingoffice.errors import OfficeError
from sortingoffice.flows import relationships
from sortingoffice.flows.office import Office
from sortingoffice.mail import token
from sortingoffice.mail.address import parse
from sortingoffice.store import spool
from sortingoffice.store.database import Transaction


def send(
    tx: Transaction,
    office: Office,
    of: Relationship,
    contact: Contact,
    letter: Letter,
    *,
    rule: str,
    now: datetime,
) -> SpooledMessage:
    """As the relationship's own alias, to a contact of it."""
    author = parse(relationships.current_alias(tx, of).address)
    to = parse(contact.written)
    assert author is not None, "we issued it"
    if to is None:
        raise OfficeError(f"{of.name}'s address {contact.written} can't be written to")
    name = token.fresh(office.random(10))
    raw = letters.compose(letter, author=author, display=of.display_name, to=to, token=name, now=now)
    return spool.put(
        tx,
        SpooledMessage(
            id=0,
            token=name,
            direction=Direction.OUTWARD,
            account_id=of.account_id,
            relationship_id=of.id,
            sender="",
            origin="",
            results="",
            fingerprint=None,
            rule=rule,
            subject=letter.subject,
            bulk=False,
            authenticated=True,
            utf8=not to.ascii,
            size=len(raw),
            accepted=now,
            raw=raw,
        ),
        (
            Delivery(
                id=0,
                message_id=0,
                account_id=of.account_id,
                relationship_id=of.id,
                contact_id=contact.id,
                recipient=contact.written,
                destination=to.domain,
                return_domain=author.domain,
                state=DeliveryState.QUEUED,
                reason="",
                attempts=0,
                due=now,
                expires=now + office.config.delivery.give_up_after,
                delay_told=False,
                lease_node="",
                lease_until=None,
                last_reply="",
                created=now,
                ended=None,
            ),
        ),
    )
