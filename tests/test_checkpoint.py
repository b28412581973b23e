"""A card's value is on no disk of ours once the message that carried it has left."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from sortingoffice.core.model import DeliveryState
from sortingoffice.flows import housekeeping
from sortingoffice.store import checkpoint, schema, spool
from sortingoffice.store.database import Database
from tests.desk import Desk, open_desk, text

VALUE = b"Geheimgasse 17"


@pytest.fixture
def desk(sqlite_db: Database, tmp_path: Path) -> Desk:
    desk = open_desk(sqlite_db, tmp_path)
    desk.set(f"home.street={VALUE.decode()}")
    desk.grant("home")
    return desk


def found(desk: Desk) -> list[str]:
    """The database's files in which the value can be read."""
    path = desk.db.path
    assert path is not None
    return sorted(each.name for each in path.parent.glob(f"{path.name}*") if VALUE in each.read_bytes())


def leave(desk: Desk) -> None:
    """A message with the value goes into the spool, and is delivered."""
    assert text(desk.send("#card home\n" + "x" * 20_000 + "\n", DeliveryState.QUEUED)).startswith(
        "Street: Geheim"
    )
    table = schema.delivery
    number = desk.db.view(lambda tx: tx.execute(sa.select(sa.func.max(table.c.id))).scalar_one())
    delivery = desk.db.view(spool.delivery_by_id, number)
    assert delivery is not None
    now = desk.now[0]
    desk.db.call(spool.settle, delivery, None, DeliveryState.DELIVERED, "", now, "250 2.0.0 ok", now)


async def test_what_has_left_is_in_no_file_after_a_round(desk: Desk) -> None:
    leave(desk)
    assert found(desk), "the log still holds the message: else this test could not fail"
    await housekeeping.look_after(desk.office, housekeeping.EACH_ROUND)
    assert found(desk) == []
    assert [row["state"] for row in desk.disclosures()] == ["delivered"]


async def test_what_waits_is_still_there(desk: Desk) -> None:
    desk.send("#card home\n", DeliveryState.QUEUED)
    await housekeeping.look_after(desk.office, housekeeping.EACH_ROUND)
    assert found(desk)


async def test_a_reader_delays_it_for_a_round_and_nobody_who_writes(desk: Desk) -> None:
    assert desk.db.path is not None
    reader = sqlite3.connect(desk.db.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM message").fetchone()
    leave(desk)
    before = time.monotonic()
    assert await desk.db.empty_log() is False
    assert time.monotonic() - before < 5 * checkpoint.PATIENCE + 1
    desk.set("home.city=Berlin")
    reader.close()
    assert await desk.db.empty_log() is True
    assert found(desk) == []


async def test_writers_go_on_meanwhile(desk: Desk) -> None:
    async def write(number: int) -> float:
        before = time.monotonic()
        await desk.db.write(
            lambda tx: tx.execute(schema.account.update().values(trigger=f"card{number}")).rowcount
        )
        return time.monotonic() - before

    async def writing() -> float:
        return max([await write(number) for number in range(150)])

    async def emptying() -> int:
        rounds = 0
        while not task.done():
            await desk.db.empty_log()
            rounds += 1
        return rounds

    task = asyncio.create_task(writing())
    assert await emptying() > 0
    assert await task < 2, "a write waited for the log to be emptied"


def test_an_empty_log_is_let_alone(tmp_path: Path) -> None:
    assert checkpoint.truncate(tmp_path / "none.db") is True
    assert list(tmp_path.iterdir()) == []
