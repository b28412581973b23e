"""Messages as octets: parse and join is the identity; an edit touches what it names."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sortingoffice.mail.message import Field, Message, field

PIECES = st.lists(
    st.sampled_from(
        [
            b"Subject: x",
            b"From:a@b.example",
            b"To :c",
            b" folded",
            b"\tfolded",
            b"\r\n",
            b"\n",
            b"\r",
            b":",
            b" ",
            b"From someone at midnight",
            b"no colon here",
            b"\x00",
            b"\xff\xfe",
            b"\xc3\xa4: \xc3\xa4",
            b"..",
        ]
    )
    | st.binary(max_size=8),
    max_size=24,
).map(b"".join)


@given(PIECES | st.binary(max_size=300))
@example(b"A: b\r\n \r\n c\r\n\r\nbody")
@example(b"A: b\n\n")
@example(b"\r\n\r\n")
@example(b" leading fold\r\nA: b\r\n\r\n")
def test_parse_and_join_give_the_same_octets(raw: bytes) -> None:
    message = Message.parse(raw)
    assert bytes(message) == raw
    for each in message.fields:
        assert each.raw.startswith(each.name)
        assert not re.search(rb"\n[ \t]", each.unfolded)


@given(PIECES)
def test_taking_nothing_out_changes_nothing(raw: bytes) -> None:
    message = Message.parse(raw)
    assert bytes(message.without("X-Not-There").edit(lambda each: each)) == raw


@given(PIECES)
def test_taking_a_field_out_leaves_the_other_octets(raw: bytes) -> None:
    message = Message.parse(raw)
    left = message.without("Subject")
    assert left.body == message.body
    assert [each.raw for each in left.fields] == [
        each.raw for each in message.fields if each.name.lower() != b"subject"
    ]


def test_a_prepended_field_stands_first_and_the_rest_is_untouched() -> None:
    raw = b"From: a@b.example\r\nSubject: x\r\n y\r\n\r\nbody\r\n"
    assert bytes(Message.parse(raw).prepended(field("X-A", "1"))) == b"X-A: 1\r\n" + raw


@pytest.mark.parametrize("value", ["a\r\nBcc: x", "a\nb", "a\rb", "a\x00b", "a\r\n"])
def test_a_value_cannot_break_out_of_its_field(value: str) -> None:
    with pytest.raises(ValueError, match="break out"):
        field("Subject", value)


def test_a_folded_value_is_one_line() -> None:
    assert Field(b"To", b"To: a,\r\n\tb,\n c\r\n").unfolded == b"a,\tb, c"


def test_parsing_takes_linear_time() -> None:
    def seconds(raw: bytes) -> float:
        begun = time.process_time()
        message = Message.parse(raw)
        for each in message.fields[:3]:
            _ = each.unfolded
        assert bytes(message) == raw
        return time.process_time() - begun

    assert seconds(b"A: " + b"x" * 2**20 + b"\r\n\r\n") < 1
    assert seconds(b"A: b\r\n" + b" c\r\n" * 200_000 + b"\r\n") < 2
    assert seconds(b" " * 2**20) < 1
    assert seconds(b"A" * 2**20) < 1
    assert seconds(b"\r\n" * 2**20) < 1
