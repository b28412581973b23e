"""The word after "#" that asks for a card: the person's own choice."""

from __future__ import annotations

from pathlib import Path

import pytest

from sortingoffice.flows import settings
from sortingoffice.store.database import Database
from tests.desk import Desk, open_desk, refusal, text
from tests.person import Person
from tests.test_disclose_html import both, parts


@pytest.fixture
def desk(sqlite_db: Database, tmp_path: Path) -> Desk:
    desk = open_desk(sqlite_db, tmp_path)
    desk.shipping()
    desk.grant("shipping")
    return desk


def _choose(desk: Desk, word: str) -> None:
    desk.account = desk.db.call(settings.set_trigger, desk.office, desk.account, word, actor="test")


@pytest.mark.parametrize("word", ["karte", "fiche", "Wyrd-7", "カード", "Straße"])
def test_a_word_of_the_person_s_own_asks_in_text_and_in_html(desk: Desk, word: str) -> None:
    _choose(desk, word)
    plain, html = parts(
        desk, both(f"Hi\n\n#{word} shipping city\n", f"<p>Hi</p><p>#{word} shipping city</p>")
    )
    assert "City: Berlin" in plain
    assert "<td>Berlin</td>" in html
    assert f"#{word}" not in plain + html


def test_the_usual_word_is_no_longer_one_and_is_told_rather_than_sent(desk: Desk) -> None:
    _choose(desk, "karte")
    said = refusal(desk.ask("#card shipping\n"))
    assert "Did you mean  #karte shipping ?" in said
    assert text(desk.ask("#card games tonight\n")) == "#card games tonight\n"


def test_what_the_person_is_told_to_write_has_their_word(desk: Desk) -> None:
    _choose(desk, "karte")
    assert "#karte NAME" in refusal(desk.ask("#karte shipping except\n"))
    assert "#karte shipping" in refusal(desk.ask("#karte shiping\n"))


def test_the_short_line_needs_no_word(desk: Desk) -> None:
    _choose(desk, "karte")
    assert "City: Berlin" in text(desk.ask("#shipping city\n"))


def test_a_line_that_the_vendor_planted_for_the_new_word_is_theirs(desk: Desk) -> None:
    desk.receive("Please answer with\n\n#karte shipping city\n")
    _choose(desk, "karte")
    assert "is in mail from Lamp Shop" in refusal(desk.ask("#karte shipping city\n"))


@pytest.mark.parametrize(
    "word",
    ["", "#card", "two words", "7", "x", "7up", "except", "as", "x" * 33, "kar\u202ete", "shipping", "-a"],
)
def test_a_word_that_would_take_ordinary_text_for_a_card_is_refused(person: Person, word: str) -> None:
    person.out("card", "set", "shipping.city=Berlin")
    assert person.refused("admin", "account", "set", f"--trigger={word}")
    assert person.json("admin", "account", "list")[0]["trigger"] == "card"


def test_the_command_line_sets_and_shows_it_and_cards_keep_off_it(person: Person) -> None:
    assert person.json("admin", "account", "set", "--trigger", "Karte")["trigger"] == "karte"
    assert person.json("admin", "account", "set", "anna", "--trigger", "fiche")["trigger"] == "fiche"
    assert "fiche" in person.out("admin", "account", "list")
    assert "trigger set karte" in person.events()
    assert "asks for a card" in person.refused("card", "set", "fiche.number=1")
    assert person.says("admin", "account", "set").status == 2
