"""SimpleLogin's `/api/setting` and `/api/user_info`: what is set, and what is refused by its name."""

from __future__ import annotations

import pytest

from tests.web import Site


@pytest.mark.parametrize(
    ("theirs", "ours"), [("NAME_ONLY", "name"), ("AT_ONLY", "address"), ("AT", "name-and-address")]
)
async def test_how_vendors_are_named_is_set_as_simplelogin_s_clients_set_it(
    site: Site, theirs: str, ours: str
) -> None:
    site.person.out("admin", "account", "set", "--from-form", "name" if ours == "address" else "address")
    client = site.client(site.token())
    answer = await client.patch("/api/setting", json={"sender_format": theirs})
    assert (answer.status_code, answer.json()["sender_format"]) == (200, theirs)
    assert site.person.json("admin", "account", "list")[0]["from_form"] == ours
    shown = (await client.get("/api/setting")).json()
    assert shown == answer.json()
    assert (await client.patch("/api/setting", json=shown)).json() == shown, "sent back, it is no change"
    assert (await client.patch("/api/setting")).json() == shown


@pytest.mark.parametrize(
    ("member", "wanted"),
    [
        ("alias_generator", "uuid"),
        ("notification", True),
        ("notification", "no"),
        ("random_alias_default_domain", "other.example"),
        ("random_alias_suffix", "word"),
        ("sender_format", "NO_NAME"),
        ("sender_format", 1),
    ],
)
async def test_a_setting_that_is_none_here_is_refused_by_its_name_and_nothing_is_set(
    site: Site, member: str, wanted: object
) -> None:
    client = site.client(site.token())
    answer = await client.patch("/api/setting", json={"sender_format": "NAME_ONLY", member: wanted})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(member)
    assert (await client.get("/api/setting")).json()["sender_format"] == "AT"


async def test_a_token_for_new_addresses_changes_no_setting(site: Site) -> None:
    client = site.client(site.token("--scope", "new"))
    assert (await client.get("/api/setting")).status_code == 200
    assert (await client.patch("/api/setting", json={"sender_format": "AT_ONLY"})).status_code == 403


async def test_an_account_s_name_and_picture_are_not_said_to_be_changed(site: Site) -> None:
    client = site.client(site.token())
    for wish in ({"name": "Bertha"}, {"profile_picture": "iVBORw0KGgo="}):
        assert (await client.patch("/api/user_info", json=wish)).status_code == 400
    for same in ({"name": "anna", "profile_picture": None}, {}):
        assert (await client.patch("/api/user_info", json=same)).json()["name"] == "anna"
