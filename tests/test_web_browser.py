"""The pages in a real browser: every button does what it says."""

from __future__ import annotations

import csv
import io
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect

from sortingoffice.core.model import DeliveryState
from tests.browser import PHONE, Pages, pressed

# ---- addresses -----------------------------------------------------------------------------------


def test_a_new_address_is_made_and_copied(tab: Page, pages: Pages) -> None:
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.goto(pages.base + "/new?site=https://www.garden.example/sign-up")
    expect(tab.get_by_label("Their site")).to_have_value("garden.example")
    pressed(tab.get_by_role("button", name="Make it"))
    made = tab.locator("#made").inner_text()
    tab.get_by_role("button", name="Copy the new address").click()
    expect(tab.locator("#said")).to_contain_text("Copied")
    assert tab.evaluate("navigator.clipboard.readText()") == made
    assert pages.person.json("show", made)["site"] == "garden.example"


def test_a_new_address_with_everything(tab: Page, pages: Pages) -> None:
    tab.goto(pages.base + "/new")
    tab.get_by_label("Who is it for?").fill("Wine Merchant")
    tab.get_by_text("More", exact=True).click()
    tab.get_by_label("Begin it with").fill("wine")
    tab.get_by_label("Takes mail until").fill("2099-12-31")
    tab.get_by_label("Takes this many messages").fill("3")
    tab.get_by_label("Note").fill("red only")
    pressed(tab.get_by_role("button", name="Make it"))
    shown = pages.person.json("show", tab.locator("#made").inner_text())
    assert shown["alias"].startswith("wine.")
    assert (shown["max"], shown["note"], shown["until"][:10]) == (3, "red only", "2099-12-31")


def test_a_page_that_is_loaded_once_more_makes_no_second_address(tab: Page, pages: Pages) -> None:
    tab.goto(pages.base + "/new")
    tab.get_by_label("Who is it for?").fill("Only One")
    pressed(tab.get_by_role("button", name="Make it"))
    made = tab.locator("#made").inner_text()
    tab.reload()
    assert tab.locator("#made").inner_text() == made
    assert [each["alias"] for each in pages.person.json("list", "--search", "Only One")] == [made]


def test_a_form_is_not_sent_again_by_a_second_press(tab: Page, pages: Pages) -> None:
    tab.goto(pages.base + "/new")
    stopped: Any = tab.evaluate(
        """[1, 2].map(() => {
             const press = new SubmitEvent("submit", { bubbles: true, cancelable: true });
             document.forms[0].dispatchEvent(press);
             return press.defaultPrevented;
           })"""
    )
    assert stopped == [False, True]


def test_what_is_wrong_is_said_and_nothing_typed_is_lost(tab: Page, pages: Pages) -> None:
    tab.goto(pages.base + "/new")
    tab.get_by_label("Who is it for?").fill("Lost Shop")
    tab.get_by_label("Their site").fill("no site at all")
    pressed(tab.get_by_role("button", name="Make it"))
    expect(tab.get_by_role("alert")).to_contain_text("no site")
    expect(tab.get_by_label("Who is it for?")).to_have_value("Lost Shop")


def test_the_page_tells_of_an_address_that_is_there_for_the_site(tab: Page, pages: Pages) -> None:
    tab.goto(pages.base + "/new?site=lampshop.example")
    expect(tab.locator(".note")).to_contain_text(pages.person.json("show", "lamp-shop")["alias"])


def test_the_bookmarklet_opens_the_page_with_the_tab_s_site(tab: Page, pages: Pages) -> None:
    tab.goto(pages.base + "/new")
    target = tab.get_by_text("New address here").get_attribute("href")
    assert target is not None
    tab.goto("data:text/html,a vendor's page")
    tab.evaluate(target.removeprefix("javascript:").replace("location.hostname", "'www.vendor.example'"))
    tab.wait_for_url("**/new?site=www.vendor.example")
    expect(tab.get_by_label("Their site")).to_have_value("vendor.example")


