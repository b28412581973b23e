"""Mail is let in no faster than it leaves: what can't be put away yet waits with its sender."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from sortingoffice.core.decide import Verdict
from sortingoffice.flows import receive
from sortingoffice.store.database import Database
from tests import spooled
from tests.spooled import Spooled
from tests.test_large_messages import arrival


@pytest.fixture
def made(db: Database, tmp_path: Path) -> Spooled:
    """On both databases."""
    return spooled.make(db, tmp_path)


async def test_ten_messages_are_put_into_the_spool_at_once_and_the_others_wait_with_their_senders(
    made: Spooled,
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold(tx: object) -> None:
        begun.set()
        assert go_on.wait(60)

    holding = asyncio.create_task(made.db.write(hold))
    await asyncio.to_thread(begun.wait)
    coming = [
        asyncio.create_task(receive.accepted(made.office, arrival(made, b"\r\nhello\r\n", number)))
        for number in range(25)
    ]
    try:
        await asyncio.sleep(0.2)  # each has had its turn
        assert len(made.db._writer._waiting) == 10
        assert not any(each.done() for each in coming)
    finally:
        go_on.set()
    assert {(await each).verdict for each in coming} == {Verdict.ACCEPT}
    await holding
