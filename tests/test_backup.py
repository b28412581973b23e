"""Backup and way back, and the schema's commands, as a person runs them."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import stat
import tempfile
from pathlib import Path

import pytest

from sortingoffice import config
from sortingoffice.core.model import DeliveryState, Domain
from sortingoffice.flows.office import now
from sortingoffice.store import backup, domains, migrations
from sortingoffice.store.database import Database
from tests.chaos.run import small_temporary_disk
from tests.database import skip_or_fail
from tests.person import Person


def database(person: Person) -> Path:
    return Path(config.load(person.config).database.removeprefix("sqlite:///"))


def slugs(person: Person) -> list[str]:
    return [row["relationship"] for row in person.json("list")]


def test_a_backup_put_back_is_the_office_as_it_was(person: Person, tmp_path: Path) -> None:
    person.out("new", "Lamp Shop")
    person.out("backup", tmp_path / "b")
    person.out("new", "Later")
    answer = person.says("restore-backup", tmp_path / "b")
    assert answer.status == 0
    assert slugs(person) == ["lamp-shop"]
    assert ".before-restore-1" in answer.err


def test_what_a_backup_replaced_can_be_put_back_in_turn(person: Person, tmp_path: Path) -> None:
    person.out("backup", tmp_path / "b")
    person.out("new", "Later")
    kept = person.json("restore-backup", tmp_path / "b")["kept"]
    assert slugs(person) == []
    person.out("restore-backup", kept)
    assert slugs(person) == ["later"]


def test_a_backup_is_one_private_file_that_says_the_keys_are_not_in_it(
    person: Person, tmp_path: Path
) -> None:
    answer = person.says("backup", tmp_path / "b")
    assert "keys" in answer.err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("b")] == ["b"]
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o600


def test_a_backup_replaces_no_file(person: Person, tmp_path: Path) -> None:
    (tmp_path / "b").write_text("mine")
    assert "is there already" in person.refused("backup", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "mine"


def test_a_backup_into_a_folder_that_is_not_there_is_refused(person: Person, tmp_path: Path) -> None:
    assert "can't be written" in person.refused("backup", tmp_path / "none" / "b")


async def test_a_backup_is_taken_while_the_office_writes(sqlite_db: Database, tmp_path: Path) -> None:
    """Each backup is a moment: what was answered before it began is in it."""
    assert sqlite_db.path is not None
    answered = 0
    busy = True

    async def write() -> None:
        nonlocal answered
        while busy:
            await sqlite_db.write(domains.add, Domain(0, f"d{answered}.example", now()))
            answered += 1

    writing = asyncio.create_task(write())
    for n in range(10):
        before = answered
        await asyncio.to_thread(backup.save, sqlite_db.path, tmp_path / f"b{n}")
        copy = Database(f"sqlite:///{tmp_path / f'b{n}'}")
        assert before <= len(copy.view(domains.every)) <= answered + 1
        copy.close()
    busy = False
    await writing
    assert answered > 10


async def test_a_backup_is_put_back_under_a_running_office(sqlite_db: Database, tmp_path: Path) -> None:
    assert sqlite_db.path is not None
    await sqlite_db.write(domains.add, Domain(0, "before.example", now()))
    backup.save(sqlite_db.path, tmp_path / "b")
    await sqlite_db.write(domains.add, Domain(0, "later.example", now()))
    await sqlite_db.read(domains.every)
    backup.put_back(tmp_path / "b", sqlite_db.path)
    assert [each.name for each in await sqlite_db.read(domains.every)] == ["before.example"]
    await sqlite_db.write(domains.add, Domain(0, "after.example", now()))
    assert sqlite_db.call(lambda tx: tx.exec_driver_sql("PRAGMA journal_mode").scalar()) == "wal"


def test_mail_that_waited_then_is_mentioned(person: Person, tmp_path: Path) -> None:
    person.out("new", "Lamp Shop")
    person.spooled("lamp-shop", DeliveryState.QUEUED)
    person.out("backup", tmp_path / "b")
    assert person.json("restore-backup", tmp_path / "b")["queued"] == 1


@pytest.mark.parametrize("octets", [b"", b"text", b"SQLite format 3\0" + bytes(4096)])
def test_what_is_no_backup_changes_nothing(person: Person, tmp_path: Path, octets: bytes) -> None:
    person.out("new", "Lamp Shop")
    (tmp_path / "b").write_bytes(octets)
    assert "is no backup of an office" in person.refused("restore-backup", tmp_path / "b")
    assert "there is no file" in person.refused("restore-backup", tmp_path / "none")
    assert slugs(person) == ["lamp-shop"]


def test_a_damaged_backup_changes_nothing(person: Person, tmp_path: Path) -> None:
    person.out("new", "Lamp Shop")
    person.out("backup", tmp_path / "b")
    octets = bytearray((tmp_path / "b").read_bytes())
    octets[8 * 4096 : 24 * 4096] = bytes(16 * 4096)
    (tmp_path / "b").write_bytes(octets)
    assert "damaged" in person.refused("restore-backup", tmp_path / "b")
    assert slugs(person) == ["lamp-shop"]


def test_a_newer_backup_is_refused(person: Person, tmp_path: Path) -> None:
    person.out("backup", tmp_path / "b")
    with sqlite3.connect(tmp_path / "b") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '7777'")
    connection.close()
    assert "newer version (7777)" in person.refused("restore-backup", tmp_path / "b")


def test_a_lost_database_is_put_back(person: Person, tmp_path: Path) -> None:
    person.out("new", "Lamp Shop")
    person.out("backup", tmp_path / "b")
    lost = database(person)
    lost.unlink()
    person.out("restore-backup", tmp_path / "b")
    assert slugs(person) == ["lamp-shop"]
    assert stat.S_IMODE(lost.stat().st_mode) == 0o600


def test_a_full_disk_leaves_no_half_a_backup(person: Person) -> None:
    with small_temporary_disk(64 << 10) as mounted:
        if not mounted:
            skip_or_fail("a file system to fill up (mount, as root)")
        disk = Path(tempfile.gettempdir())
        assert "full" in person.refused("backup", disk / "b")
        assert list(disk.iterdir()) == []


# ---- db ------------------------------------------------------------------------------------------


def test_db_upgrade_run_twice_changes_nothing_and_says_so(person: Person) -> None:
    newest = migrations.REVISIONS[-1]
    assert person.json("db", "upgrade") == {"before": newest, "after": newest, "changed": False}
    assert "nothing was changed" in person.says("db", "upgrade").err


def test_db_upgrade_makes_a_schema_where_there_is_none(person: Person) -> None:
    database(person).unlink()
    newest = migrations.REVISIONS[-1]
    assert person.json("db", "upgrade") == {"before": "", "after": newest, "changed": True}


def test_db_check_finds_a_sound_database_sound(person: Person) -> None:
    assert person.json("db", "check") == {"revision": migrations.REVISIONS[-1], "sound": True}


def test_db_check_finds_a_damaged_one(person: Person) -> None:
    path = database(person)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("INSERT INTO alias VALUES (1, 999, 'a@b', 'a@b', 'live', 0)")
    connection.close()
    assert "a row of alias points nowhere" in person.refused("db", "check")


def test_db_check_of_a_newer_database_says_what_to_do(person: Person) -> None:
    with sqlite3.connect(database(person)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '7777'")
    connection.close()
    for command in (("db", "check"), ("db", "upgrade"), ("list",)):
        assert "newer version (7777)" in person.refused(*command)


@pytest.mark.parametrize("kept", [0, 4096])
def test_a_damaged_database_is_said_and_what_to_do(person: Person, kept: int) -> None:
    path = database(person)
    path.write_bytes(path.read_bytes()[:kept] + b"\x55" * 200_000)
    for command in (("db", "check"), ("db", "upgrade"), ("list",), ("new", "Shop")):
        said = person.refused(*command)
        assert "restore a backup" in said or "restore-backup" in said


def test_db_check_makes_no_database(person: Person) -> None:
    database(person).unlink()
    assert "sortingoffice init" in person.refused("db", "check")
    assert not database(person).exists()


def test_db_commands_without_an_office_say_what_to_run(person: Person) -> None:
    shutil.rmtree(database(person).parent)
    assert "sortingoffice init" in person.refused("db", "check")
    assert "sortingoffice init" in person.refused("backup", person.folder / "b")
