"""A vendor was told of a change: what has become of it.

    planned → sent → acknowledged | silent → acknowledged;   bounced, or dropped before it left

Promise: nothing is stored that the delivery says already; `fate` reads both.

Sources: the cards document of the design, "Change, withdraw, ask"; RFC 3834 §2 (what an automatic answer is).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sortingoffice.core.model import DeliveryState
from sortingoffice.frozen import dataclass


class Fate(StrEnum):
    PLANNED = "planned"  # not gone yet: still in the queue, or not even written
    SENT = "sent"
    ACKNOWLEDGED = "acknowledged"
    BOUNCED = "bounced"
    SILENT = "silent"  # arrived, and no answer for a while
    DROPPED = "dropped"  # taken back before it left


@dataclass(frozen=True, slots=True)
class Notification:
    """One notice of a change to one vendor.

    message_id       the mail that told them
    card             the card or view that was named in `card notify`
    at               when it was written
    silent_from      without an answer until then they count as silent
    acknowledged     when they answered
    notification_id  the one that this asks again about; None for the first
    """

    id: int
    account_id: int
    relationship_id: int
    message_id: int
    card: str
    at: datetime
    silent_from: datetime
    acknowledged: datetime | None
    notification_id: int | None


_ENDED = {
    DeliveryState.QUEUED: Fate.PLANNED,
    DeliveryState.HELD: Fate.PLANNED,
    DeliveryState.RETURNED: Fate.BOUNCED,
    DeliveryState.DROPPED: Fate.DROPPED,
}


def fate(of: Notification, state: DeliveryState, now: datetime) -> Fate:
    """state: of the delivery that carried it."""
    if of.acknowledged is not None:
        return Fate.ACKNOWLEDGED
    if state is not DeliveryState.DELIVERED:
        return _ENDED[state]
    return Fate.SILENT if of.silent_from <= now else Fate.SENT
