"""A bounce that comes while we don't know yet that the next hop took the mail."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sortingoffice import failpoint
from sortingoffice.core.delivery import Tried
from sortingoffice.core.model import Delivery, DeliveryState, Direction
from sortingoffice.flows import settle
from sortingoffice.mail.reply import Reply
from sortingoffice.store import leases, spool
from sortingoffice.store.database import Database
from sortingoffice.store.spool import Claimed
from tests import spooled
from tests.spooled import ALIAS, OUTWARD, Spooled, looked_through
from tests.test_returned import comes_back, happened
from tests.unit.test_dsn import EXIM, POSTFIX

TAKEN = Tried(Reply(250, "2.0.0", "taken"), "mx [192.0.2.1]:25")
LOST = Tried(Reply(451, "4.4.2", "lost after the message was sent"), "mx [192.0.2.1]:25", past_dot=True)
REFUSED = Tried(Reply(550, "5.1.1", "no such user"), "mx [192.0.2.1]:25")


@pytest.fixture
def made(db: Database, tmp_path: Path) -> Spooled:
    """On both databases."""
    return spooled.make(db, tmp_path)


def claimed(made: Spooled) -> Claimed:
    (one,) = made.db.call(leases.claim, made.clock.now, "n", 10)
    return one


def settled(made: Spooled, one: Claimed, tried: Tried) -> None:
    made.db.call(settle.settle, made.office, one, tried, made.clock.now)


def ended(made: Spooled, delivery: Delivery) -> tuple[DeliveryState, str, str, bytes]:
    """State and reason, who has a lease, and what is left of the octets."""
    now = made.now(delivery)
    return now.state, now.reason, now.lease_node, made.message(delivery).raw


BOUNCED = (DeliveryState.RETURNED, "bounced", "", b"")


@pytest.mark.parametrize("later", [TAKEN, LOST, REFUSED], ids=["taken", "lost", "refused"])
def test_a_bounce_that_is_quicker_than_the_outcome_is_told_and_stays(made: Spooled, later: Tried) -> None:
    delivery = made.put(Direction.OUTWARD)
    one = claimed(made)
    assert comes_back(made, delivery, POSTFIX)
    assert ended(made, delivery) == BOUNCED
    settled(made, one, later)
    assert ended(made, delivery) == BOUNCED
    (note,) = made.queued(Direction.NOTICE)
    assert b"User unknown" in note.raw
    assert OUTWARD in note.raw, "the octets were still there"
    assert happened(made, delivery) == [("returned", "bounced, outward_mail")]


def test_a_bounce_after_a_lost_reply_ends_the_delivery(made: Spooled) -> None:
    delivery = made.put(Direction.OUTWARD)
    settled(made, claimed(made), LOST)
    assert comes_back(made, delivery, POSTFIX)
    assert ended(made, delivery) == BOUNCED
    assert len(made.queued(Direction.NOTICE)) == 1
    made.clock.pass_(hours=1)
    due = made.db.call(leases.claim, made.clock.now, "n", 10)
    assert delivery.id not in [each.delivery.id for each in due], "no second copy"


def test_a_bounce_of_inward_mail_is_its_mailboxs_failure_however_early(made: Spooled) -> None:
    delivery = made.put()
    one = claimed(made)
    assert comes_back(made, delivery, POSTFIX)
    settled(made, one, TAKEN)
    (report,) = made.queued(Direction.RETURN)
    assert ALIAS.encode() in report.raw
    assert made.now(delivery).state is DeliveryState.RETURNED


def test_only_the_second_bounce_is_noted_as_one(made: Spooled) -> None:
    delivery = made.put(Direction.OUTWARD)
    settled(made, claimed(made), LOST)
    assert comes_back(made, delivery, POSTFIX)
    assert comes_back(made, delivery, EXIM)
    assert happened(made, delivery) == [("returned", "bounced, outward_mail"), ("bounced", "bounced_again")]
    assert len(made.queued(Direction.NOTICE)) == 1


def test_a_bounce_of_what_was_dropped_is_told_to_nobody(made: Spooled) -> None:
    delivery = made.put(Direction.OUTWARD)
    claimed(made)
    made.db.call(spool.drop, delivery.id, "revoked", made.clock.now)
    assert comes_back(made, delivery, POSTFIX)
    assert made.now(delivery).state is DeliveryState.DROPPED
    assert happened(made, delivery) == [("bounced", "nobody_waits")]
    assert made.queued(Direction.NOTICE) == []


@pytest.mark.parametrize(("action", "status"), [("delayed", "4.4.1"), ("relayed", "2.1.9")])
def test_a_report_of_a_delay_leaves_what_is_queued_alone(made: Spooled, action: str, status: str) -> None:
    delivery = made.put(Direction.OUTWARD)
    one = claimed(made)
    before = made.now(delivery)
    assert comes_back(made, delivery, POSTFIX.replace("failed", action).replace("5.1.1", status))
    assert made.now(delivery) == before
    assert made.message(delivery).raw == OUTWARD
    settled(made, one, TAKEN)
    assert made.now(delivery).state is DeliveryState.DELIVERED
    assert made.queued(Direction.NOTICE) == []


def test_the_octets_stay_for_the_others(made: Spooled) -> None:
    message, to = made.letter(Direction.OUTWARD)
    other = replace(to, recipient="sales@shop.example")
    stored = made.db.call(spool.put, message, (to, other), looked_through(message))
    first, second = made.db.view(spool.deliveries, stored.id)
    assert comes_back(made, first, POSTFIX)
    assert made.message(first).raw == OUTWARD
    assert comes_back(made, second, POSTFIX)
    assert made.message(first).raw == b""


def test_a_lease_doesnt_outlive_the_delivery(made: Spooled) -> None:
    delivery = made.put(Direction.OUTWARD)
    claimed(made)
    assert comes_back(made, delivery, POSTFIX)
    assert made.now(delivery).lease_until is None
    assert made.db.call(leases.renew, [delivery.id], "n", made.clock.now) == ()
    made.clock.pass_(hours=1)
    assert made.db.call(leases.lapse, made.clock.now) == 0
    assert made.db.call(leases.take_back, "n", made.clock.now) == 0
    assert made.db.view(spool.attempts, delivery.id) == ()


@pytest.mark.parametrize("first", ["in-note", "in-settle"], ids=["bounce", "outcome"])
def test_a_bounce_and_an_outcome_at_once_end_as_one_after_the_other(
    made: Spooled, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    delivery = made.put(Direction.OUTWARD)
    one = claimed(made)
    inside, go_on = threading.Event(), threading.Event()

    def at(point: str) -> None:
        if point == first:
            inside.set()
            assert go_on.wait(10)

    monkeypatch.setattr(failpoint, "at", at)
    acts: list[Callable[[], object]] = [
        lambda: comes_back(made, delivery, POSTFIX),
        lambda: settled(made, one, TAKEN),
    ]
    threads = [threading.Thread(target=each) for each in (acts if first == "in-note" else acts[::-1])]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    threads[1].join(0.3)
    assert threads[1].is_alive(), "it waits for what the other does"
    go_on.set()
    for each in threads:
        each.join(10)
    assert ended(made, delivery) == BOUNCED
    assert happened(made, delivery) == [("returned", "bounced, outward_mail")]
    assert len(made.queued(Direction.NOTICE)) == 1
