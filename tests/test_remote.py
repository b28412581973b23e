"""Remote images and tracking pixels, neutralised where a relationship's setting says so."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sortingoffice.core import remote
from sortingoffice.core.model import RemoteImages
from sortingoffice.mail import mime
from sortingoffice.mail.message import Message

HEAD = "From: a@shop.example\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n"
PIXEL = '<img src="https://t.example/x/4711" width="1" height="1" alt="">'


def _message(html: str, more: str = "") -> Message:
    return Message.parse((HEAD + more + "\r\n" + html).encode())


def _blocked(html: str, wish: RemoteImages = RemoteImages.BLOCK) -> tuple[str, remote.Found]:
    message, found = remote.without(_message(html), wish)
    return message.body.decode(), found


# Every way in which a mail client could be made to ask a server of the sender's.
LOADING = [
    '<img src="https://t.example/a.png">',
    "<img src='http://t.example/a.png'>",
    "<img src=//t.example/a.png>",
    '<IMG SRC = " https://t.example/a.png ">',
    '<img src="&#104;ttps://t.example/a.png">',
    '<img src="h\nttps://t.example/a.png">',
    '<img alt="x" srcset="https://t.example/a.png 2x" src="cid:a">',
    '<picture><source srcset="cid:b, https://t.example/b 2x"><img src="cid:a"></picture>',
    '<base href="https://t.example/"><img src="a.png">',
    '<image src="https://t.example/a.png">',
    '<input type="image" src="https://t.example/a.png">',
    '<body background="https://t.example/a.png">',
    '<table><tr><td background="https://t.example/a.png">x</td></tr></table>',
    '<video poster="https://t.example/a.png" src="https://t.example/b.mp4"></video>',
    '<audio src="https://t.example/a.mp3"></audio>',
    '<iframe src="https://t.example/"></iframe>',
    '<iframe srcdoc="&lt;img src=https://t.example/a.png&gt;"></iframe>',
    '<object data="https://t.example/a.svg"></object>',
    '<embed src="https://t.example/a.svg">',
    '<link rel="stylesheet" href="https://t.example/a.css">',
    '<link rel="dns-prefetch" href="//t.example">',
    '<script src="https://t.example/a.js"></script>',
    '<svg><image href="https://t.example/a.png"/></svg>',
    '<svg><image xlink:href="https://t.example/a.png"/></svg>',
    '<svg><use href="https://t.example/a.svg#b"/></svg>',
    '<div style="background:url(https://t.example/a.png)">x</div>',
    "<div style='background-image: URL( \"https://t.example/a.png\" )'>x</div>",
    '<div style="background:u\\72l(https://t.example/a.png)">x</div>',
    '<div style="background:url(https://t.example/a.png">x</div>',
    "<div style=\"background:image-set('https://t.example/a.png' 1x)\">x</div>",
    '<div style="list-style:url(&quot;https://t.example/a.png&quot;)">x</div>',
    '<style>@import "https://t.example/a.css";</style>',
    "<style>@import url(https://t.example/a.css);</style>",
    "<style>td{background:url('https://t.example/a.png')}</style>",
    "<style>@font-face{font-family:x;src:url(https://t.example/f.woff2)}</style>",
    '<!--[if mso]><v:fill src="https://t.example/a.png"/><![endif]-->',
    '<!--[if gte mso 9]><td background="https://t.example/a.png"><![endif]-->',
    '<amp-img src="https://t.example/a.png"></amp-img>',
    PIXEL,
]


@pytest.mark.parametrize("html", LOADING)
def test_blocked_a_message_loads_nothing_from_elsewhere(html: str) -> None:
    body, found = _blocked(f"<p>Hello</p>{html}<p>Bye</p>")
    assert "t.example" not in re.sub(r"<base [^>]*>", "", body)
    assert found.remote >= 1
    assert "Hello" in body
    assert "Bye" in body


KEPT = [
    '<img src="cid:logo@shop.example">',
    '<img src="data:image/png;base64,iVBORw0KGgo=">',
    '<a href="https://shop.example/order/1">your order</a>',
    '<svg><a href="https://shop.example/">x</a><use href="#part"/></svg>',
    '<div style="background:url(cid:logo)">x</div>',
    '<div style="color:red;font-family:&quot;A, B&quot;">https://shop.example/ (url)</div>',
    "<style>p{color:red}/* url */</style><p>src=https://shop.example/</p>",
    "<!-- <img src='https://t.example/a.png'> -->",
    '<area href="https://shop.example/map">',
    '<form action="https://shop.example/search"><input name="src"></form>',
]


@pytest.mark.parametrize("html", KEPT)
@pytest.mark.parametrize("wish", RemoteImages)
def test_what_loads_nothing_stays_octet_for_octet(html: str, wish: RemoteImages) -> None:
    message = _message(f"<p>Hello</p>\r\n{html}\r\n")
    assert remote.without(message, wish) == (message, remote.Found())


def test_without_the_setting_the_message_is_not_looked_at() -> None:
    message = _message(PIXEL)
    assert remote.without(message, RemoteImages.KEEP)[0] is message


COUNTING = [
    PIXEL,
    '<img src="https://t.example/x" style="width:1px;height:1px">',
    '<img src="https://t.example/x" style="display:none">',
    '<img src="https://t.example/x" width=0 height=0>',
    '<img src="https://t.example/wf/open?upn=abc">',
    '<img src="https://t.example/track/open.php?u=1&amp;id=2">',
    '<img hidden src="https://t.example/x">',
]


@pytest.mark.parametrize("html", COUNTING)
def test_a_tracking_pixel_goes_and_pictures_stay(html: str) -> None:
    picture = '<img src="https://shop.example/lamp.jpg" width="600" height="400">'
    body, found = _blocked(picture + html, RemoteImages.PIXELS)
    assert body.startswith(picture)
    assert "t.example" not in body
    assert found == remote.Found(remote=2, pixels=1)


def test_the_number_of_what_was_found_is_told() -> None:
    picture = '<img src="https://shop.example/lamp.jpg">'
    found = _blocked(picture * 3 + PIXEL)[1]
    assert str(found) == "4 remote, 1 of them tracking pixels"


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "8bit"])
def test_only_the_addresses_change_in_whatever_encoding(encoding: str) -> None:
    html = f"<p>Grüße</p>\r\n{PIXEL}\r\n<p>Ende</p>\r\n"
    octets = html.encode()
    if encoding == "base64":
        octets = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    elif encoding == "quoted-printable":
        octets = (
            octets.replace(b"=", b"=3D").replace("ü".encode(), b"=C3=BC").replace("ß".encode(), b"=C3=9F")
        )
    head = (HEAD + f"Content-Transfer-Encoding: {encoding}\r\n\r\n").encode()
    message, found = remote.without(Message.parse(head + octets), RemoteImages.BLOCK)
    text = mime.parse(message).text()
    assert text == html.replace("https://t.example/x/4711", "data:,")
    assert found.pixels == 1


def test_what_a_signature_covers_is_counted_and_left() -> None:
    raw = (
        "From: a@shop.example\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/signed; boundary="s"; protocol="application/pkcs7-signature"\r\n\r\n'
        f"--s\r\nContent-Type: text/html\r\n\r\n{PIXEL}\r\n"
        "--s\r\nContent-Type: application/pkcs7-signature\r\n\r\nxx\r\n--s--\r\n"
    ).encode()
    message, found = remote.without(Message.parse(raw), RemoteImages.BLOCK)
    assert bytes(message) == raw
    assert found == remote.Found(remote=1, pixels=1, left=1)


def test_a_bomb_of_markup_is_left_and_said() -> None:
    message = _message("<b>" * (1 << 18))
    assert remote.without(message, RemoteImages.BLOCK) == (message, remote.Found(left=1))


@settings(max_examples=150)
@given(st.lists(st.sampled_from([*LOADING, *KEPT, "text", "<", ">", '"', "'", "<!--", "-->", "&", "\r\n"])))
def test_a_second_time_changes_nothing(pieces: list[str]) -> None:
    once, _ = remote.without(_message("".join(pieces)), RemoteImages.BLOCK)
    twice, found = remote.without(once, RemoteImages.BLOCK)
    assert bytes(twice) == bytes(once)
    assert found.remote == 0
