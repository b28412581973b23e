"""The API's manners, in either dialect: who gets in, what a refusal looks like, what it never does."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from starlette.routing import Mount, Route

from sortingoffice.web import limits
from tests.database import Cluster
from tests.person import Person
from tests.web import Site, opened

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


@pytest.mark.parametrize("path", ["/api/aliases/{}", "/api/v1/aliases/{}", "/api/office/held/{}", "/held/{}"])
async def test_a_path_of_any_length_has_its_answer(site: Site, path: str) -> None:
    """Python makes no number out of more than 4,300 digits."""
    answer = await site.client(site.token(), headers={"Origin": "https://shop.example"}).get(
        path.format("9" * 4301)
    )
    assert answer.status_code == 414
    if path.startswith("/api"):
        assert answer.json()["error"]
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    ("path", "member"),
    [
        ("/api/auth/login", "email"),
        ("/api/auth/login", "password"),
        ("/api/auth/login", "username"),
        ("/api/mailboxes", "email"),
        ("/api/v1/recipients", "email"),
        ("/api/api_key", "device"),
    ],
)
async def test_half_a_character_is_refused_with_a_sentence(site: Site, path: str, member: str) -> None:
    answer = await site.client(site.token()).post(path, content=f'{{"{member}": "a\\ud800"}}')
    assert answer.status_code in (400, 422)
    assert f"{member} holds half a character" in answer.json().values()


async def test_control_characters_are_refused_and_long_notes_too(site: Site) -> None:
    client = site.client(site.token())
    for note in ("a\x1b[2Jb", "x" * 1001, "\u202egpj"):
        answer = await client.post(NEW["simplelogin"], json={"note": note})
        assert answer.status_code == 400
        assert "note" in answer.json()["error"]


@pytest.mark.parametrize("unseen", ["\ufeff", "\u200b\u2060", "\u00ad", "\u3164", "\ufe0f", "\u2800 \u200d"])
async def test_a_name_of_which_nothing_can_be_seen_is_none(site: Site, unseen: str) -> None:
    """A link with such a name could be neither found nor pressed."""
    client = site.client(site.token())
    refused = await client.post("/api/office/relationships", json={"name": unseen})
    assert refused.status_code == 409
    assert "needs a name" in refused.json()["message"]
    made = (await client.post("/api/alias/random/new", json={"note": unseen})).json()
    assert made["note"] == "New address"
    for seen in ("👩‍👩‍👧", "नमस्ते", "ი", "!"):
        await client.post("/api/office/relationships", json={"name": seen})
    listed = (await client.get("/api/office/relationships")).json()
    assert [each["name"] for each in listed][1:] == ["👩‍👩‍👧", "नमस्ते", "ი", "!"]


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


async def test_a_database_that_is_away_is_a_503_that_names_nothing_of_it(
    postgresql: Cluster, postgresql_site: Site
) -> None:
    client = postgresql_site.client(postgresql_site.token())
    postgresql.stop()
    try:
        answer = await client.get("/api/user_info")
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert not {"postgres", "socket", postgresql.folder.name} & set(re.split(r"[^\w-]+", answer.text))
    finally:
        postgresql.start()
    assert (await client.get("/api/user_info")).status_code == 200


async def test_what_nobody_expects_is_a_500_that_says_nothing(person: Person) -> None:
    token = person.out("admin", "token", "new")
    person.damage("api_token")
    async with opened(person) as site:
        answer = await site.client(token).get("/api/user_info")
    assert answer.status_code == 500
    assert "malformed" not in answer.text
    assert "api_token" not in answer.text
    assert set(answer.json()) == {"error", "message"}
