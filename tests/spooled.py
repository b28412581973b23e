"""An office with one person, one vendor and a spool, for tests of what leaves: no edge, no CLI."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sortingoffice import config as settings
from sortingoffice.core import guard
from sortingoffice.core.checked import Checked
from sortingoffice.core.model import (
    Account,
    AccountState,
    Alias,
    AliasState,
    Contact,
    Delivery,
    DeliveryState,
    Direction,
    Domain,
    Mailbox,
    MailboxState,
    Relationship,
    RelationshipState,
    SpooledMessage,
    Strangers,
    VendorKind,
)
from sortingoffice.flows.office import Keys, Office
from sortingoffice.mail import dkim
from sortingoffice.mail.dkim import SigningKey
from sortingoffice.mail.message import Message
from sortingoffice.net.resolver import Resolver
from sortingoffice.store import accounts, contacts, domains, relationships, spool
from sortingoffice.store.database import Database

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MAILBOX = "anna@home.example"
ALIAS = "lunar.otter4821@sort.example"
REVERSE = "support.lampshop.5v8k2m9q@sort.example"
VENDOR = "support@shop.example"
INWARD = (
    b"From: Lamp Shop <support.lampshop.5v8k2m9q@sort.example>\r\nTo: lunar.otter4821@sort.example\r\n"
    b"Subject: Your lamp\r\nDate: Sun, 01 Mar 2026 11:59:00 +0000\r\nMessage-ID: <1@shop.example>\r\n"
    b"\r\nIt is on its way.\r\n"
)
OUTWARD = (
    b"From: lunar.otter4821@sort.example\r\nTo: support@shop.example\r\nSubject: My lamp\r\n"
    b"Date: Sun, 01 Mar 2026 11:59:00 +0000\r\nMessage-ID: <2@sort.example>\r\n\r\nWhere is it?\r\n"
)


def looked_through(message: SpooledMessage) -> Checked:
    """As the gate would give it, of an account that keeps nothing to itself."""
    return guard.as_written(Message.parse(message.raw), ())


@dataclass
class Clock:
    """A clock that a test moves; where it isn't moved, it stands."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, **much: float) -> None:
        self.now += timedelta(**much)


@dataclass
class Spooled:
    """The office, and ways to put mail into its spool."""

    office: Office
    clock: Clock
    account: Account
    mailbox: Mailbox
    relationship: Relationship
    contact: Contact
    count: int = 0

    @property
    def db(self) -> Database:
        return self.office.db

    def put(self, direction: Direction = Direction.INWARD, **changes: Any) -> Delivery:
        """One message with one delivery; changes are of either's columns."""
        message, delivery = self.letter(direction, **changes)
        stored = self.db.call(spool.put, message, (delivery,), looked_through(message))
        return self.db.view(spool.deliveries, stored.id)[0]

    def letter(
        self, direction: Direction = Direction.INWARD, **changes: Any
    ) -> tuple[SpooledMessage, Delivery]:
        """The same, not yet in the spool."""
        self.count += 1
        inward = direction is Direction.INWARD
        raw = changes.pop("raw", INWARD if inward else OUTWARD)
        message = SpooledMessage(
            id=0,
            token=f"token{self.count}",
            direction=direction,
            account_id=self.account.id,
            relationship_id=self.relationship.id,
            sender=VENDOR if inward else MAILBOX,
            origin="mail.shop.example ([192.0.2.1]) with ESMTPS" if inward else "",
            results="mx.sort.example; spf=pass smtp.mailfrom=shop.example" if inward else "",
            fingerprint=None,
            rule="accepted",
            subject="Your lamp" if inward else "My lamp",
            bulk=False,
            authenticated=True,
            utf8=False,
            size=len(raw),
            accepted=self.clock.now,
            raw=raw,
        )
        recipient = changes.pop("recipient", MAILBOX if inward else VENDOR)
        delivery = Delivery(
            id=0,
            message_id=0,
            account_id=self.account.id,
            relationship_id=self.relationship.id,
            contact_id=self.contact.id,
            recipient=recipient,
            destination=recipient.rpartition("@")[2],
            return_domain="sort.example",
            state=DeliveryState.QUEUED,
            reason="",
            attempts=0,
            due=self.clock.now,
            expires=self.clock.now + timedelta(days=5),
            delay_told=False,
            lease_node="",
            lease_until=None,
            last_reply="",
            created=self.clock.now,
            ended=None,
        )
        of_message = {k: v for k, v in changes.items() if k in SpooledMessage.__slots__}
        of_delivery = {k: v for k, v in changes.items() if k in Delivery.__slots__ and k not in of_message}
        return replace(message, **of_message), replace(delivery, **of_delivery)

    def now(self, delivery: Delivery) -> Delivery:
        """The delivery as it stands in the database."""
        found = self.db.view(spool.delivery_by_id, delivery.id)
        assert found is not None
        return found

    def message(self, delivery: Delivery) -> SpooledMessage:
        found = self.db.view(spool.by_id, delivery.message_id)
        assert found is not None
        return found

    def queued(self, direction: Direction) -> list[SpooledMessage]:
        """The waiting messages of a direction, with their octets."""
        found = self.db.view(spool.queue)
        messages = [self.db.view(spool.by_id, each.message.id) for each in found]
        return [each for each in messages if each is not None and each.direction is direction]


