"""API tokens: made, shown once, listed, revoked."""

from __future__ import annotations

from datetime import timedelta

import httpx

from sortingoffice.core.access import TOKEN, Scope
from sortingoffice.flows import tokens
from sortingoffice.store import tokens as token_rows
from sortingoffice.store.database import Database
from tests.person import Person
from tests.web import Site


async def _status(client: httpx.AsyncClient, path: str = "/api/user_info") -> int:
    return (await client.get(path)).status_code


def test_a_new_token_is_alone_on_stdout_and_has_the_form_that_clients_ask_for(person: Person) -> None:
    made = person.says("admin", "token", "new", "--label", "phone")
    assert made.err == ""
    assert TOKEN.fullmatch(made.out.removesuffix("\n"))


def test_a_token_is_not_in_the_database(person: Person) -> None:
    made = person.out("admin", "token", "new")
    files = [each for each in person.folder.rglob("*") if each.is_file()]
    assert any(b"token made" in each.read_bytes() for each in files)
    assert all(made.encode() not in each.read_bytes() for each in files)


def test_the_list_shows_what_a_token_may_and_never_the_token(person: Person) -> None:
    made = person.out("admin", "token", "new", "--label", "phone", "--scope", "new", "--until", "90d")
    (row,) = person.json("admin", "token", "list")
    assert (row["label"], row["scopes"], row["last_used"]) == ("phone", ["new"], None)
    assert row["expires"] > row["created"]
    assert made not in str(row)


def test_a_token_is_revoked_by_its_label_or_its_number(person: Person) -> None:
    person.out("admin", "token", "new", "--label", "phone")
    person.out("admin", "token", "new", "--label", "desk")
    person.out("admin", "token", "revoke", "phone")
    person.out("admin", "token", "revoke", "2")
    assert person.json("admin", "token", "list") == []
    assert '"phone" is no token' in person.refused("admin", "token", "revoke", "phone")


def test_an_end_in_the_past_is_refused(person: Person) -> None:
    assert "lies in the past" in person.refused("admin", "token", "new", "--until", "2020-01-01")


def test_making_and_revoking_are_events(person: Person) -> None:
    person.out("admin", "token", "new", "--label", "phone")
    person.out("admin", "token", "revoke", "1")
    assert person.events()[-2:] == ["token made #1 phone", "token revoked #1 phone"]


async def test_a_revoked_token_opens_nothing_from_the_next_request_on(site: Site) -> None:
    client = site.client(site.token())
    assert await _status(client) == 200
    site.person.out("admin", "token", "revoke", "1")
    assert await _status(client) == 401


async def test_an_expired_token_opens_nothing(site: Site) -> None:
    client = site.client(site.token("--until", "2d"))
    assert await _status(client) == 200
    site.later = timedelta(days=3)
    assert await _status(client) == 401


async def test_a_suspended_account_s_token_opens_nothing(site: Site) -> None:
    client = site.client(site.token())
    site.person.out("admin", "account", "suspend", "anna")
    assert await _status(client) == 401


async def test_a_removed_account_s_tokens_are_revoked(site: Site) -> None:
    site.person.out("admin", "account", "add", "ben", "--mailbox", "ben@home.example", "--admin")
    client = site.client(site.token("--account", "anna"))
    assert await _status(client) == 200
    site.person.out("admin", "account", "remove", "anna", "--yes")
    assert await _status(client) == 401
    with site.person.office() as office:
        anna = office.db.view(token_rows.every, 1)
    assert [each.revoked is not None for each in anna] == [True]


async def test_the_last_use_is_written_down_once_a_minute(site: Site) -> None:
    client = site.client(site.token())
    await client.get("/api/user_info")
    (first,) = site.person.json("admin", "token", "list")
    await client.get("/api/user_info")
    (again,) = site.person.json("admin", "token", "list")
    site.later = timedelta(minutes=2)
    await client.get("/api/user_info")
    (later,) = site.person.json("admin", "token", "list")
    assert first["last_used"] is not None
    assert again["last_used"] == first["last_used"]
    assert later["last_used"] > first["last_used"]


async def test_a_token_does_what_its_scopes_say_and_no_more(site: Site) -> None:
    client = site.client(site.token("--scope", "new"))
    made = await client.post("/api/alias/random/new?hostname=shop.example")
    assert made.status_code == 201
    refused = await client.get(f"/api/aliases/{made.json()['id']}")
    assert refused.status_code == 403
    assert "relationships" in refused.json()["error"]


async def test_a_token_begets_none_that_may_more_or_lives_longer(site: Site) -> None:
    client = site.client(site.token("--scope", "new", "--until", "2d"))
    child = site.client((await client.post("/api/api_key", json={"device": "x"})).json()["api_key"])
    assert await _status(child) == 200
    assert await _status(child, "/api/v2/aliases") == 403
    site.later = timedelta(days=3)
    assert await _status(child) == 401


def test_letters_are_drawn_evenly() -> None:
    octets = bytes(range(256)) * 4
    found = tokens.letters(lambda n: octets, 62 * 4)
    assert {found.count(letter) for letter in set(found)} == {4}
    assert len(set(found)) == 62


def test_the_same_holds_on_either_database(db: Database) -> None:
    """What is stored is found by its hash, touched and revoked."""
    from sortingoffice.core.access import ApiToken
    from sortingoffice.core.model import Account, AccountState
    from sortingoffice.flows.office import now
    from sortingoffice.store import accounts

    at = now()
    owner = db.call(accounts.add, Account(0, "anna", AccountState.ACTIVE, True, None, "card", at))
    row = ApiToken(0, owner.id, "", tokens.digest("x" * 48), Scope.NEW.value, at, None, None, None)
    made = db.call(token_rows.add, row)
    assert db.view(token_rows.by_hash, tokens.digest("x" * 48)) == made
    db.call(token_rows.touch, made.id, at)
    assert db.call(token_rows.revoke, made.id, at)
    assert not db.call(token_rows.revoke, made.id, at)
    (found,) = db.view(token_rows.every, owner.id)
    assert (found.last_used, found.revoked) == (at, at)
