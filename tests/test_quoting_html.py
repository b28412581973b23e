# ruff: noqa: E501  lines as the clients write them
"""Reply layouts as mail clients write them, in HTML: which lines are the person's own.

The letter before the bar says what the line is, as in tests/test_quoting.py.
"""

from __future__ import annotations

import pytest

from sortingoffice.mail import html, quoting
from tests.test_quoting import LETTERS

HTML = {
    "Gmail": (
        '<div dir="ltr">Yes, please.</div><br><div class="gmail_quote gmail_quote_container">'
        '<div dir="ltr" class="gmail_attr">On Thu, Nov 5, 2026 at 9:12 AM Lamp Shop &lt;'
        '<a href="mailto:o@sort.example">o@sort.example</a>&gt; wrote:<br></div><blockquote class="gmail_quote">'
        "<div>Dear Anna,</div></blockquote></div>",
        [
            "P|Yes, please.",
            "A|On Thu, Nov 5, 2026 at 9:12 AM Lamp Shop <o@sort.example> wrote:",
            "Q|Dear Anna,",
        ],
    ),
    "Gmail, between": (
        '<div class="gmail_quote"><div class="gmail_attr">On 5 Nov, S wrote:</div><blockquote>one</blockquote></div>'
        "<div>my answer</div><blockquote>two</blockquote><div>my other answer</div>",
        ["A|On 5 Nov, S wrote:", "Q|one", "P|my answer", "Q|two", "P|my other answer"],
    ),
    "Gmail, forwarded": (
        '<div>See</div><div class="gmail_quote"><div class="gmail_attr">---------- Forwarded message ---------<br>'
        "From: <b>S</b> <span>&lt;o@sort.example&gt;</span><br>Date: Thu, Nov 5<br>Subject: Lamp<br>"
        "To: &lt;anna@home.example&gt;<br></div><p>Dear Anna</p></div>",
        [
            "P|See",
            "A|---------- Forwarded message ---------",
            "A|From: S <o@sort.example>",
            "A|Date: Thu, Nov 5",
            "A|Subject: Lamp",
            "A|To: <anna@home.example>",
            "Q|Dear Anna",
        ],
    ),
    "Apple Mail": (
        "<html><body>Yes.<br><div><br><blockquote type='cite'><div>On 5. Nov 2026, at 09:12, S wrote:</div>"
        "<div>Dear Anna</div></blockquote></div></body></html>",
        ["P|Yes.", "Q|On 5. Nov 2026, at 09:12, S wrote:", "Q|Dear Anna"],
    ),
    "Outlook": (
        '<div class="WordSection1"><p class="MsoNormal">Yes.</p><div style="border:none;border-top:solid #E1E1E1 1.0pt">'
        '<p class="MsoNormal"><b>From:</b> S &lt;o@sort.example&gt; <br><b>Sent:</b> Thursday<br>'
        "<b>To:</b> Anna &lt;anna@home.example&gt;<br><b>Subject:</b> Lamp</p></div>"
        '<p class="MsoNormal">Dear Anna</p></div>',
        [
            "P|Yes.",
            "F|From: S <o@sort.example>",
            "F|Sent: Thursday",
            "F|To: Anna <anna@home.example>",
            "F|Subject: Lamp",
            "Q|Dear Anna",
        ],
    ),
    "Outlook, with a signature of its own": (
        '<p class=MsoNormal>Yes.</p><p class=MsoNormal><a name="_MailAutoSig"><span>Anna</span></a></p>'
        "<p class=MsoNormal><span style='mso-bookmark:_MailAutoSig'>anna@home.example</span></p>",
        ["P|Yes.", "S|Anna", "S|anna@home.example"],
    ),
    "other clients' signatures": (
        '<p>Yes.</p><div name="messageSignatureSection">a</div><div data-marker="__SIG_POST__">b</div>'
        '<div id="sig12345678"><div>c</div></div><hey-signature>d</hey-signature>'
        '<div class="zmail_signature_below">e</div><div id="_rc_sig">f</div><p>But:</p>',
        ["P|Yes.", "S|a", "S|b", "S|c", "S|d", "S|e", "S|f", "P|But:"],
    ),
    "Outlook on the web": (
        '<div class="elementToProof">Yes.</div><div id="appendonsend"></div><hr><div id="divRplyFwdMsg"><font>'
        "<b>Von:</b> S &lt;o@sort.example&gt;<br><b>Gesendet:</b> Donnerstag<br><b>An:</b> anna@home.example<br>"
        "<b>Betreff:</b> Lampe</font></div><div>Liebe Anna</div>",
        [
            "P|Yes.",
            "F|Von: S <o@sort.example>",
            "F|Gesendet: Donnerstag",
            "F|An: anna@home.example",
            "F|Betreff: Lampe",
            "Q|Liebe Anna",
        ],
    ),
    "Thunderbird": (
        '<p>Yes.</p><div class="moz-cite-prefix">On 05.11.26 09:12, S wrote:<br></div>'
        '<blockquote type="cite">Dear Anna</blockquote><p>More</p><div class="moz-signature">-- <br>Anna</div>',
        ["P|Yes.", "A|On 05.11.26 09:12, S wrote:", "Q|Dear Anna", "P|More", "S|--", "S|Anna"],
    ),
    "Yahoo": (
        '<div>Yes</div><div id="ydp1" class="yahoo_quoted"><div>On Thursday, S wrote:</div><div>Dear Anna</div></div>',
        ["P|Yes", "Q|On Thursday, S wrote:", "Q|Dear Anna"],
    ),
    "Outlook on the web, a second reply": (
        '<div>Yes</div><div id="x_Signature">Anna</div><div id="x_x_divRplyFwdMsg"><b>From:</b> S<br><b>Sent:</b> Monday'
        "<br><b>To:</b> A<br></div><div>Dear</div>",
        ["P|Yes", "S|Anna", "F|From: S", "F|Sent: Monday", "F|To: A", "Q|Dear"],
    ),
    "Yahoo's signature": ('<div>Yes</div><div class="ydp1a2bsignature">Anna</div>', ["P|Yes", "S|Anna"]),
    "Proton": (
        '<div>Yes</div><div class="protonmail_quote">On Thursday, S wrote:<br><blockquote>Dear</blockquote></div>',
        ["P|Yes", "Q|On Thursday, S wrote:", "Q|Dear"],
    ),
    "iPhone": (
        '<div dir="ltr">Yes</div><div dir="ltr"><br><blockquote type="cite">On 5 Nov 2026, at 09:12, S wrote:<br>'
        "</blockquote></div><blockquote type='cite'><div>Dear</div></blockquote>",
        ["P|Yes", "Q|On 5 Nov 2026, at 09:12, S wrote:", "Q|Dear"],
    ),
}


@pytest.mark.parametrize("client", HTML)
def test_a_client_s_markup_is_read(client: str) -> None:
    source, wanted = HTML[client]
    lines = html.visual_lines(source)
    kinds = quoting.of_html(lines)
    assert [f"{LETTERS[kind]}|{line.text.strip()}" for line, kind in zip(lines, kinds, strict=True)] == wanted
