"""Data cards, the grants of their fields, and what was disclosed under them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sortingoffice.frozen import dataclass


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
    provenance   "self-asserted", "import", or "verified: " and by whom, when and by what evidence
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
    version_id   the stored version that was given; None for the relationship's own alias
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
