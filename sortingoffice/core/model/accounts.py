"""Accounts: one person each, with the mailboxes that are never shown; and the hosted domains."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sortingoffice.frozen import dataclass


class AccountState(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"


class MailboxState(StrEnum):
    PENDING = "pending"  # waits for its owner's answer to the verification mail
    VERIFIED = "verified"
    FAILING = "failing"  # keeps returning mail: its mail is held


class FromForm(StrEnum):
    """How a vendor is named before its reverse alias in From."""

    NAME_AND_ADDRESS = "name-and-address"  # Lamp Shop - orders at lampshop.example
    NAME = "name"  # Lamp Shop
    ADDRESS = "address"  # orders at lampshop.example


@dataclass(frozen=True, slots=True)
class Account:
    """One person's login.

    wrapped_key       the account's data key, wrapped by the office's key; None once shredded
    trigger           the word after "#" that asks for a card
    contacts_renewed  how often the addresses of the by-mail contacts were made anew
    from_form         how vendors are named in the From of what they write
    new_contacts      whether whom they write to beside a contact becomes one, too (submission only)
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
    new_contacts: bool = False


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
