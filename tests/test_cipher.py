"""Values at rest: they open in their own place with their own key, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.mail import cipher
from sortingoffice.mail.cipher import Place, Unreadable

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
NONCE = bytes(12)
PLACE = Place("field_version", "sealed", "7.1", 3)


@given(st.binary(max_size=200), st.binary(min_size=12, max_size=12))
def test_a_sealed_value_opens_in_its_place(value: bytes, nonce: bytes) -> None:
    sealed = cipher.seal(KEY, PLACE, value, nonce)
    assert cipher.open_(KEY, PLACE, sealed) == value
    assert len(value) < 4 or value not in sealed[21:]


@pytest.mark.parametrize(
    "place",
    [
        replace(PLACE, table="disclosure_item"),
        replace(PLACE, column="mac"),
        replace(PLACE, row="7.2"),
        replace(PLACE, account_id=4),
        Place("field_versionsealed", "", "7.1", 3),
        Place("field_version", "sealed7", ".1", 3),
    ],
)
def test_it_opens_in_no_other_place(place: Place) -> None:
    with pytest.raises(Unreadable):
        cipher.open_(KEY, place, cipher.seal(KEY, PLACE, b"value", NONCE))


@given(st.integers(0, 60), st.integers(1, 255))
def test_a_changed_octet_is_noticed(index: int, flip: int) -> None:
    sealed = bytearray(cipher.seal(KEY, PLACE, b"some value of a person, long enough", NONCE))
    sealed[index % len(sealed)] ^= flip
    with pytest.raises(Unreadable):
        cipher.open_(KEY, PLACE, bytes(sealed))


def test_another_key_is_named_as_such() -> None:
    with pytest.raises(Unreadable, match="another key"):
        cipher.open_(OTHER, PLACE, cipher.seal(KEY, PLACE, b"value", NONCE))


@pytest.mark.parametrize("octets", [b"", b"\x01", b"\x02" + bytes(60), bytes(20)])
def test_what_was_never_sealed_is_unreadable(octets: bytes) -> None:
    with pytest.raises(Unreadable):
        cipher.open_(KEY, PLACE, octets)


def test_a_wrapped_key_belongs_to_one_account() -> None:
    wrapped = cipher.wrap(KEY, OTHER, 1, NONCE)
    assert cipher.unwrap(KEY, wrapped, 1) == (OTHER,)
    with pytest.raises(Unreadable):
        cipher.unwrap(KEY, wrapped, 2)
    with pytest.raises(Unreadable):
        cipher.unwrap(OTHER, wrapped, 1)


def test_macs_are_equal_for_equal_text_under_one_key_only() -> None:
    one, other = cipher.mac_key(KEY), cipher.mac_key(OTHER)
    assert cipher.mac(one, "phone\0+4930") == cipher.mac(one, "phone\0+4930")
    assert cipher.mac(one, "phone\0+4930") != cipher.mac(one, "phone\0+4931")
    assert cipher.mac(one, "phone\0+4930") != cipher.mac(other, "phone\0+4930")
    assert cipher.derive(KEY, "mac") != cipher.derive(KEY, "inbound lines")


@pytest.mark.parametrize("octets", [b"", bytes(16), bytes(33)])
def test_a_key_of_another_length_is_refused(octets: bytes) -> None:
    with pytest.raises(ValueError, match="32 octets"):
        cipher.seal(octets, PLACE, b"", NONCE)


def test_generations_stand_in_their_order_under_each_office_key() -> None:
    new = bytes(range(2, 34))
    first, second = bytes(32), bytes([7]) * 32
    wrapped = cipher.wrap(KEY, first, 1, NONCE) + cipher.wrap(KEY, second, 1, NONCE, 2)
    both = wrapped + cipher.wrap(new, first, 1, NONCE) + cipher.wrap(new, second, 1, NONCE, 2)
    for key in (KEY, new):
        assert cipher.unwrap(key, both, 1) == (first, second)
    assert cipher.wrapped_under(KEY, both) == wrapped
    assert cipher.wrapped_under(OTHER, both) == b""
    one, two = cipher.records(wrapped)
    with pytest.raises(Unreadable):
        cipher.unwrap(KEY, two + one, 1)  # the order is authenticated, too
    for broken in (b"", wrapped[:-1], wrapped + b"x", one[1:]):
        with pytest.raises(Unreadable):
            cipher.unwrap(KEY, broken, 1)
