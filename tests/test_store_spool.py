"""The spool on both databases: nothing is lost, what has ended stays ended and leaves no octets."""

from __future__ import annotations

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
from sortingoffice.store import accounts, events, leases, queued, relationships, schema, spool
from sortingoffice.store.database import Database
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
    assert after.created == later, "nothing waited for its destination before"


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
    assert db.view(queued.untried) == (second, third)
    assert db.view(queued.untried, "b.example") == (third,)
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
