"""Signing in by a mailed link, and the session after it; what strangers and thieves can't do."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import timedelta
from typing import Any

import httpx
import pytest

from sortingoffice.flows import signin
from sortingoffice.store import accounts, schema, spool
from tests.person import Person
from tests.web import Site, opened

HERE = {"Sec-Fetch-Site": "same-origin"}


async def _mails(site: Site) -> list[bytes]:
    """What was mailed, the latest first."""
    await site.office.settled()
    waiting = await site.office.db.read(spool.queue)
    found = [await site.office.db.read(spool.by_id, each.message.id) for each in waiting]
    return [each.raw for each in found if each is not None]


async def mailed_link(site: Site, mailbox: str = "anna@home.example") -> str:
    asked = await site.client().post("/signin", data={"mailbox": mailbox}, headers=HERE)
    assert asked.status_code == 200
    found = re.search(rb"http://127\.0\.0\.1:8080(/signin/\w+)", (await _mails(site))[0])
    assert found is not None
    return found[1].decode()


async def signed_in(site: Site, **options: Any) -> httpx.AsyncClient:
    client = site.client(**options)
    done = await client.post(await mailed_link(site), headers=HERE)
    assert (done.status_code, done.headers["Location"]) == (303, "/")
    return client


async def form_token(client: httpx.AsyncClient) -> str:
    found = re.search(r'name="form_token" value="(\w+)"', (await client.get("/new")).text)
    assert found is not None
    return found[1]


async def test_a_mailed_link_signs_in_once(site: Site) -> None:
    link = await mailed_link(site)
    looked = await site.client().get(link)
    assert "Sign in as anna?" in looked.text
    first, second = site.client(), site.client()
    assert (await first.post(link, headers=HERE)).status_code == 303
    assert (await first.get("/")).status_code == 200
    assert (await second.post(link, headers=HERE)).status_code == 404
    assert (await second.get(link)).status_code == 404
    assert (await second.get("/")).status_code == 303


async def test_a_look_at_the_link_does_not_use_it_up(site: Site) -> None:
    link = await mailed_link(site)
    for _ in range(3):
        assert (await site.client().get(link)).status_code == 200
    assert (await site.client().post(link, headers=HERE)).status_code == 303


async def test_a_link_runs_out_and_a_newer_one_ends_it(site: Site) -> None:
    old = await mailed_link(site)
    new = await mailed_link(site)
    assert (await site.client().post(old, headers=HERE)).status_code == 404
    site.later = signin.LINK_FOR + timedelta(seconds=1)
    assert (await site.client().post(new, headers=HERE)).status_code == 404


async def test_the_mail_goes_to_the_mailbox_alone_and_names_no_vendor(site: Site) -> None:
    site.person.out("new", "Lamp Shop")
    await mailed_link(site)
    (raw,) = await _mails(site)
    assert b"anna@home.example" in raw
    assert b"Lamp Shop" not in raw
    (queued,) = site.person.json("queue", "list")
    assert queued["to"] == "anna@home.example"


async def test_the_link_leads_where_the_config_says_whatever_host_was_asked(site: Site) -> None:
    for name in ("Host", "X-Forwarded-Host", "Forwarded"):
        await site.client().post(
            "/signin", data={"mailbox": "anna@home.example"}, headers={name: "evil.example", **HERE}
        )
    assert all(b"evil.example" not in raw for raw in await _mails(site))


async def test_a_stranger_is_told_the_same_as_the_person(site: Site) -> None:
    answers, took = [], []
    for mailbox in ("anna@home.example", "nobody@home.example", "x" * 200 + "@home.example"):
        began = time.thread_time()  # what this loop did, whatever else the machine did
        answer = await site.client(peer=("192.0.2.8", 1)).post(
            "/signin", data={"mailbox": mailbox}, headers=HERE
        )
        took.append(time.thread_time() - began)
        answers.append((answer.status_code, answer.text, sorted(answer.headers)))
    assert answers[0] == answers[1] == answers[2]
    assert len(await _mails(site)) == 1
    assert max(took) < 0.5, "nothing is looked up before the answer"


async def test_pending_mailboxes_and_suspended_accounts_get_no_link(site: Site) -> None:
    site.person.out("admin", "mailbox", "add", "second@home.example", "--verify")
    verification = len(await _mails(site))
    await site.client().post("/signin", data={"mailbox": "second@home.example"}, headers=HERE)
    site.person.out("admin", "account", "suspend", "anna")
    await site.client().post("/signin", data={"mailbox": "anna@home.example"}, headers=HERE)
    assert len(await _mails(site)) == verification


async def test_who_asks_for_links_again_and_again_is_slowed_down(site: Site) -> None:
    codes = [
        (await site.client().post("/signin", data={"mailbox": "anna@home.example"}, headers=HERE)).status_code
        for _ in range(7)
    ]
    assert codes == [200] * 5 + [429] * 2


async def test_several_processes_together_mail_no_more_than_one_may(site: Site) -> None:
    for _ in range(15):
        await asyncio.to_thread(
            site.office.db.call, signin.mail_link, site.office, "anna@home.example", "https://office.example"
        )
    assert len(await _mails(site)) == signin.MOST_LINKS
    site.later = signin.LINK_FOR + timedelta(seconds=1)
    assert await mailed_link(site)


async def test_what_opens_a_door_is_nowhere_in_the_database(site: Site) -> None:
    link = await mailed_link(site)
    tab = await signed_in(site)
    token = site.token()
    password = site.person.out("admin", "password", "new")
    await site.client().get(link)
    secrets = [tab.cookies["session"], token, password, link.rpartition("/")[2]]
    rows = await site.office.db.read(_everything_but_mail)
    assert len(rows) > 1000
    for secret in secrets:
        assert secret.encode() not in rows, "as it is"
        assert secret.replace("-", "").encode() not in rows


def _everything_but_mail(tx: Any) -> bytes:
    """All that is stored but mail: the one with the link is on its way to its reader."""
    written = []
    for name, table in schema.metadata.tables.items():
        for row in tx.execute(table.select()).mappings():
            values = {key: value for key, value in row.items() if (name, key) != ("message", "raw")}
            written.append(
                b"\n".join(v if isinstance(v, bytes) else str(v).encode() for v in values.values())
            )
    return b"\n".join(written)


async def test_guessed_links_open_nothing_and_are_slowed_down(site: Site) -> None:
    codes = {(await site.client().post(f"/signin/{n:040d}", headers=HERE)).status_code for n in range(40)}
    assert codes == {404, 429}


# ---- the session ---------------------------------------------------------------------------------


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(site: Site) -> None:
    done = await site.client().post(await mailed_link(site), headers=HERE)
    cookie = done.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Domain" not in cookie
    secret = cookie.partition("=")[2].partition(";")[0]
    assert all(secret.encode() not in each.read_bytes() for each in site.person.folder.rglob("*.sqlite*"))


async def test_behind_tls_the_cookie_is_a_host_cookie(site: Site) -> None:
    from dataclasses import replace

    config = site.office.config
    site.office = replace(
        site.office, config=replace(config, http=replace(config.http, base_url="https://office.example"))
    )
    await site.client().post("/signin", data={"mailbox": "anna@home.example"}, headers=HERE)
    found = re.search(rb"https://office\.example(/signin/\w+)", (await _mails(site))[0])
    assert found is not None
    done = await site.client().post(found[1].decode(), headers=HERE)
    assert done.headers["Set-Cookie"].startswith("__Host-session=")
    assert "Secure" in done.headers["Set-Cookie"]


async def test_a_session_s_secret_changes_and_the_old_one_ends_after_the_new_was_seen(site: Site) -> None:
    client = await signed_in(site)
    old = client.cookies["session"]
    site.later += signin.ROTATE_EVERY + timedelta(seconds=1)
    assert (await client.get("/")).status_code == 200
    new = client.cookies["session"]
    assert new != old
    late = site.client(cookies={"session": old})
    assert (await late.get("/")).status_code == 200, "a request that was under way"
    assert late.cookies["session"] == old, "it gets no secret of its own"
    site.later += timedelta(minutes=2)
    assert (await client.get("/")).status_code == 200
    assert (await late.get("/")).status_code == 303


async def test_a_lost_answer_signs_nobody_out(site: Site) -> None:
    client = await signed_in(site)
    old = client.cookies["session"]
    site.later += signin.ROTATE_EVERY + timedelta(seconds=1)
    await client.get("/")
    site.later += timedelta(hours=3)
    again = site.client(cookies={"session": old})
    answer = await again.get("/")
    assert answer.status_code == 200
    assert answer.headers["Set-Cookie"].startswith("session=")
    assert old not in answer.headers["Set-Cookie"]


async def test_a_session_ends_when_it_is_idle_and_when_it_is_old(site: Site) -> None:
    idle = await signed_in(site)
    site.later += signin.IDLE_FOR + timedelta(minutes=1)
    assert (await idle.get("/")).status_code == 303
    site.later = timedelta()
    used = await signed_in(site)
    while site.later < signin.SESSION_FOR - timedelta(days=9):
        site.later += timedelta(days=9)
        assert (await used.get("/")).status_code == 200
    site.later = signin.SESSION_FOR + timedelta(seconds=1)
    assert (await used.get("/")).status_code == 303


async def test_signing_out_ends_the_session_for_good(site: Site) -> None:
    client = await signed_in(site)
    secret = client.cookies["session"]
    done = await client.post("/signout", data={"form_token": await form_token(client)}, headers=HERE)
    assert done.headers["Location"] == "/signin"
    assert "session" not in client.cookies
    assert (await site.client(cookies={"session": secret}).get("/")).status_code == 303


async def test_devices_are_listed_and_signed_out_from_another(site: Site) -> None:
    phone = await signed_in(site, headers={"User-Agent": "Mozilla/5.0 (Android 14; Mobile) Firefox/140"})
    desk = await signed_in(
        site, headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/140 Safari/537"}
    )
    text = (await desk.get("/devices")).text
    assert "Firefox on Android" in text
    assert "Chrome on Linux" in text
    await desk.post("/devices/sessions", data={"id": "1", "form_token": await form_token(desk)}, headers=HERE)
    assert (await phone.get("/")).status_code == 303
    assert (await desk.get("/")).status_code == 200
    await signed_in(site)
    await desk.post(
        "/devices/sessions", data={"id": "others", "form_token": await form_token(desk)}, headers=HERE
    )
    assert len(await site.office.db.read(_live, site)) == 1


def _live(tx: Any, site: Site) -> list[Any]:
    return signin.live(tx, site.office, accounts.the_only(tx))


async def test_a_suspended_account_is_signed_out_at_once(site: Site) -> None:
    client = await signed_in(site)
    site.person.out("admin", "account", "suspend", "anna")
    assert (await client.get("/")).status_code == 303


async def test_signing_in_and_out_are_events(site: Site) -> None:
    client = await signed_in(site)
    await client.post("/signout", data={"form_token": await form_token(client)}, headers=HERE)
    assert [each.split(" #")[0] for each in site.person.events()[-3:]] == [
        "sign-in link sent mailbox",
        "signed in",
        "signed out",
    ]


@pytest.mark.parametrize("path", ["/r/" + "9" * 60_000, "/?search=" + "9" * 60_000, "//elsewhere.example/"])
async def test_who_is_signed_out_comes_to_the_sign_in_page_from_any_path(site: Site, path: str) -> None:
    answer = await site.client().get(f"http://127.0.0.1:8080{path}")
    assert answer.status_code in (303, 404)
    assert answer.headers.get("Location", "/signin") == "/signin"


async def test_who_was_signed_out_is_told_that_a_button_did_nothing(site: Site) -> None:
    site.person.out("new", "Lamp Shop")
    client = await signed_in(site)
    token = await form_token(client)
    client.cookies.clear()
    pressed = await client.post("/r/lamp-shop/revoke", data={"form_token": token}, headers=HERE)
    door = await client.get(pressed.headers["Location"])
    assert "that was not done" in door.text
    assert site.person.json("show", "lamp-shop")["state"] == "active"
    assert "not done" not in (await client.get("/signin")).text


async def test_no_log_line_holds_a_link_s_secret(person: Person, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(person) as site:
        link = await mailed_link(site)
    person.damage("one_time")
    async with opened(person) as site:
        answer = await site.client().get(link)
    assert answer.status_code == 500
    assert "malformed" not in answer.text
    assert caplog.text
    assert link.rpartition("/")[2] not in caplog.text
