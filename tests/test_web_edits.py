"""What a form on a page saves: what was changed in it, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta

from playwright.sync_api import Page, expect

from sortingoffice.store import accounts, relationships
from sortingoffice.store.database import Transaction
from tests.browser import Pages, pressed


def _saved(tab: Page, slug: str, label: str, value: str) -> None:
    form = tab.locator(f"form[action='/r/{slug}/change']")
    form.get_by_label(label, exact=True).fill(value)
    pressed(form.get_by_role("button", name="Save"))
    expect(tab.get_by_role("status").first).to_contain_text("Saved")


def test_a_pocket_address_that_gets_a_note_still_waits_for_its_vendor(tab: Page, pages: Pages) -> None:
    [made] = json.loads(pages.person.out("pocket", "1", "--json"))
    slug = made["relationship"]
    tab.goto(f"{pages.base}/r/{slug}")
    _saved(tab, slug, "Note", "for the market")
    shown = pages.person.json("show", slug)
    assert (shown["state"], shown["note"]) == ("unbound", "for the market")
    _saved(tab, slug, "Name", "Market Stall")
    shown = pages.person.json("show", slug)
    assert (shown["state"], shown["name"]) == ("active", "Market Stall")


def test_an_end_stays_to_the_second_where_something_else_is_saved(tab: Page, pages: Pages) -> None:
    slug = pages.fresh("Ending Shop", "--until", "14d", "--max", "7", "--note", "öl & “co”")
    before = pages.person.json("show", slug)
    tab.goto(f"{pages.base}/r/{slug}")
    _saved(tab, slug, "Name they see", "Anna A.")
    assert pages.person.json("show", slug) == {**before, "display_name": "Anna A."}
    assert pages.person.events(slug)[-1] == "changed display_name"


def test_what_was_changed_elsewhere_meanwhile_stays(tab: Page, pages: Pages) -> None:
    slug = pages.fresh("Shared Shop", "--note", "old")
    tab.goto(f"{pages.base}/r/{slug}")
    pages.person.out("set", slug, "--strangers", "lock", "--note", "new", "--max", "9")
    _saved(tab, slug, "Site", "shared.example")
    shown = pages.person.json("show", slug)
    assert (shown["strangers"], shown["note"], shown["max"]) == ("lock", "new", 9)
    assert shown["site"] == "shared.example"


def _ended(tx: Transaction, slug: str, at: datetime) -> None:
    of = relationships.by_slug(tx, accounts.the_only(tx).id, slug)
    assert of is not None
    relationships.update(tx, replace(of, until=at))


def test_what_has_ended_can_still_be_noted(tab: Page, pages: Pages) -> None:
    slug = pages.fresh("Over Shop", "--until", "14d")
    with pages.person.office() as office:
        office.db.call(_ended, slug, office.clock() - timedelta(days=1))
    tab.goto(f"{pages.base}/r/{slug}")
    _saved(tab, slug, "Note", "they were kind")
    shown = pages.person.json("show", slug)
    assert (shown["state"], shown["note"]) == ("expired", "they were kind")


def test_a_form_is_not_sent_again_while_the_office_takes_its_time(tab: Page, pages: Pages) -> None:
    pressed_again = """async (form) => {
        const press = () => {
            const event = new SubmitEvent("submit", { bubbles: true, cancelable: true });
            form.dispatchEvent(event);
            return event.defaultPrevented;
        };
        const first = press();
        await new Promise((later) => setTimeout(later, 4000));
        return [first, press()];
    }"""
    tab.goto(pages.base + "/new")
    assert tab.locator("form[method=post]").first.evaluate(pressed_again) == [False, True]
    tab.goto(pages.base + "/")
    assert tab.locator("form[role=search]").evaluate(pressed_again) == [False, False], (
        "a look may be repeated"
    )
