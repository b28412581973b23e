"""The schema comes from migrations alone, and is the same on both databases."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from sortingoffice.errors import OfficeError
from sortingoffice.store import migrations, schema
from sortingoffice.store.database import Database

both = pytest.mark.parametrize("empty_url", ["sqlite", "postgresql"], indirect=True)


def test_upgrade_head_gives_exactly_the_metadata(db: Database) -> None:
    def differences(tx: sa.Connection) -> list[object]:
        context = MigrationContext.configure(tx, opts={"compare_type": True})
        return list(compare_metadata(context, schema.metadata))

    assert db.view(differences) == []


@both
def test_upgrade_head_makes_each_index_as_the_metadata_would(empty_url: str) -> None:
    """Alembic does not compare the conditions of partial indexes: the databases' own words do."""
    migrated, made = [], []
    database = Database(empty_url)
    database.upgrade()
    database.call(lambda tx: migrated.extend(_indexes(tx)))
    with database._engines.writer.begin() as tx:
        for trigger in _triggers(tx):
            tx.exec_driver_sql(trigger)
        schema.metadata.drop_all(tx)
        schema.metadata.create_all(tx)
        made.extend(_indexes(tx))
    database.close()
    assert len(migrated) > 20
    assert migrated == made


def _indexes(tx: sa.Connection) -> list[str]:
    if tx.dialect.name == "sqlite":
        found = tx.exec_driver_sql(
            "SELECT sql FROM sqlite_master WHERE type IN ('index', 'table') AND sql > ''"
        )
    else:
        found = tx.exec_driver_sql("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'")
    statements = sorted(re.sub(r"\s+", " ", row[0]) for row in found)
    return [sql for sql in statements if "alembic_version" not in sql and "INDEX" in sql]


def _triggers(tx: sa.Connection) -> list[str]:
    if tx.dialect.name == "sqlite":
        return []
    return ["DROP FUNCTION append_only CASCADE"]


@pytest.mark.parametrize("kind", schema.TABLES, ids=lambda kind: kind.__name__)
def test_a_table_has_its_dataclass_s_fields_in_their_order(kind: type) -> None:
    assert [column.name for column in schema.TABLES[kind].columns] == [f.name for f in fields(kind)]


def test_every_table_has_a_dataclass() -> None:
    assert set(schema.TABLES.values()) == set(schema.metadata.tables.values())


def test_the_named_revisions_are_the_files() -> None:
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert tuple(r.revision for r in reversed(list(script.walk_revisions()))) == migrations.REVISIONS


def test_a_second_upgrade_changes_nothing(db: Database) -> None:
    db.upgrade()
    db.check()


@both
def test_an_empty_database_says_what_to_run(empty_url: str) -> None:
    database = Database(empty_url)
    with pytest.raises(OfficeError, match="db upgrade"):
        database.check()
    database.close()


def test_an_older_schema_says_what_to_run(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "REVISIONS", (*migrations.REVISIONS, "9999"))
    with pytest.raises(
        OfficeError, match=rf"older version \({migrations.REVISIONS[-2]}\); run: sortingoffice db upgrade"
    ):
        db.check()


def test_a_newer_schema_is_neither_used_nor_touched(db: Database) -> None:
    db.call(lambda tx: tx.exec_driver_sql("UPDATE alembic_version SET version_num = '7777'"))
    for attempt in (db.check, db.upgrade):
        with pytest.raises(OfficeError, match=r"newer version \(7777\)"):
            attempt()
    assert (
        db.view(lambda tx: tx.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()) == "7777"
    )


@pytest.mark.parametrize("table", ["disclosure", "disclosure_item", "event"])
@pytest.mark.parametrize("change", ["UPDATE {} SET id = id + 1", "DELETE FROM {}"])
def test_the_ledger_and_the_log_cannot_be_changed(db: Database, table: str, change: str) -> None:
    def attempt(tx: sa.Connection) -> None:
        if db.dialect == "sqlite":
            _row_of_zeros(tx, table)  # its triggers are per row: there must be one
        tx.exec_driver_sql(change.format(table))

    with pytest.raises(sa.exc.IntegrityError, match=f"{table} is append only"):
        db.call(attempt)


def test_replacing_an_event_is_no_way_round(sqlite_db: Database) -> None:
    sqlite_db.call(_row_of_zeros, "event")
    with pytest.raises(sa.exc.IntegrityError, match="event is append only"):
        sqlite_db.call(lambda tx: tx.exec_driver_sql("REPLACE INTO event SELECT * FROM event"))


def test_truncating_the_log_is_no_way_round(postgresql_db: Database) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="event is append only"):
        postgresql_db.call(lambda tx: tx.exec_driver_sql("TRUNCATE event"))


def _row_of_zeros(tx: sa.Connection, table: str) -> None:
    tx.exec_driver_sql("PRAGMA defer_foreign_keys=ON")  # its parents are zeros, too
    columns = [c for c in schema.metadata.tables[table].columns if not c.nullable and c.name != "id"]
    names, zeros = ", ".join(c.name for c in columns), ", ".join("0" for _ in columns)
    tx.exec_driver_sql(f"INSERT INTO {table} (id, {names}) VALUES (1, {zeros})")
