"""Signing in by a mailed link, and the session after it; what strangers, other sites and thieves can't do."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import timedelta
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from sortingoffice.flows import signin
from sortingoffice.store import accounts, schema, spool
from tests.web import Site

HERE = {"Sec-Fetch-Site": "same-origin"}


async def _mails(site: Site) -> list[bytes]:
    """What was mailed, the latest first."""
    await site.office.settled()
    waiting = await site.office.db.read(spool.queue)
    found = [await site.office.db.read(spool.by_id, each.message.id) for each in waiting]
    return [each.raw for each in found if each is not None]


async def _link(site: Site, mailbox: str = "anna@home.example") -> str:
    asked = await site.client().post("/signin", data={"mailbox": mailbox}, headers=HERE)
    assert asked.status_code == 200
    found = re.search(rb"http://127\.0\.0\.1:8080(/signin/\w+)", (await _mails(site))[0])
    assert found is not None
    return found[1].decode()


async def signed_in(site: Site, **options: Any) -> httpx.AsyncClient:
    client = site.client(**options)
    done = await client.post(await _link(site), headers=HERE)
    assert (done.status_code, done.headers["Location"]) == (303, "/")
    return client


async def form_token(client: httpx.AsyncClient) -> str:
    found = re.search(r'name="form_token" value="(\w+)"', (await client.get("/new")).text)
    assert found is not None
    return found[1]


async def test_a_mailed_link_signs_in_once(site: Site) -> None:
    link = await _link(site)
    looked = await site.client().get(link)
    assert "Sign in as anna?" in looked.text
    first, second = site.client(), site.client()
    assert (await first.post(link, headers=HERE)).status_code == 303
    assert (await first.get("/")).status_code == 200
    assert (await second.post(link, headers=HERE)).status_code == 404
    assert (await second.get(link)).status_code == 404
    assert (await second.get("/")).status_code == 303


async def test_a_look_at_the_link_does_not_use_it_up(site: Site) -> None:
    link = await _link(site)
    for _ in range(3):
        assert (await site.client().get(link)).status_code == 200
    assert (await site.client().post(link, headers=HERE)).status_code == 303


async def test_a_link_runs_out_and_a_newer_one_ends_it(site: Site) -> None:
    old = await _link(site)
    new = await _link(site)
    assert (await site.client().post(old, headers=HERE)).status_code == 404
    site.later = signin.LINK_FOR + timedelta(seconds=1)
    assert (await site.client().post(new, headers=HERE)).status_code == 404


async def test_the_mail_goes_to_the_mailbox_alone_and_names_no_vendor(site: Site) -> None:
    site.person.out("new", "Lamp Shop")
    await _link(site)
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
    assert await _link(site)


async def test_what_opens_a_door_is_nowhere_in_the_database(site: Site) -> None:
    link = await _link(site)
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


# ---- pages of somebody else's --------------------------------------------------------------------

PAGES = [
    "/",
    "/new",
    "/cards",
    "/held",
    "/ledger",
    "/devices",
    "/settings",
    "/log",
    "/strangers",
    "/leaks",
    "/export/everything.json",
]


@pytest.mark.parametrize("path", PAGES)
async def test_without_a_session_every_page_leads_to_the_door(site: Site, path: str) -> None:
    answer = await site.client().get(path)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/signin")


# What anybody may ask for: the door, what a browser needs before it, and what a secret in the path opens.
OPEN = ("/healthz", "/readyz", "/static", "/manifest", "/robots.txt", "/signin", "/api", "/leave")


async def test_no_path_at_all_is_open_without_a_session(site: Site) -> None:
    client, tried = site.client(), 0
    for each in site.app.routes:
        if not isinstance(each, Route) or each.path.startswith(OPEN):
            continue
        path = re.sub(r"\{[^}]+\}", "1", each.path)
        for method in sorted((each.methods or set()) - {"HEAD"}):
            answer = await client.request(method, path, headers=HERE)
            tried += 1
            assert (answer.status_code, answer.headers.get("Location", "")[:7]) == (303, "/signin"), path
    assert tried > 50


async def test_no_form_at_all_is_taken_without_its_session_s_token(site: Site) -> None:
    client, tried = await signed_in(site), 0
    for each in site.app.routes:
        if isinstance(each, Route) and not each.path.startswith(OPEN) and "POST" in (each.methods or ()):
            path = re.sub(r"\{[^}]+\}", "1", each.path)
            answer = await client.post(path, data={"form_token": "0" * 40}, headers=HERE)
            tried += 1
            assert answer.status_code == 403, path
    assert tried > 30


@pytest.mark.parametrize("path", [*PAGES, "/signin", "/r/lamp-shop"])
async def test_every_page_forbids_frames_foreign_scripts_and_caches(site: Site, path: str) -> None:
    client = await signed_in(site)
    site.person.out("new", "Lamp Shop")
    answer = await client.get(path)
    policy = answer.headers["Content-Security-Policy"]
    if path != "/export/everything.json":
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "base-uri 'none'" in policy
        assert "form-action 'self'" in policy
        assert answer.headers["X-Frame-Options"] == "DENY" or answer.status_code == 303
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"


async def test_pages_hold_no_inline_script_style_or_handler(site: Site) -> None:
    client = await signed_in(site)
    site.person.out("new", "Lamp Shop", "--site", "lampshop.example")
    for path in [*PAGES[:-1], "/r/lamp-shop", "/signin"]:
        text = (await client.get(path)).text
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), path
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", text), path


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
    ids=["cross-site", "same-site", "origin", "null"],
)
async def test_a_form_of_another_site_does_nothing(site: Site, headers: dict[str, str]) -> None:
    client = await signed_in(site)
    token = await form_token(client)
    answer = await client.post("/new", data={"name": "Shop", "form_token": token}, headers=headers)
    assert answer.status_code == 403
    assert site.person.json("list") == []
    asked = await site.client().post("/signin", data={"mailbox": "anna@home.example"}, headers=headers)
    assert asked.status_code == 403


@pytest.mark.parametrize("token", ["", "0" * 40, "ünï"])
async def test_a_form_without_its_session_s_token_does_nothing(site: Site, token: str) -> None:
    client = await signed_in(site)
    answer = await client.post("/new", data={"name": "Shop", "form_token": token}, headers=HERE)
    assert answer.status_code == 403
    assert site.person.json("list") == []


async def test_another_session_s_form_token_does_nothing(site: Site) -> None:
    one, other = await signed_in(site), await signed_in(site)
    answer = await one.post(
        "/new", data={"name": "Shop", "form_token": await form_token(other)}, headers=HERE
    )
    assert answer.status_code == 403


async def test_nothing_changes_by_a_get(site: Site) -> None:
    client = await signed_in(site)
    site.person.out("new", "Lamp Shop")
    for path in ("/r/lamp-shop/revoke", "/r/lamp-shop/pause", "/signout", "/devices/tokens"):
        assert (await client.get(path)).status_code == 405, path
    assert site.person.json("show", "lamp-shop")["state"] == "active"


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/%5cevil",
        "\t/x",
        "evil",
    ],
)
async def test_nobody_is_sent_elsewhere_after_signing_in(site: Site, wanted: str) -> None:
    client = site.client()
    await client.get("/signin", params={"next": wanted})
    client.cookies.set("next", wanted)
    done = await client.post(await _link(site), headers=HERE)
    assert done.status_code == 303
    assert re.match(r"/(?![/\\])", done.headers["Location"])
    assert "evil.example" not in done.headers["Location"]
    again = await client.get("/signin", params={"next": wanted})
    assert re.match(r"/(?![/\\])", again.headers["Location"])


async def test_whoever_wanted_a_page_gets_it_after_signing_in(site: Site) -> None:
    client = site.client()
    door = await client.get("/new?site=shop.example")
    await client.get(door.headers["Location"])
    done = await client.post(await _link(site), headers=HERE)
    assert done.headers["Location"] == "/new?site=shop.example"
    assert 'value="shop.example"' in (await client.get(done.headers["Location"])).text


# ---- the session ---------------------------------------------------------------------------------


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(site: Site) -> None:
    done = await site.client().post(await _link(site), headers=HERE)
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


async def test_no_log_line_holds_a_link_s_secret(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    from unittest import mock

    link = await _link(site)
    with mock.patch.object(type(site.office.db), "read", side_effect=RuntimeError("broken")):
        answer = await site.client().get(link)
    assert answer.status_code == 500
    assert "broken" not in answer.text
    assert link.rpartition("/")[2] not in caplog.text


# ---- what strangers wrote ------------------------------------------------------------------------


async def test_what_vendors_and_people_wrote_is_shown_and_never_run(site: Site) -> None:
    site.person.out("new", "<script>alert(1)</script>", "--note", '"><img src=x onerror=alert(2)>')
    from sortingoffice.core.model import DeliveryState

    slug = site.person.json("list")[0]["relationship"]
    number = site.person.spooled(slug, DeliveryState.HELD, reason="muted")
    client = await signed_in(site)
    for path in (
        "/",
        f"/r/{slug}",
        "/held",
        f"/held/{number}",
        "/?search=<script>x</script>",
        "/ledger?what=<b>",
    ):
        text = (await client.get(path)).text
        assert "<script>" not in text, path
        assert "<img src=x" not in text, path
        assert "\x1b" not in text, path
    assert "&lt;script&gt;alert(1)" in (await client.get("/")).text


async def test_an_export_is_a_file_and_no_cell_is_a_formula(site: Site) -> None:
    site.person.out("new", "=HYPERLINK(1)", "--note", "@x")
    client = await signed_in(site)
    answer = await client.get("/export/addresses.csv")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert "'=HYPERLINK(1)" in answer.text
    assert ",'@x," in answer.text
    everything = (await client.get("/export/everything.json")).json()
    assert everything["relationships"][0]["name"] == "=HYPERLINK(1)"
