"""`card set` without arguments, at a real terminal: a person's first five minutes."""

from __future__ import annotations

from typing import Any

from tests.person import Person
from tests.screen import INTERRUPT, at_terminal

_IBAN = "DE89370400440532013000"


def _values(person: Person, card: str) -> dict[str, Any]:
    return {row["field"]: row["value"] for row in person.json("card", "show", card, "--reveal")}


def test_a_card_is_asked_for_field_by_field_and_what_is_wrong_is_asked_again(person: Person) -> None:
    answers = ["two words", "card", "shipping", "Anna", "", "x" * 900 + "y" * 101, "10115", "Berlin"]
    answers += ["Atlantis", "Germany", "", "no good", "bell", "twice", ""]
    seen = at_terminal(person, "card", "set", width=140, answers=answers)
    assert (seen.status, seen.unsaid) == (0, ())
    told = " ".join(seen.text.split())
    for sentence in (
        "Most people want name, contact, shipping, phone",
        "Card [name]:",
        '"two words" can\'t name a card',
        "is the word that asks for a card",
        "at most 1000 characters",
        "no country of ISO 3166",
        '"no good" can\'t name a field',
        "#card shipping alone on a line",
        "Run it again for another card, such as name, contact, phone",
    ):
        assert sentence in told, sentence
    assert _values(person, "shipping") == {
        "name": "Anna",
        "postcode": "10115",
        "city": "Berlin",
        "country": "DE",
        "bell": "twice",
    }


def test_an_empty_answer_keeps_what_a_card_holds_and_another_makes_a_version(person: Person) -> None:
    person.out("card", "set", "contact.phone=+493012345", "contact.fax=+493054321")
    seen = at_terminal(person, "card", "set", answers=["contact", "", "", "+493099999", ""])
    assert seen.status == 0
    assert "Phone [+493012345]:" in seen.text
    assert _values(person, "contact") == {"phone": "+493012345", "fax": "+493099999"}
    rows = {row["field"]: row["version"] for row in person.json("card", "show", "contact")}
    assert rows == {"phone": 1, "fax": 2}


def test_a_sensitive_value_is_not_shown_while_it_is_typed(person: Person) -> None:
    answers = ["bank", "sensitive", "Anna Example", "DE00 370400440532013000", _IBAN, "", ""]
    seen = at_terminal(person, "card", "set", answers=answers)
    assert (seen.status, seen.unsaid) == (0, ())
    assert "Anna" not in seen.text
    assert "370400440532013000" not in seen.text
    assert "type it again" in seen.text
    assert _values(person, "bank") == {"holder": "Anna Example", "iban": _IBAN}
    assert person.json("card", "list")[0]["sensitivity"] == "sensitive"
    again = at_terminal(person, "card", "set", answers=["bank", "", "", "", ""])
    assert _IBAN not in again.text
    assert "nothing was set" in again.text


def test_a_sealed_card_asks_for_its_passphrase_first_and_again_where_it_is_wrong(person: Person) -> None:
    first = ["diary", "short", "short", "four quiet grey owls", "four quiet grey owls", "key", "1234", ""]
    seen = at_terminal(person, "card", "set", "--sensitivity", "sealed", answers=first)
    assert (seen.status, seen.unsaid) == (0, ())
    assert "at least 8 characters" in seen.text
    assert "owls" not in seen.text
    assert "1234" not in seen.text
    later = at_terminal(
        person, "card", "set", answers=["diary", "wrong passphrase", "four quiet grey owls", "5678", ""]
    )
    assert (later.status, later.unsaid) == (0, ())
    assert "not the passphrase" in later.text
    shown = at_terminal(person, "card", "show", "diary", "--reveal", answers=["four quiet grey owls"])
    assert "5678" in shown.text
    assert person.json("card", "list")[0]["sensitivity"] == "sealed"


def test_ctrl_c_leaves_nothing_half_set(person: Person) -> None:
    before = person.events()
    seen = at_terminal(person, "card", "set", answers=["shipping", "Anna", "Lindenallee 5", INTERRUPT])
    assert seen.status == 130
    assert "stopped" in seen.text
    assert "Traceback" not in seen.text
    assert person.json("card", "list") == []
    assert person.events() == before


def test_without_a_terminal_nobody_is_asked(person: Person) -> None:
    answer = person.says("card", "set")
    assert answer.status == 2
    assert "NAME.FIELD=VALUE" in answer.err
