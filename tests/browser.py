"""A person's browser: Debian's Chromium, driven by playwright, at the pages of an office in this process."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    Playwright,
    ViewportSize,
    expect,
    sync_playwright,
)

from sortingoffice import config, listening
from sortingoffice.cli.stage import free_port
from sortingoffice.core.model import DeliveryState
from sortingoffice.flows import office as offices
from sortingoffice.flows import signin
from sortingoffice.flows.office import Office
from sortingoffice.store import accounts, spool
from sortingoffice.values import Endpoint
from sortingoffice.web import app
from tests.database import skip_or_fail
from tests.person import DOMAIN, MAILBOX, Person
from tests.web import arrives

PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1280, "height": 900}
PATIENCE = 45_000  # ms that a page may take on a busy machine
expect.set_options(timeout=PATIENCE)
_QUIET = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-sandbox",
]


@dataclass
class Pages:
    """The running pages: where they are, and the office behind them."""

    person: Person
    office: Office
    base: str

    def signed_in(self, context: BrowserContext) -> None:
        """Give the browser a session, as a followed link would."""
        with self.person.office() as office:
            secret = office.db.call(
                lambda tx: signin.begin(tx, office, accounts.the_only(tx), device="a test", how="link")
            )
        context.add_cookies([{"name": "session", "value": secret, "url": self.base, "httpOnly": True}])

    def mailed_link(self) -> str:
        """The link in the latest mail with one; it is written after the page has answered."""
        end = time.monotonic() + PATIENCE / 1000
        while True:
            with self.person.office() as office:
                waiting = [each.message.id for each in office.db.view(spool.queue)]
                mails = [office.db.view(spool.by_id, each) for each in waiting]
            for mail in mails:
                found = re.search(rb"(http://\S+/signin/\w+)", mail.raw) if mail is not None else None
                if found is not None:
                    return found[1].decode()
            assert time.monotonic() < end, "no mail with a link"
            time.sleep(0.05)

    def state(self, slug: str) -> str:
        return str(self.person.json("show", slug)["state"])

    def fresh(self, name: str, *options: str) -> str:
        """A relationship of a test's own; its slug."""
        return str(json.loads(self.person.out("new", name, *options, "--json"))["relationship"])


def pressed(button: Locator) -> None:
    """Press what leads to another page, and wait for that page."""
    with button.page.expect_navigation():
        button.click()


@contextmanager
def running(person: Person) -> Iterator[Pages]:
    """The pages on a port of their own, at http://localhost, in a thread."""
    port = free_port()
    base = f"http://localhost:{port}"
    text = person.config.read_text()
    person.config.write_text(f'{text}\n[http]\nlisten = "127.0.0.1:{port}"\nbase_url = "{base}"\n')
    office = offices.open(config.load(person.config), "web")
    started, loop = threading.Event(), asyncio.new_event_loop()
    servers: list[app.Server] = []

    async def start() -> None:
        door = listening.opened_for_http(Endpoint("127.0.0.1", port), "http")
        servers.append(await app.serve(lambda: office, door))
        started.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert started.wait(20)
    try:
        yield Pages(person, office, base)
    finally:
        asyncio.run_coroutine_threadsafe(servers[0].stop(), loop).result(20)
        asyncio.run_coroutine_threadsafe(office.settled(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()
        office.db.close()


def furnish(person: Person) -> None:
    """An office in which something happened already."""
    person.out("new", "Lamp Shop", "--site", "lampshop.example", "--note", "for the desk")
    person.out("new", "Book Club", "--kind", "club")
    person.out("new", "City Library", "--site", "library.example", "--kind", "authority")
    person.out("new", "Old Newsletter", "--site", "news.example")
    person.out("pocket", "1")
    person.out(
        "card", "set", "shipping.name=Anna Adler", "shipping.street=Lange Gasse 1", "shipping.city=Berlin"
    )
    person.out("card", "set", "phone.mobile=+49 30 901820")
    person.out("card", "set", "id.passport=C01X00T47", "--sensitivity", "sensitive")
    person.out("card", "view", "town=shipping.city")
    person.out("grant", "lamp-shop", "shipping", "--purpose", "delivery")
    person.out("disclosed", "lamp-shop", "shipping", "--via", "web-form")
    person.out("disclosed", "city-library", "phone", "--via", "paper")
    person.out("card", "set", "shipping.street=Neue Straße 2")
    person.out("contact", "lamp-shop", "orders@lampshop.example")
    person.out("contact", "lamp-shop", "news@mailer.example")
    for _ in range(5):
        person.spooled("lamp-shop", DeliveryState.DELIVERED)
    person.spooled("lamp-shop", DeliveryState.DELIVERED, outward=True)
    person.spooled("lamp-shop", DeliveryState.HELD, reason="stranger_held")
    person.spooled("city-library", DeliveryState.DELIVERED)
    arrives(person, "lamp-shop", "deals@spam.example", "You won")
    arrives(person, "city-library", "news@mailer.example", "Read more")
    person.out("pause", "book-club")
    person.out("revoke", "old-newsletter")
    person.out("admin", "token", "new", "--label", "Bitwarden on my phone")
    person.out("admin", "password", "new", "--label", "Thunderbird")


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as made:
        yield made


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """Debian's Chromium; skipped by name where it is not installed."""
    path = shutil.which("chromium")
    if path is None:
        skip_or_fail("Chromium (Debian's package chromium)")
        return
    browser = playwright.chromium.launch(executable_path=path, args=_QUIET)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def pages(furnished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """A furnished office's pages, one per file of tests."""
    folder = tmp_path_factory.mktemp("pages") / "office"
    shutil.copytree(furnished, folder)
    person = Person(folder)
    furnish(person)
    with running(person) as made:
        yield made


@pytest.fixture
def tab(chromium: Browser, pages: Pages) -> Iterator[Page]:
    """A signed-in tab at phone width."""
    context = chromium.new_context(viewport=PHONE)
    pages.signed_in(context)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    yield page
    context.close()


__all__ = ["DESK", "DOMAIN", "MAILBOX", "PHONE", "Pages", "timedelta"]
