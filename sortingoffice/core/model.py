"""The office's nouns, as frozen values.

One dataclass per table: `store.schema` has the same columns, and a test holds the two
together.  Times are aware UTC.  `id` is 0 until the row is stored.  Addresses are normal
forms (`Address.normal`) unless a field says "as written".

Sources: the words table of the design; RFC 5598 for the roles.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sortingoffice.mail.address import Address


class AccountState(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"


class MailboxState(StrEnum):
    PENDING = "pending"  # waits for its owner's answer to the verification mail
    VERIFIED = "verified"
    FAILING = "failing"  # keeps returning mail: its mail is held


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


class FromForm(StrEnum):
    """How a vendor is named before its reverse alias in From."""

    NAME_AND_ADDRESS = "name-and-address"  # Lamp Shop - orders at lampshop.example
    NAME = "name"  # Lamp Shop
    ADDRESS = "address"  # orders at lampshop.example


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


class Sensitivity(StrEnum):
    OPEN = "open"
    NORMAL = "normal"
    SENSITIVE = "sensitive"
    SEALED = "sealed"


class FieldType(StrEnum):
    LINE = "line"
    TEXT = "text"
    PHONE = "phone"
    EMAIL = "email"
    DATE = "date"
    COUNTRY = "country"
    IBAN = "iban"
    URL = "url"
    NUMBER = "number"
    BOOL = "bool"


class GrantMode(StrEnum):
    AUTO = "auto"
    ASK = "ask"
    NEVER = "never"


class Via(StrEnum):
    DIRECTIVE = "directive"
    CARD_CONTACT = "card-contact"
    INLINE = "inline"
    CLI = "cli"
    NOTICE = "notice"
    TYPED = "typed"
    WEB_FORM = "web-form"
    PAPER = "paper"


# ---- the connection and the envelope: values of a moment, not stored ------------------------------


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


# ---- rows ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Account:
    """One person's login.

    wrapped_key       the account's data key, wrapped by the office's key; None once shredded
    trigger           the word after "#" that asks for a card
    contacts_renewed  how often the addresses of the by-mail contacts were made anew
    from_form         how vendors are named in the From of what they write
    """

    id: int
    name: str
    state: AccountState
    admin: bool
    wrapped_key: bytes | None
    trigger: str
    created: datetime
    contacts_renewed: int = 0
    from_form: FromForm = FromForm.NAME_AND_ADDRESS


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A real address of an account; never shown to a vendor.

    delivers       False for a second sending identity, to which nothing is delivered
    preferred      where relationships without a mailbox of their own deliver
    dkim_seen      when its mail first carried an aligned DKIM pass; from then on SPF alone is no proof
    proof          what the last authenticated mail carried: "dkim", "spf", "none"; "" untested
    verify_hash    SHA-256 of the token in the verification mail; None when nothing is pending
    """

    id: int
    account_id: int
    address: str
    state: MailboxState
    delivers: bool
    preferred: bool
    dkim_seen: datetime | None
    proof: str
    verify_hash: bytes | None
    verify_expires: datetime | None
    created: datetime


@dataclass(frozen=True, slots=True)
class Domain:
    """A hosted domain under which aliases are issued."""

    id: int
    name: str
    created: datetime


@dataclass(frozen=True, slots=True)
class DkimKey:
    """A published signing key; the private half is a file, never a row.

    algorithm  "rsa-sha256" or "ed25519-sha256"
    public     base64, as it stands in p= of the DNS record
    """

    id: int
    domain_id: int
    selector: str
    algorithm: str
    public: str
    created: datetime
    retired: datetime | None


@dataclass(frozen=True, slots=True)
class AppPassword:
    """A password for submission, one per device; `hash` is argon2id's encoded form."""

    id: int
    account_id: int
    label: str
    hash: str
    created: datetime
    last_used: datetime | None
    revoked: datetime | None


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


@dataclass(frozen=True, slots=True)
class Card:
    """A named set of personal data; `kind` is one of cards.KINDS."""

    id: int
    account_id: int
    name: str
    kind: str
    sensitivity: Sensitivity
    created: datetime
    removed: datetime | None


@dataclass(frozen=True, slots=True)
class CardField:
    """One datum of a card; its values are `FieldVersion`s."""

    id: int
    card_id: int
    key: str
    type: FieldType
    category: str
    position: int
    created: datetime
    removed: datetime | None


@dataclass(frozen=True, slots=True)
class FieldVersion:
    """One value of a field over a time.

    number       1, 2, … within the field
    sealed       nonce and AES-256-GCM ciphertext; `mail.cipher`
    mac          of the normalised value, keyed per account: answers "is this new to them"
    valid_from   may lie in the future; valid_to None: still valid
    provenance   "self-asserted", "import" …
    """

    id: int
    field_id: int
    number: int
    sealed: bytes
    mac: bytes
    valid_from: datetime
    valid_to: datetime | None
    provenance: str
    created: datetime


@dataclass(frozen=True, slots=True)
class View:
    """A named selection of fields over cards; `members` is a JSON list of "card.field"."""

    id: int
    account_id: int
    name: str
    members: str
    created: datetime


@dataclass(frozen=True, slots=True)
class Grant:
    """Permission for a relationship to receive named fields.

    card    name of a card or view
    fields  JSON list of keys; "" means all of them, also later ones
    """

    id: int
    account_id: int
    relationship_id: int
    card: str
    fields: str
    mode: GrantMode
    purpose: str
    terms: str
    not_before: datetime | None
    expires: datetime | None
    uses_left: int | None
    created: datetime
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class Disclosure:
    """A ledger line.  Append only.

    message_id  the spooled message that carried it; None for paper and web forms
    form        "text", "vcard" …
    """

    id: int
    account_id: int
    relationship_id: int
    contact_id: int | None
    grant_id: int | None
    message_id: int | None
    at: datetime
    form: str
    via: Via
    purpose: str


@dataclass(frozen=True, slots=True)
class DisclosureItem:
    """One value in a ledger line.

    card, field  names at the time
    version_id   the stored version that was given; None for a value typed by hand
    sealed, mac  the value itself, as in `FieldVersion`
    """

    id: int
    disclosure_id: int
    card: str
    field: str
    version_id: int | None
    sealed: bytes
    mac: bytes


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A held message's question to the person, and their word.

    token_hash  SHA-256 of the token in the address that the answer goes to
    answered    when the person said their word, or the question ran out; None while it is open
    answer      "yes", "yes always", "no", "expired"; "" while it is open
    leaving     JSON: which field versions the message would give, in which form; no values
    """

    id: int
    account_id: int
    relationship_id: int
    message_id: int
    token_hash: bytes
    leaving: str
    expires: datetime
    created: datetime
    answered: datetime | None
    answer: str


@dataclass(frozen=True, slots=True)
class InboundDirective:
    """A MAC of a `#…` or `{{…}}` line in a vendor's mail: no content, but enough to refuse its echo."""

    id: int
    relationship_id: int
    mac: bytes
    created: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """Audit line: who, what, which rule.  Append only.

    actor    "cli", "smtp 192.0.2.1", "queue", "account anna"
    what     "issued", "accepted", "refused", "delivered", "revoked" …
    message  token of the message, "" if none
    detail   words for a person; never a mailbox address
    """

    id: int
    at: datetime
    actor: str
    account_id: int | None
    relationship_id: int | None
    message: str
    what: str
    rule: str
    detail: str
