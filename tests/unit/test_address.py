"""Addresses: what RFC 5321 knows comes in, all else is None; judged by a public suite and by chance."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sortingoffice.mail import address
from sortingoffice.mail.address import Address, parse, parse_path
from tests import corpora

# Our policy, by the suite's categories: RFC 5321's are addresses, and those whose only fault is in
# DNS.  Errors are not; neither is what only RFC 5322 allows, comments and folding white space, and
# what is deprecated, but for one spelling of an IPv6 literal that RFC 4291 allows (docs/quirks.md).
ACCEPTED = {"VALID_CATEGORY", "DNSWARN", "RFC5321"}
ALSO = {"RFC5321_IPV6DEPRECATED"}


def suite(xml: str) -> Iterator[tuple[str, str, bool]]:
    for case in ElementTree.fromstring(xml.encode()).iter("test"):
        text = "".join(
            chr(ord(c) - 0x2400) if 0x2400 <= ord(c) <= 0x2420 else c for c in case.findtext("address") or ""
        )
        category = (case.findtext("category") or "").removeprefix("ISEMAIL_")
        diagnosis = (case.findtext("diagnosis") or "").removeprefix("ISEMAIL_")
        yield f"{case.get('id')}-{diagnosis}", text, category in ACCEPTED or diagnosis in ALSO


@pytest.mark.parametrize("xml", corpora.whole(corpora.ADDRESSES))
def test_the_public_suite_agrees_with_the_stated_policy(xml: str) -> None:
    cases = list(suite(xml))
    assert len(cases) == 164
    wrong = [(name, text) for name, text, wanted in cases if (parse(text) is not None) != wanted]
    assert wrong == []


@pytest.mark.parametrize(
    "written",
    [
        "anna@home.example",
        "Anna.Muster+tag@HOME.example",
        '"with space"@home.example',
        '"a\\"b\\\\c"@home.example',
        '""@home.example',
        "anna@[192.0.2.1]",
        "anna@[IPv6:2001:db8::1]",
        "grüße@straße.example",
        "用户@例子.example",
        "_x@a_b.example",
    ],
)
def test_an_address_survives_being_written_and_read(written: str) -> None:
    once = parse(written)
    assert once is not None
    assert parse(str(once)) == once
    assert parse(once.normal) is not None


@pytest.mark.parametrize(
    "written",
    [
        "",
        "anna",
        "@home.example",
        "anna@",
        "anna@@home.example",
        "anna@home..example",
        ".anna@home.example",
        "anna.@home.example",
        "anna@-home.example",
        "anna@home.example.",
        "anna @home.example",
        "anna@home.example ",
        "<anna@home.example>",
        "anna@home.example\r\n",
        "anna\r\nRCPT TO:<x@y>@home.example",
        "=?utf-8?q?anna=40gmail=2Ecom?= <x@home.example>",
        "anna@=?utf-8?q?gmail=2Ecom?=",
        "(comment)anna@home.example",
        "anna@[192.0.2.256]",
        "anna@[IPv6:fe80::1%eth0]",
        "anna@[home]",
        "a" * 65 + "@home.example",
        "anna@" + "a" * 64 + ".example",
        "anna@" + ".".join(["a" * 60] * 5),
        "anna@ｈome.example",  # fullwidth: UTS 46 would make it home.example
        "anna@home。example",  # the ideographic full stop, likewise
        "an\u200bna@home.example",
        "an\u202ena@home.example",
        "an\u0085na@home.example",
        "an\u2028na@home.example",
        "an\ud800na@home.example",
    ],
)
def test_what_is_near_an_address_is_none(written: str) -> None:
    assert parse(written) is None


def test_octets_that_are_no_utf8_are_none() -> None:
    assert parse(b"ann\xff@home.example") is None


def test_a_look_alike_letter_does_not_compare_equal_to_the_ascii_one() -> None:
    kelvin, long_s = parse("mar\u212a@home.example"), parse("\u017fam@home.example")
    assert kelvin is not None
    assert long_s is not None
    assert kelvin.normal != "mark@home.example"
    assert long_s.normal != "sam@home.example"


def test_upper_and_lower_case_compare_equal() -> None:
    upper, lower = parse("ÄNNA.B@HOME.EXAMPLE"), parse("änna.b@home.example")
    assert upper is not None
    assert lower is not None
    assert upper.normal == lower.normal


def test_an_international_domain_is_kept_as_a_labels() -> None:
    found = parse("anna@bücher.example")
    assert found == Address("anna", "xn--bcher-kva.example")


@given(st.text(max_size=90) | st.binary(max_size=90))
@example("ⱥ" * 20 + "@home.example")
def test_parse_never_raises(text: str | bytes) -> None:
    found = parse(text)
    if found is not None:
        assert parse(str(found)) == found


LOCALS = st.text(
    st.sampled_from("aZ09!#$%&'*+-/=?^_`{|}~. \"\\@<>(),:;[]äßΣİẞⱥ\u0345用") | st.characters(),
    min_size=0,
    max_size=20,
)
DOMAINS = st.from_regex(r"[a-zA-Zäüß0-9]{1,5}(\.[a-z0-9ñ-]{1,8}){1,3}", fullmatch=True) | st.just(
    "[192.0.2.1]"
)


@given(LOCALS, DOMAINS)
def test_what_parses_is_stable_under_writing_and_lowering(local: str, domain: str) -> None:
    found = parse(f"{address.quote_local(local)}@{domain}")
    if found is None:
        return
    assert parse(str(found)) == found
    normal = parse(found.normal)
    assert normal is not None
    assert normal.normal == found.normal
    assert not any(ord(c) < 0x20 or ord(c) == 0x7F for c in str(found))
    assert len(str(found).encode()) <= 254


# ---- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "local"),
    [
        (b"<a@b.example>", "a"),
        (b" <a@b.example>", "a"),
        (b"<a@b.example> SIZE=10 BODY=8BITMIME", "a"),
        (b"<a@b.example>  SIZE=10 ", "a"),
        (b'<"a>b"@b.example>', "a>b"),
        (b'<"a\\>b"@b.example> SIZE=1', "a>b"),
        ("<ä@b.example> SMTPUTF8".encode(), "ä"),
    ],
)
def test_a_path_is_read(octets: bytes, local: str) -> None:
    path = parse_path(octets)
    assert path is not None
    assert path.address is not None
    assert path.address.local == local


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"a@b.example",
        b"<a@b.example",
        b"a@b.example>",
        b"  <a@b.example>",
        b"\t<a@b.example>",
        b"<<a@b.example>>",
        b"< a@b.example>",
        b"<a@b.example >",
        b"<a@b.example>SIZE=1",
        b"<a@b.example> SIZE=1 SIZE=2",
        b"<a@b.example> SIZE=",
        b"<a@b.example> =1",
        b"<a@b.example> A=b=c",
        "<a@b.example> SIZE=1\u2003BODY=7BIT".encode(),
        "<a@b.example>\u00a0SIZE=1".encode(),
        b"<a@b.example> \x00",
        b"<a\x00@b.example>",
        b"<@c.example:a@b.example>",
        b"<@c.example,@d.example:a@b.example>",
        b"<a@=?utf-8?q?b=2Eexample?=>",
        b"<=?utf-8?q?a=40b=2Eexample=0D=0ARCPT?=>",
        b"<postmaster>",
        b"<\xff@b.example>",
        b"Anna <a@b.example>",
        b'<"a@b.example>',
        b"<" + b"a" * 300 + b"@b.example>",
    ],
)
def test_a_path_that_breaks_the_grammar_is_none(octets: bytes) -> None:
    assert parse_path(octets) is None


def test_postmaster_needs_no_domain_where_the_host_name_is_given() -> None:
    path = parse_path(b"<PostMaster>", hostname="mx.sort.example")
    assert path is not None
    assert path.address == Address("PostMaster", "mx.sort.example")
    assert parse_path("<po\u017ftmaster>".encode(), hostname="mx.sort.example") is None


def test_the_null_path_has_no_address() -> None:
    path = parse_path(b"<> SIZE=1")
    assert path is not None
    assert path.address is None


@given(st.binary(max_size=120))
@example(b"<a@b.example> SIZE=1 \xe2\x80\x83X")
def test_parse_path_never_raises(octets: bytes) -> None:
    parse_path(octets)
    parse_path(octets, utf8=False, hostname="mx.sort.example")
    parse_path(b"<" + octets + b"@b.example>")
