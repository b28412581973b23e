"""Whom an outward message goes to, or why it goes to nobody.

Everyone named by the envelope, To and Cc is one of four kinds; the rules, in their order,
turn them into a plan for one relationship or a problem in words for the person.

Promise: a plan names contacts of exactly one relationship, and nobody else.

Sources: the design, "Outward: person → vendor".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum

from sortingoffice.core.model import Contact, Relationship
from sortingoffice.frozen import dataclass
from sortingoffice.mail.address import Address


class Kind(StrEnum):
    CONTACT = "contact"  # a reverse alias, or the contact of a return path
    ALIAS = "alias"  # an alias of the account
    MAILBOX = "mailbox"  # one of the account's own
    CARD = "card"  # a card contact: it asks, and is taken off
    OUTSIDER = "outsider"  # nobody we can write to as the alias


@dataclass(frozen=True, slots=True)
class Named:
    """One address that the message names.

    relationship  of the contact or alias; None for the others
    envelope      whether it is a recipient of this transaction, not only of the header
    card          the card's name, for a card contact
    """

    address: Address
    kind: Kind
    relationship: Relationship | None = None
    contact: Contact | None = None
    envelope: bool = False
    card: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """The relationship, its contacts who get this transaction's copies, and all whom To and Cc name.

    contacts  empty where the copies for the contacts come in transactions of their own
    cards     names of the cards that card contacts ask for
    """

    relationship: Relationship
    contacts: tuple[Contact, ...]
    named: tuple[Named, ...]
    cards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why nothing goes out; subject and lines are for the person."""

    rule: str
    subject: str
    lines: tuple[str, ...]


Rule = Callable[[tuple[Named, ...]], Problem | None]


def outsider(named: tuple[Named, ...]) -> Problem | None:
    """A copy to somebody else would show them together with the alias; nothing is dropped in silence."""
    found = [each for each in named if each.kind is Kind.OUTSIDER]
    if not found:
        return None
    known = _vendors(named)
    if known:
        listed = ", ".join([*known, *dict.fromkeys(str(each.address) for each in found)])
        subject = f"Not sent: this message goes to two relationships ({listed})"
        first = f"Nothing went to {' or '.join(known)}."
    else:
        subject = f"Not sent: {found[0].address} is no contact of yours"
        first = "Nothing went out."
    return Problem(
        "outsider",
        subject,
        (
            f"{first} An address in it is not one through which you write to a contact: {found[0].address}.",
            "Write to the address that `sortingoffice contact RELATIONSHIP ADDRESS` prints, or take it out.",
        ),
    )


def blind(unseen: tuple[Address, ...]) -> Problem:
    """Recipients that no To or Cc names: the mailbox's signature says nothing about them."""
    return Problem(
        "blind_copy",
        f"Not sent: {unseen[0]} stands in Bcc alone",
        (
            f"Nothing went out. A provider's signature covers To and Cc alone, so nothing proves that you"
            f" wrote to {', '.join(map(str, unseen))}, too.",
            "Put it in Cc, or send it a mail of its own; with an app password"
            " (`sortingoffice admin password new`) Bcc works.",
        ),
    )


def two_relationships(named: tuple[Named, ...]) -> Problem | None:
    """One copy would link both aliases."""
    vendors = _vendors(named)
    if len(vendors) < 2:
        return None
    return Problem(
        "two_relationships",
        f"Not sent: this message goes to two relationships ({', '.join(vendors)})",
        (
            f"Nothing went to {' or '.join(vendors)}: one message to both would tell each of the other.",
            "Send it to each of them by itself.",
        ),
    )


def nobody_remains(named: tuple[Named, ...]) -> Problem | None:
    """Reply-all to the alias alone, or a mail to it from its own account."""
    if any(each.kind is Kind.CONTACT for each in named):
        return None
    return Problem(
        "nobody_remains",
        "Not sent: only you were left of the recipients",
        (
            "Your mail was addressed to your own alias or mailbox and to nobody else, so it went nowhere.",
            "To write to a vendor, answer one of their mails or use `sortingoffice contact`.",
        ),
    )


RULES: tuple[Rule, ...] = (outsider, two_relationships, nobody_remains)


def plan(named: tuple[Named, ...]) -> Plan | Problem:
    """The plan for everyone named; the relationship's own alias and the account's mailboxes are taken off."""
    for rule in RULES:
        problem = rule(named)
        if problem is not None:
            return problem
    found = [each for each in named if each.kind is Kind.CONTACT]
    relationship = found[0].relationship
    assert relationship is not None, "a contact belongs to one"
    return Plan(
        relationship,
        _each(each.contact for each in found if each.envelope),
        tuple(found),
        tuple(dict.fromkeys(each.card for each in named if each.kind is Kind.CARD)),
    )


def _each(contacts: Iterable[Contact | None]) -> tuple[Contact, ...]:
    return tuple({each.id: each for each in contacts if each is not None}.values())


def _vendors(named: tuple[Named, ...]) -> list[str]:
    """Names of the relationships among them, in the order of their mention."""
    found = {each.relationship.id: each.relationship.name for each in named if each.relationship is not None}
    return list(found.values())
