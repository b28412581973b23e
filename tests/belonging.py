"""An office in which there is something of every kind that a person owns, to be moved."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sortingoffice import config
from sortingoffice.core import evidence, model, names, notification, writers
from sortingoffice.core.model import DeliveryState, Direction
from sortingoffice.flows import disclose, sealed, vault
from sortingoffice.flows.office import Office
from sortingoffice.flows.sealed import Seal
from sortingoffice.mail.message import Message
from sortingoffice.store import accounts, belongings, relationships
from sortingoffice.store.database import Transaction
from tests.desk import assigned
from tests.person import Person, said

SEAL = Seal("four quiet grey owls")


@pytest.fixture(scope="module")
def full(furnished: Path, tmp_path_factory: pytest.TempPathFactory) -> Person:
    """A copy of the office with all that; the tests only look."""
    folder = tmp_path_factory.mktemp("full") / "person"
    shutil.copytree(furnished, folder)
    person = Person(folder)
    person.out("new", "Lamp Shop", "--site", "lampshop.example", "--note", "=2+3")
    person.out("new", "Kaffeerösterei Müller", "--kind", "person", "--max", "7")
    person.out("new", "Books")
    person.out("rotate", "lamp-shop")
    person.out("revoke", "books")
    person.out("pause", "kaffeerosterei-muller")
    person.out("pocket", "2")
    person.out("contact", "lamp-shop", "orders@lampshop.example")
    person.out("admin", "account", "set", "--trigger", "karte")
    person.out("admin", "mailbox", "add", "anna@work.example", "--identity")
    person.out(
        "card", "set", "shipping.city=Berlin", "shipping.street=Lindenallee 5", "phone.mobile=+493012345"
    )
    person.out("card", "set", "shipping.city=Hamburg", "--from", "2036-12-01")
    person.out("card", "set", "bank.iban=DE89370400440532013000", "--sensitivity", "sensitive")
    person.out("card", "set", "old.thing=x", "--type", "text")
    person.out("card", "remove", "old")
    person.out("card", "view", "min=shipping.city,phone.mobile")
    person.out("grant", "lamp-shop", "shipping", "--fields", "city", "--until", "2036-01-01", "--uses", "3")
    person.out("disclosed", "lamp-shop", "phone", "--via", "web-form", "--purpose", "-1+2")
    with person.office() as office:
        office.db.call(_filled, office)
    return person


@pytest.fixture(scope="module")
def file(full: Person, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `export` makes of it."""
    path = tmp_path_factory.mktemp("file") / "everything.json"
    full.out("export", path)
    return path


def _filled(tx: Transaction, office: Office) -> None:
    """What only mail brings about."""
    account = accounts.the_only(tx)
    sealed.set_fields(tx, office, account, assigned(["id.number=C01X00T47"]), SEAL, actor="test")
    of = relationships.find(tx, account.id, "lamp-shop")
    now = office.clock()
    planted = Message.parse(b"Subject: x\r\n\r\n#karte shipping street\r\n")
    disclose.remember_inbound(tx, office, of, planted, now)
    contact = belongings.of(tx, model.Contact, account.id)[0]
    add = belongings.add
    add(tx, model.Reference(0, of.id, "<a@home.example>", "<b@lampshop.example>", now))
    add(tx, writers.Writer(0, of.id, "vendor", "lampshop.example", "", 3, now, now, "tok", False, None))
    add(tx, names.PrivateName(0, account.id, names.Mark.NAME, "Xaver Quux"))
    kept: dict[str, Any] = {each.name: "" for each in fields(evidence.Evidence)}
    kept |= {"id": 0, "account_id": account.id, "relationship_id": of.id, "at": now, "records": "{}"}
    add(tx, evidence.Evidence(**(kept | {"guesses": 1, "live": 2, "size": 3, "raw": b"\x00\xff octets"})))
    message = add(tx, letter(account.id, of.id, "moved1", now))
    for state in (DeliveryState.DELIVERED, DeliveryState.RETURNED):
        add(tx, delivery(message, contact.id, state, now))
    version = belongings.of(tx, model.FieldVersion, account.id)[0]
    line = model.Disclosure(
        0, account.id, of.id, contact.id, None, message.id, now, "text", model.Via.DIRECTIVE, ""
    )
    line = add(tx, line)
    keys = vault.open_for(office, account)
    closed = keys.seal(keys.item(line.id, "shipping", "city"), "Berlin")
    add(tx, model.DisclosureItem(0, line.id, "shipping", "city", version.id, closed, b"m" * 16))
    told = notification.Notification(0, account.id, of.id, message.id, "shipping", now, now, None, None)
    add(tx, told)


def letter(account_id: int, relationship_id: int, token: str, now: datetime) -> model.SpooledMessage:
    return model.SpooledMessage(
        id=0,
        token=token,
        direction=Direction.OUTWARD,
        account_id=account_id,
        relationship_id=relationship_id,
        sender="anna@home.example",
        origin="",
        results="",
        fingerprint=None,
        rule="sent_as_alias",
        subject="Lamp",
        bulk=False,
        authenticated=True,
        utf8=False,
        size=3,
        accepted=now,
        raw=b"",
    )


def delivery(
    message: model.SpooledMessage, contact_id: int, state: DeliveryState, now: datetime
) -> model.Delivery:
    return model.Delivery(
        id=0,
        message_id=message.id,
        account_id=message.account_id,
        relationship_id=message.relationship_id,
        contact_id=contact_id,
        recipient="orders@lampshop.example",
        destination="lampshop.example",
        return_domain="sort.example",
        state=state,
        reason="",
        attempts=1,
        due=now,
        expires=now,
        delay_told=False,
        lease_node="",
        lease_until=None,
        last_reply="250 ok",
        created=now,
        ended=now,
    )


def another(folder: Path, domain: str = "sort.example") -> Person:
    """A fresh office with keys of its own."""
    answer = said(
        "--config", folder / config.FILE_NAME, "init", "--domain", domain, "--mailbox", "anna@home.example"
    )
    assert answer.status == 0, answer
    return Person(folder)


def parsed(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text())
    assert isinstance(found, dict)
    return found
