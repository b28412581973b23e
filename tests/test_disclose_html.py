"""Cards in mail as real clients lay it out: text and HTML, quotes, charsets and encodings."""

# ruff: noqa: E501 - mail as clients write it

from __future__ import annotations

import base64
import quopri
import subprocess
import time
from pathlib import Path

import pytest

from sortingoffice.core import body
from sortingoffice.flows.disclose import Resolved
from sortingoffice.mail import mime
from sortingoffice.mail.message import Message
from sortingoffice.store.database import Database
from tests.desk import Desk, open_desk, refusal

TABLE = '<table><tr><th scope="row">City</th><td>Berlin</td></tr></table>'
QUOTE_TEXT = "On Mon, Mar 2, 2026 at 9:00 AM Shop <r@x.example> wrote:\n\n> hello\n"


@pytest.fixture
def desk(sqlite_db: Database, tmp_path: Path) -> Desk:
    desk = open_desk(sqlite_db, tmp_path)
    desk.shipping()
    desk.grant("shipping")
    return desk


def both(text: str, html: str) -> str:
    return (
        "MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=b\n\npreamble\n"
        f"--b\nContent-Type: text/plain; charset=utf-8\n\n{text}\n"
        f"--b\nContent-Type: text/html; charset=utf-8\n\n{html}\n--b--\nepilogue"
    )


def parts(desk: Desk, message: str | bytes) -> list[str]:
    outcome = desk.ask(message)
    assert isinstance(outcome, Resolved), outcome
    found = [leaf.text() for leaf in mime.parse(outcome.message).leaves()]
    return [(each or "").replace("\r\n", "\n") for each in found]


