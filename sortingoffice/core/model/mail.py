"""Mail: who connects, the envelope, and the messages that we have promised to deliver.

`Peer` and `Envelope` are values of a moment and are not stored.

Sources: RFC 5321 §2.3.1 (envelope), RFC 5598 (roles).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sortingoffice.frozen import dataclass
from sortingoffice.mail.address import Address


class Direction(StrEnum):
    INWARD = "inward"  # vendor → person
    OUTWARD = "outward"  # person → vendor
    NOTICE = "notice"  # the office → person
    RETURN = "return"  # the office → vendor: a DSN


class DeliveryState(StrEnum):
    QUEUED = "queued"
    HELD = "held"
    DELIVERED = "delivered"
    RETURNED = "returned"
    DROPPED = "dropped"

    @property
    def final(self) -> bool:
        return self in (DeliveryState.DELIVERED, DeliveryState.RETURNED, DeliveryState.DROPPED)


@dataclass(frozen=True, slots=True)
class Peer:
    """The connecting client.

    ip          textual; what PROXY or XCLIENT said where the connection's own peer is listed for it
    helo        as it introduced itself, "" before EHLO
    tls         "TLSv1.3 TLS_AES_256_GCM_SHA384" or "" for plain text
    account_id  whom it authenticated as at submission, else None
    esmtp       whether it said EHLO
    """

    ip: str
    helo: str = ""
    tls: str = ""
    account_id: int | None = None
    esmtp: bool = True


@dataclass(frozen=True, slots=True)
class Envelope:
    """RFC 5321 §2.3.1.

    sender      None for the null reverse-path
    recipients  in the order of the accepted RCPTs, without repetition
    body_8bit   BODY=8BITMIME was declared
    utf8        SMTPUTF8 was declared
    """

    sender: Address | None
    recipients: tuple[Address, ...]
    body_8bit: bool = False
    utf8: bool = False


@dataclass(frozen=True, slots=True)
class SpooledMessage:
    """A message that we have promised to deliver: the unsigned outgoing octets, transformed.

    token            its public id, in replies, logs and `trace`
    relationship_id  None for notices to the account alone
    sender           envelope sender as received, normal form; "" for null
    origin           what our Received says of where it came from: "helo (ip) with ESMTPS"; "" for
                     outward mail, which has no `from`
    results          authentication results found at receipt (the value of the field); "" if none
    fingerprint      idempotency key: SHA-256; None where it does not apply
    rule             the rule that accepted or held it
    subject          decoded, capped at 200 characters, for `held` and `queue`
    bulk             list or bulk mail by its own fields: no DSN for it
    utf8             needs SMTPUTF8 at the next hop
    raw              the octets; emptied when all its deliveries have ended
    """

    id: int
    token: str
    direction: Direction
    account_id: int | None
    relationship_id: int | None
    sender: str
    origin: str
    results: str
    fingerprint: bytes | None
    rule: str
    subject: str
    bulk: bool
    authenticated: bool
    utf8: bool
    size: int
    accepted: datetime
    raw: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """One spooled message to one recipient.

    contact_id      whom it goes to, for outward mail
    recipient       forward-path as it is sent
    destination     the recipient's domain: what connections are bounded by
    return_domain   domain of the VERP return path; "" for the null reverse-path
    reason          why it is held, or how it ended; the rule's name
    lease_node      who is at it now; "" nobody
    created         since when it waits: when it was put in, or, held, let go
    accepted_for    for inward mail, the address that it came for, as the sender wrote it: all that a DSN may
                    name; "" for any other mail, and for what an older version accepted
    """

    id: int
    message_id: int
    account_id: int | None
    relationship_id: int | None
    contact_id: int | None
    recipient: str
    destination: str
    return_domain: str
    state: DeliveryState
    reason: str
    attempts: int
    due: datetime
    expires: datetime
    delay_told: bool
    lease_node: str
    lease_until: datetime | None
    last_reply: str
    created: datetime
    ended: datetime | None
    accepted_for: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try: host, TLS, reply, time."""

    id: int
    delivery_id: int
    at: datetime
    host: str
    tls: str
    reply: str
    milliseconds: int
