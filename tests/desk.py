"""A person with cards and a vendor, on a real database: what the tests of cards start from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa

from sortingoffice import config
from sortingoffice.core import naming
from sortingoffice.core.addressing import Problem
from sortingoffice.core.decide import Decision
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
    Envelope,
    Mailbox,
    MailboxState,
    Peer,
    Relationship,
    RelationshipState,
    Sensitivity,
    SpooledMessage,
    Strangers,
    VendorKind,
    Via,
)
from sortingoffice.flows import cards, consent, disclose, grants, ledger, outward, target
from sortingoffice.flows.arrival import Arrival
from sortingoffice.flows.cards import Assignment
from sortingoffice.flows.disclose import Resolved
from sortingoffice.flows.grants import Permission
from sortingoffice.flows.office import Keys, Office
from sortingoffice.mail import cipher, headers
from sortingoffice.mail.address import parse
from sortingoffice.mail.authentication import Authentication
from sortingoffice.mail.message import Message
from sortingoffice.net.resolver import Resolver
from sortingoffice.store import schema
from sortingoffice.store.database import Database

MAILBOX = "anna@home.example"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SHIPPING = ("name=Anna Example", "street=Lindenallee 5", "postcode=10115", "city=Berlin", "country=DE")


@pytest.fixture
def desk(sqlite_db: Database, tmp_path: Path) -> Desk:
    return open_desk(sqlite_db, tmp_path)


@pytest.fixture
def either(db: Database, tmp_path: Path) -> Desk:
    """On SQLite, and on PostgreSQL."""
    return open_desk(db, tmp_path)


@dataclass
class Desk:
    """One account; its clock moves only when told to."""

    db: Database
    office: Office
    account: Account
    shop: Relationship
    clerk: Contact
    now: list[datetime] = field(default_factory=lambda: [START])

    # ---- a person's acts

    def set(self, *assignments: str, **options: Any) -> list[dict[str, Any]]:
        return self.db.call(
            cards.set_fields, self.office, self.account, assigned(assignments), actor="test", **options
        )

    def shipping(self, sensitivity: Sensitivity | None = None) -> None:
        self.set(*(f"shipping.{each}" for each in SHIPPING), sensitivity=sensitivity)

    def grant(self, card: str, relationship: str = "lamp-shop", **options: Any) -> dict[str, Any]:
        return self.db.call(
            grants.grant, self.office, self.account, relationship, Permission(card, **options), actor="test"
        )

    def ungrant(self, card: str, relationship: str = "lamp-shop") -> list[dict[str, Any]]:
        return self.db.call(grants.ungrant, self.office, self.account, relationship, card, actor="test")

    def give(self, relationship: str, card: str, only: Sequence[str] = ()) -> list[dict[str, Any]]:
        """What the person typed into a vendor's form."""
        return self.db.call(
            ledger.disclosed,
            self.office,
            self.account,
            relationship,
            card,
            only,
            via=Via.WEB_FORM,
            actor="test",
        )

    def view(self, name: str, *members: str) -> dict[str, Any]:
        return self.db.call(cards.set_view, self.office, self.account, name, members, actor="test")

    def who_has(self, named: str) -> list[dict[str, Any]]:
        return self.db.view(ledger.who_has, self.office, self.account, named)

    def disclosures(self, relationship: str = "") -> list[dict[str, Any]]:
        return self.db.view(ledger.disclosures, self.office, self.account, relationship)

    def later(self, **span: int) -> None:
        self.now[0] += timedelta(**span)

    # ---- mail

    def ask(
        self, message: bytes | str, shop: Relationship | None = None, contacts: tuple[str, ...] = ()
    ) -> Resolved | Problem:
        """What an outward message becomes, before it is spooled."""
        return self.db.call(
            disclose.disclose,
            self.office,
            self.account,
            shop or self.shop,
            (self.clerk,),
            Message.parse(octets(message)),
            self.now[0],
            contacts,
        )

    def send(
        self, message: bytes | str, state: DeliveryState = DeliveryState.DELIVERED
    ) -> Resolved | Problem:
        """Ask, spool and record, as the outward gate does."""
        outcome = self.ask(message)
        if isinstance(outcome, Resolved):
            self.db.call(self._spool, outcome, state)
        return outcome

    def post(self, message: bytes | str, to: str = "", **envelope: Any) -> Decision:
        """The person's mail, submitted, through the outward gate; to the clerk where nobody else is named.

        message  from its Content-Type (or other fields) on; or a text
        """
        address = parse(to or self.clerk.reverse_alias)
        assert address is not None
        head = f"From: Anna <{MAILBOX}>\r\nTo: <{address}>\r\nSubject: your lamp\r\nMIME-Version: 1.0\r\n"
        raw = head.encode() + octets(message)
        name = os.urandom(8).hex()
        arrival = Arrival(
            Peer("192.0.2.1", account_id=self.account.id),
            Envelope(envelope.get("sender", parse(MAILBOX)), (address,)),
            Message.parse(raw),
            len(raw),
            Authentication(),
            name,
            self.now[0],
        )

        def accept(tx: sa.Connection) -> Decision:
            found = target.find(tx, self.office, address)
            return outward.accept(tx, self.office, arrival, self.account, (found,), name)

        return self.db.call(accept)

    def notices(self) -> list[SpooledMessage]:
        """What the office wrote to the person, oldest first."""
        found = sa.select(schema.message).where(schema.message.c.direction == Direction.NOTICE)
        ordered = found.order_by(schema.message.c.id)
        return list(self.db.view(lambda tx: schema.every(SpooledMessage, tx.execute(ordered))))

    def states(self) -> list[str]:
        """Of the deliveries to the vendor, oldest first."""
        table = schema.delivery
        found = sa.select(table.c.state).where(table.c.contact_id.is_not(None)).order_by(table.c.id)
        return [str(row.state) for row in self.db.view(lambda tx: tx.execute(found).all())]

    def answer(self, text: str, notice: SpooledMessage | None = None, **envelope: Any) -> None:
        """Reply to the office's (last) question, from the proved mailbox."""
        asked = Message.parse((notice or self.notices()[-1]).raw)
        to = headers.addresses(asked.value("From") or b"")[0].address
        assert to is not None
        sender = envelope.get("sender", parse(MAILBOX))
        arrival = Arrival(
            Peer("192.0.2.1"),
            Envelope(sender, (to,)),
            Message.parse(octets(text)),
            len(text),
            Authentication(),
            "answer",
            self.now[0],
        )
        self.db.call(consent.answered, self.office, arrival, to)

    def _spool(self, tx: sa.Connection, resolved: Resolved, state: DeliveryState) -> None:
        raw = bytes(resolved.message)
        now = self.now[0]
        spooled = schema.insert(
            tx,
            SpooledMessage(
                0,
                os.urandom(8).hex(),
                Direction.OUTWARD,
                self.account.id,
                self.shop.id,
                MAILBOX,
                "",
                "",
                None,
                "test",
                "your lamp",
                False,
                True,
                False,
                len(raw),
                now,
                raw,
            ),
        )
        reason = ""
        if resolved.waiting is not None:
            state, reason = DeliveryState.HELD, resolved.waiting.rule
        for contact in resolved.contacts:
            schema.insert(tx, replace(delivery(spooled, contact, state, now), reason=reason))
        disclose.record(tx, self.office, resolved, spooled.id, now)

    def receive(self, message: bytes | str) -> None:
        """A vendor's message, as far as cards are concerned."""
        parsed = Message.parse(octets(message))
        self.db.call(disclose.remember_inbound, self.office, self.shop, parsed, self.now[0])

    def relate(self, name: str, **changes: Any) -> Relationship:
        return self.db.call(_related, self.account, name, **changes)[0]


