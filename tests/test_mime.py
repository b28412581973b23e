"""The MIME tree: octets in, the same octets out, and only the changed leaf changed."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.mail import charset, mime, parameters, transfer
from sortingoffice.mail.message import Message


def tree(raw: bytes) -> mime.Entity:
    return mime.parse(Message.parse(raw))


PIECES = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=a\r\n",
        b'Content-Type: multipart/alternative;\r\n boundary="ab"\r\n',
        b"Content-Type: multipart/digest; boundary=b\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Type: text/plain; charset=utf-8\r\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n",
        b"\r\n",
        b"\n",
        b"--a\r\n",
        b"--a--\r\n",
        b"--ab\r\n",
        b"--ab-- \r\n",
        b"--b\n",
        b"--b--",
        b"text\r\n",
        b"=C3=A9=\r\n",
        b"\r",
        b" ",
        b"--",
    ]
)
RAW = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=30).map(b"".join))

NESTED = (
    b"From: a@example.org\r\nContent-Type: multipart/mixed; boundary=outer\r\n\r\n"
    b"preamble\r\n--outer\r\n"
    b"Content-Type: multipart/alternative; boundary=outerinner\r\n\r\n"
    b"--outerinner\r\n\r\nplain\r\n--outerinner\r\nContent-Type: text/html\r\n\r\n<p>html\r\n"
    b"--outerinner--\r\n\r\n--outer  \r\n"
    b"Content-Type: message/rfc822\r\n\r\nSubject: inside\r\n\r\nnested\r\n"
    b"--outer--\r\nepilogue\r\n"
)


@given(RAW)
def test_a_parsed_tree_gives_back_every_octet(raw: bytes) -> None:
    with suppress(mime.TooComplex):
        assert bytes(tree(raw)) == raw


def test_the_tree_has_parts_nested_parts_and_nested_messages() -> None:
    root = tree(NESTED)
    assert [(e.path, e.content_type) for e in root.walk()] == [
        ((), "multipart/mixed"),
        ((0,), "multipart/alternative"),
        ((0, 0), "text/plain"),
        ((0, 1), "text/html"),
        ((1,), "message/rfc822"),
        ((1, 0), "text/plain"),
    ]
    assert [leaf.text() for leaf in root.leaves()] == ["plain", "<p>html", "nested"]
    assert root.children[1].children[0].message.value("Subject") == b"inside"


def test_a_part_that_is_never_closed_goes_to_the_end() -> None:
    root = tree(b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\none\r\n--a\r\n\r\ntwo\r\n")
    assert [leaf.text() for leaf in root.leaves()] == ["one", "two\r\n"]


def test_an_empty_part_between_two_delimiters_is_a_part() -> None:
    root = tree(b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n--a\r\n\r\nx\r\n--a--")
    assert [bytes(leaf.message) for leaf in root.leaves()] == [b"", b"\r\nx"]


def test_a_digest_holds_messages() -> None:
    root = tree(
        b"Content-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n\r\nSubject: one\r\n\r\nbody\r\n--a--\r\n"
    )
    assert [entity.content_type for entity in root.walk()] == [
        "multipart/digest",
        "message/rfc822",
        "text/plain",
    ]


@pytest.mark.parametrize(
    ("value", "head", "wanted"),
    [
        (b' text/plain; charset="utf-8"\r\n', "text/plain", {"charset": "utf-8"}),
        (b" text/plain; charset=us-ascii (Plain text)", "text/plain", {"charset": "us-ascii"}),
        (b" Text/Plain(comment); Charset = utf-8 ", "text/plain", {"charset": "utf-8"}),
        (
            b" attachment; filename=my file.pdf; size=3",
            "attachment",
            {"filename": "my file.pdf", "size": "3"},
        ),
        (b' attachment; filename="a;b\\"c.pdf"', "attachment", {"filename": 'a;b"c.pdf'}),
        (b' attachment;\r\n filename*0="one ";\r\n filename*1=two', "attachment", {"filename": "one two"}),
        (b" attachment; filename*=UTF-8''%e2%82%ac.txt", "attachment", {"filename": "€.txt"}),
        (
            b" attachment; filename*1*=%AC.txt; filename*0*=utf-8'de'%e2%82",
            "attachment",
            {"filename": "€.txt"},
        ),
        (b" attachment; filename=plain; filename*=iso-8859-1''%e9", "attachment", {"filename": "é"}),
        (b" attachment; filename*=nowhere''%e9", "attachment", {"filename": "\uefe9"}),
        (b' attachment; filename="never closed', "attachment", {"filename": "never closed"}),
        (b"", "", {}),
        (b";;;=;=a;b=;(", "", {"b": ""}),
        (b' attachment; filename="\xc3\xa9"', "attachment", {"filename": "é"}),
    ],
)
def test_parameters_are_read_as_clients_write_them(value: bytes, head: str, wanted: dict[str, str]) -> None:
    parsed = parameters.parse(value)
    assert parsed.head == head
    assert {name: parsed.get(name) for name in wanted} == wanted


@given(st.binary(max_size=300))
def test_any_octets_are_parameters_with_spans_inside_them(value: bytes) -> None:
    for parameter in parameters.parse(value).parameters:
        assert all(0 <= start < end <= len(value) for start, end in parameter.spans)


@pytest.mark.parametrize(
    ("charset_name", "text"),
    [
        ("utf-8", "grüße 日本"),
        ("iso-8859-1", "grüße"),
        ("windows-1252", "“grüße” €"),
        ("iso-2022-jp", "日本語 text"),
        ("utf-7", "grüße"),
        ("utf-16", "grüße"),
        ("shift_jis", "日本"),
        ("gb2312", "中文"),
        ("ks_c_5601-1987", "한국"),
        ("koi8-r", "привет"),
        ("us-ascii", "plain"),
    ],
)
@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "8bit"])
def test_a_changed_text_keeps_charset_and_encoding(charset_name: str, text: str, encoding: str) -> None:
    octets = (text + "\r\nsecond line\r\n").encode(charset_name)
    body = {"base64": transfer.to_base64(octets), "8bit": octets}.get(
        encoding, transfer.encode(octets, "quoted-printable", b"")[0]
    )
    raw = (
        f"Content-Type: text/plain; charset={charset_name}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    ).encode() + body
    leaf = tree(raw)
    read = leaf.text()
    assert read is not None
    assert read.startswith(text)
    new = leaf.with_text(read.replace("second", "2nd"))
    assert new.text() == read.replace("second", "2nd")
    if charset_name != "utf-16" or encoding != "8bit":  # no line of UTF-16 fits 8bit's limit for sure
        assert new.message.fields == leaf.message.fields


def test_a_character_that_the_charset_lacks_makes_the_leaf_utf8() -> None:
    leaf = tree(b"Content-Type: text/plain; charset=us-ascii; format=flowed\r\n\r\nhello\r\n")
    new = leaf.with_text("hello é\n")
    assert bytes(new) == (
        b"Content-Type: text/plain; charset=utf-8; format=flowed\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\nhello =C3=A9\r\n"
    )
    assert new.text() == "hello é\r\n"


def test_a_part_without_fields_gets_those_it_needs() -> None:
    root = tree(b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nhello\r\n--a--\r\n")
    new = mime.replaced(root, {(0,): root.children[0].with_text("hello é")})
    assert b"--a\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quo" in bytes(new)
    assert mime.parse(Message.parse(bytes(new))).children[0].text() == "hello é"


def test_quoted_printable_lines_that_stay_keep_their_own_soft_breaks() -> None:
    body = b"one long =\r\nline=20\r\nsecond =41\r\nthird=\r\n"
    leaf = tree(b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + body)
    text = leaf.text()
    assert text == "one long line \r\nsecond A\r\nthird"
    changed = leaf.with_text(text.replace("second A", "other"))
    assert changed.message.body == b"one long =\r\nline=20\r\nother\r\nthird=\r\n"


def test_base64_keeps_its_width_and_line_ends() -> None:
    leaf = tree(b"Content-Transfer-Encoding: base64\n\n" + b"YWJjZGVm\nZ2hpamts\n")
    assert leaf.with_text("abcdefghijklmn").message.body == b"YWJjZGVm\nZ2hpamts\nbW4=\n"


def test_octets_that_the_charset_does_not_know_come_back() -> None:
    leaf = tree(b"Content-Type: text/plain; charset=utf-8\r\n\r\ncaf\xe9 \xff here\r\n")
    text = leaf.text()
    assert text is not None
    text.encode("utf-8")  # no lone surrogates
    assert leaf.with_text(text.replace("here", "there")).message.body == b"caf\xe9 \xff there\r\n"


def test_the_sender_s_own_private_characters_stay_theirs() -> None:
    leaf = tree("Content-Type: text/plain; charset=utf-8\r\n\r\n\uef80 here\r\n".encode())
    assert leaf.with_text("\uef80 there\r\n").message.body == "\uef80 there\r\n".encode()


def test_an_unknown_charset_has_no_text() -> None:
    assert tree(b"Content-Type: text/plain; charset=x-nowhere\r\n\r\nhello").text() is None
    assert tree(b"Content-Type: text/plain; charset=punycode\r\n\r\nhello").text() is None


@given(
    st.binary(max_size=80), st.sampled_from(["utf-8", "us-ascii", "iso-8859-1", "windows-1252", "", "gb2312"])
)
def test_decoding_never_fails_and_encodes_back(octets: bytes, label: str) -> None:
    text = charset.decode(octets, label)
    text.encode("utf-8")
    if "\ufffd" not in text and charset.codec(label) != "gb18030":
        assert charset.encode(text, label, octets) == octets


@given(st.binary(max_size=300), st.binary(max_size=100))
def test_encodings_carry_any_octets(content: bytes, like: bytes) -> None:
    for encoding in ("base64", "quoted-printable", "7bit", "8bit", "binary", ""):
        body, used = transfer.encode(content, encoding, like)
        assert transfer.decode(body, used) == content


@given(st.binary(max_size=300))
def test_decoding_any_octets_never_fails(octets: bytes) -> None:
    for encoding in ("base64", "quoted-printable", "x-uuencode", "7bit", "nonsense"):
        transfer.decode(octets, encoding)


def test_replacing_a_leaf_touches_no_other_octet() -> None:
    root = tree(NESTED)
    leaf = root.children[0].children[1]
    new = bytes(mime.replaced(root, {leaf.path: leaf.with_text("<p>other")}))
    assert new == NESTED.replace(b"<p>html", b"<p>other")


def test_a_line_that_would_read_as_a_delimiter_is_hidden_in_base64() -> None:
    root = tree(NESTED)
    leaf = root.children[0].children[0]
    new = tree(bytes(mime.replaced(root, {leaf.path: leaf.with_text("x\r\n--outer\r\ny")})))
    assert [entity.path for entity in new.walk()] == [entity.path for entity in root.walk()]
    assert new.children[0].children[0].text() == "x\r\n--outer\r\ny"


def test_depth_and_parts_are_bounded() -> None:
    deep = b"Content-Type: message/rfc822\r\n\r\n" * 3000
    with pytest.raises(mime.TooComplex):
        tree(deep)
    many = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a\r\n\r\n" * 5000
    with pytest.raises(mime.TooComplex):
        tree(many)


@pytest.mark.parametrize(
    "raw",
    [
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a " * 500_000,
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a" + b" " * 2_000_000 + b"x",
        b"Content-Type: text/plain" + b"; a=b" * 30_000 + b"\r\n\r\n",
        b"Content-Type: text/plain" + b"; a*1*=b" * 30_000 + b"\r\n\r\n",
        b"Content-Type: text/plain; " + b"(" * 100_000 + b"\r\n\r\n",
        b"Content-Type: text/plain; " + b'"\\' * 100_000 + b"\r\n\r\n",
        b"Content-Type: text/plain; " + b"a=\t" * 100_000 + b"\r\n\r\n",
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"= " * 1_000_000,
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=" + b" " * 2_000_000,
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"=41" * 700_000,
        b"Content-Transfer-Encoding: base64\r\n\r\n" + b"=A" * 1_000_000,
        b"Content-Type: text/plain; charset=utf-7\r\n\r\n" + b"+-" * 1_000_000,
        b"Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n" + b"\x1b$B\x1b(B" * 300_000,
        b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + b"\xff" * 2_000_000,
    ],
    ids=lambda raw: repr(raw[:60]),
)
def test_hostile_octets_take_linear_time(raw: bytes) -> None:
    started = time.process_time()
    leaf = next(tree(raw).leaves())
    text = leaf.text()
    if text is not None:
        leaf.with_text(text + "x")
    assert time.process_time() - started < 3
