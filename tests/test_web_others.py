"""The pages and the API about others than the vendors: strangers, leaks, slips; and the by-mail contacts."""

from __future__ import annotations

import base64
import io
import re
import zipfile

import httpx
import pytest

from sortingoffice.core import report
from sortingoffice.mail import vcard
from sortingoffice.web import inert
from tests.test_web_signin import HERE, form_token, signed_in
from tests.web import Site, arrives


@pytest.fixture
async def tab(site: Site) -> httpx.AsyncClient:
    """A signed-in browser at an office to whose one relationship two strangers wrote."""
    site.person.out("new", "Lamp Shop", "--site", "lampshop.example")
    arrives(site.person, "lamp-shop", "orders@lampshop.example", "your lamp")
    arrives(site.person, "lamp-shop", "deals@spam.example", "You won", name="<b>Deals</b>")
    arrives(site.person, "lamp-shop", "deals@spam.example", "You won again")
    arrives(site.person, "lamp-shop", "news@mailer.example", "Read more")
    return await signed_in(site)


async def press(tab: httpx.AsyncClient, path: str, **form: str) -> httpx.Response:
    data = {"form_token": await form_token(tab), **form}
    return await tab.post(path, data=data, headers=HERE)


async def test_strangers_are_listed_with_what_they_proved_and_the_vendor_is_not(
    tab: httpx.AsyncClient,
) -> None:
    text = (await tab.get("/strangers")).text
    assert "spam.example" in text
    assert "2 messages" in text
    assert "mailer.example" in text
    assert "lampshop.example" not in text


@pytest.mark.parametrize(
    ("act", "list_", "button"), [("allow", "bindings", "Refuse"), ("refuse", "refused", "Allow")]
)
async def test_a_stranger_is_allowed_or_refused_by_one_button(
    site: Site, tab: httpx.AsyncClient, act: str, list_: str, button: str
) -> None:
    done = await press(tab, f"/strangers/{act}", relationship="lamp-shop", sender="spam.example")
    assert done.headers["Location"].startswith("/strangers?done=")
    assert "spam.example" in site.person.json("show", "lamp-shop")[list_]
    text = (await tab.get("/strangers")).text
    labels = re.findall(r'aria-label="(Allow|Refuse) spam\.example', text)
    assert labels == [button], "the other word can still be said"


async def test_the_relationship_s_page_tells_of_them_and_gives_the_report(tab: httpx.AsyncClient) -> None:
    text = (await tab.get("/r/lamp-shop")).text
    assert "Refuse the writer mailer.example" in text
    assert 'href="/leaks/lamp-shop/report.zip"' in text
    assert "<b>Deals</b>" not in text


async def test_the_report_is_a_folder_that_verifies_by_itself(tab: httpx.AsyncClient) -> None:
    page = (await tab.get("/leaks")).text
    assert "spam.example" in page
    assert re.search(r"hit in one of [\d,]+ (?:b|tr)illion offices", page)
    answer = await tab.get("/leaks/lamp-shop/report.zip")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="leak-lamp-shop.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        files = {name.removeprefix("leak-lamp-shop/"): packed.read(name) for name in packed.namelist()}
    assert len([name for name in files if name.startswith(report.MESSAGES)]) == 3
    found = report.verify(files)
    assert found
    assert all(each.holds for each in found), found


async def test_of_others_relationships_there_is_no_report(site: Site, tab: httpx.AsyncClient) -> None:
    site.person.out("admin", "account", "add", "bert", "--mailbox", "bert@else.example")
    site.person.out("--account", "bert", "new", "Lamp Post", "--site", "post.example")
    for slug in ("lamp-post", "nobody", "..%2fx"):
        assert (await tab.get(f"/leaks/{slug}/report.zip")).status_code == 404
    done = await press(tab, "/strangers/allow", relationship="lamp-post", sender="spam.example")
    assert done.status_code == 404


async def test_the_by_mail_contacts_are_shown_downloaded_and_made_anew(tab: httpx.AsyncClient) -> None:
    def shown(text: str) -> list[str]:
        return re.findall(r"(?:new|pocket)\.[a-z2-7]{26}@sort\.example", text)

    before = shown((await tab.get("/settings")).text)
    answer = await tab.get("/settings/contacts.vcf")
    assert answer.headers["Content-Type"].startswith("text/vcard")
    names = [card[0].text for card in vcard.parse(answer.content)]
    assert names[:2] == ["New address", "Pocket addresses"]
    assert before[0] in answer.text
    assert (await press(tab, "/settings/contacts/renew")).status_code == 303
    after = shown((await tab.get("/settings")).text)
    assert after
    assert not set(after) & set(before)


def test_a_mail_is_shown_as_it_is_read_and_never_as_markup() -> None:
    body = base64.b64encode("<p>Grüße <b>Anna</b></p><p style='display:none'>unseen</p>".encode()).decode()
    raw = (
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\n"
        "a\x1b[2J\u202eb\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n"
        f"Content-Transfer-Encoding: base64\r\n\r\n{body}\r\n--b\r\nContent-Type: application/pdf\r\n"
        'Content-Disposition: attachment; filename="<i>.pdf"\r\n\r\nPDF\r\n--b--\r\n'
    ).encode()
    text, html, file = inert.parts(raw)
    assert text.text == "a\ufffd[2J\ufffdb"
    assert html.text.split("\n") == ["Grüße Anna", "", "Out of sight in it:", "unseen"]
    assert file.file == "<i>.pdf (application/pdf, 3 octets)"


@pytest.mark.parametrize("raw", [b"", b"\0" * 9, b"\xff" * 99, b"a: b\r\n" * 9, b"x" * (1 << 22)])
def test_whatever_waits_can_be_looked_at(raw: bytes) -> None:
    inert.parts(raw)


async def test_a_hostile_mail_that_waits_runs_nothing_on_its_page(site: Site) -> None:
    site.person.out("new", "Lamp Shop", "--site", "lampshop.example")
    site.person.out("pause", "lamp-shop")
    hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    arrives(
        site.person,
        "lamp-shop",
        "orders@lampshop.example",
        f'{hostile}" onfocus=alert(3) x="',
        html=f"<p>hello</p>{hostile}",
        name="</title><svg onload=alert(4)>",
    )
    tab = await signed_in(site)
    [held] = site.person.json("held", "list")
    for path in ("/held", f"/held/{held['id']}", "/r/lamp-shop", "/log", "/strangers"):
        page = (await tab.get(path)).text
        assert "<script>alert" not in page, path
        assert "<img src=x" not in page, path
        assert "<svg onload" not in page, path
        assert not re.search(r'<[^>]*"\s+onfocus=alert', page), path