def test_the_app_can_be_installed_and_takes_shared_pages(tab: Page, pages: Pages) -> None:
    tab.goto(pages.base + "/new")
    session = tab.context.new_cdp_session(tab)
    found: Any = session.send("Page.getAppManifest")
    assert found["errors"] == []
    manifest = json.loads(found["data"])
    assert manifest["start_url"] == "/new"
    errors: Any = session.send("Page.getInstallabilityErrors")
    assert errors["installabilityErrors"] in ([], [{"errorId": "in-incognito", "errorArguments": []}])
    tab.goto(pages.base + "/new?title=Lamps&text=Look:%20https://www.shared.example/lamp%20nice&url=")
    expect(tab.get_by_label("Their site")).to_have_value("shared.example")


def test_the_list_narrows_while_one_types_and_by_state(tab: Page, pages: Pages) -> None:
    pages.fresh("Narrow Gate")
    pages.fresh("Wide Gate")
    tab.goto(pages.base + "/")
    tab.get_by_role("searchbox").fill("narrow")
    expect(tab.get_by_role("link", name="Narrow Gate")).to_be_visible()
    expect(tab.get_by_role("link", name="Wide Gate")).to_be_hidden()
    pressed(tab.get_by_role("button", name="Search"))
    expect(tab.locator(".row")).to_have_count(1)
    tab.goto(pages.base + "/")
    tab.get_by_label("State").select_option("revoked")
    expect(tab.get_by_role("link", name="Old Newsletter")).to_be_visible()
    expect(tab.get_by_role("link", name="Wide Gate")).to_have_count(0)


def test_long_lists_have_pages(tab: Page, pages: Pages) -> None:
    pages.person.out("pocket", "60")
    tab.goto(pages.base + "/")
    expect(tab.get_by_text("looks through all")).to_be_hidden()
    tab.get_by_role("searchbox").fill("no such name")
    expect(tab.get_by_text("looks through all")).to_be_visible()
    tab.get_by_role("link", name="Older").click()
    expect(tab.locator(".quiet", has_text="in all")).to_be_visible()
    tab.get_by_role("link", name="Newer").click()
    expect(tab.locator(".row")).to_have_count(50)


# ---- one relationship ----------------------------------------------------------------------------


def test_revoking_takes_one_tap_and_is_undone_with_another(tab: Page, pages: Pages) -> None:
    slug = pages.fresh("One Tap")
    tab.goto(f"{pages.base}/r/{slug}")
    pressed(tab.get_by_role("button", name="Revoke"))
    expect(tab.get_by_role("status").first).to_contain_text("nothing arrives any more")
    assert pages.state(slug) == "revoked"
    pressed(tab.get_by_role("button", name="Undo"))
    expect(tab.get_by_role("status").first).to_contain_text("takes mail again")
    assert pages.state(slug) == "active"


def test_every_button_of_a_relationship_does_what_it_says(tab: Page, pages: Pages) -> None:
    slug = pages.fresh("All Buttons", "--site", "buttons.example")
    before = pages.person.json("show", slug)["alias"]
    here = f"{pages.base}/r/{slug}"
    tab.goto(here)

    def press(name: str) -> None:
        pressed(tab.get_by_role("button", name=name, exact=True))
        expect(tab.get_by_role("status").first).to_be_visible()

    press("Pause")
    assert pages.state(slug) == "muted"
    press("Resume")
    assert pages.state(slug) == "active"
    press("New address")
    expect(tab.locator(".big").first).not_to_have_text(before)
    assert [each["alias"] for each in pages.person.json("show", slug)["older_aliases"]] == [before]
    press("Close it properly")
    assert pages.state(slug) == "closing"
    press("Revoke")
    press("Restore")
    assert pages.state(slug) == "active"


def test_contacts_are_added_allowed_and_refused(tab: Page, pages: Pages) -> None:
    slug = pages.fresh("Contacts", "--site", "contacts.example")
    pages.person.out("contact", slug, "news@mailer.example")
    pages.person.out("contact", slug, "spam@spam.example")
    tab.goto(f"{pages.base}/r/{slug}")
    tab.get_by_label("Write to somebody there").fill("boss@contacts.example")
    pressed(tab.get_by_role("button", name="Get the address"))
    expect(
        tab.get_by_role("button", name="Copy the address to write to boss@contacts.example")
    ).to_be_visible()
    pressed(tab.get_by_role("button", name="Allow news@mailer.example"))
    pressed(tab.get_by_role("button", name="Refuse spam@spam.example"))
    expect(tab.locator("#contacts").locator("..")).to_contain_text("Turned away: spam.example")
    tab.get_by_label("Let another sender write to it").fill("partner.example")
    pressed(tab.get_by_role("button", name="Allow", exact=True))
    shown = pages.person.json("show", slug)
    assert shown["bindings"] == ["contacts.example", "mailer.example", "partner.example"]
    assert shown["refused"] == ["spam.example"]


