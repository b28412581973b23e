"""The chain over log and ledger, on both databases: what is changed behind the office's back shows."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from sortingoffice.flows import history
from sortingoffice.store import chain, events
from sortingoffice.store.database import Database
from tests.desk import Desk, open_desk
from tests.person import Person


@pytest.fixture
def desk(db: Database, tmp_path: Path) -> Desk:
    desk = open_desk(db, tmp_path)
    for number in range(5):
        db.call(events.add, at=desk.office.clock(), actor="test", what="happened", detail=str(number))
    return desk


def behind(desk: Desk, statement: str) -> None:
    """As somebody with the database in their hands, who takes the guards off first."""

    def change(tx: sa.Connection) -> None:
        if tx.dialect.name == "sqlite":
            found = tx.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'").all()
            for row in found:
                tx.exec_driver_sql(f"DROP TRIGGER {row[0]}")
        else:
            tx.exec_driver_sql("ALTER TABLE event DISABLE TRIGGER ALL")
        tx.exec_driver_sql(statement)

    desk.db.call(change)


def test_an_untouched_log_holds_and_each_line_is_linked_once(desk: Desk) -> None:
    first = desk.db.call(history.verify)
    assert first["holds"]
    assert first["lines"] >= 5
    assert desk.db.call(chain.extend, 100) == 0, "nothing is new"
    desk.db.call(events.add, at=desk.office.clock(), actor="test", what="later")
    second = desk.db.call(history.verify)
    assert (second["holds"], second["lines"]) == (True, first["lines"] + 1)
    assert second["hash"] != first["hash"]


@pytest.mark.parametrize(
    ("statement", "wrong"),
    [
        ("UPDATE event SET detail = 'nothing' WHERE detail = '2'", "was changed"),
        ("UPDATE event SET at = at + 1 WHERE detail = '2'", "was changed"),
        ("DELETE FROM event WHERE detail = '2'", "was taken out"),
        ("DELETE FROM link WHERE number = (SELECT min(number) + 1 FROM link)", "the chain breaks"),
        ("UPDATE link SET digest = 'x' WHERE number = (SELECT min(number) FROM link)", "was changed"),
    ],
)
def test_a_change_behind_the_offices_back_shows(desk: Desk, statement: str, wrong: str) -> None:
    desk.db.call(chain.extend, 100)
    behind(desk, statement)
    count, found = desk.db.view(chain.verify)
    assert wrong in found
    assert count < 5


def test_the_command_says_so(person: Person) -> None:
    person.out("new", "Lamp Shop")
    found = person.json("log", "verify")
    assert found["holds"]
    assert len(found["hash"]) == 64
    assert "lines hold" in person.says("log", "verify").err
