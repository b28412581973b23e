"""New mail goes straight to who delivers in the same process, leased from its birth.

A delivery that is put into the spool while this process keeps up is stored with the lease that a claim
would give it a moment later, and its message is handed over once the group is committed: one commit, one
look-up and one loading of the octets less on its way.

Promise: handed over is only what is on disk; what isn't handed over waits in the spool for a claim, as
everything does where the desk is closed, behind or away.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from sortingoffice.core.model import Delivery, SpooledMessage
from sortingoffice.frozen import dataclass
from sortingoffice.store.engine import Transaction

_KEY = "handover"


@dataclass(frozen=True, slots=True)
class Claimed:
    """One delivery with its message; the delivery is leased."""

    message: SpooledMessage
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Lease:
    node: str
    until: datetime


class Desk(Protocol):
    """Who delivers in this process.  Called in the writer's thread."""

    def lease(self, destination: str, octets: int) -> Lease | None:
        """The lease for a new delivery; None where it shall wait for a claim."""

    def take(self, born: Sequence[Claimed]) -> None:
        """These are committed, under such a lease."""

    def notice(self) -> None:
        """Something is committed that waits for a claim."""


class Births:
    """What one group of writes puts into the spool, until it is committed."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._leased: list[Claimed] = []
        self._waits = False

    def lease(self, destination: str, octets: int) -> Lease | None:
        return self._desk.lease(destination, octets)

    def leased(self, born: Claimed) -> None:
        self._leased.append(born)

    def waits(self) -> None:
        self._waits = True

    @property
    def count(self) -> int:
        """To go back to, should the write that now runs fail."""
        return len(self._leased)

    def forget(self, count: int) -> None:
        del self._leased[count:]

    def committed(self) -> None:
        if self._leased:
            self._desk.take(self._leased)
        if self._waits:
            self._desk.notice()


@contextmanager
def group(tx: Transaction, desk: Desk | None) -> Iterator[Births | None]:
    """For the time of one group of writes, `of` finds its births."""
    if desk is None:
        yield None
        return
    births = Births(desk)
    notes = tx.info  # of the driver's connection: it outlives the transaction, and one that breaks
    notes[_KEY] = births
    try:
        yield births
    finally:
        notes.pop(_KEY, None)


def of(tx: Transaction) -> Births | None:
    """The births of this transaction; None where nobody in this process delivers what it puts."""
    found: Births | None = tx.info.get(_KEY)
    return found
