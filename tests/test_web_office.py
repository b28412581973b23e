"""The own API does what the command line does, and tells it in the same words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from sortingoffice.core.model import DeliveryState
from sortingoffice.web.api import OPERATIONS
from tests.web import Site

AT = "/api/office"


async def _ok(client: httpx.AsyncClient, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    answer = await client.request(method, AT + path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


async def test_a_relationship_lives_its_life(site: Site) -> None:
    client = site.client(site.token())
    made = await _ok(client, "POST", "/relationships", {"name": "Lamp Shop", "site": "lampshop.example"}, 201)
    one = f"/relationships/{made['relationship']}"
    assert made["bindings"] == ["lampshop.example"]
    for step, state in (
        ("pause", "muted"),
        ("resume", "active"),
        ("revoke", "revoked"),
        ("restore", "active"),
    ):
        done = await _ok(client, "POST", f"{one}/{step}", {} if step in ("pause", "revoke") else None)
        assert (done["state"], done["changed"]) == (state, True)
    rotated = await _ok(client, "POST", f"{one}/rotate", status=201)
    assert [each["alias"] for each in rotated["older_aliases"]] == [made["alias"]]
    contact = await _ok(client, "POST", f"{one}/contacts", {"address": "orders@lampshop.example"}, 201)
    shown = await _ok(client, "GET", one)
    assert [each["reverse_alias"] for each in shown["contacts"]] == [contact["reverse_alias"]]
    assert await _ok(client, "GET", f"{one}/contacts") == shown["contacts"]
    log = [each["what"] for each in await _ok(client, "GET", f"{one}/log")]
    assert log[0] == "contact added"
    assert log[-1] == "issued"
    assert len(await _ok(client, "GET", f"{one}/log?limit=2&offset=1")) == 2


async def test_what_is_left_out_of_a_change_stays_and_null_lifts_a_limit(site: Site) -> None:
    client = site.client(site.token())
    until = (site.office.clock() + timedelta(days=9)).isoformat()
    made = await _ok(
        client, "POST", "/relationships", {"name": "Shop", "until": until, "max": 3, "note": "n"}, 201
    )
    one = f"/relationships/{made['relationship']}"
    changed = await _ok(client, "PATCH", one, {"strangers": "lock", "until": None})
    assert (changed["strangers"], changed["until"], changed["max"], changed["note"]) == ("lock", None, 3, "n")
    assert (await _ok(client, "PATCH", one, {"max": None}))["max"] is None
    assert (await _ok(client, "PATCH", one, {}))["changed"] is False


async def test_allow_and_refuse_bind_and_turn_away(site: Site) -> None:
    client = site.client(site.token())
    await _ok(client, "POST", "/relationships", {"name": "Shop"}, 201)
    allowed = await _ok(client, "POST", "/relationships/shop/allow", {"sender": "news@mailer.example"})
    assert allowed["bindings"] == ["mailer.example"]
    refused = await _ok(client, "POST", "/relationships/shop/refuse", {"sender": "spam.example"})
    assert refused["refused"] == ["spam.example"]


async def test_lists_are_searched_filtered_and_cut(site: Site) -> None:
    client = site.client(site.token())
    for name in ("Lamp Shop", "Book Shop", "Bank"):
        await _ok(client, "POST", "/relationships", {"name": name}, 201)
    await _ok(client, "POST", "/relationships/bank/revoke", {})

    async def names(query: str) -> list[str]:
        return [each["relationship"] for each in await _ok(client, "GET", f"/relationships?{query}")]

    assert await names("search=shop") == ["lamp-shop", "book-shop"]
    assert await names("state=revoked") == ["bank"]
    assert await names("limit=1&offset=1") == ["book-shop"]


async def test_cards_are_set_shown_granted_and_taken_back(site: Site) -> None:
    client = site.client(site.token())
    await _ok(client, "POST", "/relationships", {"name": "Shop"}, 201)
    rows = await _ok(client, "PATCH", "/cards/shipping", {"values": {"name": "Anna", "city": "Berlin"}})
    assert [(each["field"], each["version"]) for each in rows] == [("name", 1), ("city", 1)]
    veiled = await _ok(client, "GET", "/cards/shipping")
    assert "Anna" not in str(veiled)
    shown = await _ok(client, "GET", "/cards/shipping?reveal=true")
    assert [each["value"] for each in shown] == ["Anna", "Berlin"]
    assert (await _ok(client, "GET", "/cards"))[0]["fields"] == ["name", "city"]
    await _ok(client, "PUT", "/views/town", {"fields": ["shipping.city"]})
    wish = {"card": "shipping", "fields": ["name"], "terms": "Privacy policy 3"}
    await _ok(client, "POST", "/relationships/shop/grants", wish, 201)
    granted = await _ok(client, "GET", "/relationships/shop/grants")
    assert [(g["card"], g["terms"]) for g in granted] == [("shipping", "Privacy policy 3")]
    ended = await _ok(client, "DELETE", "/relationships/shop/grants/shipping")
    assert ended[0]["ended"] is not None
    given = {"card": "shipping", "via": "paper"}
    await _ok(client, "POST", "/relationships/shop/disclosures", given, 201)
    assert {each["field"] for each in await _ok(client, "GET", "/who-has/shipping")} == {"name", "city"}
    assert len(await _ok(client, "GET", "/disclosures?relationship=shop")) == 2
    await _ok(client, "DELETE", "/cards/shipping/name", status=204)
    await _ok(client, "DELETE", "/cards/shipping", status=204)


async def test_a_card_is_not_seen_by_a_token_for_addresses(site: Site) -> None:
    client = site.client(site.token("--scope", "relationships", "--scope", "new"))
    for path in ("/cards", "/cards/shipping", "/who-has/shipping", "/held", "/log", "/tokens", "/passwords"):
        assert (await client.get(AT + path)).status_code == 403, path


async def test_held_mail_is_shown_released_and_dropped(site: Site) -> None:
    client = site.client(site.token())
    site.person.out("new", "Lamp Shop")
    first = site.person.spooled("lamp-shop", DeliveryState.HELD, reason="muted")
    second = site.person.spooled("lamp-shop", DeliveryState.HELD, reason="muted")
    assert [each["id"] for each in await _ok(client, "GET", "/held")] == [second, first]
    shown = await _ok(client, "GET", f"/held/{first}")
    assert shown["text"].startswith("Subject: Your lamp")
    assert shown["from"] == "orders@lampshop.example"
    await _ok(client, "POST", f"/held/{first}/release")
    await _ok(client, "POST", f"/held/{second}/drop")
    assert site.person.delivery(first).state is DeliveryState.QUEUED
    assert site.person.delivery(second).state is DeliveryState.DROPPED
    await _ok(client, "POST", f"/held/{first}/release", status=404)
    (way, *_) = await _ok(client, "GET", f"/trace/{shown['message']}")
    assert way["deliveries"][0]["to"] == "anna@home.example"
    assert [each["address"] for each in await _ok(client, "GET", "/relationships/lamp-shop/mail")] == [
        "orders@lampshop.example",
        "orders@lampshop.example",
    ]


async def test_tokens_and_app_passwords_are_made_shown_once_and_revoked(site: Site) -> None:
    client = site.client(site.token())
    made = await _ok(client, "POST", "/tokens", {"label": "phone", "scopes": ["new"]}, 201)
    assert made["scopes"] == ["new"]
    assert "token" not in str((await _ok(client, "GET", "/tokens"))[1].keys())
    await _ok(client, "DELETE", f"/tokens/{made['id']}", status=204)
    assert (await site.client(made["token"]).get(AT + "/account")).status_code == 401
    password = await _ok(client, "POST", "/passwords", {"label": "phone"}, 201)
    assert password["password"].count("-") == 3
    (kept,) = await _ok(client, "GET", "/passwords")
    assert kept["label"] == "phone"
    await _ok(client, "DELETE", f"/passwords/{kept['id']}", status=204)
    assert await _ok(client, "GET", "/passwords") == []


@pytest.mark.parametrize("kind", ["tokens", "passwords"])
async def test_what_is_revoked_by_its_number_is_never_what_has_that_number_as_its_label(
    site: Site, kind: str
) -> None:
    client = site.client(site.token())

    async def kept() -> dict[str, int]:
        return {each["label"]: each["id"] for each in await _ok(client, "GET", f"/{kind}")}

    await _ok(client, "POST", f"/{kind}", {"label": "phone"}, 201)
    phone = (await kept())["phone"]
    for label in (str(phone), str(phone + 50)):
        await _ok(client, "POST", f"/{kind}", {"label": label}, 201)
    await _ok(client, "DELETE", f"/{kind}/{phone}", status=204)
    for number in (phone, phone + 50):  # pressed twice, and one that never was
        await _ok(client, "DELETE", f"/{kind}/{number}", status=404)
    assert set(await kept()) >= {str(phone), str(phone + 50)}
    noun = kind.removesuffix("s")
    assert site.person.says("admin", noun, "revoke", str(phone)).status == 1, "a number comes before a label"
    site.person.out("admin", noun, "revoke", str(phone + 50))
    assert set(await kept()) & {"phone", str(phone), str(phone + 50)} == {str(phone)}


async def test_a_token_gives_no_more_than_it_has(site: Site) -> None:
    client = site.client(site.token("--scope", "account", "--until", "9d"))
    refused = await client.post(AT + "/tokens", json={"scopes": ["account", "cards"]})
    assert refused.status_code == 403
    far = (site.office.clock() + timedelta(days=99)).isoformat()
    made = await _ok(client, "POST", "/tokens", {"expires": far}, 201)
    assert made["scopes"] == ["account"]
    assert made["expires"] < far


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
async def test_what_belongs_to_another_account_isn_t_there(site: Site, operation: Any) -> None:
    site.person.out("admin", "account", "add", "ben", "--mailbox", "ben@home.example")
    site.person.out("new", "Lamp Shop", "--account", "anna")
    site.person.out("card", "set", "shipping.city=Berlin", "--account", "anna")
    site.person.out("admin", "token", "new", "--account", "anna")
    number = 1  # of the first token and of the first held mail: both Anna's
    path = operation.path.replace("{relationship}", "lamp-shop").replace("{card}", "shipping")
    path = path.replace("{number:int}", str(number)).replace("{what}", "shipping").replace("{field}", "city")
    client = site.client(site.token("--account", "ben"))
    answer = await client.request(operation.method, AT + path.replace("{address}", "anna@home.example"))
    assert "lamp" not in answer.text.lower() or answer.status_code == 404
    assert "berlin" not in answer.text.lower()
    if "{" in operation.path and "{view}" not in operation.path and operation.takes is None:
        assert answer.status_code == 404, answer.text


async def test_a_wrong_request_names_what_is_wrong(site: Site) -> None:
    client = site.client(site.token())
    wrong: list[tuple[Any, str]] = [
        ({"name": 1}, "name"),
        ({}, "name"),
        ({"name": "x", "more": 1}, "more"),
        ({"name": "x", "max": 0}, "max"),
        ({"name": "x", "until": "tomorrow"}, "until"),
        ([], "body"),
        (None, "body"),
    ]
    for body, where in wrong:
        answer = await client.post(
            AT + "/relationships", json=body, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 422, body
        assert where in answer.json()["errors"]
    answer = await client.post(AT + "/relationships", data={"name": "x"})
    assert answer.status_code == 415


@pytest.mark.parametrize("path", ["/relationships?search=%00", "/who-has/a%00b", "/relationships/%00"])
async def test_a_nul_is_nobody_s_name(site: Site, path: str) -> None:
    answer = await site.client(site.token()).get(AT + path)
    assert answer.status_code == 404


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59"])
async def test_a_time_of_no_year_is_refused_and_the_lists_go_on(site: Site, moment: str) -> None:
    client = site.client(site.token())
    await _ok(client, "POST", "/relationships", {"name": "Shop"}, 201)
    card = {"values": {"city": "Berlin"}}
    await _ok(client, "PATCH", "/cards/shipping", card)
    one = "/relationships/shop"
    for method, path, body in (
        ("POST", "/relationships", {"name": "x", "until": moment}),
        ("PATCH", one, {"until": moment}),
        ("POST", f"{one}/pause", {"until": moment}),
        ("POST", "/tokens", {"expires": moment}),
        ("PATCH", "/cards/shipping", {**card, "from": moment}),
        ("POST", f"{one}/grants", {"card": "shipping", "until": moment}),
        ("POST", f"{one}/grants", {"card": "shipping", "from": moment}),
    ):
        refused = await _ok(client, method, path, body, 422)
        assert "9999" in refused["message"], (path, refused)
    for path in (
        "/relationships",
        one,
        "/tokens",
        "/cards/shipping",
        f"{one}/grants",
        "/export/everything.json",
    ):
        await _ok(client, "GET", path)


async def test_the_document_needs_no_token_and_lists_every_operation(site: Site) -> None:
    document = (await site.client().get(AT + "/openapi.json")).json()
    ids = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert sorted(ids) == sorted(each.name for each in OPERATIONS)
    assert len(set(ids)) == len(ids)


async def test_405_names_every_method_of_the_path(site: Site) -> None:
    answer = await site.client(site.token()).put(AT + "/relationships/x")
    assert answer.status_code == 405
    assert {"GET", "PATCH"} <= set(answer.headers["Allow"].replace(" ", "").split(","))
