"""Links in fields: nobody is written to directly, however a mail program reads them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.core import mailto
from sortingoffice.mail.address import Address

REVERSE = Address("r", "sort.example")


def _turned(value: bytes) -> bytes:
    return mailto.turned(value, lambda address: REVERSE)


@pytest.mark.parametrize(
    ("value", "wanted", "people"),
    [
        (b"<mailto:a@x.example>", b"<mailto:r@sort.example>", "a"),
        (b"<mailto:a@x.example,b%40x.example>", b"<mailto:r@sort.example,r@sort.example>", "a b"),
        (b"<MAILTO:?to=a@x.example&subject=out>", b"<MAILTO:?to=r@sort.example&subject=out>", "a"),
        (
            b"<mailto:a@x.example?Cc=b@x.example&b%63c=c@x.example&body=%20d@x>",
            b"<mailto:r@sort.example?Cc=r@sort.example&b%63c=r@sort.example&body=%20d@x>",
            "a b c",
        ),
        (b"<mailto:a@x.example?reply-to=b@x.example>", b"<mailto:r@sort.example>", "a"),
        (b"<mailto:lea\r\n ve@x.example>", b"<mailto:r@sort.example>", "leave"),
        (b"< mailto: a@x.example >", b"<mailto:r@sort.example>", "a"),
        (b"mailto:a@x.example, mailto:b@x.example", b"mailto:r@sort.example, mailto:r@sort.example", "a b"),
        (b"mailto:a@x.example,mailto:b@x.example", b"mailto:r@sort.example,r@sort.example", "a b"),
        (b"<mailto:a@x.example%2Cb@x.example>", b"<mailto:r@sort.example>", ""),
        (b"<mailto:" + b"a" * 500 + b"@x.example>", b"<mailto:r@sort.example>", ""),
        (b"=?utf-8?q?=3Cmailto=3Aa=40x=2Eexample=3E?=", b" <mailto:r@sort.example>\r\n", "a"),
    ],
)
def test_everyone_whom_a_link_names_is_turned(value: bytes, wanted: bytes, people: str) -> None:
    assert _turned(value) == wanted
    assert [each.local for each in mailto.addresses(value)] == people.split()


@pytest.mark.parametrize(
    "value",
    [
        b" <https://x.example/u?r=mailto:a@x.example>,\r\n <https://x.example/>\r\n",
        b" NO (mailto to nobody)\r\n",
        b" <mailto:leave>\r\n",
        b" =?utf-8?q?no_link?=\r\n",
    ],
)
def test_what_names_nobody_stays_octet_for_octet(value: bytes) -> None:
    assert _turned(value) == value
    assert mailto.turned(b"<mailto:a@x.example?x=1>", lambda address: None) == b"<mailto:a@x.example>"


@given(st.lists(st.sampled_from([b"mailto:", b"a@x.example", b"<", b">", b"?to=", b"&", b",", b" ", b"%4"])))
def test_no_address_is_left_in_a_link(pieces: list[bytes]) -> None:
    value = _turned(b"<mailto:" + b"".join(pieces) + b">")
    assert all(each == REVERSE for each in mailto.addresses(value))


@pytest.mark.parametrize("unit", [b"<mailto:a@b,", b"mailto:?to=", b"%40", b"< ", b"=?utf-8?q?mailto:?= "])
def test_a_hostile_field_costs_linear_time(unit: bytes) -> None:
    begun = time.process_time()
    _turned(b"<mailto:" + unit * (64_000 // len(unit)))
    assert time.process_time() - begun < 1
