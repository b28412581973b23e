"""A person's office seen through its HTTP door: the application in this process, and clients for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from sortingoffice import config
from sortingoffice.flows import office as offices
from sortingoffice.flows.office import Office
from sortingoffice.web.app import application
from tests.person import Person

ORIGIN = "https://office.example"


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
