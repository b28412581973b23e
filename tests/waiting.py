"""Waiting in a test's own event loop for what somebody else brings about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(true: Callable[[], object], seconds: float = 30.0) -> None:
    """Raises TimeoutError where it does not come true; on a busy machine all takes a while."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110  a database, a peer or a thread is what changes
            await asyncio.sleep(0.01)
