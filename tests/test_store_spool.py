"""The spool on both databases: nothing is lost, nothing is claimed twice, nobody starves another."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
import sqlalchemy as sa

from sortingoffice.core.model import (
    Account,
    AccountState,
    Attempt,
    Delivery,
    DeliveryState,
    Direction,
    Event,
    Relationship,
    RelationshipState,
    SpooledMessage,
    Strangers,
    VendorKind,
)
from sortingoffice.store import accounts, claim, events, leases, relationships, schema, spool
from sortingoffice.store.database import Database, Transaction
from tests.spooled import looked_through

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
_tokens = count()  # a token is unique for ever

MESSAGE = SpooledMessage(
    id=0,
    token="",
    direction=Direction.INWARD,
    account_id=None,
    relationship_id=None,
    sender="",
    origin="",
    results="",
    fingerprint=None,
    rule="",
    subject="",
    bulk=False,
    authenticated=False,
    utf8=False,
    size=12,
    accepted=NOW,
    raw=b"Subject: x\r\n",
)
DELIVERY = Delivery(
    id=0,
    message_id=0,
    account_id=None,
    relationship_id=None,
    contact_id=None,
    recipient="orders@lampshop.example",
    destination="lampshop.example",
    return_domain="sort.example",
    state=DeliveryState.QUEUED,
    reason="",
    attempts=0,
    due=NOW,
    expires=NOW + timedelta(days=5),
    delay_told=False,
    lease_node="",
    lease_until=None,
    last_reply="",
    created=NOW,
    ended=None,
)


def message(**changes: object) -> SpooledMessage:
    return replace(MESSAGE, token=f"m{next(_tokens)}", **changes)  # type: ignore[arg-type]


def to(destination: str, **changes: object) -> Delivery:
    return replace(DELIVERY, recipient=f"a@{destination}", destination=destination, **changes)  # type: ignore[arg-type]


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


def only(db: Database) -> Delivery:
    (found,) = db.view(lambda tx: schema.every(Delivery, tx.execute(sa.select(schema.delivery))))
    return found


def raw(db: Database, message_id: int) -> bytes:
    found = db.view(spool.by_id, message_id)
    assert found is not None
    return found.raw


def claim_one(db: Database, at: datetime = NOW, node: str = "n1") -> Delivery:
    (claimed,) = db.call(leases.claim, at, node, 1)
    return claimed.delivery


# ---- putting and looking -------------------------------------------------------------------------


def test_what_was_put_is_there_whole(db: Database) -> None:
    octets = bytes(range(256)) * 400
    stored = db.call(spool.put, message(raw=octets, fingerprint=b"f"), (to("a.example"), to("b.example")))
    assert db.view(spool.by_token, stored.token) == stored
    assert db.view(spool.by_id, stored.id) == stored
    assert [d.destination for d in db.view(spool.deliveries, stored.id)] == ["a.example", "b.example"]
    first = db.view(spool.deliveries, stored.id)[0]
    assert (
        db.view(spool.delivery_by_id, first.id)
        == first
        == replace(to("a.example"), id=first.id, message_id=stored.id)
    )


def test_the_same_fingerprint_is_found_only_within_its_window(db: Database) -> None:
    stored = db.call(spool.put, message(fingerprint=b"f"), (to("a.example"),))
    assert db.view(spool.same, b"f", NOW - SECOND) == stored
    assert db.view(spool.same, b"f", NOW + SECOND) is None
    assert db.view(spool.same, b"g", NOW - SECOND) is None


def test_a_fingerprint_of_what_came_to_nothing_is_not_found(db: Database) -> None:
    puts = [db.call(spool.put, message(fingerprint=b"f"), (to("a.example"),)) for _ in range(2)]
    for each in puts:
        assert db.view(spool.same, b"f", NOW - SECOND) in puts
        (delivery,) = db.view(spool.deliveries, each.id)
        db.call(spool.settle, delivery, None, DeliveryState.RETURNED, "refused", NOW, "550 no", NOW)
    assert db.view(spool.same, b"f", NOW - SECOND) is None


def test_the_queue_shows_what_waits_without_its_octets(db: Database) -> None:
    stored = db.call(
        spool.put,
        message(sender="orders@lampshop.example"),
        (to("a.example"), to("b.example", state=DeliveryState.HELD), to("c.example")),
    )
    last = db.view(spool.deliveries, stored.id)[2]
    db.call(spool.drop, last.id, "dropped", NOW)
    shown = db.view(spool.queue)
    assert [each.delivery.destination for each in shown] == ["b.example", "a.example"]
    assert shown[0].message == replace(stored, raw=b"")
    assert [e.delivery.id for e in db.view(lambda tx: spool.queue(tx, state=DeliveryState.DROPPED))] == [
        last.id
    ]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"destination": "a.example"}, ["a.example"]),
        ({"address": "a@b.example"}, ["b.example"]),
        ({"address": "s@vendor.example"}, ["b.example", "a.example"]),
        ({"state": DeliveryState.HELD}, ["b.example"]),
        ({"account_id": 7}, []),
        ({"relationship_id": 7}, []),
        ({"most": 1}, ["b.example"]),
    ],
    ids=str,
)
def test_the_queue_is_filtered(db: Database, asked: dict[str, object], expected: list[str]) -> None:
    held = to("b.example", state=DeliveryState.HELD)
    db.call(spool.put, message(sender="s@vendor.example"), (to("a.example"), held))
    shown = db.view(lambda tx: spool.queue(tx, **asked))  # type: ignore[arg-type]
    assert [each.delivery.destination for each in shown] == expected


def test_the_census_counts_what_waits_and_knows_the_oldest(db: Database) -> None:
    db.call(spool.put, message(), (to("a.example"), to("b.example", created=NOW - SECOND)))
    assert db.view(spool.census) == {DeliveryState.QUEUED: (2, NOW - SECOND)}


def test_outward_mail_is_counted_per_account_and_hour(db: Database) -> None:
    account = db.call(accounts.add, Account(0, "anna", AccountState.ACTIVE, True, None, "card", NOW))
    for direction, at in [
        (Direction.OUTWARD, NOW),
        (Direction.OUTWARD, NOW - timedelta(hours=2)),
        (Direction.INWARD, NOW),
    ]:
        stored = message(direction=direction, account_id=account.id, accepted=at)
        db.call(spool.put, stored, (to("a.example"),), looked_through(stored))
    assert db.view(spool.outward_since, account.id, NOW - timedelta(hours=1)) == 1


# ---- claiming ------------------------------------------------------------------------------------


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


def test_leases_that_ran_out_are_found_without_a_look_at_the_queue(sqlite_db: Database) -> None:
    def plan(tx: Transaction) -> list[str]:
        sql = str(leases._LAPSE.compile(dialect=tx.dialect))
        rows = tx.exec_driver_sql("EXPLAIN QUERY PLAN " + sql, tuple([1] * sql.count("?")))
        return [row[3] for row in rows]

    steps = sqlite_db.view(plan)
    assert any("ix_delivery_leased" in step for step in steps), steps
    assert not any("ix_delivery_queued" in step for step in steps), steps


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


# ---- settling ------------------------------------------------------------------------------------


def settle(
    db: Database, delivery: Delivery, state: DeliveryState, at: datetime = NOW, **extra: object
) -> bool:
    attempt = Attempt(0, delivery.id, at, "mx.lampshop.example", "", "250 2.0.0 ok", 12)
    due = at + timedelta(minutes=1)
    return db.call(spool.settle, delivery, attempt, state, "why", due, "250 2.0.0 ok", at)


def test_a_settled_attempt_is_written_down_and_gives_the_lease_back(db: Database) -> None:
    db.call(spool.put, message(), (to("a.example"),))
    delivery = claim_one(db)
    assert settle(db, replace(delivery, delay_told=True), DeliveryState.QUEUED)
    after = only(db)
    assert (after.state, after.attempts, after.due) == (DeliveryState.QUEUED, 1, NOW + timedelta(minutes=1))
    assert (after.lease_node, after.lease_until, after.delay_told, after.ended) == ("", None, True, None)
    assert after.last_reply == "250 2.0.0 ok"
    (attempt,) = db.view(spool.attempts, delivery.id)
    assert (attempt.host, attempt.milliseconds) == ("mx.lampshop.example", 12)


@pytest.mark.parametrize("state", [DeliveryState.DELIVERED, DeliveryState.RETURNED, DeliveryState.DROPPED])
def test_the_octets_stay_until_the_last_delivery_has_ended(db: Database, state: DeliveryState) -> None:
    stored = db.call(spool.put, message(), (to("a.example"), to("b.example")))
    first, second = (each.delivery for each in db.call(leases.claim, NOW, "n1", 2))
    assert settle(db, first, state)
    assert raw(db, stored.id) == stored.raw
    assert settle(db, second, state)
    assert raw(db, stored.id) == b""
    assert {d.state for d in db.view(spool.deliveries, stored.id)} == {state}
    assert all(d.ended == NOW for d in db.view(spool.deliveries, stored.id))


def test_a_lost_lease_still_delivers_but_no_longer_delays(db: Database) -> None:
    db.call(spool.put, message(), (to("a.example"),))
    slow = claim_one(db, NOW, "n1")
    claim_one(db, NOW + leases.LEASE, "n2")
    assert not settle(db, slow, DeliveryState.QUEUED)
    assert only(db).lease_node == "n2"
    assert settle(db, slow, DeliveryState.DELIVERED)
    assert only(db).state is DeliveryState.DELIVERED


def test_what_has_ended_stays_ended(db: Database) -> None:
    db.call(spool.put, message(), (to("a.example"),))
    delivery = claim_one(db)
    assert settle(db, delivery, DeliveryState.RETURNED)
    assert not settle(db, delivery, DeliveryState.QUEUED)
    assert not settle(db, delivery, DeliveryState.DELIVERED)
    assert only(db).state is DeliveryState.RETURNED


def test_a_delivery_dropped_under_way_stays_dropped_unless_it_arrived(db: Database) -> None:
    db.call(spool.put, message(), (to("a.example"),))
    delivery = claim_one(db)
    assert db.call(spool.drop, delivery.id, "dropped", NOW)
    assert not settle(db, delivery, DeliveryState.QUEUED)
    assert only(db).state is DeliveryState.DROPPED
    assert settle(db, delivery, DeliveryState.DELIVERED)
    assert only(db).state is DeliveryState.DELIVERED


def test_octets_that_two_nodes_left_behind_are_erased_later(db: Database) -> None:
    left = db.call(spool.put, message(), (to("a.example", state=DeliveryState.DELIVERED),))
    kept = db.call(spool.put, message(), (to("a.example"),))
    assert db.view(spool.left_behind) == (left.id,)
    assert db.call(spool.erase, (left.id, kept.id)) == 1
    assert (raw(db, left.id), raw(db, kept.id)) == (b"", kept.raw)


# ---- deciding ------------------------------------------------------------------------------------


def test_held_mail_waits_and_a_release_gives_it_all_its_time_again(db: Database) -> None:
    waits = replace(to("a.example"), state=DeliveryState.HELD, reason="muted")
    db.call(spool.put, message(), (waits,))
    delivery = only(db)
    assert db.call(leases.claim, NOW, "n1", 1) == ()
    later = NOW + timedelta(days=30)
    assert db.call(spool.release, delivery.id, later)
    assert not db.call(spool.release, delivery.id, later)
    after = only(db)
    assert (after.state, after.reason, after.due) == (DeliveryState.QUEUED, "", later)
    assert after.expires == later + timedelta(days=5)


def test_a_retry_is_due_at_once(db: Database) -> None:
    db.call(spool.put, message(), (to("a.example", due=NOW + timedelta(hours=4)),))
    assert db.call(spool.retry, only(db).id, NOW)
    delivery = claim_one(db)
    assert not db.call(spool.retry, delivery.id, NOW), "somebody is at it"


def test_all_that_waits_is_due_at_once_but_for_what_somebody_is_at(db: Database) -> None:
    later = NOW + timedelta(hours=4)
    held = to("a.example", state=DeliveryState.HELD)
    stored = db.call(
        spool.put, message(), (to("a.example"), to("a.example", due=later), to("b.example", due=later), held)
    )
    claimed, second, third, _ = (each.id for each in db.view(spool.deliveries, stored.id))
    assert claim_one(db).id == claimed
    assert db.view(spool.untried) == (second, third)
    assert db.view(spool.untried, "b.example") == (third,)
    assert db.call(spool.retry_all, (claimed, second, third), NOW) == {second, third}
    found = db.view(spool.numbered, (second, third))
    assert [(each.delivery.id, each.delivery.due, each.message.raw) for each in found] == [
        (third, NOW, b""),
        (second, NOW, b""),
    ]
    db.call(
        events.add_all, [Event(0, NOW, "cli", None, None, f"m{n}", "retried", "operator", "") for n in (1, 2)]
    )
    db.call(events.add_all, [])
    assert [each.message for each in db.view(events.every)][-2:] == ["m1", "m2"]


def test_dropping_the_last_delivery_erases_the_octets(db: Database) -> None:
    stored = db.call(spool.put, message(), (to("a.example"), to("b.example", state=DeliveryState.HELD)))
    for delivery in db.view(spool.deliveries, stored.id):
        assert raw(db, stored.id)
        assert db.call(spool.drop, delivery.id, "dropped by anna", NOW)
        assert not db.call(spool.drop, delivery.id, "again", NOW)
    assert raw(db, stored.id) == b""
    assert {d.reason for d in db.view(spool.deliveries, stored.id)} == {"dropped by anna"}


def test_a_revoke_cancels_what_the_person_sent_and_keeps_what_the_vendor_was_promised(db: Database) -> None:
    account = db.call(accounts.add, Account(0, "anna", AccountState.ACTIVE, True, None, "card", NOW))
    of = db.call(relationships.add, relationship(account.id, "lamp-shop")).id
    other = db.call(relationships.add, relationship(account.id, "other")).id
    put = {}
    for name, where, direction, state in [
        ("sent", of, Direction.OUTWARD, DeliveryState.QUEUED),
        ("held", of, Direction.OUTWARD, DeliveryState.HELD),
        ("came", of, Direction.INWARD, DeliveryState.QUEUED),
        ("elsewhere", other, Direction.OUTWARD, DeliveryState.QUEUED),
    ]:
        stored = message(direction=direction, relationship_id=where)
        delivery = to("a.example", state=state, relationship_id=where)
        put[name] = db.call(spool.put, stored, (delivery,), looked_through(stored))
    assert db.call(spool.cancel_relationship, of, NOW) == 2
    states = {name: db.view(spool.deliveries, m.id)[0].state.value for name, m in put.items()}
    assert states == {"sent": "dropped", "held": "dropped", "came": "queued", "elsewhere": "queued"}
    assert (raw(db, put["sent"].id), bool(raw(db, put["came"].id))) == (b"", True)


def test_the_next_due_is_the_earliest(db: Database) -> None:
    assert db.view(leases.next_due) is None
    db.call(spool.put, message(), (to("a.example", due=NOW + SECOND), to("b.example", due=NOW)))
    assert db.view(leases.next_due) == NOW
    claim_one(db)
    assert db.view(leases.next_due) == NOW + SECOND


def test_old_attempts_are_forgotten_and_young_ones_kept(db: Database) -> None:
    db.call(spool.put, message(), (to("a.example"),))
    for at in (NOW, NOW + timedelta(days=1)):
        settle(db, claim_one(db, at + timedelta(hours=1)), DeliveryState.QUEUED, at)
    assert db.call(spool.prune_attempts, NOW + SECOND) == 1
    assert [a.at for a in db.view(spool.attempts, only(db).id)] == [NOW + timedelta(days=1)]


def relationship(account_id: int, slug: str) -> Relationship:
    return Relationship(
        id=0,
        account_id=account_id,
        slug=slug,
        name=slug,
        kind=VendorKind.VENDOR,
        state=RelationshipState.ACTIVE,
        site="",
        mailbox_id=None,
        strangers=Strangers.LEARN,
        display_name="",
        note="",
        created=NOW,
        received=0,
        max_messages=None,
        until=None,
        muted_until=None,
        closing_until=None,
    )


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
