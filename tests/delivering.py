"""The delivering loop in tests: a spool whose mail goes to a sink, and the loop while it is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from sortingoffice.core.model import Delivery
from sortingoffice.flows import deliver
from sortingoffice.flows.attempt import Attempts
from sortingoffice.net.relay import Relay, Timeouts
from sortingoffice.net.zone import ZoneServer
from sortingoffice.store.database import Database
from tests import spooled
from tests.servers import Sink
from tests.spooled import Spooled

Sinks = Callable[..., Sink]


QUICK = Timeouts(dial=5, greeting=5, command=5, data=5, block=5, final=5)


def at_sink(db: Database, sink: Sink, zone: ZoneServer, folder: Path, **how: object) -> Spooled:
    for domain in ("home.example", "shop.example", "other.example"):
        zone.set(domain, "MX", f"10 mx.{domain}")
        zone.set(f"mx.{domain}", "A", "127.0.0.1")
    settings = {"port": sink.port, **how}
    return spooled.make(db, folder, delivery=settings, nameserver=zone.endpoint)


def always(ways: Attempts) -> Callable[[], Attempts]:
    """For an office that nobody reloads."""
    return lambda: ways


@asynccontextmanager
async def delivering(
    made: Spooled, *, node: str = "here", drain: float = 3.0
) -> AsyncIterator[asyncio.Event]:
    """The loop runs; gives its wake-up."""
    stop, wake = asyncio.Event(), asyncio.Event()
    ways = Attempts(made.office, Relay("mx.sort.example", timeouts=QUICK))
    running = asyncio.create_task(deliver.run(lambda: ways, node, stop, wake, drain=drain))
    try:
        yield wake
    finally:
        stop.set()
        await asyncio.wait_for(running, 30)


def ended(made: Spooled, *deliveries: Delivery) -> Callable[[], bool]:
    return lambda: all(made.now(each).state.final for each in deliveries)


def tried(made: Spooled, deliveries: list[Delivery]) -> int:
    """How many attempts have come to an end."""
    return sum(made.now(each).attempts for each in deliveries)
