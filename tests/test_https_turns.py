"""net.https: whose turn it is to ask."""

from __future__ import annotations

import pytest

from sortingoffice.net.https import Turns, Unasked


async def test_a_server_that_hangs_takes_only_so_many_and_is_in_nobody_elses_way() -> None:
    turns = Turns(4, 2)
    first = await turns.take("192.0.2.1", 1)
    await turns.take("192.0.2.1", 1)
    with pytest.raises(Unasked):
        await turns.take("192.0.2.1", 0.05)
    await turns.take("198.51.100.1", 1)
    first()
    await turns.take("192.0.2.1", 1)


async def test_who_found_no_room_keeps_none() -> None:
    turns = Turns(1, 2)
    back = await turns.take("192.0.2.1", 1)
    for _ in range(3):
        with pytest.raises(Unasked):
            await turns.take("198.51.100.1", 0.02)
    back()
    await turns.take("198.51.100.1", 1)
