"""The pages for a change of a card, and for names that no vendor may see."""

from __future__ import annotations

import io
import json
import re
import zipfile

import httpx
import pytest

from sortingoffice.store import spool
from tests.test_web_others import press
from tests.test_web_signin import signed_in
from tests.web import Site


@pytest.fixture
async def tab(site: Site) -> httpx.AsyncClient:
    """Signed in; two vendors hold an old value of the phone, one of whom has no address."""
    person = site.person
    person.out("new", "Lamp Shop", "--site", "lampshop.example")
    person.out("new", "Town Hall")
    person.out("contact", "lamp-shop", "orders@lampshop.example")
    person.out("card", "set", "phone.mobile=+49 30 901820")
    person.out("disclosed", "lamp-shop", "phone", "--via", "web-form")
    person.out("disclosed", "town-hall", "phone", "--via", "paper")
    person.out("card", "set", "phone.mobile=+49 30 901821")
    return await signed_in(site)


async def test_the_plan_is_shown_and_nothing_is_sent_by_looking(site: Site, tab: httpx.AsyncClient) -> None:
    before = len(await site.office.db.read(spool.queue))
    page = (await tab.get("/cards/phone/tell")).text
    assert "by mail to orders@lampshop.example" in page
    assert "+4930901820 → +4930901821" in page
    assert "Tell 1 vendor by mail" in page
    assert "Town Hall" in page
    assert len(await site.office.db.read(spool.queue)) == before


async def test_one_press_tells_each_vendor_once_and_shows_what_became_of_it(
    site: Site, tab: httpx.AsyncClient
) -> None:
    before = len(await site.office.db.read(spool.queue))
    for _ in range(2):
        assert (await press(tab, "/cards/phone/tell")).status_code == 303
    assert len(await site.office.db.read(spool.queue)) == before + 1
    page = (await tab.get("/cards/phone/tell")).text
    assert "Who was told" in page
    assert "Tell 1 vendor by mail" not in page
    assert (await press(tab, "/cards/phone/tell/again")).status_code == 303


async def test_letters_are_for_those_who_can_t_be_mailed(tab: httpx.AsyncClient) -> None:
    answer = await tab.get("/cards/phone/tell/letters.zip")
    assert answer.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert "letters/town-hall.html" in packed.namelist()
        assert "901821" in packed.read("letters/town-hall.html").decode()


async def test_a_consent_receipt_is_a_file_without_values(tab: httpx.AsyncClient) -> None:
    answer = await tab.get("/r/lamp-shop/receipt.json")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert "901820" not in json.dumps(answer.json())
    assert "mobile" in answer.text


@pytest.mark.parametrize(
    "path", ["/cards/nothing/tell", "/r/nobody/receipt.json", "/cards/nothing/tell/letters.zip"]
)
async def test_what_is_not_there_is_a_404(tab: httpx.AsyncClient, path: str) -> None:
    assert (await tab.get(path)).status_code == 404


async def test_a_name_is_kept_to_oneself_and_let_go(site: Site, tab: httpx.AsyncClient) -> None:
    assert (await press(tab, "/settings/names", mark="name", name="Anna Adler")).status_code == 303
    page = (await tab.get("/settings")).text
    assert re.search(r"<b>Anna Adler</b>", page)
    assert [each["name"] for each in site.person.json("names", "list")] == ["Anna Adler"]
    assert (await press(tab, "/settings/names", mark="nonsense", name="x")).status_code == 400
    assert (await press(tab, "/settings/names/remove", mark="name", name="Anna Adler")).status_code == 303
    assert site.person.json("names", "list") == []


async def test_names_and_notices_by_the_api(site: Site, tab: httpx.AsyncClient) -> None:
    client = site.client(site.token())
    made = await client.post("/api/office/names", json={"name": "Anna Adler"})
    assert made.status_code == 201, made.text
    assert [each["name"] for each in (await client.get("/api/office/names")).json()] == ["Anna Adler"]
    assert (await client.post("/api/office/names/remove", json={"name": "Anna Adler"})).status_code == 200
    assert (await client.get("/api/office/names")).json() == []
    states = (await client.get("/api/office/cards/phone/notices")).json()
    assert [each["state"] for each in states] == ["planned", "planned"]