def test_a_relationship_s_settings_are_saved(tab: Page, pages: Pages) -> None:
    slug = pages.fresh("Settings Shop")
    tab.goto(f"{pages.base}/r/{slug}")
    form = tab.locator(f"form[action='/r/{slug}/change']")
    form.get_by_label("Name", exact=True).fill("Renamed")
    form.get_by_label("Site").fill("renamed.example")
    form.get_by_label("Mail from others").select_option("lock")
    form.get_by_label("Images loaded from the net").select_option("pixels")
    form.get_by_label("“Unsubscribe” in your mail program").select_option("office")
    form.get_by_label("Name they see").fill("Anna A.")
    form.get_by_label("Until").fill("2099-01-01")
    form.get_by_label("Messages at most").fill("7")
    form.get_by_label("In the list").select_option("on")
    pressed(form.get_by_role("button", name="Save"))
    expect(tab.locator("h1")).to_contain_text("Renamed")
    shown = pages.person.json("show", slug)
    assert (shown["site"], shown["strangers"], shown["display_name"]) == (
        "renamed.example",
        "lock",
        "Anna A.",
    )
    assert (shown["max"], shown["until"][:10], shown["remote_images"]) == (7, "2099-01-01", "pixels")
    assert (shown["unsubscribe"], shown["pinned"]) == ("office", True)
    form.get_by_label("Until").fill("")
    form.get_by_label("Messages at most").fill("")
    expect(form.get_by_label("In the list")).to_have_value("on")
    form.get_by_label("In the list").select_option("")
    pressed(form.get_by_role("button", name="Save"))
    assert pages.person.json("show", slug)["pinned"] is False
    expect(tab.get_by_role("status").first).to_contain_text("Saved")
    shown = pages.person.json("show", slug)
    assert (shown["max"], shown["until"]) == (None, None)


def test_cards_are_permitted_taken_back_and_written_down(tab: Page, pages: Pages) -> None:
    slug = pages.fresh("Granted Shop")
    tab.goto(f"{pages.base}/r/{slug}")
    form = tab.locator(f"form[action='/r/{slug}/grant']")
    form.get_by_label("Permit or forbid a card").select_option("shipping")
    form.get_by_label("How").select_option("ask")
    form.get_by_label("Purpose").fill("delivery")
    form.get_by_label("On which terms").fill("https://granted.example/terms")
    pressed(form.get_by_role("button", name="Save"))
    expect(tab.locator("#holds").locator("..")).to_contain_text("ask me")
    link = tab.get_by_role("link", name="their terms")
    expect(link).to_have_attribute("href", "https://granted.example/terms")
    pressed(tab.get_by_role("button", name="Take back shipping"))
    expect(tab.locator("#holds").locator("..")).to_contain_text("No standing permission")
    tab.get_by_label("I gave them a card myself").select_option("phone")
    pressed(tab.get_by_role("button", name="Write it down"))
    expect(tab.locator("#holds").locator("..")).to_contain_text("phone.mobile")
    assert any(each["relationship"] == slug for each in pages.person.json("who-has", "phone"))


def test_the_qr_code_is_an_image_of_the_address(tab: Page, pages: Pages) -> None:
    tab.goto(pages.base + "/r/lamp-shop")
    tab.get_by_text("Show as a QR code").click()
    image = tab.get_by_role("img", name=re.compile("QR code of the address"))
    expect(image).to_be_visible()
    image.scroll_into_view_if_needed()
    assert image.evaluate("node => node.decode().then(() => node.naturalWidth)") > 50


# ---- cards, ledger, held -------------------------------------------------------------------------


