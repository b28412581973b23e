"""The file with everything that a person owns: what stands in it, under a passphrase, as CSV, or changed."""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import stat
import zipfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sortingoffice.core import exported, model
from sortingoffice.core.exported import KINDS, LEFT_OUT
from sortingoffice.flows import moving
from sortingoffice.store import schema
from tests.belonging import another, parsed
from tests.person import Person

_KINDS = {kind.name: kind for kind in KINDS}


def test_every_kind_of_row_of_an_account_is_exported_or_left_out_with_a_reason() -> None:
    office_s = {"Domain", "DkimKey", "Reject", "Guesses", "Link", "Kept"}
    for noun in schema.TABLES:
        if noun is model.Account or noun.__name__ in office_s:
            continue
        assert (noun in {kind.noun for kind in KINDS}) != (noun in LEFT_OUT), noun


def test_every_column_that_points_at_another_row_does_so_in_the_export() -> None:
    for kind in KINDS:
        for key in schema.TABLES[kind.noun].foreign_keys:
            name = key.parent.name
            if name == "account_id":
                continue
            target = next(each.name for each in KINDS if schema.TABLES[each.noun] is key.column.table)
            assert exported.REFERENCES[name] == target


def test_the_full_office_has_something_of_every_kind(file: Path) -> None:
    document = parsed(file)
    assert [name for name in _KINDS if not document[name]] == []


def test_the_document_is_documented_list_by_list() -> None:
    text = (Path(__file__).parents[1] / "docs" / "export.md").read_text()
    told = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}
    assert told == {*_KINDS, "sortingoffice", "exported", "account", "key"}
    assert f"version of this shape: {exported.VERSION}" in text


# ---- under a passphrase, and as CSV --------------------------------------------------------------


def test_under_a_passphrase_nothing_can_be_read_and_all_comes_back(full: Person, tmp_path: Path) -> None:
    phrase, locked = tmp_path / "phrase", tmp_path / "locked.json"
    phrase.write_text("correct horse battery\n")
    full.out("export", locked, "--passphrase-file", phrase)
    assert stat.S_IMODE(locked.stat().st_mode) == 0o600
    assert "Berlin" not in locked.read_text()
    assert "lampshop" not in locked.read_text()
    other = another(tmp_path / "other")
    assert "at a terminal" in other.refused("import", locked, "--yes")
    wrong = tmp_path / "wrong"
    wrong.write_text("correct horse batteries\n")
    assert "not the passphrase" in other.refused("import", locked, "--yes", "--passphrase-file", wrong)
    other.out("import", locked, "--yes", "--passphrase-file", phrase)
    assert other.json("card", "show", "phone", "--reveal")[0]["value"] == "+493012345"
    assert "longer than any" in other.refused("import", locked, "--yes", "--passphrase-file", "/dev/zero")


@pytest.mark.parametrize("held", ["short\n", "", "\nthe passphrase, a line too low\n"])
def test_where_a_passphrase_was_wanted_no_open_export_is_written(
    full: Person, tmp_path: Path, held: str
) -> None:
    phrase, file = tmp_path / "phrase", tmp_path / "b.json"
    phrase.write_text(held)
    assert "at least 8" in full.refused("export", file, "--passphrase-file", phrase)
    assert not file.exists()


def test_an_export_warns_of_what_it_holds(full: Person, tmp_path: Path) -> None:
    answer = full.says("export", tmp_path / "a.json")
    assert "card values stand in it" in answer.err
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o600


def test_as_csv_there_is_a_table_for_each_list_and_no_cell_is_a_formula(
    full: Person, file: Path, tmp_path: Path
) -> None:
    full.out("export", tmp_path / "a.zip")
    document = parsed(file)
    with zipfile.ZipFile(tmp_path / "a.zip") as folder:
        assert {name.removesuffix(".csv") for name in folder.namelist()} == set(_KINDS)
        for name in _KINDS:
            text = folder.read(f"{name}.csv").decode()
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
            assert len(rows) == len(document[name])
            for row, told in zip(rows, document[name], strict=True):
                assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row.values())
                for key, value in told.items():
                    assert row[key].removeprefix("'") == ("" if value is None else str(value)), (name, key)


@given(st.text() | st.sampled_from(["=1+1", "'=1", "-2", "''", "@x", "\t=1"]))
def test_a_cell_is_never_a_formula_and_can_be_read_back(text: str) -> None:
    cell = moving.cell(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell.removeprefix("'") == text


# ---- a file that somebody changed ----------------------------------------------------------------


def _broken(file: Path, change: Any) -> bytes:
    document = parsed(file)
    change(document)
    return json.dumps(document).encode()


def _set(name: str, column: str, value: Any, at: int = 0) -> Any:
    return lambda document: document[name][at].update({column: value})


_CHANGES = {
    "another version": lambda d: d.update(sortingoffice=3),
    "no key": lambda d: d.pop("key"),
    "a short key": lambda d: d.update(key=base64.b64encode(b"x").decode()),
    "a list that is none": lambda d: d.update(cards={}),
    "a row that is none": lambda d: d["cards"].append(3),
    "a column too many": _set("cards", "evil", 1),
    "a column too few": lambda d: d["cards"][0].pop("kind"),
    "a time without a zone": _set("cards", "created", "2026-01-01T00:00:00"),
    "an unknown word": _set("relationships", "state", "wonderful"),
    "a number that points nowhere": _set("fields", "card", 99),
    "a boolean for a number": _set("relationships", "received", True),
    "a huge number": _set("relationships", "received", 1 << 80),
    "a control character": _set("relationships", "note", "\x1b[2J"),
    "half a character": _set("relationships", "note", "\ud800"),
    "a line break in a name": _set("relationships", "name", "Lamp\r\nBcc: x"),
    "a slug with blanks": _set("relationships", "slug", "lamp shop"),
    "an address that is none": _set("aliases", "address", "no address"),
    "a contact that is none": _set("contacts", "written", "x y"),
    "a card's name": _set("cards", "name", "Two Words"),
    "a value of another type": lambda d: next(
        each for each in d["versions"] if each.get("value", "").startswith("+49")
    ).update(value="not a phone"),
    "a value with a line break": _set("versions", "value", "Berlin\r\nBcc: x"),
    "a sealed value that is none": lambda d: next(each for each in d["versions"] if "closed" in each).update(
        closed="####"
    ),
    "a sealed value from nowhere": lambda d: next(each for each in d["versions"] if "closed" in each).update(
        closed=base64.b64encode(b"x" * 80).decode()
    ),
    "members that are none": _set("views", "members", "{"),
    "an account that is none": lambda d: d.update(account=[]),
}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Person:
    """Nothing is ever made in it."""
    return another(tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize("change", _CHANGES)
def test_a_file_that_was_changed_is_refused_with_a_sentence_and_nothing_is_made(
    empty: Person, file: Path, tmp_path: Path, change: str
) -> None:
    broken = tmp_path / "broken.json"
    broken.write_bytes(_broken(file, _CHANGES[change]))
    empty.refused("import", broken, "--yes")
    assert empty.json("list") == []
    assert empty.json("card", "list") == []


@given(st.data())
def test_whatever_a_row_holds_it_is_read_or_named_unreadable(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    value = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers(), max_size=2)
    names = [each.name.removesuffix("_id") for each in fields(kind.noun)]
    row = data.draw(st.dictionaries(st.sampled_from(names), value) | value)
    with contextlib.suppress(exported.Unreadable):
        exported.noun(kind, row, "here", lambda _name, number: number)
