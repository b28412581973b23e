"""Less than a value: over 18 instead of a birthday, a town instead of an address."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sortingoffice.core import derive
from sortingoffice.core.model import FieldType, GrantMode, Sensitivity
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows import exchange, notify
from tests.desk import Desk, refusal, text, waits

TODAY = date(2026, 3, 1)


@pytest.fixture
def desk(desk: Desk) -> Desk:
    return furnished(desk)


@pytest.fixture
def either(either: Desk) -> Desk:
    return furnished(either)


def furnished(desk: Desk) -> Desk:
    desk.set("identity.birthday=2008-03-02", "identity.full=Anna Maria Example")
    desk.view("adult", "identity.birthday:over-18")
    return desk


def derived(word: str, type: FieldType, value: str, today: date = TODAY) -> str | None:
    return derive.value(word, type, value, today)


@pytest.mark.parametrize(
    ("born", "today", "old"),
    [
        ("2008-03-01", TODAY, "yes"),
        ("2008-03-02", TODAY, "no"),
        ("2008-02-29", date(2026, 2, 28), "no"),
        ("2008-02-29", date(2026, 3, 1), "yes"),
        ("2008-02-29", date(2028, 2, 29), "yes"),
        ("2030-01-01", TODAY, "no"),
    ],
)
def test_an_age_is_reached_on_its_day_and_not_before(born: str, today: date, old: str) -> None:
    assert derived("over-18", FieldType.DATE, born, today) == old


@pytest.mark.parametrize(
    ("address", "town"),
    [
        ("Lindenallee 5\n10115 Berlin", "Berlin"),
        ("Anna Example, Lindenallee 5, D-10115 Berlin, Germany", "Berlin"),
        ("Keizersgracht 1\n1012 AB Amsterdam\nNL", "Amsterdam"),
        ("Drottninggatan 1\n111 22 Stockholm", "Stockholm"),
        ("1 High Street\nLondon\nSW1A 1AA", "London"),
        ("1 High Street\nLondon SW1A 1AA\nUnited Kingdom", "London"),
        ("742 Evergreen Terrace\nSpringfield, IL 62704", "Springfield"),
        ("Rue Haute 3\n1204 Genève\nCH", "Genève"),
        # Nothing that might be a street passes for a town.
        ("1600 Pennsylvania Avenue", None),
        ("Anna Example\n1600 Pennsylvania Ave.", None),
        ("Apt 5, 1600 Pennsylvania Avenue", None),
        ("Anna Example, 1600 Oak", None),
        ("Lindenallee 5", None),
        ("10115 Berlin", None),
        ("1 High Street, SW1A 1AA", None),
        ("Lindenallee 5\nBerlin", None),
    ],
)
def test_a_town_is_read_for_certain_or_not_at_all(address: str, town: str | None) -> None:
    assert derived("town", FieldType.TEXT, address) == town


@pytest.mark.parametrize(
    ("word", "type", "value", "what"),
    [
        ("year", FieldType.DATE, "1984-02-29", "1984"),
        ("country", FieldType.PHONE, "+41446681800", "CH"),
        ("country", FieldType.IBAN, "DE89370400440532013000", "DE"),
        ("country", FieldType.TEXT, "Lindenallee 5\n10115 Berlin\nGermany", "DE"),
        ("country", FieldType.TEXT, "Germany", None),
        ("last-4", FieldType.IBAN, "DE89370400440532013000", "3000"),
        ("initials", FieldType.LINE, "Anna Maria Example", "A. M. E."),
        ("initials", FieldType.LINE, "4711", None),
        ("domain", FieldType.EMAIL, "anna@work.example", "work.example"),
        ("domain", FieldType.URL, "https://anna.example:8443/wishes?for=1", "anna.example"),
        ("year", FieldType.LINE, "1984-02-29", None),
        ("over-18", FieldType.LINE, "1984-02-29", None),
    ],
)
def test_what_is_derived_is_no_more_than_its_word_says(
    word: str, type: FieldType, value: str, what: str | None
) -> None:
    assert derived(word, type, value) == what


@given(st.text("abcXYZ 0123456789,\n-äß", max_size=60))
@example("12345 Main Street, 12345 Main Way")
def test_a_town_never_holds_a_number_and_any_text_is_read(address: str) -> None:
    found = derived("town", FieldType.TEXT, address)
    assert found is None or not any(character.isdigit() for character in found)


def test_a_view_gives_the_derived_value_and_the_ledger_keeps_only_that(either: Desk) -> None:
    desk = either
    desk.grant("adult")
    assert text(desk.send("Hello\n#adult\n")) == "Hello\nOver 18: no\n"
    [row] = desk.who_has("identity.birthday")
    assert (row["card"], row["field"], row["version"]) == ("identity", "birthday:over-18", 1)
    assert desk.who_has("adult") == desk.who_has("over-18") == desk.who_has("birthday") == [row]
    assert desk.who_has("identity.birthday:over-18") == [row]
    desk.view("whole", "identity.birthday")
    assert desk.who_has("whole") == [row], "who holds the year of a date is found by the date"
    with pytest.raises(NotThere):
        desk.who_has("adultery")


def test_it_is_worked_out_on_the_day_that_it_leaves(desk: Desk) -> None:
    desk.grant("adult")
    assert text(desk.send("#card adult over-18\n")) == "Over 18: no\n"
    desk.later(days=1)
    assert text(desk.send("#card adult\n")) == "Over 18: yes\n"
    assert [row["state"] for row in desk.disclosures()] == ["superseded", "delivered"]


def test_whether_it_is_new_is_asked_of_the_derived_value(desk: Desk) -> None:
    desk.view("born", "identity.birthday:year")
    desk.grant("born", uses=1)
    assert text(desk.send("#card born\n")) == "Birthday (year): 2008\n"
    desk.ungrant("born")
    desk.set("identity.birthday=2008-11-30")
    assert text(desk.send("#card born\n")) == "Birthday (year): 2008\n", "they hold that year"
    assert [row["state"] for row in desk.disclosures()] == ["delivered", "delivered"]
    desk.set("identity.birthday=2009-11-30")
    assert waits(desk.ask("#card born\n")) == "card born is not granted to Lamp Shop"


def test_a_held_question_shows_it_and_yes_always_grants_no_more(desk: Desk) -> None:
    desk.send("#card adult\n")
    asked = desk.notices()[-1].raw.decode()
    assert "identity: Over 18  no  new to Lamp Shop" in " ".join(asked.split(" ")).replace("   ", "  ")
    assert "2008-03-02" not in asked
    desk.answer("yes always\n")
    assert desk.states() == ["queued"]
    [row] = desk.disclosures()
    assert row["field"] == "birthday:over-18"
    waits(desk.ask("#card identity birthday\n"))
    desk.later(days=1)
    assert text(desk.ask("#card adult\n")) == "Over 18: yes\n", "the grant is of the derivation"


def test_a_birthday_while_the_message_waits_stops_it(desk: Desk) -> None:
    desk.send("#card adult\n")
    desk.later(days=1)
    desk.answer("yes\n")
    assert desk.states() == ["dropped"]
    assert desk.notices()[-1].subject.startswith("Not sent: identity.birthday:over-18 was changed")
    assert desk.disclosures() == []


def test_a_denied_field_is_denied_in_every_derivation(desk: Desk) -> None:
    desk.grant("adult")
    desk.grant("identity", mode=GrantMode.NEVER, fields=("birthday",))
    assert "never given" in refusal(desk.ask("#card adult\n"))


def test_a_grant_of_the_derivation_is_none_of_the_value(desk: Desk) -> None:
    row = desk.grant("adult", fields=("over-18",))
    assert row["fields"] == ["birthday:over-18"]
    text(desk.ask("#card adult\n"))
    waits(desk.ask("#card identity birthday\n"))
    desk.grant("identity", fields=("birthday",))
    desk.view("born", "identity.birthday:year")
    text(desk.ask("#card born\n"))


def test_a_sealed_or_missing_value_derives_nothing(desk: Desk) -> None:
    desk.set("home.address=Lindenallee 5")
    desk.view("whereabouts", "home.address:town")
    assert 'card whereabouts has no value for "town"' in refusal(desk.ask("#card whereabouts\n"))
    desk.set("home.address=Lindenallee 5, 10115 Berlin")
    desk.grant("whereabouts")
    assert text(desk.ask("Hi {{whereabouts.town}}!\n")) == "Hi Berlin!\n"
    desk.set("secret.born=1984-02-29", sensitivity=Sensitivity.SENSITIVE)
    desk.view("old", "secret.born:year")
    assert "sensitive and not granted" in refusal(desk.ask("#card old\n"))


@pytest.mark.parametrize(
    ("member", "sentence"),
    [
        ("identity.birthday:over-0", "derives nothing"),
        ("identity.birthday:over-1000", "derives nothing"),
        ("identity.birthday:", "derives nothing"),
        ("identity.birthday:year:year", "derives nothing"),
        ("identity.birthday:town", "is of type date: town can't be derived of it"),
        ("identity.full:over-18", "is of type line: over-18 can't be derived of it"),
        ("identity.born:year", "has no field"),
        ("identity.birthday:" + "x" * 10_000, "derives nothing"),
    ],
)
def test_a_derivation_that_makes_no_sense_is_refused(desk: Desk, member: str, sentence: str) -> None:
    with pytest.raises(OfficeError, match=sentence) as refused:
        desk.view("odd", member)
    assert len(str(refused.value)) < 300


def test_a_change_is_told_to_whom_it_changes_something_for(either: Desk) -> None:
    desk = either
    desk.view("born", "identity.birthday:year")
    desk.grant("born")
    desk.send("#card born\n")
    desk.set("identity.birthday=2008-12-24")

    def plan(name: str) -> list[str]:
        steps = desk.db.view(notify.plan, desk.office, desk.account, name)
        return [f"{c.label}: {c.old} -> {c.new}" for step in steps for c, _ in step.changed]

    assert plan("identity") == plan("born") == []
    desk.set("identity.birthday=1999-12-24", valid_from=datetime(2027, 1, 1, tzinfo=UTC))
    assert plan("identity") == plan("born") == ["Birthday (year): 2008 -> 1999"]


def test_a_town_and_a_country_take_their_places_in_a_vcard(desk: Desk) -> None:
    desk.set("home.address=Lindenallee 5, 10115 Berlin, Germany")
    desk.view("region", "home.address:town", "home.address:country", "identity.birthday:year")
    written = desk.db.view(exchange.export, desk.office, desk.account, "region", "vcard").decode()
    assert "ADR;TYPE=home:;;;Berlin;;;DE" in written.replace("TYPE=HOME", "TYPE=home")
    assert "BDAY" not in written
    assert "2008-03-02" not in written
