"""Reading header fields: address lists, encoded words, ids; nothing raises, nothing is quadratic."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.mail import headers
from sortingoffice.mail.address import Address, parse


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a@x.example", [("", "a@x.example")]),
        (b'"Shop, Lamp" <a@x.example>, b@y.example', [("Shop, Lamp", "a@x.example"), ("", "b@y.example")]),
        (b"a@x.example (Anna (the one))", [("Anna (the one)", "a@x.example")]),
        (b"Us: a@x.de, B <b@x.de>;, c@d.de", [("", "a@x.de"), ("B", "b@x.de"), ("", "c@d.de")]),
        (b"undisclosed-recipients:;", []),
        (b"<@a.example,@b.example:c@x.example>", [("", "c@x.example")]),
        (b"=?utf-8?b?w4TDlg==?= =?utf-8?q?=C3=9C?= <a@x.example>", [("ÄÖÜ", "a@x.example")]),
        (b"A\r\n <a@x.example>,\r\n\tb@x.example", [("A", "a@x.example"), ("", "b@x.example")]),
        (b'"a b"@x.example', [("", '"a b"@x.example')]),
        (b"a@x.example.", [("", "a@x.example")]),
        (b"Lamp Shop a@x.example", [("Lamp Shop", "a@x.example")]),
        (b'"Lamp, Shop" a@x.example (x)', [("Lamp, Shop", "a@x.example")]),
        (b"a @ x . example", [("", "a@x.example")]),
        (b"a. b@x.example", [("", "a.b@x.example")]),
        (b"b@x.example a@x.example", [("", "None")]),
    ],
)  # fmt: skip
def test_an_address_list_is_read(value: bytes, expected: list[tuple[str, str]]) -> None:
    assert [(each.display, str(each.address)) for each in headers.addresses(value)] == expected


def test_an_encoded_word_never_becomes_an_address() -> None:
    found = headers.addresses(b"<alias@=?utf-8?q?gmail=2Ecom?=>")
    assert [each.address for each in found] == [None]


@pytest.mark.parametrize(
    "hostile",
    [
        b"<" * 32000,
        b"(" * 32000,
        b'"' * 32001,
        b'"\\' * 16000,
        b"=?u?q?" * 5000,
        b"\\" * 32000,
        b'(")' * 10000,
        b", " * 16000,
    ],
    ids=lambda octets: repr(octets[:8]),
)
def test_a_hostile_field_is_read_in_linear_time(hostile: bytes) -> None:
    started = time.process_time()
    headers.addresses(hostile)
    headers.decode(hostile)
    headers.message_ids(hostile)
    assert time.process_time() - started < 1.5


@given(st.binary(max_size=300))
def test_no_octets_raise_and_an_empty_edit_changes_nothing(value: bytes) -> None:
    for mention in headers.addresses(value):
        assert 0 <= mention.start < mention.end <= len(value)
    headers.decode(value)
    headers.message_ids(value)
    assert headers.edited(value, ()) == value


@given(st.text(max_size=120), st.sampled_from(["a@x.example", "lunar.otter4821@sort.example"]))
def test_a_display_name_survives_being_written_and_read(display: str, text: str) -> None:
    address = parse(text)
    assert address is not None
    written = headers.mailbox(display, address)
    assert all(len(line) <= 250 for line in written.split(b"\r\n"))
    found = headers.addresses(written)
    assert [each.address for each in found] == [address]
    clean = " ".join("".join(c if c.isprintable() else " " for c in display).split())
    assert found[0].display == clean


@pytest.mark.parametrize("name", ["Lamp, (the best " + "x" * 200, "Group: " + "y" * 250 + ";", '"z", ' * 90])
def test_a_long_display_name_breaks_no_list(name: str) -> None:
    address = Address("r", "sort.example")
    found = headers.addresses(headers.mailbox(name, address))
    assert [(each.display, each.address) for each in found] == [(name.strip(), address)]


@given(st.text(max_size=200))
def test_a_subject_survives_being_encoded_and_decoded(subject: str) -> None:
    written = headers.encode_words(subject)
    assert written.isascii()
    assert all(len(line) <= 76 or "=?" not in subject for line in written.split(b"\r\n") if b"=?" in line)
    assert headers.decode(written) == " ".join(
        "".join(c if c.isprintable() else " " for c in subject).split()
    )


def test_a_long_mailbox_is_folded_between_name_and_address() -> None:
    written = headers.mailbox("x" * 60, Address("a" * 30, "sort.example"))
    assert b"\r\n <" in written