def signing_keys() -> dict[str, tuple[SigningKey, ...]]:
    rsa, ed25519 = dkim.generate_rsa()[0], dkim.generate_ed25519()[0]
    return {
        "sort.example": (
            SigningKey.from_pem("sort.example", "r1", rsa),
            SigningKey.from_pem("sort.example", "e1", ed25519),
        )
    }


def make(
    db: Database,
    folder: Path,
    *,
    delivery: dict[str, Any] | None = None,
    nameserver: tuple[str, int] | None = None,
    clock: Callable[[], datetime] | None = None,
    second_mailbox: bool = False,
) -> Spooled:
    """The office in a database that is empty."""
    tables = {
        "hostname": "mx.sort.example",
        "data_dir": str(folder),
        "smtp": {"listen": ["127.0.0.1:2525"]},
        "delivery": {"retry": ["1m", "5m"], **(delivery or {})},
        "dns": {"nameservers": ["{}:{}".format(*nameserver)] if nameserver else [], "timeout": 2.0},
    }
    config = settings.from_tables(tables, folder / "sortingoffice.toml")
    standing = Clock()
    keys = Keys(None, bytes(32), signing_keys())
    resolver = Resolver(config.dns.nameservers, config.dns.timeout)
    office = Office(config, db, keys, resolver, clock or standing, os.urandom)
    account, mailbox = _person(db, second_mailbox=second_mailbox)
    relationship, contact = _vendor(db, account)
    return Spooled(office, standing, account, mailbox, relationship, contact)


def _person(db: Database, *, second_mailbox: bool) -> tuple[Account, Mailbox]:
    account = db.call(accounts.add, Account(0, "anna", AccountState.ACTIVE, True, None, "card", NOW))
    mailbox = Mailbox(0, account.id, MAILBOX, MailboxState.VERIFIED, True, True, None, "", None, None, NOW)
    mailbox = db.call(accounts.add_mailbox, mailbox)
    if second_mailbox:
        other = replace(mailbox, id=0, address="anna@other.example", preferred=False)
        db.call(accounts.add_mailbox, other)
    return account, mailbox


def _vendor(db: Database, account: Account) -> tuple[Relationship, Contact]:
    """The Lamp Shop, with an alias and a contact."""
    db.call(domains.add, Domain(0, "sort.example", NOW))
    relationship = db.call(
        relationships.add,
        Relationship(
            id=0,
            account_id=account.id,
            slug="lamp-shop",
            name="Lamp Shop",
            kind=VendorKind.VENDOR,
            state=RelationshipState.ACTIVE,
            site="shop.example",
            mailbox_id=None,
            strangers=Strangers.LEARN,
            display_name="",
            note="",
            created=NOW,
            received=0,
            max_messages=None,
            until=None,
            muted_until=None,
            closing_until=None,
        ),
    )
    db.call(
        relationships.add_alias,
        Alias(0, relationship.id, ALIAS, "lunarotter4821@sort.example", AliasState.LIVE, NOW),
    )
    contact = db.call(
        contacts.get_or_add,
        relationship.id,
        Contact(
            0,
            relationship.id,
            VENDOR,
            VENDOR,
            "Support",
            REVERSE,
            "supportlampshop5v8k2m9q@sort.example",
            NOW,
        ),
    )
    return relationship, contact
