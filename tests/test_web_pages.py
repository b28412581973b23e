"""What the pages say, without a browser: nothing that is over, and what of a list is not there."""

from __future__ import annotations

from tests.test_web_signin import signed_in
from tests.web import Site


async def test_a_page_that_is_gone_back_to_says_nothing_that_is_over(site: Site) -> None:
    client = await signed_in(site)
    site.person.out("new", "Lamp Shop")
    for command, done, sentence in (
        ("revoke", "revoked", "nothing arrives any more"),
        ("restore", "restored", "it takes mail again"),
        ("pause", "paused", "its mail is held"),
        ("resume", "resumed", "what was held is on its way"),
    ):
        assert sentence not in (await client.get(f"/r/lamp-shop?done={done}")).text
        site.person.out(command, "lamp-shop")
        assert sentence in (await client.get(f"/r/lamp-shop?done={done}")).text


async def test_a_list_that_is_not_whole_says_so_where_it_is_narrowed(site: Site) -> None:
    client = await signed_in(site)
    site.person.out("pocket", "50")
    assert 'id="beyond"' not in (await client.get("/")).text
    site.person.out("pocket", "1")
    for page in (1, 2):
        assert "looks through all 51" in (await client.get(f"/?page={page}")).text
    assert "No addresses yet" not in (await client.get("/?page=3")).text


async def test_a_mistyped_path_is_answered_by_a_page_that_leads_on(site: Site) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("GET", "/r/x/revoke", 405), ("POST", "/", 405)):
        answer = await site.client().request(method, path)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
        assert 'href="/"' in answer.text
