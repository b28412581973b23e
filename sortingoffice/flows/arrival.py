"""One message at the door, with all that was found out about it before the transaction."""

from __future__ import annotations

import hashlib
from dataclasses import field
from datetime import datetime
from typing import Any

from sortingoffice.core import cards
from sortingoffice.core.decide import Scan
from sortingoffice.core.model import Envelope, Peer, Relationship
from sortingoffice.flows.computed import Computed
from sortingoffice.frozen import dataclass
from sortingoffice.mail.authentication import Authentication
from sortingoffice.mail.message import Message
from sortingoffice.store import events
from sortingoffice.store.database import Transaction


@dataclass(frozen=True, slots=True)
class Arrival:
    """What the transaction decides about.

    token  the message's public id, in our answer, our Received field, logs and `trace`
    auth   results as we computed them; for submission, where nothing is looked up, all "none"
    now    time of acceptance
    scan   the spam filter's word
    watch  told of each rule by which asked cards are judged, for `explain`
    computed  what was worked out from the message
    """

    peer: Peer
    envelope: Envelope
    message: Message
    size: int
    auth: Authentication
    token: str
    now: datetime
    scan: Scan = Scan.CLEAN
    watch: cards.Watch = cards.unwatched
    computed: Computed = field(default_factory=Computed, compare=False, repr=False)

    @property
    def sender(self) -> str:
        """The envelope sender in normal form; "" for null."""
        return "" if self.envelope.sender is None else self.envelope.sender.normal

    def actor(self) -> str:
        """Who does this, for an event."""
        return f"smtp {self.peer.ip}" if self.peer.account_id is None else "submission"

    def fingerprint(self, whose: str, *standing: str) -> bytes | None:
        """Equal for the same message to the same place, sent again; None without a Message-ID.

        Body, envelope sender and `_SAME`; not the trace fields, which differ at each try.

        whose     the relationship or the account that it is for
        standing  what its author is there, and what proves it: a copy that proves less is another message,
                  or whoever forges one first would make the genuine one vanish
        """
        begun = self.computed(digested, self.sender, self.message)
        if begun is None:
            return None
        digest = begun.copy()
        _update(digest, *(each.encode() for each in (whose, *standing)))
        return bytes(digest.digest())


# Fields in which a message that is sent again doesn't differ.  A device may give all its mails one Message-ID
# and no Date: then these alone tell a failure from a success.  Whom an answer goes to is among them: with a
# Reply-To more it is somebody else's mail.
_SAME = (
    "Message-ID",
    "Date",
    "Subject",
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "In-Reply-To",
    "Content-Type",
    "Content-Transfer-Encoding",
)


def digested(sender: str, message: Message) -> Any:
    """A fingerprint's hash before whom it is for; None without a Message-ID."""
    if not message.value("Message-ID"):
        return None
    digest = hashlib.sha256()
    fields = (b"\n".join([b" ".join(each.value.split()) for each in message.all(name)]) for name in _SAME)
    _update(digest, sender.encode(), *fields, message.body)
    return digest


def _update(digest: Any, *parts: bytes) -> None:
    for part in parts:  # each by its length first, so that none can stand for two
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)


def write_event(
    tx: Transaction,
    arrival: Arrival,
    relationship: Relationship,
    what: str,
    rule: str,
    detail: str = "",
    *,
    message: str = "",
) -> None:
    """An event about a relationship; `message`: the id of another one than what arrived."""
    events.add(
        tx,
        at=arrival.now,
        actor=arrival.actor(),
        account_id=relationship.account_id,
        relationship_id=relationship.id,
        message=message or arrival.token,
        what=what,
        rule=rule,
        detail=detail,
    )
