"""How an attempt went is on disk before anything that waits for the disk."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from sortingoffice import failpoint
from sortingoffice.core.delivery import Tried
from sortingoffice.core.model import DeliveryState, Direction
from sortingoffice.flows import settle
from sortingoffice.mail.reply import Reply
from sortingoffice.store import leases, spool
from sortingoffice.store.database import Transaction
from tests import spooled
from tests.spooled import NOW, Spooled

REFUSED = Tried(Reply(550, "5.1.1", "no such user"))


@pytest.fixture(params=["sqlite_db", "postgresql_db"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Spooled:
    return spooled.make(request.getfixturevalue(request.param), tmp_path)


@pytest.mark.parametrize("point", ["after-reply", "in-settle", "in-return"])
async def test_a_fault_at_the_end_of_an_attempt_keeps_nobody_from_being_told(
    made: Spooled, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr(failpoint, "at", failpoint.armed(failpoint.parse(f"{point}=raise@1")))
    delivery = made.put()
    [claimed] = made.db.call(leases.claim, NOW, "here", 1)
    await settle.commit(made.office, claimed, REFUSED, NOW)
    assert made.now(delivery).state is DeliveryState.RETURNED
    assert len(made.queued(Direction.RETURN)) == 1
    assert len(made.db.view(spool.attempts, delivery.id)) == 1


async def test_where_telling_always_fails_the_attempt_has_its_end_all_the_same(
    made: Spooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failpoint, "at", failpoint.armed(failpoint.parse("in-return=raise")))
    delivery = made.put()
    [claimed] = made.db.call(leases.claim, NOW, "here", 1)
    await settle.commit(made.office, claimed, REFUSED, NOW)
    assert made.now(delivery).state is DeliveryState.RETURNED
    assert made.queued(Direction.RETURN) == []


async def test_an_outcome_is_written_before_the_mail_that_waits(made: Spooled) -> None:
    made.put()
    [claimed] = made.db.call(leases.claim, NOW, "here", 1)
    entered, gate = threading.Event(), threading.Event()

    def hold(tx: Transaction) -> None:
        entered.set()
        assert gate.wait(60)

    def seen(tx: Transaction) -> DeliveryState:
        found = spool.delivery_by_id(tx, claimed.delivery.id)
        assert found is not None
        return found.state

    holding = asyncio.create_task(made.db.write(hold))
    await asyncio.to_thread(entered.wait, 60)
    waiting = [asyncio.create_task(made.db.write(seen)) for _ in range(3)]
    await asyncio.sleep(0)
    taken = Tried(Reply(250, "2.0.0", "taken"))
    outcome = asyncio.create_task(settle.commit(made.office, claimed, taken, NOW))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(holding, outcome)
    assert await asyncio.gather(*waiting) == [DeliveryState.DELIVERED] * 3
