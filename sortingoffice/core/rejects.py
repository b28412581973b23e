"""Recipients that were never issued: counted, and listed where they are one slip away from an alias.

Promise: `near(a)` holds every string within one edit (one letter more, less, another, or two swapped).

Sources: the design, "Addresses": no fuzzy delivery, but a list for the person.
"""

from __future__ import annotations

from datetime import datetime

from sortingoffice.frozen import dataclass

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
LONGEST = 40  # octets of a canonical local part that is looked at: ours are shorter


@dataclass(frozen=True, slots=True)
class Reject:
    """A row: a recipient that was never issued.

    address    normal form, as it was first written; canonical: `naming.canonical` of it, unique
    alias_id   the live alias that it is one edit from; None: none
    peer       the last peer's network
    accepted   when the person made it an alias
    pending    the person is to be told, in the next digest
    told       when they were
    """

    id: int
    address: str
    canonical: str
    alias_id: int | None
    peer: str
    number: int
    first: datetime
    last: datetime
    accepted: datetime | None
    pending: bool
    told: datetime | None = None


@dataclass(frozen=True, slots=True)
class Guesses:
    """A row: how many recipients that were never issued were tried in a day at one of our domains."""

    id: int
    domain: str
    day: datetime
    number: int


def near(canonical: str) -> tuple[str, ...]:
    """Every canonical address within one edit of this one's local part; () for one that is too long."""
    local, at, domain = canonical.rpartition("@")
    if not local or len(local) > LONGEST:
        return ()
    found: set[str] = set()
    for i in range(len(local) + 1):
        head, tail = local[:i], local[i:]
        found.update(head + letter + tail for letter in _LETTERS)
        if tail:
            found.add(head + tail[1:])
            found.update(head + letter + tail[1:] for letter in _LETTERS)
        if len(tail) > 1:
            found.add(head + tail[1] + tail[0] + tail[2:])
    found -= {local, ""}
    return tuple(sorted(each + at + domain for each in found))
