"""What is put off in the spool, on both databases: given back untried, and never beyond its days."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from sortingoffice.core.model import Delivery, DeliveryState, Direction
from sortingoffice.store import claim, leases, schema, spool
from sortingoffice.store.database import Database, Transaction
from sortingoffice.store.leases import Later
from tests.spooled import looked_through
from tests.test_store_leases import burst, explained
from tests.test_store_spool import NOW, SECOND, message, to

__all__ = ["burst"]

HOUR = timedelta(hours=1)
SAID = "451 4.4.1 not tried by itself: connection refused"
LATER = Later(NOW + 60 * SECOND, 10 * SECOND, SAID)


def put(db: Database, *deliveries: Delivery, direction: Direction = Direction.INWARD) -> None:
    stored = message(direction=direction)
    db.call(spool.put, stored, deliveries, looked_through(stored))


def every(db: Database) -> list[Delivery]:
    found = db.view(
        lambda tx: schema.every(Delivery, tx.execute(sa.select(schema.delivery).order_by(sa.text("id"))))
    )
    return list(found)


def put_off(db: Database, deliveries: Collection[Delivery], node: str = "n1") -> int:
    return db.call(leases.put_off, [each.id for each in deliveries], node, NOW, LATER)


def put_off_due(db: Database, destination: str, late: timedelta = 4 * HOUR, most: int = 10) -> int:
    return db.call(lambda tx: leases.put_off_due(tx, destination, NOW, LATER, late=NOW - late, most=most))


def names(deliveries: Collection[Delivery]) -> set[str]:
    return {each.destination for each in deliveries if each.last_reply == SAID}


def test_what_is_put_off_is_nobody_s_and_due_later_but_never_after_it_expires(db: Database) -> None:
    put(db, *(to("a.example") for _ in range(20)), to("b.example", expires=NOW + SECOND))
    put(db, to("c.example", expires=NOW - SECOND))
    db.call(leases.claim, NOW, "n1", 100)
    assert put_off(db, every(db)) == 22
    *many, soon, over = every(db)
    assert {(each.lease_node, each.lease_until, each.attempts) for each in (*many, soon, over)} == {
        ("", None, 0)
    }
    assert all(LATER.start <= each.due < LATER.start + LATER.width for each in (*many, over))
    assert len({each.due for each in many}) == 20, "what is put off together doesn't come together"
    assert soon.due == soon.expires


def test_only_who_holds_it_puts_it_off_and_only_what_is_queued(db: Database) -> None:
    put(db, to("a.example"))
    put(db, to("b.example"))
    db.call(leases.claim, NOW, "n1", 100)
    kept, dropped = every(db)
    db.call(spool.drop, dropped.id, "revoked", NOW)
    assert put_off(db, (kept, dropped), "n2") == 0
    assert put_off(db, (dropped,)) == 0
    assert every(db)[1].state is DeliveryState.DROPPED


def test_what_is_due_is_put_off_without_a_claim_unless_somebody_is_to_be_told(db: Database) -> None:
    put(db, to("a.example"), to("later.example", due=NOW + SECOND))
    put(db, to("over.example", expires=NOW))
    put(db, to("late.example", created=NOW - 5 * HOUR), direction=Direction.NOTICE)
    put(db, to("told.example", created=NOW - 5 * HOUR, delay_told=True), direction=Direction.OUTWARD)
    put(db, to("untold.example", created=NOW - 5 * HOUR), direction=Direction.OUTWARD)
    put(db, to("young.example", created=NOW - 3 * HOUR), direction=Direction.OUTWARD)
    put(db, to("leased.example", due=NOW - HOUR))
    db.call(leases.claim, NOW - HOUR, "n1", 1)
    db.call(leases.lapse, NOW - HOUR)
    assert put_off_due(db, "") == 4
    assert names(every(db)) == {"a.example", "late.example", "told.example", "young.example"}
    assert put_off_due(db, "") == 0


def test_what_is_due_is_put_off_of_one_destination_so_many_at_a_time(db: Database) -> None:
    put(db, *(to("a.example") for _ in range(5)), to("b.example"))
    assert [put_off_due(db, "a.example", most=3) for _ in range(3)] == [3, 2, 0]
    assert names(every(db)) == {"a.example"}


def test_only_what_was_put_off_is_found_again(db: Database) -> None:
    put(db, to("a.example"), to("a.example"), to("b.example"))
    put_off_due(db, "")
    put(db, to("a.example", due=NOW + HOUR, last_reply="451 4.7.1 greylisted"))
    first, second, third, _ = (each.id for each in every(db))
    assert set(db.view(leases.were_put_off, "a.example", NOW, 10)) == {first, second}
    assert set(db.view(leases.were_put_off, "", NOW, 10)) == {first, second, third}
    assert len(db.view(leases.were_put_off, "", NOW, 2)) == 2
    assert db.view(leases.were_put_off, "", NOW + HOUR, 10) == ()


def test_what_is_put_off_is_found_without_a_walk_through_the_queue(sqlite_db: Database) -> None:
    def plan(tx: Transaction, statement: Any) -> list[str]:
        sql = str(statement.compile(dialect=tx.dialect))
        rows = tx.exec_driver_sql("EXPLAIN QUERY PLAN " + sql, tuple([1] * sql.count("?")))
        return [row[3] for row in rows]

    for statement, index in (
        (leases._DUE, "ix_delivery_destination"),
        (leases._ALL_DUE, "ix_delivery_queued"),
    ):
        steps = sqlite_db.view(plan, statement)
        assert any(index in step for step in steps), steps
        assert not any("TEMP B-TREE" in step for step in steps), steps


def test_what_is_due_is_found_on_postgresql_by_its_destination(burst: Database) -> None:
    def plan(tx: Transaction) -> list[dict[str, Any]]:
        compiled = leases._DUE.compile(dialect=tx.dialect)
        wanted = {"destination": "dead.example", "now": 1 << 60, "late": 1, "most": 9}
        with claim.by_index(tx):
            return explained(tx, str(compiled), {**compiled.params, **wanted})[1]

    (step,) = (step for step in burst.call(plan) if step["Relation Name"] == "delivery")
    assert step.get("Index Name") == "ix_delivery_destination", step
