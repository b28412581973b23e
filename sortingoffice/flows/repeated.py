"""The person's mail, submitted again by a program that missed our 250: to each contact it goes once.

Promise: whatever recipients a program names at each try, each gets one copy; what came to nothing for one
of them goes to that one again.  `trace` of both says why there is no second copy.

A vendor's mail that comes again: `flows.inward.judge`.
"""

from __future__ import annotations

from dataclasses import replace

from sortingoffice.core.addressing import Plan
from sortingoffice.flows.arrival import Arrival, write_event
from sortingoffice.flows.inward import REPEAT_WINDOW
from sortingoffice.store import spool
from sortingoffice.store.database import Transaction

RULE = "repeated_message"


def left(tx: Transaction, arrival: Arrival, made: Plan, fingerprint: bytes | None) -> Plan:
    """The plan without the contacts to whom the message goes or went already."""
    if fingerprint is None:
        return made
    carried = spool.carried(tx, fingerprint, arrival.now - REPEAT_WINDOW)
    left = tuple(each for each in made.contacts if each.id not in carried)
    again = {each.written: carried[each.id] for each in made.contacts if each.id in carried}
    tokens = tuple(dict.fromkeys(again.values()))
    for first in tokens:
        _note(tx, arrival, made, f"sent again, as {arrival.token}", first)
    if len(tokens) == 1 and not left:
        _note(tx, arrival, made, f"it first came as {tokens[0]}")
    else:
        for written, first in again.items():
            _note(tx, arrival, made, f"to {written}: it first came as {first}")
    return replace(made, contacts=left)


def _note(tx: Transaction, arrival: Arrival, made: Plan, detail: str, message: str = "") -> None:
    write_event(tx, arrival, made.relationship, "repeated", RULE, detail, message=message)
