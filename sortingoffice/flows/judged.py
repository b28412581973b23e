"""One recipient of a message at the door, and what will become of it there."""

from __future__ import annotations

from sortingoffice.core.decide import Decision
from sortingoffice.flows import inward
from sortingoffice.flows.target import Found
from sortingoffice.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Judged:
    """What was decided, and what the act needs of it.

    known  what was found out for the decision at the relationship; None where it took nothing of it
    own    the account itself wrote the message, to an alias of its own or to a return path
    """

    found: Found
    decision: Decision
    known: inward.Known | None = None
    own: bool = False
