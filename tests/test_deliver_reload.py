"""The delivering loop while the office reloads: it goes on, by the new config."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sortingoffice.core import pace
from sortingoffice.flows import deliver
from sortingoffice.flows.attempt import Attempts
from sortingoffice.net.relay import Relay
from sortingoffice.net.zone import ZoneServer
from sortingoffice.store import leases
from sortingoffice.store.database import Database
from sortingoffice.values import Endpoint
from tests.delivering import QUICK, Sinks, at_sink, ended
from tests.servers import DROP, HANG, Late, Sink
from tests.spooled import Spooled
from tests.waiting import until

_PATIENT = replace(QUICK, greeting=60)  # with a host that says nothing


@dataclass
class _Running:
    """A loop, and the config that it is to go by."""

    made: Spooled
    current: Attempts
    wake: asyncio.Event

    def reload(self, **delivery: object) -> None:
        self.current = _attempts(self.made, **delivery)
        self.wake.set()


def _attempts(made: Spooled, **delivery: object) -> Attempts:
    config = made.office.config
    changed = replace(config, delivery=replace(config.delivery, **delivery))  # type: ignore[arg-type]
    return Attempts(replace(made.office, config=changed), Relay("mx.sort.example", timeouts=_PATIENT))


@asynccontextmanager
async def _running(made: Spooled, **delivery: object) -> AsyncIterator[_Running]:
    stop = asyncio.Event()
    running = _Running(made, _attempts(made, **delivery), asyncio.Event())
    task = asyncio.create_task(deliver.run(lambda: running.current, "here", stop, running.wake, drain=3.0))
    try:
        yield running
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)


@pytest.fixture
def made(sqlite_db: Database, sink: Sink, zone: ZoneServer, tmp_path: Path) -> Spooled:
    return at_sink(sqlite_db, sink, zone, tmp_path)


async def test_what_begins_after_a_reload_goes_by_it_and_what_is_under_way_ends_as_it_began(
    made: Spooled, sink: Sink, sinks: Sinks
) -> None:
    other = sinks()
    sink.answers["."] = Late(1.5, "250 2.0.0 taken")
    before = asyncio.all_tasks()
    async with _running(made) as running:
        first = made.put()
        running.wake.set()
        await until(lambda: "DATA" in str(sink.commands))
        running.reload(port=other.port)
        second = made.put()
        running.wake.set()
        await until(ended(made, second))
        assert not ended(made, first)()
        assert len(other.received) == 1
        await until(ended(made, first))
        assert made.now(first).attempts == 1
        assert len(sink.received) == 1
        await until(lambda: sink.open_sessions == 0, 5)  # nobody keeps a connection that nobody will use
    assert asyncio.all_tasks() == before


_WAYS = ("mx", "smarthost")


@pytest.mark.parametrize("after", _WAYS)
@pytest.mark.parametrize("before", _WAYS)
async def test_what_waits_for_who_is_out_of_reach_goes_the_new_way_at_once(
    made: Spooled, sink: Sink, monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    monkeypatch.setattr(pace, "SHORTEST_PAUSE", 60.0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        dead = taken.getsockname()[1]
    away: dict[str, dict[str, object]] = {
        "mx": {"port": dead},
        "smarthost": {"smarthost": Endpoint("127.0.0.1", dead)},
    }
    live: dict[str, dict[str, object]] = {
        "mx": {"port": sink.port, "smarthost": None},
        "smarthost": {"smarthost": Endpoint("127.0.0.1", sink.port)},
    }
    waiting = [made.put() for _ in range(30)]
    async with _running(made, **away[before]) as running:
        await until(lambda: any("not tried" in made.now(each).last_reply for each in waiting))
        running.reload(**live[after])
        await until(lambda: any(made.now(each).state.final for each in waiting), 5)
        # Their first retry is a minute away; it is not what is tested here.
        waiting = [each for each in waiting if made.now(each).attempts == 0 or made.now(each).state.final]
        await until(ended(made, *waiting), 15)
    assert len(sink.received) == len(waiting)


@pytest.fixture
def dying(sinks: Sinks) -> Sink:
    """A host that turns the first away at once; what comes with it hears nothing for a while."""
    return sinks(answers={"CONNECT": [DROP, Late(1.0, DROP), Late(1.0, DROP)]})


async def test_after_a_reload_nobody_waits_for_what_is_under_way_by_the_config_before(
    made: Spooled, sink: Sink, dying: Sink
) -> None:
    dying.answers["CONNECT"] = [DROP, HANG, HANG]
    waiting = [made.put() for _ in range(30)]
    async with _running(made, port=dying.port) as running:
        await until(lambda: any(leases.UNTRIED in made.now(each).last_reply for each in waiting))
        running.reload(port=sink.port)
        await until(lambda: sum(made.now(each).state.final for each in waiting) == 27)
        assert dying.open_sessions == 2


async def test_what_a_host_of_the_config_before_did_is_not_held_against_the_new_one(
    made: Spooled, sink: Sink, dying: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SHORTEST_PAUSE", 60.0)
    sink.answers["."] = [HANG]
    waiting = [made.put() for _ in range(30)]
    async with _running(made, port=dying.port) as running:
        await until(lambda: any(leases.UNTRIED in made.now(each).last_reply for each in waiting))
        running.reload(port=sink.port)
        await until(lambda: "DATA" in str(sink.commands))
        assert dying.open_sessions == 2
        await until(lambda: dying.open_sessions == 0)
        await until(lambda: any(made.now(each).state.final for each in waiting))


@pytest.mark.parametrize(("before", "after"), [(20, 1), (1, 20)])
async def test_another_bound_holds_from_the_reload_on(
    made: Spooled, sink: Sink, before: int, after: int
) -> None:
    sink.answers["."] = Late(0.3, "250 2.0.0 taken")
    async with _running(made, concurrency_per_destination=before) as running:
        await until(ended(made, made.put()))
        running.reload(concurrency_per_destination=after)
        await until(lambda: sink.open_sessions == 0)  # it was kept for the next of the last config
        letters = [made.put() for _ in range(6)]
        running.wake.set()
        await until(ended(made, *letters))
    assert (sink.most_open == 1) == (after == 1)
