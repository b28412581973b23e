"""What becomes of a delivery after an attempt: one table.

A reply is read as one of four outcomes; outcome and time give the next state and
whom to tell.  Who exactly is told what is `core.returned`; when it is due again is `core.retry`.

Promise: total: every outcome in every situation has one next step; only a 5xx or the end of the
days makes a delivery "returned", and nothing but a 2xx after the dot makes it "delivered".

Sources: RFC 5321 §4.2.1 (classes of replies), §4.5.4.1, §4.5.3.2.6 and RFC 1047 (a lost reply after the dot).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from sortingoffice.core import retry
from sortingoffice.core.model import Delivery, DeliveryState, Direction
from sortingoffice.frozen import dataclass
from sortingoffice.mail.reply import Reply


class Outcome(StrEnum):
    TAKEN = "taken"
    LATER = "later"
    NEVER = "never"
    UNKNOWN = "unknown"  # lost after the dot: it may have arrived, so the next try may make a second copy


class Tell(StrEnum):
    """Whom this step gives something to say."""

    NOBODY = "nobody"
    DELAY = "delay"  # the person, once, that their mail still waits
    FAILURE = "failure"  # whom `core.returned` names


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt, as the relay saw it.

    reply         the peer's, or ours where there was none (time-out, reset, no route)
    host          name and address of the host, "" where none was reached
    tls           protocol and cipher, "" for plain text
    past_dot      the whole message was sent and no reply came
    unreachable   no host took a connection: says something about the destination, not the message
    milliseconds  how long it took
    of_message    the recipient had been accepted, or MAIL was refused for the size: the reply is rather to
                  this message than to whom it is for
    """

    reply: Reply
    host: str = ""
    tls: str = ""
    past_dot: bool = False
    unreachable: bool = False
    milliseconds: int = 0
    of_message: bool = False

    @property
    def outcome(self) -> Outcome:
        if self.past_dot:
            return Outcome.UNKNOWN
        if self.reply.permanent:
            return Outcome.NEVER
        return Outcome.TAKEN if self.reply.accepted else Outcome.LATER


@dataclass(frozen=True, slots=True)
class Step:
    """The next state of a delivery.  `due` matters only while it is queued."""

    state: DeliveryState
    reason: str
    due: datetime
    tell: Tell


@dataclass(frozen=True, slots=True)
class End:
    """How a delivery ended, as it is remembered.

    reason  see `_NEXT`; "bounced" where it came back after it was delivered
    reply   the last one; "" where there was none
    at      None where an older version did not write it down
    """

    state: DeliveryState
    reason: str
    reply: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long we go on: see `[delivery]` in the config."""

    steps: Sequence[timedelta]
    delay_notice_after: timedelta


REFUSED = "refused"
MESSAGE_REFUSED = "message refused"  # see `Tried.of_message`

# outcome → (state while there is time, state when the days are over), with the reason for each.
_NEXT: dict[Outcome, tuple[tuple[DeliveryState, str], tuple[DeliveryState, str]]] = {
    Outcome.TAKEN: ((DeliveryState.DELIVERED, "delivered"), (DeliveryState.DELIVERED, "delivered")),
    Outcome.NEVER: ((DeliveryState.RETURNED, REFUSED), (DeliveryState.RETURNED, REFUSED)),
    Outcome.LATER: ((DeliveryState.QUEUED, ""), (DeliveryState.RETURNED, "expired")),
    # Not "delivered": RFC 5321 §4.5.3.2.6 rather has two copies than none.
    Outcome.UNKNOWN: ((DeliveryState.QUEUED, "reply lost"), (DeliveryState.RETURNED, "expired")),
}


def step(
    delivery: Delivery,
    direction: Direction,
    tried: Tried,
    *,
    now: datetime,
    patience: Patience,
    fraction: float,
) -> Step:
    """The next state after an attempt.

    delivery  as it was claimed: `attempts` does not count this one
    fraction  random, 0 ≤ fraction < 1, for the jitter
    """
    over = retry.expired(now=now, expires=delivery.expires)
    state, reason = _NEXT[tried.outcome][over]
    if state is DeliveryState.DELIVERED:
        return Step(state, reason, now, Tell.NOBODY)
    if state is DeliveryState.RETURNED:
        if reason == REFUSED and tried.of_message:
            reason = MESSAGE_REFUSED
        return Step(state, reason, now, Tell.FAILURE)
    due = retry.next_due(
        patience.steps, delivery.attempts + 1, now=now, expires=delivery.expires, fraction=fraction
    )
    return Step(state, reason, due, _delay(delivery, direction, now, patience))


def _delay(delivery: Delivery, direction: Direction, now: datetime, patience: Patience) -> Tell:
    """A delay notice, once, and only for what the person sent: a vendor is told of failures alone."""
    late = now >= delivery.created + patience.delay_notice_after
    told = delivery.delay_told or direction is not Direction.OUTWARD
    return Tell.DELAY if late and not told else Tell.NOBODY