def test_a_card_is_made_shown_and_removed(tab: Page, pages: Pages) -> None:
    tab.goto(pages.base + "/cards")
    tab.get_by_label("Card").fill("library")
    tab.get_by_label("Field").fill("member")
    tab.get_by_label("Value").fill("4711-0815")
    pressed(tab.get_by_role("button", name="Save"))
    expect(tab.locator("h1")).to_have_text("library")
    expect(tab.locator("main")).not_to_contain_text("4711-0815")
    tab.get_by_role("link", name="Show the values").click()
    expect(tab.locator("main")).to_contain_text("4711-0815")
    tab.locator("#field").fill("since")
    tab.locator("#value").fill("2020")
    tab.get_by_label("How sensitive is the card?").select_option("sensitive")
    pressed(tab.get_by_role("button", name="Save"))
    pressed(tab.get_by_role("button", name="Remove since"))
    pressed(tab.get_by_role("button", name="Remove this card"))
    expect(tab.get_by_role("status").first).to_contain_text("Removed")
    expect(tab.get_by_role("link", name="library", exact=True)).to_have_count(0)


def test_the_ledger_answers_who_has_my_phone(tab: Page, pages: Pages) -> None:
    tab.goto(pages.base + "/ledger")
    tab.get_by_label("Who has my").fill("phone")
    pressed(tab.get_by_role("button", name="Ask"))
    expect(tab.locator("#lines").locator("..")).to_contain_text("City Library")
    expect(tab.locator("#lines").locator("..")).not_to_contain_text("Lamp Shop")
    tab.get_by_label("Who has my").fill("shoe size")
    pressed(tab.get_by_role("button", name="Ask"))
    expect(tab.get_by_role("alert")).to_be_visible()


def test_the_map_shows_who_holds_an_old_value(tab: Page, pages: Pages) -> None:
    tab.goto(pages.base + "/ledger")
    row = tab.locator(".map tr", has_text="Lamp Shop")
    expect(row.get_by_role("img", name="has an old value")).to_have_count(1)
    expect(row.get_by_role("img", name="has it")).to_have_count(2)


def test_held_mail_is_let_in_or_dropped(tab: Page, pages: Pages) -> None:
    slug = pages.fresh("Held Shop")
    first = pages.person.spooled(slug, DeliveryState.HELD, reason="muted")
    second = pages.person.spooled(slug, DeliveryState.HELD, reason="muted", outward=True)
    tab.goto(f"{pages.base}/held/{second}")
    expect(tab.locator("main")).to_contain_text("Exactly what would leave")
    expect(tab.get_by_role("link", name="Held Shop")).to_be_visible()
    expect(tab.locator("pre.mail")).to_contain_text("Subject: Your lamp")
    pressed(tab.get_by_role("button", name="Send it"))
    expect(tab.get_by_role("status").first).to_contain_text("Sent")
    assert pages.person.delivery(second).state is DeliveryState.QUEUED
    tab.goto(f"{pages.base}/held/{first}")
    pressed(tab.get_by_role("button", name="Drop it"))
    expect(tab.get_by_role("status").first).to_contain_text("Dropped")
    assert pages.person.delivery(first).state is DeliveryState.DROPPED


# ---- the account ---------------------------------------------------------------------------------


def test_a_token_is_shown_once_works_and_is_revoked(tab: Page, pages: Pages) -> None:
    tab.goto(pages.base + "/devices")
    tab.get_by_label("A new token for").fill("My browser")
    pressed(tab.locator("form[action='/devices/tokens'] button"))
    secret = tab.locator("#shown").inner_text()
    asked = urllib.request.Request(f"{pages.base}/api/user_info", headers={"Authentication": secret})
    with urllib.request.urlopen(asked) as answer:
        assert json.load(answer)["name"] == "anna"
    tab.goto(pages.base + "/devices")
    assert secret not in tab.content()
    pressed(tab.get_by_role("button", name="Revoke the token My browser"))
    expect(tab.get_by_role("status").first).to_contain_text("Removed")
    assert "My browser" not in str(pages.person.json("admin", "token", "list"))


def test_an_app_password_is_made_and_revoked(tab: Page, pages: Pages) -> None:
    tab.goto(pages.base + "/devices")
    tab.get_by_label("A new app password for").fill("Desk")
    pressed(tab.locator("form[action='/devices/passwords'] button"))
    assert re.fullmatch(r"(\w{5}-){3}\w{5}", tab.locator("#shown").inner_text())
    pressed(tab.get_by_role("button", name="Revoke the app password Desk"))
    assert "Desk" not in str(pages.person.json("admin", "password", "list"))


