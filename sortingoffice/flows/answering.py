"""As which alias the person's machines answer: an automatic answer or a receipt, which nobody looks at.

Promise: after a `rotate` it tells nobody the new alias who wrote to the old one; where it can't be told which
one somebody wrote to, nothing leaves and the person is told.

Sources: RFC 3834 §3.1.5, §4 (whom it answers), RFC 8098 §2.1; the design, "States of a relationship".
"""

from __future__ import annotations

from collections.abc import Iterable

from sortingoffice.core import identifiers, naming
from sortingoffice.core.addressing import Plan, Problem
from sortingoffice.core.model import AliasState, Contact, Relationship
from sortingoffice.flows import recipients
from sortingoffice.flows.arrival import Arrival
from sortingoffice.flows.target import Found
from sortingoffice.mail import classify
from sortingoffice.mail.address import Address, parse
from sortingoffice.store import references, relationships
from sortingoffice.store.database import Transaction

_MOST_IDS = 50


def automatic(arrival: Arrival) -> bool:
    """Whether no human hand sent it (RFC 3834 §3.3; RFC 5321 §4.5.5)."""
    return arrival.envelope.sender is None or classify.automatic(arrival.message)


def alias(tx: Transaction, arrival: Arrival, made: Plan, found: Iterable[Found]) -> Address | Problem:
    """The relationship's address that the message leaves as.

    found  this transaction's recipients

    Raises mime.TooComplex.
    """
    current = recipients.current(tx, made.relationship)
    if not automatic(arrival):
        return current
    aliases = {each.canonical: each for each in relationships.aliases(tx, made.relationship.id)}
    if len(aliases) == 1:
        return current
    paths = {
        each.delivery.contact_id: each.delivery.accepted_for for each in found if each.delivery is not None
    }
    answered = arrival.computed(identifiers.answered, arrival.message)[:_MOST_IDS]
    wrote_to = {
        naming.canonical(paths.get(each.id) or _wrote_to(tx, made.relationship, each, answered))
        for each in made.contacts
    }
    known = {aliases[each].id: aliases[each] for each in wrote_to if each in aliases}
    if len(wrote_to) != 1 or not known:
        return _untold(made.relationship)
    [of] = known.values()
    address = parse(of.address)
    assert address is not None, "we issued it"
    return _revoked(made.relationship, address) if of.state is AliasState.REVOKED else address


def _wrote_to(
    tx: Transaction, relationship: Relationship, contact: Contact, answered: tuple[str, ...]
) -> str:
    """The address that the contact wrote to: with the message that is answered, or else last; "" unknown.

    The id alone does not say it of somebody who writes themselves: anybody can write an id.
    """
    named: list[str] = []
    for each in answered:
        for author, address in references.came_with(tx, relationship.id, each):
            if author == contact.id and address:
                return address
            named.append(address)
    last = references.came_last(tx, relationship.id, contact.id)
    if last is not None:
        return last
    return next((each for each in named if each), "")


def _untold(relationship: Relationship) -> Problem:
    return Problem(
        "automatic_from_which",
        "Not sent: an automatic answer that could show your new address",
        (
            f"Nothing went to {relationship.name}. You have more than one address there, and which of them",
            "this automatic answer is for can't be told.",
            "Write to them yourself if they should have your newest address.",
        ),
    )


def _revoked(relationship: Relationship, address: Address) -> Problem:
    return Problem(
        "automatic_from_revoked",
        f"Not sent: an automatic answer for {address}, which is revoked",
        (
            f"Nothing went to {relationship.name}. They wrote to {address}, which you have revoked since;",
            "to answer as another address would show them that one.",
            "Write to them yourself if they should have your newest address.",
        ),
    )
