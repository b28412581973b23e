"""`card notify` at the command line: plan, run, status, letters."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.person import Person


@pytest.fixture
def mover(person: Person) -> Person:
    """Two vendors hold the old city: one can be written to."""
    person.out("card", "set", "home.city=Berlin", "home.street=Lindenallee 5")
    person.out("new", "Lamp Shop")
    person.out("contact", "lamp-shop", "orders@lampshop.example")
    person.out("new", "By Form")
    for slug in ("lamp-shop", "by-form"):
        person.out("disclosed", slug, "home", "--via", "web-form")
    person.out("card", "set", "home.city=Hamburg")
    return person


def test_a_dry_run_shows_the_plan_and_sends_nothing(mover: Person) -> None:
    for _ in range(2):
        rows = {row["relationship"]: row for row in mover.json("card", "notify", "home", "--dry-run")}
        assert {slug: (row["how"], row["sent"]) for slug, row in rows.items()} == {
            "lamp-shop": ("mail", False),
            "by-form": ("letter", False),
        }
    [change] = rows["lamp-shop"]["fields"]
    assert (change["field"], change["old"], change["new"]) == ("city", "Berlin", "Hamburg")
    assert "Hamburg" in mover.out("card", "notify", "home", "--dry-run")
    assert mover.json("queue", "list") == []


def test_run_twice_a_vendor_gets_one_mail(mover: Person) -> None:
    rows = mover.json("card", "notify", "home", "--patience", "2d")
    assert {row["relationship"]: row["sent"] for row in rows} == {"lamp-shop": True, "by-form": False}
    assert {row["relationship"]: row["sent"] for row in mover.json("card", "notify", "home")} == {
        "by-form": False
    }
    assert [row["to"] for row in mover.json("queue", "list")] == ["orders@lampshop.example"]
    rows = {row["relationship"]: row for row in mover.json("card", "notify", "home", "--status")}
    assert {slug: (row["state"], row["how"]) for slug, row in rows.items()} == {
        "lamp-shop": ("planned", "mail"),
        "by-form": ("planned", "letter"),
    }
    assert rows["lamp-shop"]["at"] < rows["lamp-shop"]["silent_from"]
    assert mover.json("card", "notify", "home", "--again") == []
    assert "planned" in mover.out("card", "notify", "home", "--status")


def test_letters_are_for_the_person_s_eyes_and_a_link_is_not_followed(mover: Person, tmp_path: Path) -> None:
    folder = tmp_path / "letters"
    rows = mover.json("card", "notify", "home", "--letter", "all", "--out", folder)
    assert [row["relationship"] for row in rows] == ["lamp-shop", "by-form"]
    page = Path(rows[1]["file"])
    assert "<td>Berlin</td><td>Hamburg</td>" in page.read_text("utf-8")
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    mover.out("card", "notify", "home", "--letter", "by-form", "--out", folder)
    page.unlink()
    page.symlink_to(tmp_path / "elsewhere")
    assert "can't be written" in mover.refused(
        "card", "notify", "home", "--letter", "by-form", "--out", folder
    )
    assert not (tmp_path / "elsewhere").exists()
    mover.out("disclosed", "by-form", "home", "--via", "paper")
    assert mover.json("queue", "list") == []
    assert [row["relationship"] for row in mover.json("card", "notify", "home", "--dry-run")] == ["lamp-shop"]


@pytest.mark.parametrize(
    "options",
    [
        ("--status", "--again"),
        ("--dry-run", "--letter", "all", "--out", "x"),
        ("--letter", "all"),
        ("--out", "x"),
        ("--patience", "soon"),
        ("--patience", "0d"),
        ("--patience", "99999999999999d"),
    ],
)
def test_options_that_make_no_sense_are_a_usage_error(mover: Person, options: tuple[str, ...]) -> None:
    assert mover.says("card", "notify", "home", *options).status == 2


def test_a_card_that_is_not_there_is_refused_by_all_of_them(mover: Person, tmp_path: Path) -> None:
    for options in ((), ("--status",), ("--again",), ("--letter", "all", "--out", tmp_path / "x")):
        assert "did you mean home?" in mover.refused("card", "notify", "hone", *options)


def test_json_is_one_array_also_where_nobody_has_to_be_told(person: Person) -> None:
    person.out("card", "set", "home.city=Berlin")
    for options in ((), ("--dry-run",), ("--status",), ("--again",)):
        assert json.loads(person.out("card", "notify", "home", *options, "--json")) == []
