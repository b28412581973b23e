"""Whom an outward message names: its envelope, To and Cc, one `Named` each.

Promise: nobody becomes a contact who stands beside two relationships, or beside none.

Sources: the design, "Outward: person → vendor".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sortingoffice.core import naming
from sortingoffice.core.addressing import Kind, Named
from sortingoffice.core.decide import Target
from sortingoffice.core.inward import Person
from sortingoffice.core.model import Account, Relationship
from sortingoffice.flows import inward, target
from sortingoffice.flows import relationships as relationships_flow
from sortingoffice.flows.arrival import Arrival
from sortingoffice.flows.office import Office
from sortingoffice.flows.target import Found
from sortingoffice.mail import headers
from sortingoffice.mail.address import Address, parse
from sortingoffice.store import accounts, contacts
from sortingoffice.store.database import Transaction


def everyone(
    tx: Transaction,
    office: Office,
    arrival: Arrival,
    account: Account,
    author: Relationship | None,
    found: tuple[Found, ...],
) -> tuple[Named, ...]:
    """Everyone whom the envelope, To and Cc name.

    author  the relationship whose alias the From is (submission only): it counts as named
    found   this transaction's recipients
    """
    own = {each.address for each in accounts.mailboxes(tx, account.id)}
    named = {} if author is None else {"": Named(current(tx, author), Kind.ALIAS, author)}
    elsewhere: list[str] = []
    sought = {naming.canonical(each.address.normal): each for each in found}
    for address in (*(each.address for each in found), *_written(arrival)):
        canonical = naming.canonical(address.normal)
        if canonical in named:
            continue
        each = sought.get(canonical) or target.find(tx, office, address)
        named[canonical] = _kind(tx, office, arrival, account, own, each, envelope=canonical in sought)
        if each.account is None or each.account.id != account.id:
            elsewhere.append(canonical)
    home = author or _home(arrival, account, named.values())
    if home is not None:
        for canonical in elsewhere:
            named[canonical] = _befriended(tx, office, arrival, home, named[canonical])
    return tuple(named.values())


def current(tx: Transaction, relationship: Relationship) -> Address:
    """The alias that the relationship writes as: its newest live one."""
    address = parse(relationships_flow.current_alias(tx, relationship).address)
    assert address is not None, "we issued it"
    return address


def _written(arrival: Arrival) -> tuple[Address, ...]:
    return tuple(
        mention.address
        for name in ("To", "Cc")
        for field in arrival.message.all(name)
        for mention in headers.addresses(field.value)
        if mention.address is not None
    )


def _kind(
    tx: Transaction,
    office: Office,
    arrival: Arrival,
    account: Account,
    own: set[str],
    found: Found,
    *,
    envelope: bool,
) -> Named:
    address = found.address
    if address.normal in own:
        return Named(address, Kind.MAILBOX, envelope=envelope)
    if found.account is not None and found.account.id == account.id:
        if found.target is Target.CARD:
            return Named(address, Kind.CARD, envelope=envelope, card=found.card)
        if found.target is Target.ALIAS:
            return Named(address, Kind.ALIAS, found.relationship, envelope=envelope)
        contact = found.contact
        if found.whom is not None and found.relationship is not None:
            contact = inward.contact(tx, office, found.relationship, Person(found.whom, ""), arrival)
        if found.target is Target.RETURN_PATH and found.delivery is not None and found.delivery.contact_id:
            contact = contacts.by_id(tx, found.delivery.contact_id)
        if contact is not None:
            return Named(address, Kind.CONTACT, found.relationship, contact, envelope)
    return Named(address, Kind.OUTSIDER, envelope=envelope)


def _home(arrival: Arrival, account: Account, named: Iterable[Named]) -> Relationship | None:
    """The one relationship that is named, where the person wants new contacts made in it.

    By submission alone: at port 25 a provider has written to the outsiders already, from the mailbox.
    """
    if not account.new_contacts or arrival.peer.account_id is None:
        return None
    there = {each.relationship.id: each.relationship for each in named if each.relationship is not None}
    return next(iter(there.values())) if len(there) == 1 else None


def _befriended(tx: Transaction, office: Office, arrival: Arrival, home: Relationship, named: Named) -> Named:
    """An outsider as a contact of the relationship; a mailbox of the person's as before."""
    if named.kind is not Kind.OUTSIDER:
        return named
    contact = inward.contact(tx, office, home, Person(named.address, ""), arrival)
    return replace(named, kind=Kind.CONTACT, relationship=home, contact=contact)
