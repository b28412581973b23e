"""The own API for what is a person's own: devices, settings, contacts by mail, files in and out, notices."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import httpx
import pytest

from sortingoffice.flows import signin
from sortingoffice.mail import vcard
from sortingoffice.store import accounts
from tests.test_web_signin import HERE, signed_in
from tests.web import Site, arrives

AT = "/api/office"


VCARD = "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Anna Adler\r\nN:Adler;Anna;;;\r\nX-ODD:1\r\nEND:VCARD\r\n"


async def ok(client: httpx.AsyncClient, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    answer = await client.request(method, AT + path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


@pytest.fixture
async def client(site: Site) -> httpx.AsyncClient:
    return site.client(site.token())


async def test_sessions_are_listed_ended_one_by_one_and_all_at_once(
    site: Site, client: httpx.AsyncClient
) -> None:
    tabs = [await signed_in(site) for _ in range(3)]
    rows = await ok(client, "GET", "/sessions")
    assert [each["how"] for each in rows] == ["link"] * 3
    await ok(client, "DELETE", f"/sessions/{rows[0]['id']}", status=204)
    assert [(await tab.get("/new")).status_code for tab in tabs].count(303) == 1
    await ok(client, "DELETE", f"/sessions/{rows[0]['id']}", status=404)
    await ok(client, "DELETE", "/sessions", status=204)
    assert [(await tab.get("/new")).status_code for tab in tabs] == [303] * 3
    assert await ok(client, "GET", "/sessions") == []


async def test_a_session_of_somebody_else_can_t_be_ended(site: Site, client: httpx.AsyncClient) -> None:
    site.person.out("admin", "account", "add", "bert", "--mailbox", "bert@else.example")
    theirs = site.office.db.call(
        lambda tx: signin.begin(
            tx, site.office, accounts.by_name(tx, "bert") or accounts.the_only(tx), device="b", how="link"
        )
    )
    for number in range(1, 9):
        await client.request("DELETE", f"{AT}/sessions/{number}")
    tab = site.client(cookies={"session": theirs})
    assert (await tab.get("/new", headers=HERE)).status_code == 200


async def test_the_word_that_asks_is_changed_by_the_api(client: httpx.AsyncClient) -> None:
    assert (await ok(client, "PATCH", "/account", {"trigger": "karte"}))["trigger"] == "karte"
    assert (await ok(client, "GET", "/account"))["trigger"] == "karte"
    await ok(client, "PATCH", "/account", {"trigger": "no good word"}, status=409)


async def test_the_by_mail_contacts_and_the_address_book(client: httpx.AsyncClient) -> None:
    before = await ok(client, "GET", "/contacts")
    assert before["new_address"].startswith("new.")
    after = await ok(client, "POST", "/contacts/renew")
    assert after != before
    assert await ok(client, "GET", "/contacts") == after
    book = await client.get(AT + "/contacts.vcf")
    assert book.headers["Content-Type"].startswith("text/vcard")
    assert vcard.parse(book.content)[0][2].text == after["new_address"]


async def test_files_are_downloads_that_run_nothing(site: Site, client: httpx.AsyncClient) -> None:
    made = await ok(client, "POST", "/relationships", {"name": "Lamp Shop", "site": "lampshop.example"}, 201)
    arrives(site.person, "lamp-shop", "deals@spam.example")
    for path in (
        "/relationships/lamp-shop/qr.svg",
        "/export/everything.json",
        "/export/addresses.csv",
        "/leaks/lamp-shop/report.zip",
    ):
        answer = await client.get(AT + path)
        assert answer.status_code == 200, path
        assert answer.headers["Content-Disposition"] == "attachment"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
    everything = json.loads((await client.get(AT + "/export/everything.json")).content)
    assert made["alias"] in json.dumps(everything)
    assert made["alias"] in (await client.get(AT + "/export/addresses.csv")).text
    packed = zipfile.ZipFile(io.BytesIO((await client.get(AT + "/leaks/lamp-shop/report.zip")).content))
    assert packed.testzip() is None


async def test_papers_are_given_and_taken(site: Site, client: httpx.AsyncClient) -> None:
    await ok(client, "POST", "/relationships", {"name": "Lamp Shop", "site": "lampshop.example"}, 201)
    taken = await ok(
        client,
        "POST",
        "/vcards",
        {"text": VCARD},
    )
    assert taken["taken"]
    assert taken["left_out"]
    card = taken["taken"][0]["card"]
    for form, begin in (
        ("card.vcf", "VERSION:3.0"),
        ("card4.vcf", "VERSION:4.0"),
        ("card.json", '"version"'),
    ):
        answer = await client.get(f"{AT}/cards/{card}/{form}")
        assert answer.status_code == 200, form
        assert begin in answer.text
        assert "Adler" in answer.text
    site.person.out("disclosed", "lamp-shop", card, "--via", "paper")
    receipt = await client.get(f"{AT}/relationships/lamp-shop/receipt.json")
    assert "Adler" not in receipt.text
    assert receipt.json()["consent_record"]["disclosures"]
    assert "Adler" in (await client.get(f"{AT}/relationships/lamp-shop/receipt.json?values=true")).text
    site.person.out("card", "set", f"{card}.{taken['taken'][0]['field']}=Another")
    packed = zipfile.ZipFile(io.BytesIO((await client.get(f"{AT}/cards/{card}/letters.zip")).content))
    assert packed.namelist() == ["letters/lamp-shop.html"]
    assert await ok(client, "POST", f"/cards/{card}/notify/again") == []
    assert (await client.get(f"{AT}/relationships/nobody/receipt.json")).status_code == 404
    assert (await client.get(f"{AT}/cards/nothing/card.vcf")).status_code == 404


async def test_strangers_leaks_and_slips_are_told(site: Site, client: httpx.AsyncClient) -> None:
    await ok(client, "POST", "/relationships", {"name": "Lamp Shop", "site": "lampshop.example"}, 201)
    arrives(site.person, "lamp-shop", "deals@spam.example")
    [stranger] = await ok(client, "GET", "/strangers?relationship=lamp-shop")
    assert (stranger["identity"], stranger["class"], stranger["word"]) == (
        "spam.example",
        "authenticated stranger",
        "",
    )
    await ok(client, "POST", "/relationships/lamp-shop/refuse", {"sender": "spam.example"})
    assert [each["word"] for each in await ok(client, "GET", "/strangers")] == ["no"]
    [leak] = await ok(client, "GET", "/leaks")
    assert leak["odds_one_in"] > 10**6
    assert await ok(client, "GET", "/rejects") == []
    slip = {"address": "never@sort.example", "relationship": "lamp-shop"}
    await ok(client, "POST", "/rejects/accept", slip, status=404)


async def test_another_office_s_export_is_planned_and_then_moved_in(client: httpx.AsyncClient) -> None:
    text = "alias,note,enabled\nold.one@simplelogin.example,Used on shop.example,true\n"
    [planned] = await ok(client, "POST", "/import", {"text": text})
    assert (planned["what"], planned["alias"]) == ("new", "")
    assert await ok(client, "GET", "/relationships") == []
    [done] = await ok(client, "POST", "/import", {"text": text, "dry_run": False})
    assert done["alias"].endswith("@sort.example")
    [made] = await ok(client, "GET", "/relationships")
    assert (made["site"], made["alias"]) == ("shop.example", done["alias"])
    await ok(client, "POST", "/import", {"text": "nothing at all"}, status=409)


async def test_a_change_is_announced_by_a_plan_first(site: Site, client: httpx.AsyncClient) -> None:
    await ok(client, "POST", "/relationships", {"name": "Lamp Shop", "site": "lampshop.example"}, 201)
    site.person.out("contact", "lamp-shop", "orders@lampshop.example")
    await ok(client, "PATCH", "/cards/phone", {"values": {"mobile": "+49 30 901820"}})
    await ok(client, "POST", "/relationships/lamp-shop/disclosures", {"card": "phone"}, 201)
    await ok(client, "PATCH", "/cards/phone", {"values": {"mobile": "+49 30 901821"}})
    [step] = await ok(client, "POST", "/cards/phone/notify", {})
    assert (step["how"], step["to"], step["fields"][0]["new"]) == (
        "mail",
        "orders@lampshop.example",
        "+4930901821",
    )
    assert await site.office.db.read(_waiting) == 0
    await ok(client, "POST", "/cards/phone/notify", {"dry_run": False})
    assert await site.office.db.read(_waiting) == 1


def _waiting(tx: Any) -> int:
    from sortingoffice.store import spool

    return len(spool.queue(tx))


async def test_explain_tells_of_own_addresses_only(site: Site, client: httpx.AsyncClient) -> None:
    made = await ok(client, "POST", "/relationships", {"name": "Lamp Shop", "site": "lampshop.example"}, 201)
    told = await ok(client, "GET", f"/explain?from=orders@lampshop.example&to={made['alias']}")
    assert told["decision"] == "accept"
    assert told["reply"].startswith("250 2.")
    site.person.out("admin", "account", "add", "bert", "--mailbox", "bert@else.example")
    theirs = site.person.out("--account", "bert", "new", "Secret Shop")
    for to in (theirs, "nobody@sort.example", "", "x"):
        await ok(client, "GET", f"/explain?from=a@b.example&to={to}", status=404)


async def test_what_was_typed_into_the_form_is_written_down(client: httpx.AsyncClient) -> None:
    await ok(client, "PATCH", "/cards/phone", {"values": {"mobile": "+49 30 901820"}})
    await ok(client, "POST", "/relationships", {"name": "Shop", "gave": ["phone"]}, 201)
    assert [each["relationship"] for each in await ok(client, "GET", "/who-has/phone")] == ["shop"]