def assigned(assignments: Sequence[str]) -> list[Assignment]:
    found = []
    for each in assignments:
        named, _, value = each.partition("=")
        card, _, key = named.partition(".")
        found.append(Assignment(card, key, value))
    return found


def octets(message: bytes | str) -> bytes:
    """A text of ours as a message: LF becomes CR LF; without a header, one of plain text is made."""
    if isinstance(message, bytes):
        return message
    if not message.startswith(("Content-", "MIME-", "Subject:", "From:")):
        message = "Content-Type: text/plain; charset=utf-8\n\n" + message
    return message.replace("\r\n", "\n").replace("\n", "\r\n").encode()


def text(outcome: Resolved | Problem) -> str:
    """The body of what is sent, LF; fails where nothing is."""
    assert isinstance(outcome, Resolved), outcome
    assert outcome.waiting is None, outcome.waiting
    return outcome.message.body.decode().replace("\r\n", "\n")


def refusal(outcome: Resolved | Problem) -> str:
    """Subject and lines of a refusal; fails where something is sent."""
    assert isinstance(outcome, Problem), bytes(outcome.message)
    return "\n".join([outcome.subject, *outcome.lines])


def waits(outcome: Resolved | Problem) -> str:
    """Why the person is asked; fails where they aren't."""
    assert isinstance(outcome, Resolved), outcome
    assert outcome.waiting is not None, bytes(outcome.message)
    return outcome.waiting.what


