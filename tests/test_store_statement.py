"""Statements that are run by the driver do what SQLAlchemy would have done."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from sortingoffice.core.model import Account, AccountState, Event
from sortingoffice.store import accounts, engine, events, schema, statement
from sortingoffice.store.database import Database, Transaction, Unavailable

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANNA = Account(0, "anna", AccountState.ACTIVE, True, b"\x00key", "card", NOW)


def test_what_was_stored_comes_back_with_its_types(db: Database) -> None:
    stored = db.call(schema.insert, ANNA)
    every = sa.select(schema.account)
    by_driver = db.view(lambda tx: schema.every(Account, statement.run(tx, every, {})))
    by_sqlalchemy = db.view(lambda tx: schema.every(Account, tx.execute(every)))
    assert by_driver == by_sqlalchemy == (stored,)
    assert isinstance(by_driver[0].state, AccountState)


def test_values_that_the_statement_brings_are_stored_by_their_types_too(db: Database) -> None:
    stored = db.call(schema.insert, ANNA)
    change = schema.account.update().values(state=AccountState.SUSPENDED, created=NOW.replace(year=2020))
    assert db.call(lambda tx: statement.run(tx, change, {}).rowcount) == 1
    found = db.view(accounts.by_id, stored.id)
    assert found == replace(stored, state=AccountState.SUSPENDED, created=NOW.replace(year=2020))


def test_a_row_that_stands_there_already_is_an_integrity_error(db: Database) -> None:
    db.call(schema.insert, ANNA)
    with pytest.raises(sa.exc.IntegrityError):
        db.call(schema.insert, ANNA)


def test_it_is_part_of_the_transaction(db: Database) -> None:
    def half(tx: Transaction) -> None:
        schema.insert(tx, ANNA)
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        db.call(half)
    assert db.view(accounts.every) == ()


def test_a_reader_cannot_write(db: Database) -> None:
    with pytest.raises((sa.exc.DBAPIError, Unavailable)):
        db.view(schema.insert, ANNA)


def test_a_statement_whose_text_depends_on_its_values_is_refused(db: Database) -> None:
    some = sa.select(schema.account).where(schema.account.c.id.in_(sa.bindparam("ids", expanding=True)))
    with pytest.raises(TypeError):
        db.view(lambda tx: statement.run(tx, some, {"ids": [1]}))


def test_a_connection_that_broke_is_told_as_gone(postgresql_db: Database) -> None:
    def hang_up(tx: Transaction) -> None:
        events.add(tx, at=NOW, actor="test", what="before")
        tx.connection.dbapi_connection.close()  # type: ignore[union-attr]
        with pytest.raises(sa.exc.DBAPIError) as told:
            events.add(tx, at=NOW, actor="test", what="after")
        assert engine.gone(told.value)
        raise told.value

    with pytest.raises(Unavailable):
        postgresql_db.call(hang_up)
    assert postgresql_db.view(events.every) == ()
    stored: Event = postgresql_db.call(lambda tx: events.add(tx, at=NOW, actor="test", what="later"))
    assert postgresql_db.view(events.every) == (stored,)
