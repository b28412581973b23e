"""Outward mail that the office writes for the person, through the gate, in the caller's transaction.

What the leak guard finds in it waits for the person's word, like what they wrote themselves.
"""

from __future__ import annotations

from datetime import datetime

from sortingoffice.core import letter as letters
from sortingoffice.core import spooled as rows
from sortingoffice.core.letter import Letter
from sortingoffice.core.model import Contact, Direction, Relationship, SpooledMessage
from sortingoffice.errors import OfficeError
from sortingoffice.flows import consent, gate, relationships
from sortingoffice.flows.office import Office
from sortingoffice.mail import token
from sortingoffice.mail.address import parse
from sortingoffice.mail.message import Message
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
    spooled = rows.message(
        raw,
        token=name,
        direction=Direction.OUTWARD,
        account_id=of.account_id,
        relationship_id=of.id,
        rule=rule,
        subject=letter.subject,
        now=now,
        authenticated=True,
        utf8=not to.ascii,
    )
    delivery = rows.delivery(
        spooled,
        contact.written,
        destination=to.domain,
        give_up_after=office.config.delivery.give_up_after,
        return_domain=author.domain,
        contact_id=contact.id,
    )
    checked = gate.composed(tx, of.account_id, Message.parse(raw), known=frozenset({of.display_name}))
    message = gate.put(tx, spooled, (delivery,), checked)
    if checked.found:
        consent.ask(tx, office, of, (contact,), message, found=checked.found, original=raw, now=now)
    return message
