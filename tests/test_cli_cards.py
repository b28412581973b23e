"""Cards at the command line: what a script may rely on, and what a person reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.person import Person


@pytest.fixture
def anna(person: Person) -> Person:
    person.out("new", "Lamp Shop")
    person.out(
        "card", "set", "shipping.name=Anna Example", "shipping.city=Berlin", "shipping.country=Germany"
    )
    return person


def rows(person: Person, *arguments: object) -> list[dict[str, object]]:
    found = json.loads(person.out(*arguments, "--json"))
    assert isinstance(found, list)
    return found


def test_values_are_shown_only_when_revealed(anna: Person) -> None:
    veiled = anna.says("card", "show", "shipping")
    assert "Berlin" not in veiled.out + veiled.err
    assert "--reveal" in veiled.err
    assert "Berlin" in anna.out("card", "show", "shipping", "--reveal")
    shown = rows(anna, "card", "show", "shipping", "--reveal")
    assert [(row["field"], row["value"], row["version"]) for row in shown] == [
        ("name", "Anna Example", 1),
        ("city", "Berlin", 1),
        ("country", "DE", 1),
    ]


def test_a_list_without_rows_is_an_empty_array(person: Person) -> None:
    for command in (["card", "list"], ["disclosures"]):
        assert json.loads(person.out(*command, "--json")) == []


def test_a_change_makes_a_version_and_the_same_value_none(anna: Person) -> None:
    anna.out("card", "set", "shipping.city=Hamburg")
    assert "is that already" in anna.says("card", "set", "shipping.city=Hamburg").err
    [row] = [row for row in rows(anna, "card", "show", "shipping") if row["field"] == "city"]
    assert row["version"] == 2


def test_who_has_verified_a_value_stands_beside_it_and_is_no_change_for_a_vendor(anna: Person) -> None:
    anna.out("new", "Lamp Shop")
    anna.out("disclosed", "lamp-shop", "shipping", "--via", "paper")
    said = "town hall, 2026-03-01, identity card"
    for version in (2, 2):
        anna.out("card", "set", "shipping.city=Berlin", "--verified", said)
        [row] = [row for row in rows(anna, "card", "show", "shipping") if row["field"] == "city"]
        assert (row["version"], row["provenance"]) == (version, f"verified: {said}")
    anna.out("card", "set", "shipping.city=Berlin")
    [row] = [row for row in rows(anna, "card", "show", "shipping") if row["field"] == "city"]
    assert row["version"] == 2, "said once more, it is verified still"
    assert rows(anna, "card", "notify", "shipping", "--dry-run") == []
    assert "control character" in anna.refused("card", "set", "shipping.city=Bonn", "--verified", "a\nb")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["card", "set"], 2, "NAME.FIELD=VALUE"),
        (["card", "set", "shipping"], 2, "NAME.FIELD=VALUE"),
        (["card", "set", "a=b"], 2, "NAME.FIELD=VALUE"),
        (["card", "set", ".x=1"], 1, "name can't be empty"),
        (["card", "set", "a.=1"], 1, "name can't be empty"),
        (["card", "set", "a.b="], 1, "can't be empty"),
        (["card", "set", "a.b=1", "A.B=2"], 1, "a.b is set twice"),
        (["card", "set", "card.x=1"], 1, "the word that asks for a card"),
        (["card", "set", f"{'x' * 10_000}.y=1"], 1, "at most 64"),
        (["card", "set", f"x.y={'v' * 10_000}"], 1, "x.y: a value of type line has at most 1000"),
        (["card", "set", "x.y=a\nb"], 1, "line break"),
        (["card", "set", "x.phone=123"], 1, "country code"),
        (["card", "set", "x.y=1", "--type", "strange"], 2, "strange"),
        (["card", "set", "x.y=1", "--from", "soon"], 2, "2026-12-01"),
        (["card", "show", "shiping"], 1, "did you mean shipping?"),
        (["card", "remove", "shipping.citty"], 1, "it has name, city, country"),
        (["card", "view", "min"], 2, "NAME=CARD.FIELD"),
        (["card", "view", "min=shipping.zip"], 1, "no field"),
        (["card", "view", "shipping=shipping.city"], 1, "is a card already"),
        (["grant", "lamp-shop", "shiping"], 1, "did you mean shipping?"),
        (["grant", "nobody", "shipping"], 1, "nobody"),
        (["grant", "lamp-shop", "shipping", "--fields", "citty"], 1, "did you mean city?"),
        (["grant", "lamp-shop", "shipping", "--until", "2020-01-01"], 1, "in the past"),
        (["grant", "lamp-shop", "shipping", "--uses", "0"], 2, "0"),
        (["grant", "lamp-shop", "shipping", "--terms", "x" * 501], 1, "the terms"),
        (["ungrant", "lamp-shop", "shipping"], 1, "has no grant"),
        (["who-has", "shiping"], 1, "did you mean shipping?"),
        (["who-has", "shipping.zip"], 1, "no field"),
        (["disclosures", "nobody"], 1, "nobody"),
        (["disclosed", "lamp-shop", "shipping"], 2, "--via"),
        (["disclosed", "lamp-shop", "shipping", "--via", "paper", "--fields", ""], 2, "names no field"),
        (["grant", "lamp-shop", "shipping", "--fields", ""], 2, "names no field"),
        (["grant", "lamp-shop", "shipping", "--fields", " , "], 2, "names no field"),
        (["disclosed", "lamp-shop", "shipping", "--via", "web-form", "--fields", "zip"], 1, "no value"),
        (["card", "export", "nothing"], 1, "no card"),
        (["card", "import", "/nonexistent"], 2, "nonexistent"),
    ],
)
def test_a_mistake_has_its_status_and_a_sentence(
    anna: Person, arguments: list[str], status: int, said: str
) -> None:
    answer = anna.says(*arguments)
    assert (answer.status, answer.out) == (status, "")
    assert said in answer.err
    assert "Traceback" not in answer.err


def test_nothing_is_set_where_one_of_several_is_wrong(anna: Person) -> None:
    assert anna.says("card", "set", "phone.note=fine", "phone.mobile=wrong").status == 1
    assert anna.says("card", "show", "phone").status == 1


def test_a_grant_is_printed_and_a_denial_lifted_only_by_ungrant(anna: Person) -> None:
    row = json.loads(
        anna.out("grant", "lamp-shop", "shipping", "--fields", "city", "--purpose", "parcel", "--json")
    )
    assert (row["relationship"], row["card"], row["fields"]) == ("lamp-shop", "shipping", ["city"])
    assert (row["mode"], row["purpose"]) == ("auto", "parcel")
    anna.out("grant", "lamp-shop", "shipping", "--mode", "never")
    refused = anna.says("grant", "lamp-shop", "shipping")
    assert refused.status == 1
    assert "ungrant lamp-shop shipping" in refused.err
    assert len(rows(anna, "ungrant", "lamp-shop", "shipping")) == 2


def test_what_was_given_in_a_form_is_in_the_ledger(anna: Person) -> None:
    given = rows(anna, "disclosed", "lamp-shop", "shipping", "--via", "web-form", "--fields", "city")
    assert [(row["field"], row["version"], row["via"], row["state"]) for row in given] == [
        ("city", 1, "web-form", "given")
    ]
    assert set(given[0]) >= {"relationship", "card", "field", "version", "at", "via", "state"}
    assert rows(anna, "who-has", "city") == rows(anna, "who-has", "shipping.city") == given
    assert rows(anna, "disclosures", "lamp-shop") == given
    table = anna.out("who-has", "shipping")
    assert "lamp-shop" in table
    assert "web-form" in table


def test_a_vcard_goes_out_and_comes_in(anna: Person, tmp_path: Path) -> None:
    file = tmp_path / "me.vcf"
    file.write_bytes(anna.out("card", "export", "shipping", "--as", "vcard").encode())
    assert "FN:Anna Example" in file.read_text()
    said = anna.says("card", "import", file)
    assert said.status == 0
    assert "home.city is version 1" in said.err


def test_the_database_file_holds_no_value(anna: Person) -> None:
    anna.out("card", "set", "secret.word=Xylophonquartett", "--sensitivity", "sensitive")
    files = [path for path in anna.folder.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"Xylophonquartett" in path.read_bytes()]
