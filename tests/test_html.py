"""HTML: a scanner that covers its source, and the lines that a reader sees."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.mail import html

_PIECES = """<p> </p> <br> <div> </div> <blockquote> </blockquote> <!-- --> --!> <!doctype> <script> </script>
<style> </style> <a_href="x&amp;y"> <a_b='c'_d=e_f> </a> <span_style="display:none"> </span> < > & &amp; &#65
&#x41; &nbsp &#99999999999; " ' = / <td> <pre> </pre> <textarea> </textarea> <plaintext>"""
PIECES = st.sampled_from([*(piece.replace("_", " ") for piece in _PIECES.split()), " ", "\n", "word", "é"])
SOURCE = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=40).map("".join))


def texts(source: str) -> list[str]:
    return [line.text for line in html.visual_lines(source) if not line.hidden]


@given(SOURCE)
def test_the_tokens_cover_the_source_without_a_gap(source: str) -> None:
    at = 0
    for token in html.tokens(source):
        assert token.start == at < token.end
        at = token.end
    assert at == len(source)


@given(SOURCE)
def test_every_character_of_a_line_knows_its_source(source: str) -> None:
    for line in html.visual_lines(source):
        for number, piece in enumerate(line.pieces):
            end = line.pieces[number + 1].text if number + 1 < len(line.pieces) else len(line.text)
            assert piece.start < piece.end
            text, raw = line.text[piece.text : end], source[piece.start : piece.end]
            if len(text) == len(raw) > 1:
                assert text == raw
        spans = line.source(0, len(line.text))
        assert spans[0][0] == line.start
        assert spans[-1][1] == line.end


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("<p>one</p><p>two", ["one", "two"]),
        ("one<br>two<br/>three", ["one", "two", "three"]),
        ("<div>#card <span>ship</span><b>ping</b></div>", ["#card shipping"]),
        ("a  b\r\n\t c", ["a b c"]),
        ("<pre>a\n b</pre>c", ["a", " b", "c"]),
        ("a &lt;b&gt; &amp;c &#65;&#x42;", ["a <b> &c AB"]),
        ("<td>a</td><td>b</td>", ["a", "b"]),
        ("<script>x<p>y</script>a<style>b</style>", ["a"]),
        ("a<!-- x -->b<!doctype html>c", ["abc"]),
        ("1 < 2 <3", ["1 < 2 <3"]),
        ('<a title="x>y">z</a>', ["z"]),
        ("<title>t</title>b", ["b"]),
    ],
)
def test_lines_are_what_a_reader_sees(source: str, lines: list[str]) -> None:
    assert texts(source) == lines


@pytest.mark.parametrize(
    "opening",
    [
        '<div style="display: none">',
        '<div style="DISPLAY:/**/none !important">',
        '<div style="visibility:hidden">',
        '<div style="font-size:0px">',
        '<div style="font-size: 1px">',
        '<div style="opacity:0">',
        '<div style="max-height:0;overflow:hidden">',
        '<div style="mso-hide:all">',
        '<div style="position:absolute;left:-9999px">',
        "<div hidden>",
        "<template>",
        '<style>.gone, p.x {display:none}</style><div class="a gone">',
        '<style>#gone{display:none}</style><div id="gone">',
        "<p style=display:none>",
    ],
)
def test_hidden_text_is_marked_hidden(opening: str) -> None:
    lines = html.visual_lines(f"before {opening}secret <b>more</b>")
    assert [(line.text.strip(), line.hidden) for line in lines] == [("before", False), ("secret more", True)]


def test_hidden_text_does_not_split_the_line_around_it() -> None:
    lines = html.visual_lines('#card <span style="display:none">x</span>shipping')
    assert [(line.text, line.hidden) for line in lines] == [("#card shipping", False), ("x", True)]


def test_a_blockquote_is_quoted_and_what_follows_is_not() -> None:
    lines = html.visual_lines("mine<blockquote>theirs<p>more</blockquote>mine again")
    assert [(line.text, line.quoted) for line in lines] == [
        ("mine", False),
        ("theirs", True),
        ("more", True),
        ("mine again", False),
    ]


def test_a_span_of_a_line_leads_to_its_source_without_the_tags() -> None:
    source = "<div>say #card <b>ship</b>&#112;ing now</div>"
    (line,) = html.visual_lines(source)
    first = line.text.index("#")
    spans = line.source(first, line.text.index(" now"))
    assert [source[start:end] for start, end in spans] == ["#card ", "ship", "&#112;ing"]


def test_attributes_have_decoded_values_and_raw_spans() -> None:
    source = "<A HREF=\"mailto:a&#64;b\" title='x' data-y=z disabled>"
    (token,) = html.tokens(source)
    assert token.name == "a"
    assert [(a.name, a.value, source[a.start : a.end]) for a in token.attributes] == [
        ("href", "mailto:a@b", "mailto:a&#64;b"),
        ("title", "x", "x"),
        ("data-y", "z", "z"),
        ("disabled", "", ""),
    ]


def test_a_number_too_long_for_python_is_a_replacement_character() -> None:
    assert html.unescape("&#" + "9" * 5000 + ";")  # html.unescape of the standard library raises ValueError
    assert html.unescape("&#" + "0" * 5000 + "65;") == "A"


@pytest.mark.parametrize(
    "source",
    [
        "<!--" * 250_000,
        "<a " * 300_000,
        "<" * 1_000_000,
        "</" * 500_000,
        '<a b="' * 200_000,
        "<a b='c" * 150_000,
        "<b>" * 300_000 + "</i>" * 200_000,
        "<div>" * 200_000,
        "<p>" * 300_000,
        "<script>" * 100_000,
        "&" * 1_000_000,
        "&#" * 500_000,
        " " * 1_000_000 + "&nbsp;" * 100_000,
        "<a" + " " * 1_000_000 + "x" * 10,
        "<a x" + " " * 1_000_000 + "y>",
        "<style>" + "{" * 200_000 + "</style>",
        "<style>" + "/*" * 100_000 + "</style>",
        "<style>" + "." * 250_000 + "{display:none}</style>",
        '<p style="' + "a:" * 100_000 + '">',
        "<pre>" + "\n" * 1_000_000,
    ],
    ids=lambda source: repr(source[:20]),
)
def test_hostile_html_takes_linear_time(source: str) -> None:
    started = time.process_time()
    html.visual_lines(source)
    assert time.process_time() - started < 4
