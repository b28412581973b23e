"""What other sites' pages can't do to ours, and what strangers wrote can't do on them."""

from __future__ import annotations

import re

import pytest
from starlette.routing import Route

from sortingoffice.core.model import DeliveryState
from tests.test_web_signin import HERE, form_token, mailed_link, signed_in
from tests.web import Site

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


@pytest.mark.parametrize(
    ("path", "fields", "origin", "status"),
    [
        ("/?page=" + "9" * 5000, None, "", 200),
        ("/?page=" + "0" * 5000 + "1", None, "", 200),
        ("/signin", {"mailbox": "anna@home.example"}, "https://[", 403),
        ("/r/lamp-shop/change", {"max": "0" * 11 + "19" * 9}, "", 409),
        ("/r/lamp-shop/change", {"max": "0" * 11 + "1" * 5000}, "", 409),
        ("/new", {"name": "Shop", "max": "0" * 11 + "1" * 5000}, "", 409),
    ],
)
async def test_what_no_page_of_ours_sends_is_refused_and_never_a_fault_of_ours(
    site: Site, path: str, fields: dict[str, str] | None, origin: str, status: int
) -> None:
    client = await signed_in(site)
    site.person.out("new", "Lamp Shop")
    headers = HERE | ({"Origin": origin} if origin else {})
    shown = {"strangers": "learn", "remote_images": "keep", "name": "Lamp Shop"}
    data = None if fields is None else {"form_token": await form_token(client), **shown, **fields}
    answer = await client.request("GET" if data is None else "POST", path, data=data, headers=headers)
    assert answer.status_code == status


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
    done = await client.post(await mailed_link(site), headers=HERE)
    assert done.status_code == 303
    assert re.match(r"/(?![/\\])", done.headers["Location"])
    assert "evil.example" not in done.headers["Location"]
    again = await client.get("/signin", params={"next": wanted})
    assert re.match(r"/(?![/\\])", again.headers["Location"])


async def test_whoever_wanted_a_page_gets_it_after_signing_in(site: Site) -> None:
    client = site.client()
    door = await client.get("/new?site=shop.example")
    await client.get(door.headers["Location"])
    done = await client.post(await mailed_link(site), headers=HERE)
    assert done.headers["Location"] == "/new?site=shop.example"
    assert 'value="shop.example"' in (await client.get(done.headers["Location"])).text


@pytest.mark.parametrize(
    ("name", "path", "shown"),
    [
        ("日本書店", "/r/日本書店", "日本書店"),
        ("متجر المصابيح", "/?search=المصابيح", "متجر المصابيح"),
        ("Größe & Co", "/?search=gr%C3%B6%C3%9Fe+%26&state=active", "Größe &amp; Co"),
    ],
)
async def test_a_page_of_any_script_is_got_after_signing_in(
    site: Site, name: str, path: str, shown: str
) -> None:
    site.person.out("new", name)
    client = site.client()
    door = await client.get((await client.get(path)).headers["Location"])
    assert door.status_code == 200
    done = await client.post(await mailed_link(site), headers=HERE)
    page = await client.get(done.headers["Location"])
    assert page.status_code == 200
    assert shown in page.text
    assert page.url == client.build_request("GET", path).url


# ---- what strangers wrote ------------------------------------------------------------------------


async def test_what_vendors_and_people_wrote_is_shown_and_never_run(site: Site) -> None:
    site.person.out("new", "<script>alert(1)</script>", "--note", '"><img src=x onerror=alert(2)>')
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
