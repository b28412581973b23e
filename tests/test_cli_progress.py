"""Bars for long work: drawn at a terminal only, and gone when the work ends."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sortingoffice.cli import progress
from sortingoffice.core.model import DeliveryState
from sortingoffice.store import backup
from tests.person import Person
from tests.screen import drawn

_EXPORTS = Path(__file__).parent / "exports"
_MANY = 7_000  # rows, for several steps
_UP = "\x1b[2K"  # a line taken away again


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """All work counts as long."""
    monkeypatch.setattr(progress, "_QUICK", 0.0)


@pytest.mark.usefixtures("slow")
def test_long_work_shows_how_far_it_is_and_leaves_nothing_behind(person: Person, tmp_path: Path) -> None:
    person.out("new", "Lamp Shop")
    numbers = [person.spooled("lamp-shop", DeliveryState.QUEUED) for _ in range(2)]
    drawings = {
        "Writing the backup": drawn(person, "backup", tmp_path / "backup"),
        "Retrying": drawn(person, "queue", "retry", *numbers),
        "Dropping": drawn(person, "queue", "drop", *numbers),
        "Reading the log": drawn(person, "log", "verify"),
        "Moving in": drawn(person, "import", _EXPORTS / "simplelogin.csv", "--yes"),
        "Putting the backup back": drawn(person, "restore-backup", tmp_path / "backup", "--yes"),
    }
    for what, seen in drawings.items():
        assert seen.status == 0, seen
        assert what in seen.text, what
        assert _UP in seen.raw, what
    assert "2/2" in drawings["Retrying"].text


def test_quick_work_draws_nothing(person: Person) -> None:
    assert "Reading the log" not in drawn(person, "log", "verify").text


@pytest.mark.usefixtures("slow")
def test_into_a_pipe_nothing_is_drawn(person: Person, tmp_path: Path) -> None:
    answer = person.says("backup", tmp_path / "backup")
    assert answer.status == 0
    assert "Writing" not in answer.err
    assert "\x1b" not in answer.err


def test_a_backup_in_steps_is_the_database_at_one_moment(tmp_path: Path) -> None:
    live, copy = tmp_path / "live.db", tmp_path / "copy.db"
    with closing(sqlite3.connect(live, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=wal")
        db.execute("PRAGMA synchronous=off")
        db.execute("CREATE TABLE line (id INTEGER PRIMARY KEY, text BLOB)")
        db.execute("BEGIN")
        db.executemany("INSERT INTO line (text) VALUES (?)", [(b"x" * 3000,)] * _MANY)
        db.execute("COMMIT")
        steps: list[int] = []

        def meanwhile(done: int, of: int) -> None:
            steps.append(done)
            db.execute("INSERT INTO line (text) VALUES ('later')")

        backup.save(live, copy, meanwhile)
        assert len(steps) > 2
        assert steps == sorted(steps)
        assert db.execute("SELECT count(*) FROM line").fetchone()[0] == _MANY + len(steps)
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("SELECT count(*) FROM line").fetchone()[0] == _MANY
