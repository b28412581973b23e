"""What is found in a text, where, and that nothing is found twice."""

from __future__ import annotations

import pytest

from sortingoffice.core import secrets
from sortingoffice.core.model import FieldType, Sensitivity
from sortingoffice.core.secrets import Secrets
from sortingoffice.core.wallet import Value
from tests.leaks import MAILBOX

SOUGHT = Secrets(secrets.addresses([MAILBOX]))


@pytest.mark.parametrize("start", [secrets.WINDOW - 9, secrets.WINDOW - 1, secrets.WINDOW])
def test_what_stands_across_two_windows_of_a_long_text_is_found_in_its_place(start: int) -> None:
    text = " " * start + MAILBOX + " x" * 9000
    [hit] = SOUGHT.hits(text)
    assert text[hit.start : hit.end] == MAILBOX


@pytest.mark.parametrize(
    "around", ["look {} at the dot", "{}, no period", "{} AT {} nospam", "(at) {} [dot]"]
)
def test_an_address_that_stands_in_the_text_is_found_once_each_time(around: str) -> None:
    text = around.replace("{}", MAILBOX)
    assert [text[hit.start : hit.end] for hit in SOUGHT.hits(text)] == [MAILBOX] * around.count("{}")


@pytest.mark.parametrize(
    ("way", "shown"),
    [
        ("anna at home dot example", "[[anna @ home . example]]"),
        ("anna (in words) home (a dot) example", "[[anna (in words) home (a dot) example]]"),
        ("annaNOSPAM@home.example", "[[anna@home.example]]"),
        ("bounce-anna=home.example@list.example", "[[anna=home.example]]"),
        ("elpmaxe.emoh@anna", "[[elpmaxe.emoh@anna]]"),
        ("naan@ubzr.rknzcyr", "[[naan@ubzr.rknzcyr]]"),
    ],
)
def test_beside_the_address_itself_another_way_of_writing_it_is_found_and_shown(way: str, shown: str) -> None:
    first, *others = SOUGHT.hits(f"{MAILBOX} wrote: {way}")
    assert (first.start, first.end) == (0, len(MAILBOX))
    assert shown in "".join(each.around for each in others)


@pytest.mark.parametrize(
    "value",
    [
        Value("home", "country", FieldType.COUNTRY, Sensitivity.SENSITIVE, "Germany"),
        Value("home", "adult", FieldType.BOOL, Sensitivity.SENSITIVE, "yes, of age"),
        Value("home", "postcode", FieldType.LINE, Sensitivity.SENSITIVE, "12345"),
        Value("bank", "pin", FieldType.LINE, Sensitivity.SEALED, None),
    ],
)
def test_what_stands_in_any_mail_is_no_secret(value: Value) -> None:
    assert secrets.card_value(value) is None
