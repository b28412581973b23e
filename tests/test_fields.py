"""What may be stored: normal forms, refusals, and that no value can break out of where it is put."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.core import fields
from sortingoffice.core.model import FieldType as T
from sortingoffice.errors import OfficeError


@pytest.mark.parametrize(
    ("type", "text", "stored"),
    [
        (T.LINE, "  Lindenallee\u00a0 5 ", "Lindenallee 5"),
        (T.LINE, "Cafe\u0301", "Café"),
        (T.TEXT, "two\r\nlines\t.", "two\nlines\t."),
        (T.PHONE, "+49 (30) 123-4567", "+49301234567"),
        (T.PHONE, "0049 30 1234567", "+49301234567"),
        (T.EMAIL, "Anna@Home.Example", "Anna@home.example"),
        (T.DATE, "19840229", "1984-02-29"),
        (T.COUNTRY, "Germany", "DE"),
        (T.COUNTRY, "che", "CH"),
        (T.IBAN, "de89 3704 0044 0532 0130 00", "DE89370400440532013000"),
        (T.IBAN, "GB82-WEST-1234-5698-7654-32", "GB82WEST12345698765432"),
        (T.URL, "https://anna.example/a?b#c", "https://anna.example/a?b#c"),
        (T.NUMBER, "007.50", "7.50"),
        (T.BOOL, "True", "yes"),
    ],
)
def test_a_value_is_stored_in_its_normal_form(type: T, text: str, stored: str) -> None:
    assert fields.normalise(type, text) == stored
    assert fields.normalise(type, stored) == stored


@pytest.mark.parametrize(
    ("type", "text", "said"),
    [
        (T.LINE, "", "can't be empty"),
        (T.LINE, " \u00a0", "can't be empty"),
        (T.LINE, "a\nb", "line break"),
        (T.LINE, "a\u2028b", "line break"),
        (T.LINE, "a\x00b", "control character"),
        (T.LINE, "a\x1b[31m", "control character"),
        (T.LINE, "a\u202eb", "reading direction"),
        (T.TEXT, "a\u2067b", "reading direction"),
        (T.TEXT, "a\x0bb", "line break"),
        (T.LINE, "a\udcffb", "half a character"),
        (T.LINE, "a\U000e0041", "invisible"),
        (T.LINE, "x" * 10_000, "at most 1000"),
        (T.TEXT, "x" * 10_001, "at most 10000"),
        (T.PHONE, "030 1234567", "country code"),
        (T.PHONE, "+49", "country code"),
        (T.PHONE, "+999 123456", "country code"),
        (T.PHONE, "call me", "country code"),
        (T.EMAIL, "anna", "no email address"),
        (T.EMAIL, "a@localhost", "no email address"),
        (T.EMAIL, "a@b.example, c@d.example", "no email address"),
        (T.DATE, "1983-02-29", "YYYY-MM-DD"),
        (T.DATE, "29.02.1984", "YYYY-MM-DD"),
        (T.DATE, "2026-W01-1", "YYYY-MM-DD"),
        (T.COUNTRY, "Atlantis", "ISO 3166"),
        (T.IBAN, "DE89370400440532013001", "no IBAN"),
        (T.IBAN, "DE8937040044053201300", "no IBAN"),
        (T.URL, "javascript:alert(1)", "no URL"),
        (T.URL, "https://", "no URL"),
        (T.URL, "https://[", "no URL"),
        (T.URL, "https://u:p@x.example/", "user name"),
        (T.NUMBER, "1e5", "no number"),
        (T.NUMBER, "NaN", "no number"),
        (T.BOOL, "perhaps", "neither"),
    ],
)
def test_what_is_wrong_is_said(type: T, text: str, said: str) -> None:
    with pytest.raises(OfficeError, match=said):
        fields.normalise(type, text)


@given(st.sampled_from(list(T)), st.text(max_size=60))
def test_a_stored_value_is_bounded_stable_and_breaks_no_line(type: T, text: str) -> None:
    try:
        stored = fields.normalise(type, text)
    except OfficeError:
        return
    assert fields.normalise(type, stored) == stored
    assert stored == stored.strip() != ""
    allowed = "\n\t" if type is T.TEXT else ""
    assert not [c for c in stored if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in allowed]


@pytest.mark.parametrize(
    "text", ["", " ", "a b", "a.b", "#a", "{a", "-a", "except", "AS", "x" * 65, "a\nb", "a\u202eb"]
)
def test_a_name_that_the_grammar_could_not_read_is_refused(text: str) -> None:
    with pytest.raises(OfficeError, match="name"):
        fields.name(text)


@pytest.mark.parametrize(
    ("text", "name"), [("Shipping", "shipping"), ("Über-Karte_2", "über-karte_2"), ("ＡＢ", "ab")]
)
def test_names_are_compared_folded(text: str, name: str) -> None:
    assert fields.name(text) == name
    assert fields.name(name) == name


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("shiping", "shipping"),
        ("shippign", "shipping"),
        ("hmoe", "home"),
        ("hme", "home"),
        ("home", None),
        ("love", None),
        ("hom3s", None),
        ("ho", None),
        ("x" * 10_000, None),
    ],
)
def test_a_slip_of_the_finger_is_near(word: str, expected: str | None) -> None:
    assert fields.near(word, ("home", "shipping", "billing")) == expected


def test_a_value_means_what_its_field_means() -> None:
    assert fields.comparable(T.BOOL, "member", "yes") != fields.comparable(T.BOOL, "pregnant", "yes")
    assert fields.comparable(T.LINE, "city", "BERLIN ") == fields.comparable(T.LINE, "city", "berlin")
    assert not fields.telling(T.COUNTRY, "DE")
    assert not fields.telling(T.LINE, "12-34")
    assert fields.telling(T.LINE, "Lindenallee 5")
