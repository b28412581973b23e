"""Leases on what waits in the spool, on both databases: nothing is claimed twice, nobody starves another."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from sortingoffice.core.model import Delivery, DeliveryState
from sortingoffice.store import claim, leases, schema, spool
from sortingoffice.store.database import Database, Transaction
from tests.test_store_spool import NOW, SECOND, claim_one, message, to


def fill(tx: Transaction, number: int, delivery: Delivery) -> None:
    """Many messages at once."""
    first = (tx.execute(sa.select(sa.func.max(schema.message.c.id))).scalar() or 0) + 1
    rows = [{**schema.values(message()), "id": n} for n in range(first, first + number)]
    tx.execute(schema.message.insert(), rows)
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql(f"SELECT setval('message_id_seq', {first + number})")
    tx.execute(
        schema.delivery.insert(), [{**schema.values(delivery), "message_id": row["id"]} for row in rows]
    )


def destinations(claimed: tuple[spool.Claimed, ...]) -> Counter[str]:
    return Counter(each.delivery.destination for each in claimed)


def test_a_claim_leases_what_is_due_and_nothing_else(db: Database) -> None:
    stored = db.call(
        spool.put,
        message(),
        (to("a.example"), to("b.example", due=NOW + SECOND), to("c.example", state=DeliveryState.HELD)),
    )
    (claimed,) = db.call(leases.claim, NOW, "n1", 10)
    assert claimed.message == stored
    assert claimed.delivery.destination == "a.example"
    assert (claimed.delivery.lease_node, claimed.delivery.lease_until) == ("n1", NOW + leases.LEASE)
    assert db.call(leases.claim, NOW, "n1", 10) == ()
    assert db.call(leases.claim, NOW, "n2", 10) == ()


def test_a_dead_node_s_lease_ends_by_itself(db: Database) -> None:
    db.call(spool.put, message(), (to("a.example"),))
    claim_one(db)
    assert db.call(leases.claim, NOW + leases.LEASE - SECOND, "n2", 10) == ()
    assert claim_one(db, NOW + leases.LEASE, "n2").lease_node == "n2"


def test_a_node_s_own_ended_leases_take_no_share(db: Database) -> None:
    db.call(spool.put, message(), (to("a.example"),))
    claim_one(db)
    again = db.call(lambda tx: leases.claim(tx, NOW + leases.LEASE, "n1", 10, each=1))
    assert len(again) == 1


def test_a_renewed_lease_lasts(db: Database) -> None:
    db.call(spool.put, message(), (to("a.example"),))
    delivery = claim_one(db)
    assert db.call(leases.renew, (delivery.id,), "n1", NOW + 2 * leases.LEASE) == (delivery.id,)
    assert db.call(leases.renew, (delivery.id,), "n2", NOW + 9 * leases.LEASE) == ()
    assert db.call(leases.claim, NOW + leases.LEASE, "n2", 10) == ()


def test_a_node_that_starts_again_takes_back_its_own_at_once(db: Database) -> None:
    db.call(spool.put, message(), (to("a.example"), to("b.example")))
    claim_one(db, node="n1")
    claim_one(db, node="n2")
    assert db.call(leases.give_back, "n1") == 1
    assert len(db.call(leases.claim, NOW, "n3", 10)) == 1


def test_a_claim_takes_of_each_destination_only_its_share(db: Database) -> None:
    db.call(spool.put, message(), tuple(to("dead.example") for _ in range(8)))
    db.call(spool.put, message(), (to("live.example", due=NOW),))
    first = db.call(lambda tx: leases.claim(tx, NOW, "n1", 100, each=3))
    assert destinations(first) == {"dead.example": 3, "live.example": 1}
    again = db.call(lambda tx: leases.claim(tx, NOW, "n1", 100, each=3))
    assert again == (), "what the node holds counts"
    assert len(db.call(lambda tx: leases.claim(tx, NOW, "n2", 100, each=3))) == 3


def test_who_waits_alone_comes_before_the_second_of_a_crowd(db: Database) -> None:
    early = NOW - timedelta(hours=1)
    db.call(spool.put, message(), tuple(to("crowd.example", due=early) for _ in range(8)))
    db.call(spool.put, message(), (to("alone.example"),))
    assert destinations(db.call(leases.claim, NOW, "n1", 2)) == {"crowd.example": 1, "alone.example": 1}


def test_a_claim_stops_before_it_loads_too_much(db: Database) -> None:
    for _ in range(5):
        db.call(spool.put, message(size=1000), (to("a.example"),))
    assert len(db.call(lambda tx: leases.claim(tx, NOW, "n1", 10, octets=2500))) == 3
    assert len(db.call(lambda tx: leases.claim(tx, NOW, "n1", 10, octets=1))) == 1, "never nothing"


@pytest.mark.parametrize("backlog", [3_000])
def test_a_backlog_for_a_dead_host_starves_nobody(db: Database, backlog: int) -> None:
    early = NOW - timedelta(hours=1)
    db.call(fill, backlog, to("dead.example", due=early))
    for name in ("a.example", "zz.example"):
        db.call(fill, 30, to(name))
    found = destinations(db.call(lambda tx: leases.claim(tx, NOW, "n1", 100, each=20)))
    assert found == {"dead.example": 20, "a.example": 20, "zz.example": 20}
    db.call(lambda tx: leases.claim(tx, NOW, "n1", 100, each=20))  # the others' last ten each
    # The dead host hangs and holds its twenty: the next who comes still goes out.
    db.call(spool.put, message(), (to("m.example"),))
    (live,) = db.call(lambda tx: leases.claim(tx, NOW, "n1", 9, each=20))
    assert live.delivery.destination == "m.example"


@pytest.mark.parametrize("backlog", [10, 3_000])
def test_a_claim_leaves_to_others_whom_it_is_told_to(db: Database, backlog: int) -> None:
    early = NOW - timedelta(hours=1)
    for name in ("left.example", "a.left.example"):
        db.call(fill, backlog, to(name, due=early))
    names = ("a.example", "example", "left", "left.example.example", "xleft.example", "_eft.example")
    db.call(spool.put, message(), tuple(to(name) for name in names))
    passed = ("left.example", "a.left.example")
    found = destinations(db.call(lambda tx: leases.claim(tx, NOW, "n1", 100, each=20, passed=passed)))
    assert found == dict.fromkeys(names, 1)
    assert len(db.call(lambda tx: leases.claim(tx, NOW, "n2", 100, each=5))) == 10


def test_a_claim_reads_no_table_from_end_to_end(sqlite_db: Database) -> None:
    def plan(tx: Transaction) -> list[str]:
        sql = str(claim.STATEMENTS["sqlite"].compile(dialect=tx.dialect))
        rows = tx.exec_driver_sql("EXPLAIN QUERY PLAN " + sql, tuple([1] * sql.count("?")))
        return [row[3] for row in rows]

    steps = sqlite_db.view(plan)
    assert any("ix_delivery_queued" in step for step in steps)
    assert any("ix_delivery_destination" in step for step in steps)
    assert any("ix_delivery_leased" in step for step in steps)
    scans = [
        s
        for s in steps
        if s.startswith("SCAN") and s.split()[1] in ("delivery", "message", "d", "first", "next")
    ]
    assert all("USING" in scan and "INDEX ix_" in scan for scan in scans), scans


@pytest.fixture
def burst(postgresql_db: Database) -> Database:
    """Statistics of a moment ago say "a hundred", and a burst came since: the planner is at its worst."""
    for name in (f"{n}.example" for n in range(50)):
        postgresql_db.call(spool.put, message(), (to(name),))
    postgresql_db.call(lambda tx: tx.exec_driver_sql("ANALYZE"))
    postgresql_db.call(fill, 20_000, to("dead.example", due=NOW - timedelta(hours=1)))
    return postgresql_db


def explained(
    tx: Transaction, sql: str, parameters: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The plan, and those of its steps that read a table."""

    def steps(step: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield step
        for each in step.get("Plans", ()):
            yield from steps(each)

    plan = dict(tx.exec_driver_sql("EXPLAIN (FORMAT JSON) " + sql, parameters).scalar_one()[0])
    return plan, [
        step for step in steps(plan["Plan"]) if step.get("Relation Name") in ("delivery", "message")
    ]


def test_a_claim_on_postgresql_looks_up_by_key_whatever_the_statistics_say(burst: Database) -> None:
    def plan(tx: Transaction) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        sql = str(claim.STATEMENTS["postgresql"].compile(dialect=tx.dialect))
        wanted = {
            "now": 1 << 60,
            "until": 1 << 60,
            "node": "n",
            "n": 9,
            "each": 9,
            "octets": 9,
            "window": 9,
            "passed": "",
        }
        tx.exec_driver_sql("SET LOCAL jit_above_cost = 0")
        with claim.by_index(tx):
            return explained(tx, sql, wanted)

    found, reads = burst.call(plan)
    assert "JIT" not in found, "compiling takes longer than the claim"
    by_key = [step for step in reads if step.get("Index Name", "").startswith("pk_")]
    assert {step["Relation Name"] for step in by_key} == {"delivery", "message"}
    assert all("id =" in step.get("Index Cond", "") for step in by_key), by_key
    assert all(step.get("Index Name") for step in reads if step["Node Type"] != "ModifyTable"), reads


def test_leases_that_ran_out_are_found_without_a_look_at_the_queue(sqlite_db: Database) -> None:
    def plan(tx: Transaction) -> list[str]:
        sql = str(leases._RAN_OUT.compile(dialect=tx.dialect))
        return [row[3] for row in tx.exec_driver_sql("EXPLAIN QUERY PLAN " + sql, (1,))]

    (step,) = sqlite_db.view(plan)
    assert "ix_delivery_leased" in step


def test_leases_that_ran_out_are_found_on_postgresql_without_a_look_at_the_queue(burst: Database) -> None:
    burst.call(lambda tx: leases.claim(tx, NOW, "n1", 30))

    def plan(tx: Transaction) -> list[dict[str, Any]]:
        return explained(tx, str(leases._RAN_OUT.compile(dialect=tx.dialect)), {"now": 1 << 60})[1]

    (step,) = burst.call(plan)
    assert step.get("Index Name") == "ix_delivery_leased", step


def test_what_is_dropped_under_way_keeps_no_lease(db: Database) -> None:
    stored = db.call(spool.put, message(), (to("a.example"), to("b.example")))
    for each in db.call(leases.claim, NOW, "n1", 9):
        assert db.call(spool.drop, each.delivery.id, "dropped", NOW)
    assert [(d.lease_node, d.lease_until) for d in db.view(spool.deliveries, stored.id)] == [("", None)] * 2


def test_a_lease_of_what_is_over_ends_like_any_other_and_is_no_attempt(db: Database) -> None:
    stored = db.call(spool.put, message(), (to("a.example"),))
    (claimed,) = db.call(leases.claim, NOW, "n1", 9)
    dropped = schema.delivery.update().values(state=DeliveryState.DROPPED)  # as before leases ended with them
    db.call(lambda tx: tx.execute(dropped))
    late = NOW + leases.LEASE
    assert db.call(leases.lapse, late) == 0
    (after,) = db.view(spool.deliveries, stored.id)
    assert (after.state, after.lease_node, after.lease_until) == (DeliveryState.DROPPED, "", None)
    assert db.view(spool.attempts, claimed.delivery.id) == ()


def test_two_claimers_never_get_the_same(db: Database) -> None:
    db.call(fill, 400, to("a.example"))
    db.call(fill, 400, to("b.example"))

    def work(node: str) -> list[int]:
        mine: list[int] = []
        idle = 0
        while idle < 5:
            claimed = db.call(lambda tx: leases.claim(tx, NOW, node, 25, each=1000))
            mine += (each.delivery.id for each in claimed)
            idle = 0 if claimed else idle + 1
        return mine

    with ThreadPoolExecutor(4) as nodes:
        found = [n for mine in nodes.map(work, ["n1", "n2", "n3", "n4"]) for n in mine]
    assert len(found) == len(set(found)) == 800


def test_the_next_due_is_the_earliest(db: Database) -> None:
    assert db.view(leases.next_due) is None
    db.call(spool.put, message(), (to("a.example", due=NOW + SECOND), to("b.example", due=NOW)))
    assert db.view(leases.next_due) == NOW
    claim_one(db)
    assert db.view(leases.next_due) == NOW + SECOND


@pytest.mark.slow
def test_a_claim_beside_100_000_waiting_takes_no_longer_than_a_few(db: Database) -> None:
    def seconds(name: str) -> float:
        started = time.monotonic()
        for n in range(50):
            db.call(spool.put, message(), (to(f"{name}{n}.example"),))
            claimed = db.call(lambda tx: leases.claim(tx, NOW, "n1", 100))
            assert [each.delivery.destination for each in claimed] == [f"{name}{n}.example"]
        return time.monotonic() - started

    before = seconds("before")
    db.call(fill, 100_000, to("dead.example", due=NOW - timedelta(hours=1)))
    db.call(lambda tx: leases.claim(tx, NOW, "n1", 100))
    # A look at each of the 100,000 would take a hundred times as long.
    assert seconds("live") < 30 * before + 2