def test_settings_add_a_mailbox_and_change_the_word(tab: Page, pages: Pages) -> None:
    tab.goto(pages.base + "/settings")
    tab.get_by_label("Add a mailbox").fill("second@home.example")
    pressed(tab.get_by_role("button", name="Ask it by mail"))
    expect(tab.locator("main")).to_contain_text("waits for your answer")
    tab.get_by_label("After the # in a reply").fill("karte")
    pressed(tab.locator("form[action='/settings/trigger'] button"))
    expect(tab.get_by_role("status").first).to_contain_text("Saved")
    pages.person.out("admin", "mailbox", "add", "third@home.example")
    tab.goto(pages.base + "/settings")
    expect(tab.get_by_label("After the # in a reply")).to_have_value("karte")
    tab.get_by_label("In the From of what they write").select_option("name")
    pressed(tab.locator("form[action='/settings/from'] button"))
    expect(tab.get_by_label("In the From of what they write")).to_have_value("name")
    pressed(tab.get_by_role("button", name="Make them a contact, too"))
    assert pages.person.json("admin", "account", "list")[0]["new_contacts"] is True
    pressed(tab.get_by_role("button", name="Let it come back"))
    assert pages.person.json("admin", "account", "list")[0]["new_contacts"] is False
    pressed(tab.get_by_role("button", name="Make it the usual one: third@home.example"))
    rows = {each["address"]: each["preferred"] for each in pages.person.json("admin", "mailbox", "list")}
    assert rows["third@home.example"] is True
    pressed(tab.get_by_role("button", name="Make it the usual one: anna@home.example"))


def test_everything_can_be_taken_along(tab: Page, pages: Pages) -> None:
    tab.goto(pages.base + "/settings")
    with tab.expect_download() as table:
        tab.get_by_role("link", name="addresses as CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(table.value.path()).read_text())))
    assert "Lamp Shop" in [row["name"] for row in rows]
    with tab.expect_download() as document:
        tab.get_by_role("link", name="everything as JSON").click()
    found = json.loads(Path(document.value.path()).read_text())
    assert "shipping" in [card["name"] for card in found["cards"]]
    assert "Berlin" in [version.get("value") for version in found["versions"]]


# ---- the door ------------------------------------------------------------------------------------


def test_signing_in_by_mail_in_a_browser(chromium: Browser, pages: Pages) -> None:
    context = chromium.new_context(viewport=PHONE)
    page = context.new_page()
    page.goto(pages.base + "/r/lamp-shop")
    page.get_by_label("Your mailbox").fill("anna@home.example")
    pressed(page.get_by_role("button", name="Mail me a link"))
    expect(page.get_by_role("status").first).to_contain_text("a link is on its way")
    page.goto(pages.mailed_link())
    pressed(page.get_by_role("button", name="Sign in"))
    expect(page.locator("h1")).to_contain_text("Lamp Shop")
    page.goto(pages.base + "/devices")
    pressed(page.get_by_role("button", name="Sign out here"))
    expect(page.get_by_label("Your mailbox")).to_be_visible()
    context.close()


def test_a_passkey_is_added_used_and_removed(chromium: Browser, pages: Pages) -> None:
    context = chromium.new_context(viewport=PHONE)
    pages.signed_in(context)
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    made: Any = session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    page.goto(pages.base + "/devices")
    page.get_by_role("button", name="Add a passkey for this device").click()
    expect(page.locator("#passkeys").locator("..")).to_contain_text("since")
    pressed(page.get_by_role("button", name="Sign out here"))
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.locator("h1")).to_have_text("Addresses")
    page.goto(pages.base + "/devices")
    expect(page.locator("#sessions").locator("..")).to_contain_text("by a passkey")
    pressed(page.get_by_role("button", name="Sign out here"))
    session.send(
        "WebAuthn.setUserVerified",
        {"authenticatorId": made["authenticatorId"], "isUserVerified": False},
    )
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.locator("#said")).to_contain_text("stopped")
    session.send(
        "WebAuthn.setUserVerified", {"authenticatorId": made["authenticatorId"], "isUserVerified": True}
    )
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.locator("h1")).to_have_text("Addresses")
    page.goto(pages.base + "/devices")
    pressed(page.get_by_role("button", name=re.compile("Remove the passkey")))
    pressed(page.get_by_role("button", name="Sign out here"))
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.locator("#said")).to_contain_text("opens nothing")
    context.close()