LAYOUTS = {
    "gmail": (
        "Hi\n\n#card shipping city\n\n" + QUOTE_TEXT,
        '<div dir="ltr">Hi<div><br></div><div>#card shipping city</div></div><br><div class="gmail_quote">'
        '<div dir="ltr" class="gmail_attr">On Mon, Mar 2, 2026 at 9:00 AM Shop &lt;r@x.example&gt; wrote:<br></div>'
        "<blockquote>hello</blockquote></div>",
    ),
    "apple mail": (
        "Hi\n\n#card shipping city\n\n> On 2. Mar 2026, at 09:00, Shop <r@x.example> wrote:\n> \n> hello\n",
        '<body style="line-break: after-white-space;">Hi<div><br></div><div>#card shipping&nbsp;city<br><div><br>'
        '<blockquote type="cite"><div>On 2. Mar 2026, at 09:00, Shop wrote:</div><div>hello</div></blockquote>'
        "</div></div></body>",
    ),
    "outlook with word-split spans": (
        "Hi\n\n#card shipping city\n\nFrom: Shop\nSent: Monday, March 2, 2026 9:00 AM\nTo: Anna\nSubject: x\n\nhello\n",
        "<p class=MsoNormal><span lang=EN-US>Hi<o:p></o:p></span></p><p class=MsoNormal><span>#</span>"
        "<span class=SpellE>card</span><span> shipping&nbsp;city<o:p></o:p></span></p><div><div "
        "style='border-top:solid'><p class=MsoNormal><b>From:</b> Shop<br><b>Sent:</b> Monday<br><b>To:</b> Anna"
        "<br><b>Subject:</b> x</p></div></div><p class=MsoNormal>hello</p>",
    ),
    "thunderbird, bottom posting": (
        "On 02.03.26 09:00, Shop wrote:\n> hello\n\n#card shipping city\n",
        '<div class="moz-cite-prefix">On 02.03.26 09:00, Shop wrote:<br></div><blockquote type="cite" '
        'cite="mid:1@x">hello</blockquote><p>#card shipping city</p>',
    ),
    "german phone": (
        "Hallo\n#card shipping city\n\nVon meinem iPhone gesendet\n\n"
        "> Am 02.03.2026 um 09:00 schrieb Shop <r@x.example>:\n> \n> hello\n",
        "Hallo<div>#card shipping city<br><br><div>Von meinem iPhone gesendet</div><div><br><blockquote "
        "type=cite>Am 02.03.2026 um 09:00 schrieb Shop:<br><br></blockquote></div><blockquote type=cite>hello"
        "</blockquote></div>",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_client_s_layout_keeps_everything_but_the_directive(desk: Desk, name: str) -> None:
    text, html = LAYOUTS[name]
    plain, rich = parts(desk, both(text, html))
    assert plain == text.replace("#card shipping city", "City: Berlin")
    assert TABLE in rich
    assert "#" not in rich
    assert rich.startswith(html.split("#", 1)[0])
    assert rich.rstrip().endswith(html.rpartition("city")[2])


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_same_line_planted_in_the_layout_s_quote_is_refused(desk: Desk, name: str) -> None:
    text, html = LAYOUTS[name]
    text, html = text.replace("hello", "#card shipping city"), html.replace("hello", "#card shipping city")
    assert refusal(desk.ask(both(text, html))).startswith('Not sent: found "#card shipping city" twice')
    desk.receive("#card shipping city\n")
    own = text.rindex("#card") if name.endswith("bottom posting") else text.index("#card")
    alone = text[:own] + "thanks" + text[own + len("#card shipping city") :]
    outcome = desk.ask(alone)
    assert isinstance(outcome, Resolved)
    assert b"Berlin" not in bytes(outcome.message)


def test_inline_values_are_written_across_markup(desk: Desk) -> None:
    [html] = parts(
        desk, "Content-Type: text/html\n\n<p>Send to {{<b>shipping</b>.city}}, {{ shipping.name }}!</p>"
    )
    assert html == "<p>Send to Berlin<b></b>, Anna Example!</p>"


def test_a_value_is_escaped_in_html_and_stays_one_row(desk: Desk) -> None:
    desk.set("note.words=<b>&\"'</td>")
    desk.grant("note")
    [html] = parts(desk, "Content-Type: text/html\n\n<div>#card note</div>")
    assert html == (
        '<div><table><tr><th scope="row">Words</th><td>&lt;b&gt;&amp;&quot;&#x27;&lt;/td&gt;</td></tr></table></div>'
    )


@pytest.mark.parametrize(
    ("text", "html", "said"),
    [
        ("#card shipping city\n", "<p>hello</p>", "missing in the HTML version"),
        ("hello\n", "<p>#card shipping city</p>", "missing in the plain-text version"),
        ("#card shipping city\n", "<p>#card shipping name</p>", "missing in the"),
        ("#card shipping city\n", "<p>#card shipping city</p><p>#card shipping city</p>", "twice"),
        (
            "#card shipping city\n",
            "<p>#card shipping city</p><blockquote>#card shipping city</blockquote>",
            "twice (once in quoted text)",
        ),
        (
            "#card shipping city\n",
            '<p>#card shipping city</p><p style="font-size:0">#card shipping name</p>',
            "in quoted text",
        ),
    ],
)
def test_text_and_html_must_ask_for_the_same(desk: Desk, text: str, html: str, said: str) -> None:
    assert said in refusal(desk.ask(both(text, html)))


@pytest.mark.parametrize(
    "charset", ["utf-8", "utf-16", "utf-16-le", "utf-7", "iso-8859-1", "koi8-r", "iso-2022-jp", "gb18030"]
)
@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_every_charset_and_encoding_is_read_and_kept(desk: Desk, charset: str, encoding: str) -> None:
    octets = "Hi\r\n#card shipping city\r\n".encode(charset)
    coded = base64.encodebytes(octets).replace(b"\n", b"\r\n")
    if encoding == "quoted-printable":
        coded = "".join(f"={octet:02X}" for octet in octets).encode()
    head = f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    outcome = desk.ask(head.encode() + coded)
    assert isinstance(outcome, Resolved), outcome
    assert bytes(outcome.message).startswith(head.encode())
    assert mime.parse(outcome.message).text() == "Hi\r\nCity: Berlin\r\n"


def test_a_soft_broken_directive_is_one_line(desk: Desk) -> None:
    head = "Content-Type: text/plain; charset=utf-8; format=flowed\n\n"
    [text] = parts(desk, head + "Hi\n#card shipping name \ncity\nBye\n")
    assert text == "Hi\nName: Anna Example\nCity: Berlin\nBye\n"


@pytest.mark.parametrize("below", ["> and the card?\n", "-- \nAnna\n"])
def test_a_soft_broken_line_ends_above_a_quote_and_a_signature(desk: Desk, below: str) -> None:
    head = "Content-Type: text/plain; charset=utf-8; format=flowed\n\n"
    [text] = parts(desk, head + "Hi\n#card shipping city \n" + below)
    assert text == "Hi\nCity: Berlin \n" + below


@pytest.mark.parametrize("line", [" \n", "\t \n", "a \n", "> \n", "\n"])
def test_soft_broken_lines_are_read_in_linear_time(line: str) -> None:
    text = "Content-Type: text/plain; format=flowed\n\n#card x\n" + line * 60_000
    root = mime.parse(Message.parse(text.encode()))
    started = time.process_time()
    assert sum(map(len, body.prose(root))) > 0
    assert time.process_time() - started < 3


def test_an_attached_text_is_no_body(desk: Desk) -> None:
    message = (
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nHi\n--b\n"
        "Content-Type: text/plain\nContent-Disposition: attachment; filename=a.txt\n\n#card shipping\n--b\n"
        "Content-Type: message/rfc822\n\nSubject: y\n\n#card shipping\n--b--\n"
    )
    outcome = desk.ask(message)
    assert isinstance(outcome, Resolved)
    assert bytes(outcome.message) == message.replace("\n", "\r\n").encode()


def test_an_unreadable_part_beside_a_directive_is_refused(desk: Desk) -> None:
    message = (
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\n"
        "#card shipping\n--b\nContent-Type: text/plain; charset=x-unknown\n\nabc\n--b--\n"
    )
    assert "can't be read" in refusal(desk.ask(message))


def test_a_signed_message_is_not_changed(desk: Desk) -> None:
    message = (
        "MIME-Version: 1.0\nContent-Type: multipart/signed; boundary=b; protocol=application/pgp-signature\n\n--b\n"
        "Content-Type: text/plain\n\n{}\n--b\nContent-Type: application/pgp-signature\n\nabc\n--b--\n"
    )
    assert "would break the signature" in refusal(desk.ask(message.format("#card shipping city")))
    outcome = desk.ask(message.format("Hi"))
    assert isinstance(outcome, Resolved)
    assert bytes(outcome.message) == message.format("Hi").replace("\n", "\r\n").encode()


def test_what_is_signed_within_the_text_is_not_changed(desk: Desk) -> None:
    armor = "-----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----\n"
    signed = f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{{}}\n{armor}"
    said = refusal(desk.ask(signed.format("#card shipping city")))
    assert "would break the signature" in said
    [text] = parts(desk, "#card shipping city\n\n" + signed.format("Hi"))
    assert text == "City: Berlin\n\n" + signed.format("Hi")


def test_a_third_alternative_that_still_asks_is_refused(desk: Desk) -> None:
    message = both("#card shipping city", "<p>#card shipping city</p>").replace(
        "--b\nContent-Type: text/html",
        "--b\nContent-Type: text/x-amp-html\n\n<p>#card shipping city</p>\n--b\nContent-Type: text/html",
    )
    assert "can't be read" in refusal(desk.ask(message))
    assert len(parts(desk, message.replace("#card shipping city", "hello"))) == 3


@pytest.mark.parametrize("kind", ["text/markdown; charset=utf-8", "text/enriched", "text/plain2"])
def test_a_text_of_another_kind_that_asks_is_told_and_another_passes(desk: Desk, kind: str) -> None:
    for asked in ("#card shipping city", "Live in {{shipping.city}}", "#card shiping"):
        assert "neither plain text nor HTML" in refusal(desk.ask(f"Content-Type: {kind}\n\nHi\n{asked}\n"))
    quoted = f"Content-Type: {kind}\n\n# A heading\n> #card shipping city\n#3 of 7\n"
    assert isinstance(desk.ask(quoted), Resolved)


@pytest.mark.parametrize("encoding", ["8bit", "base64", "quoted-printable"])
@pytest.mark.parametrize("disposed", ["", "Content-Disposition: attachment; filename=smime.p7m\n"])
def test_a_card_asked_for_inside_a_signed_s_mime_message_is_told_and_other_words_pass(
    desk: Desk, tmp_path: Path, encoding: str, disposed: str
) -> None:
    def signed(text: str) -> str:
        octets = text.replace("\n", "\r\n").encode()
        if encoding != "8bit":
            octets = base64.encodebytes(octets) if encoding == "base64" else quopri.encodestring(octets)
        head = f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
        (tmp_path / "mail").write_bytes(head.encode() + octets)
        made = openssl(tmp_path, "cms -sign -binary -nodetach -in mail -signer cert -inkey key -outform DER")
        kind = "application/pkcs7-mime; smime-type=signed-data; name=smime.p7m"
        encoded = base64.encodebytes(made).decode()
        return f"Content-Type: {kind}\n{disposed}Content-Transfer-Encoding: base64\n\n{encoded}"

    openssl(tmp_path, "req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -subj /CN=x -days 30")
    assert "is signed" in refusal(desk.ask(signed("Hi\n#card shipping city\n")))
    assert isinstance(desk.ask(signed("Hi\n#3\n> #card shipping city\n")), Resolved)


def openssl(folder: Path, command: str) -> bytes:
    done = subprocess.run(["openssl", *command.split()], cwd=folder, capture_output=True, check=True)
    return done.stdout


def test_an_invitation_that_still_asks_is_refused_and_another_passes(desk: Desk) -> None:
    invited = both("#card shipping city", "<p>#card shipping city</p>").replace(
        "--b\nContent-Type: text/html",
        "--b\nContent-Type: text/calendar\n\nBEGIN:VCALENDAR\nURL:https://x.example/#a\nDESCRIPTION:{}\n"
        "END:VCALENDAR\n--b\nContent-Type: text/html",
    )
    for planted in ("#card shipping city", "Hi\\n#card ship\n ping city\\nAnna", "at {{shipping.city}}"):
        assert "can't be read" in refusal(desk.ask(invited.replace("{}", planted)))
    assert len(parts(desk, invited.replace("{}", "Table #3\\n#12"))) == 3
