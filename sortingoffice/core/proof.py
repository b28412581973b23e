"""What a mailbox's signature is worth as proof of its author: once per recipient, and while it is fresh.

A signed message stays signed when somebody else sends it again, with another envelope, later, or with
what the signature leaves open changed.  So what was used is written down by the signature itself.

    key = SHA-256(signature's octets ‖ recipient)        remembered until no such signature would count

Promise: by one signature a message goes to one recipient once.  A second transaction for another recipient,
as where a provider splits a reply to all, is no repetition.

Sources: RFC 6376 §8.6 (replay), §3.5 (t=, x=); RFC 5321 §4.5.4.1 (a queue tries for 4 to 5 days).
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from sortingoffice.frozen import dataclass

# Longer than any queue tries, and what large providers give their own x=.
FRESH = timedelta(days=7)
# How long a stale one is remembered, so that its owner is told of it once in that time.
STALE_TOLD = timedelta(days=30)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Used:
    """A row: a signature that has carried a message of an account to one recipient.

    digest  `digest(signature, recipient)`
    until   when the row may go: the signature is stale by then.  None: the signature tells no time,
            so nothing would ever make it stale
    """

    id: int
    account_id: int
    digest: bytes
    until: datetime | None


def digest(signature: bytes, recipient: str) -> bytes:
    """The key of a signature and a recipient (canonical).  The octets of a signature are as unique as what
    it signs: both algorithms have one valid form only (RFC 8017 §8.2, RFC 8032 §5.1.7)."""
    return hashlib.sha256(hashlib.sha256(signature).digest() + recipient.encode()).digest()


def made(stamp: int | None, date: datetime | None) -> datetime | None:
    """When a message was signed, as far as the signature covers it: t=, else its signed Date, else None.

    stamp  t=, seconds since 1970
    """
    if stamp is None:
        return date
    try:
        return datetime.fromtimestamp(stamp, UTC)
    except (OverflowError, ValueError, OSError):
        return _LATEST


def stale(at: datetime | None, now: datetime) -> bool:
    """Whether a signature made then no longer proves who sent the message now."""
    return at is not None and now - at > FRESH


def until(at: datetime | None, now: datetime) -> datetime | None:
    """How long a signature made then is remembered; a clock that runs ahead makes it longer."""
    if at is None:
        return None
    if stale(at, now):
        return now + STALE_TOLD
    latest = max(at, now)
    return latest + FRESH if latest < _LATEST - FRESH else None
