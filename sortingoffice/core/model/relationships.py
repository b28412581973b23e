"""Relationships: account × vendor, with its aliases, contacts, bindings and Message-IDs."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sortingoffice.frozen import dataclass


class RelationshipState(StrEnum):
    UNBOUND = "unbound"  # a pocket alias, issued ahead
    ACTIVE = "active"
    MUTED = "muted"
    CLOSING = "closing"
    REVOKED = "revoked"
    EXPIRED = "expired"


class Strangers(StrEnum):
    LEARN = "learn"
    HOLD = "hold"
    LOCK = "lock"


class RemoteImages(StrEnum):
    """What becomes of what a vendor's message would load from elsewhere."""

    KEEP = "keep"
    PIXELS = "pixels"  # what is there only to count who looks goes
    BLOCK = "block"


class Unsubscribe(StrEnum):
    """Where the button of a mail program leads that ends a subscription."""

    VENDOR = "vendor"
    OFFICE = "office"  # one press: the vendor's own way is gone, and the relationship is muted


class VendorKind(StrEnum):
    VENDOR = "vendor"
    PERSON = "person"
    ORG = "org"
    AUTHORITY = "authority"
    CLUB = "club"


class AliasState(StrEnum):
    LIVE = "live"
    ROTATED = "rotated"  # an older alias that goes on, flagged
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Relationship:
    """Account × vendor, the aggregate.

    slug          unique in the account; what the CLI calls it
    site          the vendor's domain as named at `new --site`, "" if none
    mailbox_id    None: the account's preferred mailbox
    display_name  what vendors see beside the alias; "" unless set
    received      accepted inward messages, for max_messages
    until         expires then; None never
    muted_until   resumes then; None: until `resume`
    closing_until end of the closing state
    remote_images what becomes of remote content in its mail
    pixels        tracking pixels found in its mail, while `remote_images` looked for them
    unsubscribe   where List-Unsubscribe in its mail leads
    leave_url, leave_mailto  the vendor's own ways out, of the last message that had any; "" none
    pinned        stands on top of the lists
    """

    id: int
    account_id: int
    slug: str
    name: str
    kind: VendorKind
    state: RelationshipState
    site: str
    mailbox_id: int | None
    strangers: Strangers
    display_name: str
    note: str
    created: datetime
    received: int
    max_messages: int | None
    until: datetime | None
    muted_until: datetime | None
    closing_until: datetime | None
    remote_images: RemoteImages = RemoteImages.KEEP
    pixels: int = 0
    unsubscribe: Unsubscribe = Unsubscribe.VENDOR
    leave_url: str = ""
    leave_mailto: str = ""
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Alias:
    """An address issued for exactly one relationship; its row outlives everything.

    address    as it is shown, lower case
    canonical  what is matched: `naming.canonical(address)`, unique for ever
    """

    id: int
    relationship_id: int
    address: str
    canonical: str
    state: AliasState
    created: datetime


@dataclass(frozen=True, slots=True)
class Contact:
    """One correspondent on the vendor's side, and the reverse alias that leads to them.

    address            normal form
    written            the address as it was last written: what mail is sent to
    name               display name as last seen, text, "" if none
    reverse_alias      the address through which the account writes to them
    reverse_canonical  `naming.canonical(reverse_alias)`, unique for ever
    """

    id: int
    relationship_id: int
    address: str
    written: str
    name: str
    reverse_alias: str
    reverse_canonical: str
    created: datetime


@dataclass(frozen=True, slots=True)
class Binding:
    """A domain (or, at a public mailbox provider, a full address) that is this vendor.

    identity  organizational domain, or address
    how       "site", "learned", "accepted", "refused"
    """

    id: int
    relationship_id: int
    identity: str
    how: str
    created: datetime


@dataclass(frozen=True, slots=True)
class Reference:
    """A Message-ID that a relationship has carried.

    inside   as the person's side knows it, with its brackets
    outside  as the vendor's side knows it; equal where we kept it
    """

    id: int
    relationship_id: int
    inside: str
    outside: str
    created: datetime
