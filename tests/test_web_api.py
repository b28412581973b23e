"""The API's manners, in either dialect: who gets in, what a refusal looks like, what it never does."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import httpx
import pytest
from starlette.routing import Mount, Route

from sortingoffice.store.database import Unavailable
from sortingoffice.web import limits
from tests.web import Site

DIALECTS = ["simplelogin", "addy"]
NEW = {"simplelogin": "/api/alias/random/new", "addy": "/api/v1/aliases"}


def _paths(routes: Any, before: str = "") -> list[tuple[str, str]]:
    """Every method and path that the application serves."""
    found = []
    for each in routes:
        if isinstance(each, Mount):
            found += _paths(each.routes, before + each.path)
        elif isinstance(each, Route):
            found += [(method, before + each.path) for method in sorted(each.methods or ())]
    return found


def _api(site: Site) -> list[tuple[str, str]]:
    found = []
    for method, path in _paths(site.app.routes):
        path = path.replace("{id}", "00000000-0000-4000-8000-000000000001")
        if path.startswith("/api"):
            found.append((method, re.sub(r"\{[^}]+\}", "1", path)))
    assert len(found) > 90
    return found


async def test_without_a_token_every_path_answers_401_in_json_and_never_a_redirect(site: Site) -> None:
    client = site.client()
    for method, path in _api(site):
        answer = await client.request(method, path)
        if path == "/api/office/openapi.json":
            assert answer.status_code == 200
            continue
        if path == "/api/auth/login":
            assert answer.status_code == 400
        else:
            assert answer.status_code == 401, path
        if method != "HEAD":
            assert set(answer.json()) >= {"error", "message"}, path
            shown = answer.json()["message" if path.startswith("/api/v1/") else "error"]
            assert shown.count(" ") > 5, path


async def test_no_cookie_opens_the_api(site: Site) -> None:
    token = site.token()
    client = site.client(cookies={"session": token, "Authentication": token})
    assert (await client.get("/api/user_info")).status_code == 401
    assert (await client.post(NEW["simplelogin"])).status_code == 401


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_no_path_ever_answers_with_a_redirect_or_without_json(site: Site, dialect: str) -> None:
    client = site.client(site.token(), dialect=dialect)
    odd = ["/api", "/api/", "/api/v1", "/api/v1/", "/api//aliases", "/api/aliases/1/", "//evil.example/api"]
    for path in [*odd, "/api/nope", "/api/v1/nope", "/api/%2e%2e/", "/api/aliases/x", "//api/v1/nope/"]:
        answer = await client.get(f"https://office.example{path}")
        assert answer.status_code == 404, path
        if not path.startswith("//evil"):
            assert set(answer.json()) == {"error", "message"}, path


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_path_that_was_joined_with_one_slash_too_many_means_the_one_without(
    site: Site, dialect: str
) -> None:
    client = site.client(site.token(), dialect=dialect)
    for path in (f"//{NEW[dialect][1:]}", f"{NEW[dialect]}/", f"//{NEW[dialect][1:]}/?hostname=shop.example"):
        answer = await client.post(f"https://office.example{path}", json={"description": "shop.example"})
        assert answer.status_code == 201, path


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_client_that_shows_both_members_of_a_refusal_says_nothing_twice(
    site: Site, dialect: str
) -> None:
    answer = await site.client("x" * 48, dialect=dialect).post(NEW[dialect])
    shown, short = ("error", "message") if dialect == "simplelogin" else ("message", "error")
    assert answer.json() == {
        shown: "the token opens nothing here: it is wrong, expired or revoked",
        short: "Unauthorized",
    }


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_another_method_is_a_405_that_names_those_that_work(site: Site, dialect: str) -> None:
    client = site.client(site.token(), dialect=dialect)
    answer = await client.delete("/api/stats" if dialect == "simplelogin" else "/api/v1/account-details")
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert answer.json()["error"]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'"x"', b"\xff", b'{"note": 1, "description": 1}', b"[" * 100_000],
    ids=["half", "list", "text", "no utf-8", "wrong type", "nested"],
)
async def test_a_body_that_is_none_is_refused_with_a_sentence(site: Site, dialect: str, body: bytes) -> None:
    client = site.client(site.token(), dialect=dialect)
    answer = await client.post(NEW[dialect], content=body)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"] != answer.json()["message"] != ""


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_form_is_taken_where_it_says_that_it_is_one(site: Site, dialect: str) -> None:
    client = site.client(site.token(), dialect=dialect)
    form = {"note": "Used on shop.example", "description": "shop.example", "domain": "sort.example"}
    made = await client.post(NEW[dialect], data=form)
    assert made.status_code == 201
    alias = made.json()["alias"] if dialect == "simplelogin" else made.json()["data"]["email"]
    assert site.person.json("show", alias)["site"] == "shop.example"
    mislabelled = {"Content-Type": "application/x-www-form-urlencoded"}
    body = json.dumps({"note": "{curl -d says so}", "description": "{curl -d says so}"})
    made = await client.post(NEW[dialect], content=body, headers=mislabelled)
    assert "{curl -d says so}" in made.text
    too_many = "&".join(f"a{n}=1" for n in range(101))
    for wrong in (too_many, "\xff", '{"note": '):
        answer = await client.post(NEW[dialect], content=wrong.encode("latin-1"), headers=mislabelled)
        assert answer.status_code in (400, 422), wrong
    answer = await client.post(NEW["addy"], content="{", headers={"Authorization": f"Bearer {site.token()}"})
    assert answer.json()["errors"] == {"body": ["body: the request holds no JSON"]}


async def test_a_body_that_never_ends_is_cut_off(site: Site) -> None:
    client = site.client(site.token())
    answer = await client.post(NEW["simplelogin"], content=b'{"note": "' + b"x" * (1 << 20) + b'"}')
    assert answer.status_code == 413


async def test_control_characters_are_refused_and_long_notes_too(site: Site) -> None:
    client = site.client(site.token())
    for note in ("a\x1b[2Jb", "x" * 1001, "\u202egpj"):
        answer = await client.post(NEW["simplelogin"], json={"note": note})
        assert answer.status_code == 400
        assert "note" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost", "192.168.1.1", "sort.example", "a b", "[::1]", "x" * 300])
async def test_a_host_that_is_no_vendor_costs_nobody_their_address(site: Site, host: str) -> None:
    client = site.client(site.token())
    made = await client.post(NEW["simplelogin"], params={"hostname": host})
    assert made.status_code == 201
    assert site.person.json("show", made.json()["alias"])["site"] == ""


async def test_the_host_name_becomes_the_site_and_is_bound(site: Site) -> None:
    client = site.client(site.token())
    made = await client.post(NEW["simplelogin"], params={"hostname": "www.login.shop.example:8443"})
    shown = site.person.json("show", made.json()["alias"])
    assert shown["site"] == "login.shop.example"
    assert shown["bindings"] == ["shop.example"]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_what_belongs_to_another_account_isn_t_there(site: Site, dialect: str) -> None:
    site.person.out("admin", "account", "add", "ben", "--mailbox", "ben@home.example")
    site.person.out("new", "Lamp Shop", "--account", "anna")
    client = site.client(site.token("--account", "ben"), dialect=dialect)
    for method, path in _api(site):
        if ("/1" not in path and "000001" not in path) or path.startswith("/api/office"):
            continue
        body = {"contact": "a@b.example", "id": "00000000-0000-4000-8000-000000000001"}
        answer = await client.request(method, path, json=body)
        assert answer.status_code == 404, path
        assert "lamp" not in answer.text.lower()


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_vendor_s_mailbox_is_not_taken_for_the_person_s(site: Site, dialect: str) -> None:
    site.person.out("admin", "account", "add", "ben", "--mailbox", "ben@home.example")
    client = site.client(site.token("--account", "anna"), dialect=dialect)
    if dialect == "simplelogin":
        made = (await client.post(NEW[dialect])).json()
        answer = await client.put(f"/api/aliases/{made['id']}", json={"mailbox_ids": [2]})
    else:
        ben = "00000000-0000-4000-9000-000000000002"
        answer = await client.post(NEW[dialect], json={"recipient_ids": [ben]})
    assert answer.status_code in (400, 422)
    assert "none of your" in answer.text


async def test_an_ending_of_an_address_can_t_be_forged_or_used_by_another(site: Site) -> None:
    site.person.out("admin", "account", "add", "ben", "--mailbox", "ben@home.example")
    anna = site.client(site.token("--account", "anna"))
    ben = site.client(site.token("--account", "ben"))
    ending = (await anna.get("/api/v5/alias/options")).json()["suffixes"][0]["signed_suffix"]
    stranger = ending.replace("sort.example", "gmail.example")
    for client, signed in (
        (ben, ending),
        (anna, stranger),
        (anna, "@sort.example"),
        (anna, ""),
        (anna, "~9-"),
    ):
        body = {"alias_prefix": "shop", "signed_suffix": signed}
        assert (await client.post("/api/v3/alias/custom/new", json=body)).status_code == 412, signed


async def test_a_page_of_any_origin_may_read_answers_and_refusals_but_sends_no_cookies(site: Site) -> None:
    client = site.client(site.token())
    origin = {"Origin": "https://vault.example"}
    for path in ("/api/user_info", "/api/nope", "/api/aliases/99"):
        answer = await client.get(path, headers=origin)
        assert answer.headers["Access-Control-Allow-Origin"] == "*", path
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_browser_may_ask_first(site: Site, method: str) -> None:
    asked = {
        "Origin": "https://vault.example",
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authentication, content-type, x-requested-with, baggage",
    }
    answer = await site.client().options("/api/v1/aliases", headers=asked)
    assert answer.status_code == 200
    assert method in answer.headers["Access-Control-Allow-Methods"]
    for name in asked["Access-Control-Request-Headers"].split(", "):
        assert name in answer.headers["Access-Control-Allow-Headers"].lower()
    assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_who_asks_too_often_is_told_how_long_to_wait(site: Site) -> None:
    client = site.client(site.token())
    answers: list[httpx.Response] = []
    for _ in range(limits.ADDRESSES.burst + 5):
        answers.append(await client.post(NEW["simplelogin"], headers={"Origin": "https://vault.example"}))
        if answers[-1].status_code != 201:
            break
    assert answers[-1].status_code == 429
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 2
    assert "Retry-After" in answers[-1].headers["Access-Control-Expose-Headers"]
    assert set(answers[-1].json()) == {"error", "message"}
    assert (await client.get("/api/user_info")).status_code == 200, "looking is another bucket"


async def test_who_guesses_tokens_is_slowed_down_and_others_are_not(site: Site) -> None:
    guesser = site.client("x" * 48, peer=("192.0.2.66", 1))
    for _ in range(limits.GUESSES.burst):
        assert (await guesser.get("/api/user_info")).status_code == 401
    refused = await guesser.get("/api/user_info")
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert (await site.client(site.token()).get("/api/user_info")).status_code == 200


async def test_nothing_is_kept_by_a_cache(site: Site) -> None:
    client = site.client(site.token())
    for path in ("/api/user_info", "/api/nope"):
        assert (await client.get(path)).headers["Cache-Control"] == "no-store"


async def test_a_database_that_is_away_is_a_503_and_a_bug_of_ours_says_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = site.client(site.token())

    async def away(*_: object) -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(type(site.office.db), "read", away)
    answer = await client.get("/api/user_info")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "disk" not in answer.text

    async def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(type(site.office.db), "read", broken)
    answer = await client.get("/api/user_info")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert set(answer.json()) == {"error", "message"}


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


async def test_what_passed_is_counted_and_listed(site: Site) -> None:
    client = site.client(site.token())
    made = (await client.post(NEW["simplelogin"], params={"hostname": "lampshop.example"})).json()
    from sortingoffice.core.model import DeliveryState

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


@pytest.mark.parametrize("query", ["page[size]=0", "page[size]=101", "page[number]=x", "page[number]=-1"])
async def test_a_wrong_page_is_told_as_laravel_does(site: Site, query: str) -> None:
    answer = await site.client(site.token(), dialect="addy").get(f"/api/v1/aliases?{query}")
    assert answer.status_code == 422
    assert list(answer.json()["errors"]) == [query.partition("=")[0]]


async def test_what_theirs_has_and_ours_has_not_is_told_as_absent(site: Site) -> None:
    client = site.client(site.token())
    assert (await client.get("/api/notifications?page=0")).json() == {"more": False, "notifications": []}
    assert (await client.get("/api/custom_domains")).json() == {"custom_domains": []}


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
