"""What the apps for phones read of an answer, member by member: in Swift one that is missing or of another
type empties a whole screen, so these are the declarations of their models.

Sources: addy.io's apps for iOS and Android (models and repositories of their repositories); SimpleLogin's
Swift package, which its apps for iOS and macOS are built on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sortingoffice.core.model import DeliveryState
from tests.web import Site

_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_NEEDED = (1, 7, 3)  # below it their app for iOS shows nothing but that the server is too old

_RECIPIENT = {
    **dict.fromkeys(("id", "user_id", "email", "created_at", "updated_at"), str),
    **dict.fromkeys(("can_reply_send", "should_encrypt", "inline_encryption", "protected_headers"), bool),
    **dict.fromkeys(("remove_pgp_keys", "remove_pgp_signatures"), bool),
}
_ALIAS = {
    **dict.fromkeys(("id", "user_id", "local_part", "domain", "email", "created_at", "updated_at"), str),
    **dict.fromkeys(("active", "pinned", "attached_recipients_only"), bool),
    **dict.fromkeys(("emails_forwarded", "emails_blocked", "emails_replied", "emails_sent"), int),
    "recipients": list,
}
_ACCOUNT = {
    **dict.fromkeys(("id", "username", "banner_location", "default_username_id"), str),
    **dict.fromkeys(("default_recipient_id", "default_alias_domain", "default_alias_format"), str),
    **dict.fromkeys(("bandwidth", "username_count", "username_limit", "recipient_count"), int),
    **dict.fromkeys(("active_domain_count", "active_shared_domain_alias_count", "active_rule_count"), int),
    **dict.fromkeys((f"total_emails_{each}" for each in ("forwarded", "blocked", "replied", "sent")), int),
    **dict.fromkeys((f"total_{each}_aliases" for each in ("active", "inactive", "deleted", "pinned")), int),
    **dict.fromkeys(("created_at", "updated_at"), str),
    "total_aliases": int,
}
_META = {**dict.fromkeys(("current_page", "last_page", "per_page", "total"), int), "path": str, "links": list}
_LINK = {"label": str, "active": bool}
_SIMPLELOGIN: dict[str, dict[str, type]] = {
    "/api/user_info": {"name": str, "email": str, "is_premium": bool, "in_trial": bool},
    "/api/stats": dict.fromkeys(("nb_alias", "nb_block", "nb_forward", "nb_reply"), int),
    "/api/setting": {
        **dict.fromkeys(("alias_generator", "random_alias_default_domain", "sender_format"), str),
        "notification": bool,
    },
    "/api/v5/alias/options": {"can_create": bool, "prefix_suggestion": str, "suffixes": list},
}
_SIMPLELOGIN_ALIAS = {
    **dict.fromkeys(("id", "creation_timestamp", "nb_block", "nb_forward", "nb_reply"), int),
    **dict.fromkeys(("enabled", "support_pgp", "disable_pgp", "pinned"), bool),
    "email": str,
    "mailboxes": list,
}


def _decoded(shown: Mapping[str, Any], model: Mapping[str, type]) -> None:
    wrong = {name: shown.get(name) for name, kind in model.items() if type(shown.get(name)) is not kind}
    assert not wrong, f"missing or of another type: {wrong}"


async def test_addy_s_apps_find_every_member_that_they_declare(site: Site) -> None:
    client = site.client(site.token(), dialect="addy")
    for number in range(3):
        await client.post("/api/v1/aliases", json={"description": f"shop{number}.example", "label_ids": []})
    page = (
        await client.get("/api/v1/aliases?page[size]=2&page[number]=1&with=labels&sort=-created_at")
    ).json()
    for alias in page["data"]:
        _decoded(alias, _ALIAS)
        _decoded(alias["recipients"][0], _RECIPIENT)
        assert _TIME.fullmatch(alias["created_at"])
    _decoded(page["meta"], _META)
    for link in page["meta"]["links"]:
        _decoded(link, _LINK)
    shown = [(each["label"], each["active"]) for each in page["meta"]["links"]]
    assert shown == [("&laquo; Previous", False), ("1", True), ("2", False), ("Next &raquo;", False)]
    assert page["meta"]["links"][0]["url"] is None
    assert page["meta"]["links"][-1]["url"] == page["links"]["next"]
    (recipient,) = (await client.get("/api/v1/recipients")).json()["data"]
    _decoded(recipient, {**_RECIPIENT, "aliases_count": int})
    assert recipient["aliases_count"] == 3
    version = (await client.get("/api/v1/app-version")).json()
    assert (version["major"], version["minor"], version["patch"]) >= _NEEDED


async def test_addy_s_apps_see_how_many_addresses_are_on_off_and_deleted(site: Site) -> None:
    client = site.client(site.token(), dialect="addy")
    made = [await client.post("/api/v1/aliases", json={"description": f"{n}.example"}) for n in "abcd"]
    ids = [each.json()["data"]["id"] for each in made]
    await client.delete(f"/api/v1/active-aliases/{ids[0]}")
    await client.delete(f"/api/v1/aliases/{ids[1]}")
    shown = (await client.get("/api/v1/account-details")).json()["data"]
    _decoded(shown, _ACCOUNT)
    counted = [shown["total_aliases"]]
    counted += [shown[f"total_{each}_aliases"] for each in ("active", "inactive", "deleted")]
    assert counted == [4, 2, 1, 1]
    limits = ("recipient_limit", "bandwidth_limit", "active_shared_domain_alias_limit")
    assert [shown[each] for each in limits] == [None] * 3, "0 would forbid another one"
    assert (await client.get("/api/v1/aliases", params={"filter[domain]": ids[0]})).json()["data"] == []
    query = {"filter[recipient]": shown["default_recipient_id"]}
    assert len((await client.get("/api/v1/aliases", params=query)).json()["data"]) == 3


async def test_addy_s_apps_draw_the_last_seven_days(site: Site) -> None:
    client = site.client(site.token(), dialect="addy")
    await client.post("/api/v1/aliases", json={"description": "a.example"})
    site.person.spooled("a-example", DeliveryState.DELIVERED)
    site.person.spooled("a-example", DeliveryState.DELIVERED, outward=True)
    before = f"{site.office.clock():%A}"
    chart = (await client.get("/api/v1/chart-data")).json()
    assert [len(chart[each]) for each in ("forwardsData", "repliesData", "sendsData", "labels")] == [7] * 4
    assert chart["outboundMessageTotals"] == [1, 1, 0]
    assert chart["labels"][-1] in (before, f"{site.office.clock():%A}"), "midnight may come in between"
    site.later = timedelta(days=8)
    assert (await client.get("/api/v1/chart-data")).json()["outboundMessageTotals"] == [0, 0, 0]


async def test_an_app_of_addy_s_that_logs_out_ends_its_token_and_no_other(site: Site) -> None:
    other = site.client(site.token(), dialect="addy")
    client = site.client(site.token(), dialect="addy")
    answer = await client.post("/api/auth/logout")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get("/api/v1/account-details")).status_code == 401
    assert (await other.get("/api/v1/account-details")).status_code == 200
    assert (await site.client().post("/api/auth/logout")).status_code == 401


async def test_simplelogin_s_apps_find_every_member_that_they_declare(site: Site) -> None:
    client = site.client(site.token())
    made = (await client.post("/api/alias/random/new?hostname=shop.example")).json()
    for path, model in _SIMPLELOGIN.items():
        _decoded((await client.get(path)).json(), model)
    (alias,) = (await client.get("/api/v2/aliases?page_id=0")).json()["aliases"]
    for shown in (alias, made):
        _decoded(shown, _SIMPLELOGIN_ALIAS)
        _decoded(shown["mailboxes"][0], {"id": int, "email": str})
    path = f"/api/aliases/{made['id']}/contacts"
    contact = (await client.post(path, json={"contact": "Bob <bob@shop.example>"})).json()
    texts = dict.fromkeys(("contact", "reverse_alias", "reverse_alias_address"), str)
    numbers = dict.fromkeys(("id", "creation_timestamp"), int)
    _decoded(contact, {**texts, **numbers, "existed": bool, "block_forward": bool})
    (mailbox,) = (await client.get("/api/v2/mailboxes")).json()["mailboxes"]
    numbers = dict.fromkeys(("id", "creation_timestamp", "nb_alias"), int)
    _decoded(mailbox, {**numbers, "email": str, "default": bool, "verified": bool})
