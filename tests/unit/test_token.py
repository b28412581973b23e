"""Return paths lead back to their delivery, and nobody else can make one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.mail import address, token

KEY = bytes(range(32))
NUMBERS = st.integers(0, 2**48 - 1)


@given(NUMBERS)
def test_a_return_path_leads_back_whatever_its_case(number: int) -> None:
    local = token.return_path(KEY, number)
    assert token.delivery_of(KEY, local) == number
    assert token.delivery_of(KEY, local.upper()) == number
    assert local == local.lower()
    assert len(local) <= 64
    assert address.parse(f"{local}@sort.example") is not None


@given(NUMBERS, st.integers(2, 27), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_changed_return_path_leads_nowhere(number: int, at: int, letter: str) -> None:
    local = token.return_path(KEY, number)
    forged = local[:at] + letter + local[at + 1 :]
    # Base32 has two bits to spare in its last character, so that one may change in spelling only.
    assert forged == local or at == len(local) - 1 or token.delivery_of(KEY, forged) is None


@given(st.text(max_size=64))
def test_any_other_local_part_is_none_of_ours(local: str) -> None:
    assert token.delivery_of(KEY, local) is None
    assert token.delivery_of(KEY, "rp" + local) is None


@given(NUMBERS)
def test_another_key_makes_other_paths(number: int) -> None:
    assert token.delivery_of(KEY[::-1], token.return_path(KEY, number)) is None


def test_neighbours_do_not_look_alike() -> None:
    first, second = token.return_path(KEY, 1000), token.return_path(KEY, 1001)
    assert sum(a == b for a, b in zip(first[2:], second[2:], strict=True)) < 8


def test_a_loop_mark_is_the_same_each_time_and_no_other() -> None:
    marks = {token.loop_mark(KEY, number) for number in range(100)}
    assert len(marks) == 100
    assert token.loop_mark(KEY, 7) == token.loop_mark(KEY, 7)
    assert token.loop_mark(KEY, 7) != token.loop_mark(KEY[::-1], 7)
    assert all(mark.isalnum() for mark in marks)
