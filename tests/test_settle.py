"""How an attempt went is on disk before anything that waits for the disk."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from sortingoffice.core.delivery import Tried
from sortingoffice.core.model import DeliveryState
from sortingoffice.flows import settle
from sortingoffice.mail.reply import Reply
from sortingoffice.store import leases, spool
from sortingoffice.store.database import Transaction
from tests import spooled
from tests.spooled import NOW, Spooled


@pytest.fixture(params=["sqlite_db", "postgresql_db"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Spooled:
    return spooled.make(request.getfixturevalue(request.param), tmp_path)


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
