"""The delivering loop from its start to its end: leases, what is stopped, and bugs of ours."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path

import pytest

from sortingoffice import failpoint
from sortingoffice.core import pace
from sortingoffice.core.model import DeliveryState
from sortingoffice.flows import deliver
from sortingoffice.flows.attempt import Attempts
from sortingoffice.net.zone import ZoneServer
from sortingoffice.store import leases, spool
from sortingoffice.store.database import Database, Transaction
from tests.delivering import at_sink, delivering, ended
from tests.servers import HANG, Late, Sink
from tests.spooled import NOW, Spooled
from tests.waiting import until


@pytest.fixture
def made(sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path) -> Spooled:
    """Everything that leaves goes to the sink, by its exchange."""
    return at_sink(sqlite_db, sink, zone, tmp_path)


async def test_a_loop_that_is_cancelled_leaves_nothing_running(made: Spooled, sink: Sink) -> None:
    sink.answers["MAIL"] = HANG
    made.put()
    before = asyncio.all_tasks()
    ways = Attempts(made.office)
    running = asyncio.create_task(deliver.run(lambda: ways, "here", asyncio.Event()))
    await until(lambda: any("MAIL" in line for line in sink.commands))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert asyncio.all_tasks() == before
    await until(lambda: sink.open_sessions == 0)


async def test_the_lease_is_renewed_while_an_attempt_lives(
    made: Spooled, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "_HEARTBEAT", 0.1)
    sink.answers["."] = Late(0.8, "250 2.0.0 slow")
    delivery = made.put()
    async with delivering(made):
        await until(lambda: made.now(delivery).lease_node == "here")
        first = made.now(delivery).lease_until
        made.clock.pass_(seconds=25)
        await until(lambda: made.now(delivery).lease_until != first)
        made.clock.pass_(seconds=25)  # without the heartbeat it would have run out
        assert made.db.call(leases.claim, made.clock.now, "there", 10) == ()
        await until(ended(made, delivery))
    assert len(sink.received) == 1


async def test_an_attempt_whose_delivery_is_dropped_is_stopped(
    made: Spooled, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "_HEARTBEAT", 0.1)
    sink.answers["RCPT"] = Late(2, "250 2.1.5 ok")
    delivery = made.put()
    async with delivering(made):
        await until(lambda: sink.open_sessions == 1)
        made.db.call(spool.drop, delivery.id, "revoked", NOW)
        await until(lambda: sink.open_sessions == 0)
    assert sink.received == []
    assert made.now(delivery).state is DeliveryState.DROPPED


async def test_what_is_dropped_while_it_waits_for_its_turn_does_not_leave(
    sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sortingoffice.flows.attempt._FRESH", timedelta(0))  # the heartbeat is still away
    made = at_sink(sqlite_db, sink, zone, tmp_path, concurrency_per_destination=1)
    sink.answers["."] = Late(0.5, "250 2.0.0 taken")
    first, dropped, last = (made.put() for _ in range(3))
    async with delivering(made):
        await until(lambda: any("DATA" in line for line in sink.commands))
        assert made.now(dropped).lease_node == "here"
        made.db.call(spool.drop, dropped.id, "revoked", NOW)
        await until(ended(made, first, last))
    assert len(sink.received) == 2
    assert made.now(dropped).state is DeliveryState.DROPPED


async def test_stopping_finishes_what_is_in_flight_and_gives_the_rest_back(
    sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path
) -> None:
    made = at_sink(sqlite_db, sink, zone, tmp_path, concurrency_per_destination=1)
    sink.answers["."] = Late(0.3, "250 2.0.0 taken")
    first, second = made.put(), made.put()
    async with delivering(made):
        await until(lambda: "here" in (made.now(first).lease_node, made.now(second).lease_node))
    states = sorted([made.now(first).state, made.now(second).state])
    assert states == [DeliveryState.DELIVERED, DeliveryState.QUEUED]
    assert {made.now(first).lease_node, made.now(second).lease_node} == {""}


async def test_what_hangs_when_we_stop_is_given_back(made: Spooled, sink: Sink) -> None:
    sink.answers["MAIL"] = HANG
    delivery = made.put()
    async with delivering(made, drain=0.2):
        await until(lambda: any("EHLO" in line for line in sink.commands))
    assert (made.now(delivery).state, made.now(delivery).lease_node) == (DeliveryState.QUEUED, "")


async def test_what_was_sent_when_we_stop_is_named_as_unknown(made: Spooled, sink: Sink) -> None:
    sink.answers["."] = HANG
    delivery = made.put()
    async with delivering(made, drain=0.2):
        await until(lambda: len(sink.received) == 1)
    now = made.now(delivery)
    assert (now.state, now.reason, now.attempts, now.lease_node) == (
        DeliveryState.QUEUED,
        "reply lost",
        1,
        "",
    )
    assert "we had to stop after the message was sent" in made.db.view(spool.attempts, delivery.id)[0].reply


async def test_a_starting_node_takes_back_its_own_leases(made: Spooled) -> None:
    delivery = made.put()
    made.db.call(leases.claim, NOW, "here", 10)  # and then the process died
    async with delivering(made):
        await until(ended(made, delivery))
    assert made.now(delivery).state is DeliveryState.DELIVERED


async def test_what_a_dead_node_held_goes_out_when_its_lease_has_run_out_and_says_why_it_may_come_twice(
    made: Spooled, sink: Sink
) -> None:
    delivery = made.put()
    made.db.call(leases.claim, NOW, "there", 10)  # and then the node died
    async with delivering(made) as wake:
        made.clock.pass_(seconds=29)
        wake.set()
        await asyncio.sleep(0.1)
        assert sink.received == []
        made.clock.pass_(seconds=2)
        wake.set()
        await until(ended(made, delivery))
    replies = [attempt.reply for attempt in made.db.view(spool.attempts, delivery.id)]
    assert replies == [leases.CUT_SHORT, "250 2.0.0 taken"]


async def test_mail_that_another_process_queued_is_seen_within_a_second_or_so(made: Spooled) -> None:
    async with delivering(made):
        await asyncio.sleep(0.1)
        delivery = made.put()
        await until(ended(made, delivery))


async def test_a_bug_of_ours_keeps_the_mail(made: Spooled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failpoint, "at", failpoint.armed(failpoint.parse("before-parcel=raise")))
    delivery = made.put()
    async with delivering(made):
        await until(lambda: made.now(delivery).attempts == 1)
    assert made.now(delivery).state is DeliveryState.QUEUED
    assert made.now(delivery).last_reply == "451 4.3.0 internal error of the office"


async def test_a_bug_of_ours_after_the_message_was_sent_is_named_as_unknown(
    made: Spooled, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failpoint, "at", failpoint.armed(failpoint.parse("after-dot=raise@1")))
    delivery = made.put()
    async with delivering(made):
        await until(lambda: made.now(delivery).attempts == 1)
    assert (made.now(delivery).state, made.now(delivery).reason) == (DeliveryState.QUEUED, "reply lost")
    assert "after the message was sent" in made.now(delivery).last_reply


async def test_an_outcome_is_kept_even_where_telling_of_it_fails(
    made: Spooled, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failpoint, "at", failpoint.armed(failpoint.parse("in-return=raise")))
    sink.answers["RCPT"] = "550 5.1.1 no"
    delivery = made.put()
    async with delivering(made):
        await until(ended(made, delivery))
    assert made.now(delivery).state is DeliveryState.RETURNED


async def test_whoever_stood_still_sends_nothing_that_another_may_be_bringing(
    made: Spooled, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliver, "_STOOD_STILL", 1.5)
    sink.answers["RCPT"] = Late(2.0, "250 2.1.5 ok")
    first = [made.put() for _ in range(pace.FIRST)]  # wait for the answer, without which they send nothing
    second = [made.put() for _ in range(pace.FIRST)]  # wait for those
    async with delivering(made, drain=0.1):
        await until(lambda: str(sink.commands).count("RCPT") == pace.FIRST)

        def take_over(tx: Transaction) -> None:
            tx.exec_driver_sql("UPDATE delivery SET lease_node = 'another'")

        made.db.call(take_over)
        time.sleep(3.0)  # noqa: ASYNC251  the whole process stands still
        await until(lambda: sink.open_sessions == 0)
    assert not sink.received
    assert {made.now(each).lease_node for each in (*first, *second)} == {"another"}


async def test_whoever_stood_still_goes_on_with_what_is_still_its_own(
    sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = at_sink(sqlite_db, sink, zone, tmp_path, concurrency_per_destination=1)
    monkeypatch.setattr(deliver, "_STOOD_STILL", 1.5)
    sink.answers["RCPT"] = [Late(1.0, "250 2.1.5 ok")]
    deliveries = [made.put() for _ in range(10)]
    async with delivering(made):
        await until(lambda: "RCPT" in str(sink.commands))
        time.sleep(2.0)  # noqa: ASYNC251  the whole process stands still
        await until(lambda: sum(made.now(each).state is DeliveryState.DELIVERED for each in deliveries) >= 9)
