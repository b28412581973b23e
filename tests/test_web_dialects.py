"""What each dialect means here: signing in, mailboxes, on and off, contacts, lists, several at once."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from sortingoffice.core.model import DeliveryState
from sortingoffice.flows import signin
from sortingoffice.store import accounts, events, relationships
from sortingoffice.store.database import Transaction
from tests.web import Site

NEW = {"simplelogin": "/api/alias/random/new", "addy": "/api/v1/aliases"}


async def test_a_name_and_an_app_password_give_an_extension_its_token(site: Site) -> None:
    password = site.person.out("admin", "password", "new", "--label", "phone")
    for name in ("anna", "anna@home.example", "ANNA@home.example"):
        body = {"email": name, "password": password, "device": "phone"}
        answer = await site.client().post("/api/auth/login", json=body)
        assert answer.status_code == 200
        assert answer.json()["mfa_key"] is None, "a text makes simplelogincmd wait for a second factor"
        client = site.client(answer.json()["api_key"])
        assert (await client.post(NEW["simplelogin"])).status_code == 201
        assert (await client.post("/api/mailboxes", json={"email": "x@home.example"})).status_code == 403


async def test_a_wrong_app_password_and_an_unknown_name_are_answered_alike(site: Site) -> None:
    site.person.out("admin", "password", "new")
    told = set()
    for name in ("anna", "nobody", "anna@home.example", "nobody@home.example"):
        answer = await site.client().post("/api/auth/login", json={"email": name, "password": "wrong"})
        told.add((answer.status_code, json.dumps(answer.json())))
    assert len(told) == 1


async def test_addy_s_clients_sign_in_with_an_app_password_for_as_long_as_they_say(site: Site) -> None:
    password = site.person.out("admin", "password", "new")
    body = {"username": "anna", "password": password, "device_name": "Chrome browser extension"}
    answer = (await site.client().post("/api/auth/login", json=body)).json()
    assert (answer["name"], answer["expires_at"]) == ("Chrome browser extension", None)
    brief = (await site.client().post("/api/auth/login", json={**body, "expiration": "day"})).json()
    assert brief["expires_at"] > brief["created_at"]
    forever, day = (site.client(each["api_key"], dialect="addy") for each in (answer, brief))
    assert [(await each.post(NEW["addy"])).status_code for each in (forever, day)] == [201, 201]
    site.later = timedelta(days=1, minutes=1)
    assert [(await each.get(NEW["addy"])).status_code for each in (forever, day)] == [200, 401]


async def test_addy_s_clients_are_told_in_a_sentence_why_they_may_not_sign_in(site: Site) -> None:
    password = site.person.out("admin", "password", "new")
    for name in ("anna", "nobody", "nobody@home.example"):
        body = {"username": name, "password": "wrong", "device_name": "x"}
        answer = await site.client().post("/api/auth/login", json=body)
        assert answer.status_code == 401
        assert answer.json()["message"] == "the name and the app password don't belong together"
    body = {"username": "anna", "password": password, "device_name": "x", "expiration": "century"}
    answer = await site.client().post("/api/auth/login", json=body)
    assert (answer.status_code, answer.json()["message"]) == (422, "The selected expiration is invalid.")


async def test_a_mailbox_that_is_added_is_asked_by_mail_first(site: Site) -> None:
    client = site.client(site.token())
    made = await client.post("/api/mailboxes", json={"email": "second@home.example"})
    assert made.status_code == 201
    assert made.json()["verified"] is False
    listed = (await client.get("/api/v2/mailboxes")).json()["mailboxes"]
    assert [(each["email"], each["verified"]) for each in listed] == [
        ("anna@home.example", True),
        ("second@home.example", False),
    ]
    old = (await client.get("/api/mailboxes")).json()["mailboxes"]
    assert [each["email"] for each in old] == ["anna@home.example"]
    (queued,) = site.person.json("queue", "list")
    assert queued["to"] == "second@home.example"


async def test_switching_off_holds_mail_and_deleting_refuses_it(site: Site) -> None:
    client = site.client(site.token())
    made = (await client.post(NEW["simplelogin"])).json()
    await client.post(f"/api/aliases/{made['id']}/toggle")
    assert site.person.json("show", made["alias"])["state"] == "muted"
    await client.delete(f"/api/aliases/{made['id']}")
    assert site.person.json("show", made["alias"])["state"] == "revoked"
    asked = ("explain", "--from", "a@b.example", "--to", made["alias"])
    explained = await asyncio.to_thread(site.person.json, *asked)  # it has a loop of its own
    assert explained["reply"].startswith("550 5.1.1")


async def test_a_switch_in_an_old_list_reopens_nothing_that_was_deleted(site: Site) -> None:
    client = site.client(site.token())
    made = (await client.post(NEW["simplelogin"])).json()
    site.person.out("revoke", made["alias"])
    switched = await client.post(f"/api/aliases/{made['id']}/toggle")
    assert switched.status_code == 404
    assert "deleted" in switched.json()["error"]
    assert site.person.json("show", made["alias"])["state"] == "revoked"


async def test_what_passed_is_counted_and_listed(site: Site) -> None:
    client = site.client(site.token())
    made = (await client.post(NEW["simplelogin"], params={"hostname": "lampshop.example"})).json()
    slug = site.person.json("show", made["alias"])["relationship"]
    site.person.out("contact", slug, "orders@lampshop.example")
    site.person.spooled(slug, DeliveryState.DELIVERED)
    site.person.spooled(slug, DeliveryState.DELIVERED, outward=True)
    shown = (await client.get(f"/api/aliases/{made['id']}")).json()
    assert (shown["nb_forward"], shown["nb_reply"], shown["nb_block"]) == (1, 1, 0)
    assert shown["latest_activity"]["action"] == "reply"
    activities = (await client.get(f"/api/aliases/{made['id']}/activities")).json()["activities"]
    assert [each["action"] for each in activities] == ["reply", "forward"]
    assert activities[1]["from"] == "orders@lampshop.example"
    assert activities[1]["to"] == made["alias"]
    assert activities[1]["reverse_alias_address"]
    assert (await client.get("/api/stats")).json() == {
        "nb_alias": 1,
        "nb_block": 0,
        "nb_forward": 1,
        "nb_reply": 1,
    }


async def test_a_contact_is_switched_off_and_on_and_never_deleted(site: Site) -> None:
    client = site.client(site.token())
    made = (await client.post(NEW["simplelogin"], params={"hostname": "lampshop.example"})).json()
    path = f"/api/aliases/{made['id']}/contacts"
    contact = (await client.post(path, json={"contact": "News <news@spam.example>"})).json()
    assert contact["block_forward"] is False
    for blocked in (True, False, True):
        assert (await client.post(f"/api/contacts/{contact['id']}/toggle")).json() == {
            "block_forward": blocked
        }
        assert (await client.get(path)).json()["contacts"][0]["block_forward"] is blocked
    assert site.person.json("show", made["alias"])["refused"] == ["spam.example"]
    assert (await client.delete(f"/api/contacts/{contact['id']}")).status_code == 403
    site.person.out("admin", "account", "add", "ben", "--mailbox", "ben@home.example")
    other = site.client(site.token("--account", "ben"))
    assert (await other.post(f"/api/contacts/{contact['id']}/toggle")).status_code == 404
    assert (await other.delete(f"/api/contacts/{contact['id']}")).status_code == 404


async def test_a_contact_is_called_as_it_was_written(site: Site) -> None:
    client = site.client(site.token())
    made = (await client.post(NEW["simplelogin"])).json()
    path = f"/api/aliases/{made['id']}/contacts"
    for written, shown in (
        ("First Last <first.last@shop.example>", '"First Last" <'),
        ('"Last, First" <orders@shop.example>', '"Last, First" <'),
        ("desk@shop.example", '"desk at shop.example" <'),
    ):
        assert (await client.post(path, json={"contact": written})).json()["reverse_alias"].startswith(shown)
    bidi = await client.post(path, json={"contact": "\u202egpj <x@shop.example>"})
    assert bidi.status_code == 400


async def test_a_mailbox_becomes_the_default_and_keeps_its_address(site: Site) -> None:
    client = site.client(site.token())
    site.person.out("admin", "mailbox", "add", "second@home.example")
    second = (await client.get("/api/v2/mailboxes")).json()["mailboxes"][1]
    assert (await client.put(f"/api/mailboxes/{second['id']}", json={"default": True})).status_code == 200
    listed = (await client.get("/api/v2/mailboxes")).json()["mailboxes"]
    assert [each["default"] for each in listed] == [False, True]
    assert (await client.put(f"/api/mailboxes/{2**70}", json={"default": True})).status_code == 404
    asked = (await client.post("/api/mailboxes", json={"email": "asked@home.example"})).json()
    refused = await client.put(f"/api/mailboxes/{asked['id']}", json={"default": True})
    assert refused.status_code == 400, "it was not answered yet"
    assert "first answer the mail" in refused.json()["error"]
    answer = await client.put(f"/api/mailboxes/{second['id']}", json={"email": "third@home.example"})
    assert answer.status_code == 400
    assert "add the other one" in answer.json()["error"]


async def test_a_note_of_several_lines_is_taken_as_one(site: Site) -> None:
    client = site.client(site.token())
    made = (await client.post(NEW["simplelogin"], json={"note": "for the desk\n\nnot the hall\t!"})).json()
    assert made["note"] == "for the desk not the hall !"
    answer = await client.put(f"/api/aliases/{made['id']}", json={"note": None})
    assert answer.status_code == 200
    assert site.person.json("show", made["alias"])["note"] == ""


@pytest.mark.parametrize("dialect", ["simplelogin", "addy"])
async def test_what_a_client_sends_back_as_it_was_shown_changes_nothing(site: Site, dialect: str) -> None:
    site.person.out("admin", "mailbox", "add", "second@home.example")
    site.person.out("new", "Book Club")
    before = site.person.json("show", "book-club")
    client = site.client(site.token(), dialect=dialect)
    if dialect == "simplelogin":
        (shown,) = (await client.post("/api/v2/aliases?page_id=0", json={"query": ""})).json()["aliases"]
        path, note = f"/api/aliases/{shown['id']}", "note"
        body = {"name": shown["name"], "disable_pgp": False, "mailbox_ids": [shown["mailboxes"][0]["id"]]}
        answer = await client.put(path, json={**body, "note": shown["note"]})
    else:
        (shown,) = (await client.get("/api/v1/aliases")).json()["data"]
        path, note = f"/api/v1/aliases/{shown['id']}", "description"
        answer = await client.patch(path, json={note: shown[note]})
    assert answer.status_code == 200
    assert shown[note] == "Book Club", "its name, since it has no note"
    assert site.person.json("show", "book-club") == before
    account = site.client(site.token("--scope", "account"))
    assert (await account.put("/api/mailboxes/2", json={"default": True})).status_code == 200
    assert site.person.json("show", "book-club")["mailbox"] == "second@home.example"
    await client.request("PUT" if dialect == "simplelogin" else "PATCH", path, json={note: "Tuesdays"})
    assert site.person.json("show", "book-club")["note"] == "Tuesdays"


async def test_a_name_of_the_office_s_own_is_answered_like_one_that_is_taken(site: Site) -> None:
    client = site.client(site.token())
    suffixes = (await client.get("/api/v4/alias/options")).json()["suffixes"]
    for prefix in ("new", "new.shop", "Postmaster"):
        body = {"alias_prefix": prefix, "signed_suffix": dict(suffixes)["@sort.example"]}
        answer = await client.post("/api/v2/alias/custom/new", json=body)
        assert answer.status_code == 409, "anything else is an unknown error to their extension"
        assert answer.json()["error"].endswith("is reserved for the office itself: choose another local part")
    addy = site.client(site.token(), dialect="addy")
    answer = await addy.post("/api/v1/aliases", json={"format": "custom", "local_part": "new"})
    assert answer.status_code == 422
    assert list(answer.json()["errors"]) == ["local_part_without_extension"]


@pytest.mark.parametrize("host", ["192.0.2.7", "[2001:db8::7]"])
async def test_no_prefix_is_made_out_of_an_ip_address(site: Site, host: str) -> None:
    client = site.client(site.token())
    found = (await client.get("/api/v4/alias/options", params={"hostname": host})).json()
    assert found["prefix_suggestion"] == ""


@pytest.mark.parametrize("host", ["www.Shop.example:8443", "https://shop.example/a?b=c:d", "shop.example."])
async def test_a_prefix_is_suggested_for_a_whole_address_of_a_page_too(site: Site, host: str) -> None:
    offered = await site.client(site.token()).get("/api/v5/alias/options", params={"hostname": host})
    assert offered.json()["prefix_suggestion"] == "shop"


async def test_a_mailbox_is_not_counted_for_what_was_deleted(site: Site) -> None:
    client = site.client(site.token())
    kept, gone = [(await client.post(NEW["simplelogin"])).json()["id"] for _ in range(2)]
    assert kept != gone
    await client.delete(f"/api/aliases/{gone}")
    for path in ("/api/mailboxes", "/api/v2/mailboxes"):
        assert [each["nb_alias"] for each in (await client.get(path)).json()["mailboxes"]] == [1]


@pytest.mark.parametrize("path", ["/dashboard/", "/dashboard", "/auth/register"])
async def test_the_extension_s_links_lead_to_the_pages(site: Site, path: str) -> None:
    client = site.client()
    answer = await client.get(path)
    assert answer.headers["Location"] == f"/signin?next={path}"
    secret = site.office.db.call(
        lambda tx: signin.begin(tx, site.office, accounts.the_only(tx), device="a test", how="link")
    )
    client.cookies.set("session", secret)
    answer = await client.get(path)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


@pytest.mark.parametrize("name", ["new", "pocket", "yes", "verify"])
async def test_a_vendor_may_be_called_like_a_word_of_ours(site: Site, name: str) -> None:
    client = site.client(site.token())
    options = (await client.get("/api/v5/alias/options", params={"hostname": f"{name}.example"})).json()
    body = {
        "alias_prefix": options["prefix_suggestion"],
        "signed_suffix": options["suffixes"][0]["signed_suffix"],
    }
    answer = await client.post("/api/v3/alias/custom/new", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["email"].startswith(f"my{name}.")


async def test_a_list_is_sorted_both_ways_and_ends(site: Site) -> None:
    client = site.client(site.token(), dialect="addy")
    for local in ("beta", "alpha", "gamma"):
        body = {
            "domain": "sort.example",
            "format": "custom",
            "local_part": local,
            "description": f"x {local}",
        }
        assert (await client.post(NEW["addy"], json=body)).status_code == 201

    async def names(**query: str) -> list[str]:
        answer = await client.get(NEW["addy"], params=query)
        assert answer.status_code == 200, answer.text
        return [each["local_part"] for each in answer.json()["data"]]

    assert await names() == ["gamma", "alpha", "beta"]
    assert await names(sort="local_part") == ["alpha", "beta", "gamma"]
    assert await names(sort="-email") == ["gamma", "beta", "alpha"]
    assert await names(sort="created_at") == ["beta", "alpha", "gamma"]
    assert await names(**{"sort": "local_part", "page[size]": "2", "page[number]": "2"}) == ["gamma"]
    assert await names(**{"page[number]": "99"}) == []
    assert await names(sort="no_such_column") == ["gamma", "alpha", "beta"]


async def test_what_has_nothing_to_sort_by_is_last_both_ways(site: Site) -> None:
    client = site.client(site.token(), dialect="addy")
    ids = await _three(client)
    await client.delete(f"/api/v1/aliases/{ids[0]}")
    site.person.spooled("b-example", DeliveryState.DELIVERED)
    for sort, first in (("deleted_at", ids[0]), ("last_forwarded", ids[1]), ("last_used", ids[1])):
        for way in ("", "-"):
            query = {"filter[deleted]": "with", "sort": way + sort}
            listed = (await client.get(NEW["addy"], params=query)).json()["data"]
            assert listed[0]["id"] == first, way + sort
            assert len(listed) == 3


async def test_an_address_tells_when_mail_last_came_went_and_was_refused(site: Site) -> None:
    client = site.client(site.token(), dialect="addy")
    ids = await _three(client)
    site.person.spooled("a-example", DeliveryState.DELIVERED)
    site.person.spooled("b-example", DeliveryState.DELIVERED, outward=True)
    await asyncio.to_thread(site.office.db.call, _refused_at_c)
    times = ("last_forwarded", "last_replied", "last_blocked")
    for wanted, (id_, told) in enumerate(zip(ids, times, strict=True)):
        shown = (await client.get(f"/api/v1/aliases/{id_}")).json()["data"]
        assert [shown[each] is not None for each in times] == [n == wanted for n in range(3)], shown
        assert datetime.fromisoformat(shown[told]) >= datetime.fromisoformat(shown["created_at"])


def _refused_at_c(tx: Transaction) -> None:
    of = relationships.find(tx, accounts.the_only(tx).id, "c-example")
    at = of.created + timedelta(seconds=1)
    events.add(tx, at=at, actor="smtp", what="refused", account_id=of.account_id, relationship_id=of.id)


@pytest.mark.parametrize("query", ["page[size]=0", "page[size]=101", "page[number]=x", "page[number]=-1"])
async def test_a_wrong_page_is_told_as_laravel_does(site: Site, query: str) -> None:
    answer = await site.client(site.token(), dialect="addy").get(f"/api/v1/aliases?{query}")
    assert answer.status_code == 422
    assert list(answer.json()["errors"]) == [query.partition("=")[0]]


async def test_what_theirs_has_and_ours_has_not_is_told_as_absent(site: Site) -> None:
    client = site.client(site.token())
    assert (await client.get("/api/notifications?page=0")).json() == {"more": False, "notifications": []}
    assert (await client.get("/api/custom_domains")).json() == {"custom_domains": []}
    made = (await client.post(NEW["addy"])).json()["data"]
    assert made["pinned"] is False


async def _three(client: httpx.AsyncClient) -> list[str]:
    made = [await client.post(NEW["addy"], json={"description": f"{n}.example"}) for n in "abc"]
    return [each.json()["data"]["id"] for each in made]


async def test_several_addresses_are_changed_at_once(site: Site) -> None:
    client = site.client(site.token(), dialect="addy")
    ids = await _three(client)
    for name, done, changed in (
        ("deactivate", "3 aliases deactivated", ids),
        ("activate", "3 aliases activated", ids),
        ("delete", "3 aliases deleted", ids),
        ("restore", "3 aliases restored", ids),
        ("forget", "3 aliases forgotten", ids),
    ):
        answer = await client.post(f"/api/v1/aliases/{name}/bulk", json={"ids": [*ids, None, ids[0], "x"]})
        assert answer.json() == {"message": f"{done} successfully", "ids": changed}, name
    shown = (await client.post("/api/v1/aliases/get/bulk", json={"ids": ids[:2]})).json()["data"]
    assert [(each["id"], each["active"]) for each in shown] == [(ids[0], False), (ids[1], False)]


async def test_at_once_means_only_those_that_it_changes_and_only_one_s_own(site: Site) -> None:
    site.person.out("admin", "account", "add", "ben", "--mailbox", "ben@home.example")
    client = site.client(site.token("--account", "anna"), dialect="addy")
    ids = await _three(client)
    await client.delete(f"/api/v1/active-aliases/{ids[1]}")
    answer = await client.post("/api/v1/aliases/activate/bulk", json={"ids": ids})
    assert answer.json() == {"message": "1 alias activated successfully", "ids": [ids[1]]}
    other = site.client(site.token("--account", "ben"), dialect="addy")
    for name in ("get", "activate", "delete", "recipients"):
        answer = await other.post(f"/api/v1/aliases/{name}/bulk", json={"ids": ids})
        assert (answer.status_code, answer.json()["message"]) == (404, "No aliases found"), name
    refused: list[dict[str, Any]] = [{}, {"ids": []}, {"ids": "x"}, {"ids": ["x"] * 26}]
    for wrong in refused:
        answer = await client.post("/api/v1/aliases/delete/bulk", json=wrong)
        assert answer.status_code == 422
        assert list(answer.json()["errors"]) == ["ids"]


async def test_recipients_are_added_asked_again_and_filtered_by(site: Site) -> None:
    client = site.client(site.token(), dialect="addy")
    ids = await _three(client)
    made = await client.post("/api/v1/recipients", json={"email": "second@home.example"})
    assert made.status_code == 201
    second = made.json()["data"]
    assert second["email_verified_at"] is None
    again = await client.post("/api/v1/recipients/email/resend", json={"recipient_id": second["id"]})
    assert again.status_code == 200
    assert {each["to"] for each in site.person.json("queue", "list")} == {"second@home.example"}
    body = {"ids": ids[:1], "recipient_ids": [second["id"]]}
    assert (await client.post("/api/v1/aliases/recipients/bulk", json=body)).status_code == 422, "not yet"
    third = site.person.out("admin", "mailbox", "add", "third@home.example")
    listed = (await client.get("/api/v1/recipients", params={"filter[verified]": "true"})).json()["data"]
    third = next(each["id"] for each in listed if each["email"] == "third@home.example")
    body["recipient_ids"] = [third]
    assert (await client.post("/api/v1/aliases/recipients/bulk", json=body)).json()["ids"] == ids[:1]
    for query, wanted in (
        ({"recipient": third}, ids[:1]),
        ({"recipient": listed[0]["id"], "sort": "created_at"}, ids[1:]),
        ({"filter[pinned]": "true"}, []),
        ({"filter[pinned]": "false", "recipient": third}, ids[:1]),
    ):
        found = (await client.get(NEW["addy"], params=query)).json()
        assert ([each["id"] for each in found["data"]], found["meta"]["total"]) == (wanted, len(wanted))


async def test_what_is_pinned_in_one_dialect_stands_on_top_in_all(site: Site) -> None:
    addy, simplelogin = (site.client(site.token(), dialect=each) for each in ("addy", "simplelogin"))
    first, second, third = await _three(addy)

    async def order(**query: str) -> list[str]:
        return [each["id"] for each in (await addy.get(NEW["addy"], params=query)).json()["data"]]

    pinned = await addy.post("/api/v1/pinned-aliases", json={"id": first})
    assert pinned.status_code == 200
    assert pinned.json()["data"]["pinned"] is True
    assert await order() == [first, third, second]
    assert await order(sort="-created_at") == [first, third, second]
    assert await order(**{"filter[pinned]": "true"}) == [first]
    assert await order(**{"filter[pinned]": "false"}) == [third, second]
    rows = (await simplelogin.get("/api/v2/aliases?page_id=0")).json()["aliases"]
    assert [each["pinned"] for each in rows] == [True, False, False]
    assert len((await simplelogin.get("/api/v2/aliases?page_id=0&pinned")).json()["aliases"]) == 1
    (lowest, *_) = sorted(each["id"] for each in rows)
    assert (await simplelogin.put(f"/api/aliases/{lowest}", json={"pinned": "yes"})).status_code == 400
    assert (await simplelogin.put(f"/api/aliases/{lowest}", json={"pinned": None})).json() == {"ok": True}
    assert (await simplelogin.get(f"/api/aliases/{lowest}")).json()["pinned"] is True
    assert (await simplelogin.put(f"/api/aliases/{lowest}", json={"pinned": False})).json() == {"ok": True}
    assert await order() == [third, second, first]
    await addy.post("/api/v1/pinned-aliases", json={"id": second})
    assert (await addy.get("/api/v1/account-details")).json()["data"]["total_pinned_aliases"] == 1
    assert (await addy.delete(f"/api/v1/pinned-aliases/{second}")).status_code == 204
    assert await order() == [third, second, first]
