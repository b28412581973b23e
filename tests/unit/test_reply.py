"""Replies: what a peer said, safe to keep, and as a person may read it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.flows import settle
from sortingoffice.mail.reply import Reply, heard

_BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@pytest.mark.parametrize(
    ("said", "shown", "plain"),
    [
        ("5.1.1 メールを配信できません", "550 5.1.1 メールを配信できません", "550 5.1.1"),
        ("Empfänger unbekannt", "550 Empfänger unbekannt", "550 Empf nger unbekannt"),
        ("5.1.1 no such user", "550 5.1.1 no such user", "550 5.1.1 no such user"),
        ("5.1.1 пользователь\n5.1.1 не найден", "550 5.1.1 пользователь не найден", "550 5.1.1"),
        ("می\u200cخواهم", "550 می\u200cخواهم", "550"),
    ],
    ids=["japanese", "german", "ascii", "two lines", "a joiner"],
)
@pytest.mark.parametrize("octets", [True, False], ids=["octets", "text"])
def test_a_person_reads_it_in_the_letters_it_was_said_in_and_a_wire_has_ascii(
    said: str, shown: str, plain: str, octets: bool
) -> None:
    reply = heard(550, said.encode() if octets else said)
    assert reply.shown == shown
    assert str(reply) == plain
    assert bytes(reply) == plain.encode("ascii") + b"\r\n"


def test_what_is_ascii_is_kept_once() -> None:
    assert heard(550, "5.1.1 no") == Reply(550, "5.1.1", "no")
    assert heard(99, "\xfcberall").shown == "451 4.5.0 peer answered 99 \xfcberall"


@given(
    st.one_of(
        st.text(max_size=2000),
        st.text(_BIDI + "\x00\r\n\t\x1b\x7f\x85\u2028\ud800äあ\u200b\U000e0041 ", max_size=60),
        st.binary(max_size=60),
    ),
    st.integers(0, 999),
)
def test_nothing_of_it_breaks_a_line_or_hides(said: str | bytes, code: int) -> None:
    reply = heard(code, said)
    assert str(reply).isascii()
    assert not any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in reply.shown)
    assert not set(_BIDI) & set(reply.shown)
    assert len(reply.shown.encode()) < 990


def test_a_reply_is_not_made_of_what_hides() -> None:
    for hiding in ("a\u202eb", "a\nb", "\ud800"):
        with pytest.raises(ValueError, match="on one line"):
            Reply(550, "5.1.1", "no", hiding)


def test_what_stands_in_for_an_attempt_is_shown_in_the_same_letters() -> None:
    said = settle.not_tried(heard(451, "4.3.2 пользователь занят".encode()))
    assert said.shown == "451 4.3.2 not tried by itself: пользователь занят"
    assert settle.not_tried(Reply(451, "4.4.1", "refused")).shown == "451 4.4.1 not tried by itself: refused"
