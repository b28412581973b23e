"""How a relationship stands, at a glance: the r-button, months of mail, who is a stranger in it.

Sources: the r-button of Project VRM (⊂ ⊃); the design, "States of a relationship".
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sortingoffice.core import binding
from sortingoffice.core.model import Account, Contact, Direction, Relationship, RelationshipState
from sortingoffice.frozen import dataclass
from sortingoffice.mail import address as addresses
from sortingoffice.store import contacts, relationships, traffic
from sortingoffice.store.database import Transaction
from sortingoffice.store.traffic import Counts

MONTHS = 12


class Standing(StrEnum):
    """Who of the two is in it: both; the person alone; the vendor alone, who still writes; nobody."""

    BOTH = "both"
    MINE = "mine"
    THEIRS = "theirs"
    BROKEN = "broken"


def of(state: RelationshipState, counts: Counts) -> Standing:
    if state in (RelationshipState.ACTIVE, RelationshipState.UNBOUND):
        return Standing.BOTH if counts.inward else Standing.MINE
    if state in (RelationshipState.MUTED, RelationshipState.CLOSING):  # the person turns away; do they, too?
        return Standing.THEIRS if counts.inward else Standing.BROKEN
    return Standing.THEIRS if counts.refused else Standing.BROKEN


@dataclass(frozen=True, slots=True)
class Month:
    """name: "November 2026"; short: "N"."""

    name: str
    short: str
    inward: int
    outward: int


def months(
    tx: Transaction, account: Account, now: datetime, relationship_id: int | None = None
) -> tuple[Month, ...]:
    """What came and went in each of the last twelve months, this one last."""
    firsts = [_first(now, back) for back in range(MONTHS - 1, -1, -1)]
    sums = {first: {Direction.INWARD: 0, Direction.OUTWARD: 0} for first in firsts}
    for day, direction, number in traffic.daily(tx, account.id, firsts[0], relationship_id):
        sums[_first(day, 0)][direction] += number
    return tuple(
        Month(
            first.strftime("%B %Y"),
            first.strftime("%b")[0],
            sums[first][Direction.INWARD],
            sums[first][Direction.OUTWARD],
        )
        for first in firsts
    )


def _first(at: datetime, back: int) -> datetime:
    """Midnight of the first day of the month that lies `back` months before."""
    year, month = divmod(at.year * 12 + at.month - 1 - back, 12)
    return at.replace(year=year, month=month + 1, day=1, hour=0, minute=0, second=0, microsecond=0)


def correspondents(tx: Transaction, relationship: Relationship) -> list[dict[str, Any]]:
    """The relationship's contacts; whoever is neither bound nor turned away is a stranger to it."""
    judged = {each.identity for each in relationships.bindings(tx, relationship.id)}
    return [
        {
            "address": each.written,
            "name": each.name,
            "reverse_alias": each.reverse_alias,
            "identity": identity(each),
            "stranger": bool(judged) and identity(each) not in judged,
        }
        for each in contacts.every(tx, relationship.id)
    ]


def identity(contact: Contact) -> str:
    """What binds for a contact: its organization, or at a public provider its address."""
    parsed = addresses.parse(contact.address)
    return binding.identity(parsed) if parsed is not None else ""
