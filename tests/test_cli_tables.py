"""Tables as a person sees them at a terminal, and as a pipe gets them."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from sortingoffice.cli.table import fitted, printable
from sortingoffice.core.model import DeliveryState
from sortingoffice.flows import overview
from sortingoffice.flows.office import Office
from sortingoffice.store import accounts
from sortingoffice.store import relationships as stored
from sortingoffice.store.database import Transaction
from tests.person import Person
from tests.screen import at_terminal, drawn

_WIDE = "東京ランプ"
_LONG = "long " * 60 + "indeed"
_HOSTILE = "\x1b[2J\x1b]0;owned\x07[red]hello[/red]\u202e\r\nab"


@pytest.fixture(scope="module")
def shops(furnished: Path, tmp_path_factory: pytest.TempPathFactory) -> Person:
    """Three relationships; the tests only look."""
    folder = tmp_path_factory.mktemp("shops") / "person"
    shutil.copytree(furnished, folder)
    person = Person(folder)
    person.out("new", "Lamp Shop", "--site", "lampshop.example")
    person.out("new", f"{_WIDE} Tokyo", "--site", "tokyo.example", "--note", "from the fair")
    person.out("new", "Books")
    person.out("revoke", "books")
    person.out("card", "set", "shipping.city=Berlin", "shipping.street=Lindenallee 5")
    person.out("disclosed", "lamp-shop", "shipping", "--via", "web-form", "--purpose", _LONG)
    person.spooled("lamp-shop", DeliveryState.QUEUED)
    _rename(person, person.spooled("lamp-shop", DeliveryState.HELD), _HOSTILE)
    return person


def test_into_a_pipe_every_row_is_one_whole_line_without_colours(shops: Person) -> None:
    lines = shops.out("who-has", "shipping").splitlines()
    assert lines[0].split() == "RELATIONSHIP CARD FIELD VERSION AT VIA STATE PURPOSE".split()
    assert len(lines) == 3
    assert all(_LONG in line for line in lines[1:])
    assert "\x1b" not in "".join(lines)
    assert all(line == line.rstrip() for line in lines)


def test_columns_stand_below_each_other_also_after_wide_characters(shops: Person) -> None:
    lines = shops.out("list").splitlines()
    aliases = [row["alias"] for row in shops.json("list")]
    starts = {cell_len(line[: line.index(alias)]) for line, alias in zip(lines[1:], aliases, strict=True)}
    assert starts == {cell_len(lines[0][: lines[0].index("ALIAS")])}


@pytest.mark.parametrize("width", [40, 80, 140])
def test_on_a_terminal_no_line_is_wider_than_the_window_and_no_alias_is_cut(
    shops: Person, width: int
) -> None:
    seen = drawn(shops, "list", width=width)
    assert seen.status == 0
    table = [line for line in seen.lines if not line.startswith("This window")]
    assert all(cell_len(line) <= width for line in table), seen.text
    cells = ["".join(c + " " * (cell_len(c) - 1) for c in line) for line in table]
    start, end = cells[0].index("ALIAS"), cells[0].index("STATE")
    column = "".join(line[start:end].strip() for line in cells)
    for row in shops.json("list"):
        assert row["alias"] in (column if width == 40 else seen.text)


def test_a_window_too_narrow_says_what_it_leaves_out(shops: Person) -> None:
    narrow, wide = drawn(shops, "list", width=80), drawn(shops, "list", width=160)
    assert "no room for: created" in narrow.text
    assert "no room" not in wide.text
    assert "CREATED" in wide.text
    assert "from the fair" not in wide.text


def test_states_are_coloured_unless_the_person_wants_no_colour(shops: Person) -> None:
    coloured = drawn(shops, "list", width=140)
    assert "\x1b[32mactive" in coloured.raw
    assert "\x1b[1;31mrevoked" in coloured.raw
    plain = drawn(shops, "list", width=140, NO_COLOR="1")
    assert not any(f"\x1b[{n}" in plain.raw for n in ("3", "9", "1;3"))
    assert "revoked" in plain.text
    assert "\x1b" not in drawn(shops, "list", width=140, TERM="dumb").raw


def test_what_came_by_mail_moves_no_cursor_and_colours_nothing(shops: Person) -> None:
    seen = drawn(shops, "held", "list", width=140)
    assert "\x1b[2J" not in seen.raw
    assert "owned\x07" not in seen.raw
    assert "\u202e" not in seen.raw
    assert "[red]hello[/red]" in " ".join(seen.text.split())
    assert "\x1b" not in shops.out("held", "list")


def _rename(person: Person, number: int, subject: str) -> None:
    with closing(sqlite3.connect(person.folder / "office" / "office.db")) as db, db:
        db.execute(
            "UPDATE message SET subject = ? WHERE id = (SELECT message_id FROM delivery WHERE id = ?)",
            (subject, number),
        )


def test_nothing_that_is_shown_can_steer_the_terminal() -> None:
    shown = printable("a\x1b[2J\r\nb\u202ec\x9bd\te")
    assert not set(shown) & set("\x1b\r\n\u202e\x9b\t")


def test_one_thing_is_a_sheet_of_its_parts(shops: Person) -> None:
    seen = drawn(shops, "show", "lamp-shop", width=60)
    assert seen.status == 0
    assert all(cell_len(line) <= 60 for line in seen.lines)
    alias = shops.json("show", "lamp-shop")["alias"]
    assert any(line.split() == ["alias", alias] for line in seen.lines)
    assert "\x1b[32mactive" in seen.raw


@pytest.mark.parametrize(
    "command",
    [
        ("card", "list"),
        ("who-has", "shipping"),
        ("disclosures",),
        ("log",),
        ("queue", "list"),
        ("held", "list"),
        ("admin", "key", "list"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_every_table_fits_a_window_of_80_columns(shops: Person, command: tuple[str, ...]) -> None:
    seen = drawn(shops, *command, width=80)
    assert "Traceback" not in seen.text
    table = [line for line in seen.lines if not line.startswith("This window")]
    assert all(cell_len(line) <= 80 for line in table), seen.text


def test_a_real_terminal_is_seen_and_measured(shops: Person) -> None:
    seen = at_terminal(shops, "list", width=100)
    assert "\x1b[32mactive" in seen.raw
    assert seen.lines[1] == drawn(shops, "list", width=100).lines[1]


def test_json_is_the_same_at_a_terminal_and_in_a_pipe(shops: Person) -> None:
    seen = drawn(shops, "list", "--json", width=40)
    assert json.loads(seen.raw) == shops.json("list")


@pytest.mark.parametrize(
    ("least", "most", "room", "widths"),
    [
        ([3, 3], [10, 10], 30, [10, 10]),
        ([3, 3], [10, 4], 10, [6, 4]),
        ([5, 20], [5, 20], 15, [5, 10]),
        ([9, 9], [9, 9], 1, [1, 1]),
    ],
    ids=["all that is wanted", "what is left goes to who wants it", "the widest gives way", "no room at all"],
)
def test_columns_share_the_room(least: list[int], most: list[int], room: int, widths: list[int]) -> None:
    assert fitted(least, most, room) == widths


def test_a_new_address_waits_for_no_table() -> None:
    code = (
        "import sys\nfrom sortingoffice.cli import relationship\nprint('rich' in sys.modules)\n"
        "from sortingoffice.cli import table\nprint('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_longer_list_asks_the_database_no_more_often(person: Person) -> None:
    def asked(number: int) -> int:
        person.out("pocket", str(number))
        for each in person.json("list")[:number]:
            person.out("contact", each["relationship"], f"clerk{number}@shop.example")
        with person.office() as office:
            return office.db.view(_counted, office)

    assert asked(2) == asked(6)


def _counted(tx: Transaction, office: Office) -> int:
    statements: list[str] = []
    driver: Any = tx.connection.dbapi_connection
    driver.set_trace_callback(statements.append)
    rows = overview.every(tx, office, accounts.the_only(tx))
    driver.set_trace_callback(None)
    assert rows == [overview.of(tx, office, each) for each in stored.every(tx, 1)]
    return len(statements)
