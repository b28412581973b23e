"""What a clock that was ahead has put off, on both databases: due at once, and nothing else."""

from __future__ import annotations

from datetime import timedelta

from sortingoffice.store import clock, leases
from sortingoffice.store.database import Database, Transaction
from tests.test_store_put_off import HOUR, every, put
from tests.test_store_spool import NOW, SECOND, to

FARTHEST = NOW + 5 * HOUR


def went_back(db: Database) -> int:
    return db.call(clock.went_back, NOW, FARTHEST)


def test_what_lies_farther_ahead_than_anything_is_ever_put_off_is_due_at_once(db: Database) -> None:
    put(db, to("year.example", due=NOW + timedelta(days=3650)), to("day.example", due=FARTHEST + HOUR))
    put(db, to("rightly.example", due=FARTHEST), to("now.example"))
    put(db, to("raised.example", due=NOW + HOUR, expires=NOW + timedelta(days=3650)))
    assert [went_back(db) for _ in range(2)] == [2, 0]
    assert [each.due - NOW for each in every(db)] == [0 * HOUR, 0 * HOUR, 5 * HOUR, 0 * HOUR, HOUR]


def test_what_a_clock_that_was_ahead_put_off_untried_is_due_at_once(db: Database) -> None:
    put(db, to("a.example"), to("b.example", expires=NOW + HOUR))
    db.call(leases.claim, NOW, "n1", 10)
    ahead = NOW + timedelta(days=3650)
    later = leases.Later(ahead + 60 * SECOND, 10 * SECOND, "451 4.4.1 not tried by itself: refused")
    db.call(leases.put_off, [each.id for each in every(db)], "n1", ahead, later)
    assert went_back(db) == 2
    assert {each.due for each in every(db)} == {NOW}


def test_a_lease_that_others_have_for_long_is_no_reason_to_try_it_now(db: Database) -> None:
    put(db, to("a.example", due=NOW + timedelta(days=3)))
    db.call(leases.claim, NOW + timedelta(days=3), "n1", 10)
    assert went_back(db) == 1
    (leased,) = every(db)
    assert (leased.due, leased.lease_node) == (NOW + leases.LEASE, "n1")


def test_it_is_found_by_when_it_is_due(sqlite_db: Database) -> None:
    def plan(tx: Transaction) -> list[str]:
        sql = str(clock._DUE_AGAIN.compile(dialect=tx.dialect))
        return [row[3] for row in tx.exec_driver_sql("EXPLAIN QUERY PLAN " + sql, (1,) * sql.count("?"))]

    steps = sqlite_db.view(plan)
    assert any("ix_delivery_queued (due>?)" in step for step in steps), steps