def open_desk(db: Database, folder: Path) -> Desk:
    path = folder / "sortingoffice.toml"
    path.write_text('hostname = "mx.sort.example"\n')
    now = [START]
    keys = Keys(os.urandom(32), os.urandom(32), {})
    office = Office(config.load(path), db, keys, cast(Resolver, None), lambda: now[0], os.urandom)
    account = db.call(_account, office)
    shop, clerk = db.call(_related, account, "Lamp Shop")
    return Desk(db, office, account, shop, clerk, now)


def _account(tx: sa.Connection, office: Office) -> Account:
    made = schema.insert(tx, Account(0, "anna", AccountState.ACTIVE, True, None, "card", START))
    assert office.keys.card is not None
    schema.insert(tx, Domain(0, "sort.example", START))
    schema.insert(
        tx,
        Mailbox(0, made.id, MAILBOX, MailboxState.VERIFIED, True, True, START, "dkim", None, None, START),
    )
    wrapped = cipher.wrap(office.keys.card, os.urandom(32), made.id, os.urandom(12))
    tx.execute(schema.account.update().where(schema.account.c.id == made.id).values(wrapped_key=wrapped))
    return replace(made, wrapped_key=wrapped)


def _related(
    tx: sa.Connection, /, account: Account, name: str, **changes: Any
) -> tuple[Relationship, Contact]:
    slug = name.lower().replace(" ", "-")
    made = Relationship(
        0,
        account.id,
        slug,
        name,
        VendorKind.VENDOR,
        RelationshipState.ACTIVE,
        "",
        None,
        Strangers.LEARN,
        "",
        "",
        START,
        0,
        None,
        None,
        None,
        None,
    )
    made = schema.insert(tx, replace(made, **changes))
    address = f"{slug.replace('-', '.')}1234@sort.example"
    schema.insert(tx, Alias(0, made.id, address, naming.canonical(address), AliasState.LIVE, START))
    reverse = f"r{slug}5678@sort.example"
    clerk = Contact(
        0,
        made.id,
        f"clerk@{slug}.example",
        f"clerk@{slug}.example",
        "",
        reverse,
        naming.canonical(reverse),
        START,
    )
    return made, schema.insert(tx, clerk)


def delivery(spooled: SpooledMessage, contact: Contact, state: DeliveryState, now: datetime) -> Delivery:
    return Delivery(
        0,
        spooled.id,
        spooled.account_id,
        spooled.relationship_id,
        contact.id,
        contact.written,
        "shop.example",
        "sort.example",
        state,
        "",
        0,
        now,
        now,
        False,
        "",
        None,
        "",
        now,
        now if state.final else None,
    )
