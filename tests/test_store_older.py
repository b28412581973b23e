"""An office whose database is of the first schema, with rows in it: what an upgrade makes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from sortingoffice.core.model import DeliveryState
from sortingoffice.store import migrations, schema, spool
from sortingoffice.store.database import Database, Transaction
from tests.person import Person
from tests.test_store_spool import DELIVERY, MESSAGE

_SHOWN = (
    "list",
    "disclosures",
    "held list",
    "admin account list",
    "log",
    "card list",
    "who-has shipping.city",
)


def _rows(tx: Transaction) -> dict[str, list[dict[str, Any]]]:
    """Each table's rows as they are stored."""
    names = [table.name for table in schema.metadata.sorted_tables]
    return {
        name: [dict(row._mapping) for row in tx.execute(sa.text(f"SELECT * FROM {name}"))] for name in names
    }


def _first_schema(tx: Transaction) -> None:
    _schema(tx, migrations.REVISIONS[0])


def _schema(tx: Transaction, revision: str) -> None:
    wanted = Config()
    wanted.set_main_option("script_location", str(Path(migrations.__file__).parent))
    wanted.attributes["connection"] = tx
    command.upgrade(wanted, revision)


def _put(tx: Transaction, rows: dict[str, list[dict[str, Any]]]) -> None:
    """The rows, without the tables and columns that came later."""
    tx.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
    seen = sa.inspect(tx)
    for name in filter(seen.has_table, rows):
        columns = [each["name"] for each in seen.get_columns(name)]
        places = ", ".join(f":{column}" for column in columns)
        for row in rows[name]:
            written = {column: row[column] for column in columns}
            tx.execute(sa.text(f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({places})"), written)


def test_an_office_of_the_first_schema_is_the_same_office_after_the_upgrade(person: Person) -> None:
    person.out("new", "Lamp Shop", "--site", "lampshop.example")
    person.out("contact", "lamp-shop", "orders@lampshop.example")
    person.out("card", "set", "shipping.city=Berlin")
    person.out("grant", "lamp-shop", "shipping")
    person.out("disclosed", "lamp-shop", "shipping", "--via", "web-form")
    waiting = person.spooled("lamp-shop", DeliveryState.HELD, reason="stranger")
    before = {words: person.json(*words.split()) for words in _SHOWN}
    with person.office() as office:
        rows = office.db.view(_rows)
    folder = person.folder / "office"
    for file in folder.glob("office.db*"):
        file.unlink()
    older = Database(f"sqlite:///{folder / 'office.db'}")
    older.call(_first_schema)
    older.call(_put, rows)
    older.close()
    assert f"older version ({migrations.REVISIONS[0]})" in person.refused("list")
    person.out("db", "upgrade")
    assert {words: person.json(*words.split()) for words in _SHOWN} == before
    assert person.json("log", "verify")["holds"]
    person.out("held", "release", str(waiting))
    person.out("rotate", "lamp-shop")
    assert person.json("log", "verify")["holds"]


@pytest.mark.parametrize("empty_url", ["sqlite", "postgresql"], indirect=True)
def test_a_delivery_of_before_0016_says_not_what_address_it_was_accepted_for(empty_url: str) -> None:
    older = Database(empty_url)
    older.call(_schema, "0015")
    number = older.call(_delivered)
    older.upgrade()
    kept = older.view(spool.delivery_by_id, number)
    older.close()
    assert kept is not None
    assert (kept.recipient, kept.accepted_for) == (DELIVERY.recipient, "")


def _delivered(tx: Transaction) -> int:
    message = _older(tx, schema.message, schema.values(replace(MESSAGE, token="older")))
    return _older(tx, schema.delivery, schema.values(replace(DELIVERY, message_id=message)))


def _older(tx: Transaction, table: sa.Table, row: dict[str, Any]) -> int:
    """Put in without the columns that came later; its id."""
    columns = {each["name"] for each in sa.inspect(tx).get_columns(table.name)}
    statement = table.insert().returning(table.c.id)
    return int(tx.execute(statement, {k: v for k, v in row.items() if k in columns}).scalar_one())
