"""A person's office seen through its HTTP door: the application in this process, and clients for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from sortingoffice import config
from sortingoffice.core.model import Envelope, Peer
from sortingoffice.flows import office as offices
from sortingoffice.flows import overview, receive
from sortingoffice.flows.arrival import Arrival
from sortingoffice.flows.office import Office
from sortingoffice.mail.address import parse
from sortingoffice.mail.message import Message
from sortingoffice.store import accounts
from sortingoffice.web.app import application
from tests.database import Cluster
from tests.person import DOMAIN, MAILBOX, Person

ORIGIN = "https://office.example"


def arrives(
    person: Person,
    slug: str,
    sender: str,
    subject: str = "hello",
    *,
    html: str = "",
    name: str = "",
    fields: str = "",
) -> None:
    """A mail to a relationship's address, its author proved, as the SMTP door takes it."""
    who = parse(sender)
    with person.office() as office:
        shown = office.db.view(lambda tx: overview.named(tx, office, accounts.the_only(tx), slug))
        alias = parse(shown["alias"])
        assert who is not None
        assert alias is not None
        kind = "text/html" if html else "text/plain"
        raw = (
            f'From: "{name or "Somebody"}" <{sender}>\r\nTo: {alias}\r\nSubject: {subject}\r\n'
            f"Message-ID: <{office.random(8).hex()}@{sender.rpartition('@')[2]}>\r\n"
            f"{fields}Content-Type: {kind}; charset=utf-8\r\n\r\n{html or 'hello'}\r\n"
        ).encode()
        arrival = Arrival(
            Peer("192.0.2.9"),
            Envelope(who, (alias,)),
            Message.parse(raw),
            len(raw),
            receive.proved(who),
            f"by-{sender.partition('@')[0]}-{len(raw)}-{office.random(4).hex()}",
            office.clock(),
        )
        office.db.call(receive.accept, office, arrival)


@dataclass
class Site:
    """The application, the office behind it, and its clock, which a test may put forward."""

    person: Person
    office: Office
    later: timedelta = timedelta()
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    def __post_init__(self) -> None:
        clock = self.office.clock
        self.office = replace(self.office, clock=lambda: clock() + self.later)
        self.app = application(lambda: self.office)

    def token(self, *options: str) -> str:
        return self.person.out("admin", "token", "new", *options)

    def client(self, token: str = "", *, dialect: str = "simplelogin", **options: Any) -> httpx.AsyncClient:
        """A client that shows its token in the way of a dialect."""
        shown = (
            {"Authentication": token} if dialect == "simplelogin" else {"Authorization": f"Bearer {token}"}
        )
        made = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app, client=options.pop("peer", ("192.0.2.7", 4711))),
            base_url=ORIGIN,
            headers=(shown if token else {}) | options.pop("headers", {}),
            **options,
        )
        self.clients.append(made)
        return made


@asynccontextmanager
async def opened(person: Person) -> AsyncIterator[Site]:
    office = offices.open(config.load(person.config), "web")
    site = Site(person, office)
    try:
        yield site
    finally:
        for client in site.clients:
            await client.aclose()
        office.db.close()


@pytest.fixture
async def site(person: Person) -> AsyncIterator[Site]:
    async with opened(person) as made:
        yield made


@pytest.fixture
async def postgresql_site(postgresql: Cluster, tmp_path: Path) -> AsyncIterator[Site]:
    """The same on PostgreSQL."""
    name = postgresql.fresh()
    person = Person(tmp_path / "person")
    person.folder.mkdir()
    person.config.write_text(f'hostname = "mx.{DOMAIN}"\ndatabase = "{postgresql.url(name)}"\n')
    answer = person.says("init", "--domain", DOMAIN, "--mailbox", MAILBOX)
    assert answer.status == 0, answer
    async with opened(person) as made:
        yield made
    postgresql.give_back(name)
