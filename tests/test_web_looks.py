"""What the pages look like in a real browser: they fit, are accessible, and work by thumb, by keyboard and
without scripts, in the light and the dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.browser import DESK, PATIENCE, PHONE, Pages
from tests.database import skip_or_fail

PATHS = [
    "/",
    "/?search=nothing-fits",
    "/?state=revoked",
    "/new",
    "/new?site=lampshop.example",
    "/r/lamp-shop",
    "/r/old-newsletter",
    "/r/book-club",
    "/cards",
    "/cards/shipping?reveal=yes",
    "/cards/town",
    "/cards/shipping/tell",
    "/held",
    "/held/ONE",
    "/ledger",
    "/ledger?what=phone",
    "/devices",
    "/settings",
    "/strangers",
    "/leaks",
    "/log",
    "/r/nobody",
    "/signin",
]
AXE = Path(".venv/axe/node_modules/axe-core/axe.min.js")


@pytest.fixture(params=["phone-light", "desk-dark"])
def any_tab(request: pytest.FixtureRequest, chromium: Browser, pages: Pages) -> Iterator[Page]:
    """A signed-in tab of either width, in either scheme."""
    width, _, scheme = request.param.partition("-")
    size: ViewportSize = PHONE if width == "phone" else DESK
    context = chromium.new_context(viewport=size, color_scheme="dark" if scheme == "dark" else "light")
    pages.signed_in(context)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    yield page
    context.close()


def _there(page: Page, pages: Pages, path: str) -> None:
    if path == "/held/ONE":
        page.goto(pages.base + "/held")
        page.locator(".row .name").first.click()
    else:
        page.goto(pages.base + path)


@pytest.mark.parametrize("path", PATHS)
def test_a_page_fits_its_screen_and_is_accessible(any_tab: Page, pages: Pages, path: str) -> None:
    if not AXE.exists():
        skip_or_fail("axe-core (npm install --prefix .venv/axe axe-core@4)")
    complaints: list[str] = []
    any_tab.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    any_tab.on("pageerror", lambda error: complaints.append(str(error)))
    if path == "/signin":
        any_tab.context.clear_cookies()
    _there(any_tab, pages, path)
    expect(any_tab.locator("h1")).to_be_visible()
    if path == "/r/nobody":
        complaints = [each for each in complaints if "404" not in each]
    assert complaints == []
    assert any_tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
        "nothing lies beside the screen"
    )
    any_tab.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    any_tab.evaluate(AXE.read_text())
    found: Any = any_tab.evaluate("axe.run()")
    serious = [
        f"{each['id']}: {each['nodes'][0]['html'][:160]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_a_long_word_is_broken_on_the_smallest_phone(chromium: Browser, pages: Pages) -> None:
    site, name = f"{'a' * 60}.{'b' * 60}.example", "W" * 120
    slug = pages.fresh(name, "--site", site, "--note", "n" * 300)
    pages.person.out("contact", slug, f"{'c' * 50}@{site}")
    pages.person.out("card", "set", f"long.value={'V' * 300}")
    pages.person.out("disclosed", slug, "long", "--via", "paper")
    context = chromium.new_context(viewport={"width": 320, "height": 640})
    pages.signed_in(context)
    page = context.new_page()
    for path in ("/", f"/r/{slug}", f"/new?site={site}", "/cards/long?reveal=yes", "/ledger", "/log"):
        page.goto(pages.base + path)
        assert page.evaluate("document.documentElement.scrollWidth") == 320, path
    context.close()


# ---- without a mouse, without a script -----------------------------------------------------------


def test_an_address_is_made_with_the_keyboard_alone(tab: Page, pages: Pages) -> None:
    tab.goto(pages.base + "/")
    tab.keyboard.press("Tab")
    expect(tab.get_by_role("link", name="To the content")).to_be_focused()
    for _ in range(12):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.textContent").strip() == "New address":
            break
    tab.keyboard.press("Enter")
    expect(tab.get_by_label("Who is it for?")).to_be_focused()
    tab.keyboard.type("By Keyboard")
    tab.keyboard.press("Enter")
    expect(tab.locator("#made")).to_be_visible()
    assert pages.person.json("list", "--search", "By Keyboard")


def test_what_has_the_focus_can_be_seen(tab: Page, pages: Pages) -> None:
    tab.goto(pages.base + "/r/lamp-shop")
    for _ in range(15):
        tab.keyboard.press("Tab")
        outline: Any = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"


def test_every_target_is_large_enough_for_a_thumb(tab: Page, pages: Pages) -> None:
    for path in ("/", "/r/lamp-shop", "/new", "/held", "/devices"):
        tab.goto(pages.base + path)
        small: Any = tab.evaluate(
            """[...document.querySelectorAll('button, select, input:not([type=hidden]), nav a')]
               .filter(e => e.getBoundingClientRect().height && e.getBoundingClientRect().height < 34)
               .map(e => e.outerHTML.slice(0, 90))"""
        )
        assert small == [], path


def test_the_pages_work_without_scripts(chromium: Browser, pages: Pages) -> None:
    context = chromium.new_context(viewport=PHONE, java_script_enabled=False)
    pages.signed_in(context)
    page = context.new_page()
    slug = pages.fresh("No Script")
    page.goto(pages.base + "/?search=No+Script")
    page.get_by_role("link", name="No Script").click()
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    assert pages.state(slug) == "revoked"
    context.close()


def test_a_script_that_got_into_a_page_would_not_run(tab: Page, pages: Pages) -> None:
    tab.goto(pages.base + "/")
    tab.evaluate(
        """() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';
                   document.body.append(s); document.body.insertAdjacentHTML('beforeend',
                   '<img src=x onerror="window.ran = 2">');
                   return new Promise(done => document.body.lastElementChild.addEventListener(
                       'error', () => setTimeout(done))); }"""
    )
    assert tab.evaluate("window.ran") is None
