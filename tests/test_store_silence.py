"""A PostgreSQL that says nothing more and ends nothing: 451 in time, and back without a restart of ours."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from sortingoffice.cli.stage import MAILBOX, ORDERS, VENDOR, Stage, opened, until
from sortingoffice.core.model import Domain
from sortingoffice.store import domains, engine, relationships
from sortingoffice.store.database import Database, OutOfReach, Transaction, Unavailable
from tests.database import Cluster
from tests.office import written
from tests.test_store_database import Gate, add, behind, names

SILENT, CONNECT = 1.0, 2  # seconds; a connection is waited for two at least
IN_TIME = SILENT + CONNECT + 3  # on a busy machine


@dataclass
class Line:
    """What stands between an office and its PostgreSQL: a cable that can be pulled out.

    Nothing is ended and nothing refused meanwhile: who calls is still connected, by the kernel.
    """

    path: str
    port: int = 0
    _whole: threading.Event = field(default_factory=threading.Event)
    _sockets: list[socket.socket] = field(default_factory=list)
    _generation: int = 0

    def __enter__(self) -> Line:
        self._whole.set()
        listening = socket.create_server(("127.0.0.1", 0))
        self._sockets.append(listening)
        self.port = listening.getsockname()[1]
        threading.Thread(target=self._listen, args=(listening,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._generation += 1
        self._whole.set()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def pull_out(self) -> None:
        self._whole.clear()

    def put_in(self) -> None:
        """What was sent meanwhile gets through."""
        self._whole.set()

    def move(self) -> None:
        """New connections get through; of the old ones nobody hears again."""
        self._generation += 1
        self._whole.set()

    def _listen(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listening.accept()
                far = socket.socket(socket.AF_UNIX)
                self._sockets += [near, far]
                far.connect(self.path)
                for one, other in ((near, far), (far, near)):
                    of = (one, other, self._generation)
                    threading.Thread(target=self._carry, args=of, daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket, generation: int) -> None:
        with suppress(OSError):
            while octets := one.recv(65536):
                self._whole.wait()
                if generation == self._generation:
                    other.sendall(octets)
        self._whole.wait()
        with suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def line(postgresql: Cluster) -> Iterator[Line]:
    with Line(f"{postgresql.folder}/.s.PGSQL.5432") as made:
        yield made


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is opened from here on waits a tenth as long."""
    monkeypatch.setattr(engine, "SILENT_SECONDS", SILENT)
    monkeypatch.setattr(engine, "BUSY_SECONDS", CONNECT)


@pytest.fixture
def far(hasty: None, postgresql: Cluster, line: Line) -> Iterator[Database]:
    """An up-to-date database at the end of the line."""
    name = postgresql.fresh()
    database = Database(f"postgresql://postgres@127.0.0.1:{line.port}/{name}")
    yield database
    line.put_in()
    database.close()
    until(lambda: _alone(postgresql, name), "its connections to end")
    postgresql.give_back(name)


def _alone(postgresql: Cluster, name: str) -> bool:
    """Nobody is left there: what was sent into the silence has been done or given up."""
    import psycopg

    with psycopg.connect(postgresql.conninfo("postgres"), autocommit=True) as asking:
        found = asking.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", (name,)).fetchone()
    return found == (0,)


@contextmanager
def stopped(postgresql: Cluster) -> Iterator[None]:
    """The server's processes stand still; their sockets are the kernel's."""
    assert postgresql.process is not None
    parent = postgresql.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children")
    pids = [parent]
    os.kill(parent, signal.SIGSTOP)
    pids += [int(each) for each in children.read_text().split()]
    for pid in pids[1:]:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def warm(db: Database) -> None:
    """A connection for each reader, and one for the writer."""
    await db.write(add, "before.example")
    barrier = threading.Barrier(engine.READERS)

    def together(tx: Transaction) -> None:
        tx.execute(sa.text("SELECT 1"))
        barrier.wait(10)

    await asyncio.gather(*(db.read(together) for _ in range(engine.READERS)))


async def answers(*asked: asyncio.Future[object] | asyncio.Task[object]) -> tuple[set[type], float]:
    began = time.monotonic()
    found = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 60)
    return {type(each) for each in found}, time.monotonic() - began


def tasks(number: int, make: Callable[[int], object]) -> list[asyncio.Task[object]]:
    return [asyncio.ensure_future(make(n)) for n in range(number)]  # type: ignore[call-overload]


async def test_writes_into_a_silence_are_refused_in_time_and_the_next_after_it_is_stored(
    far: Database, line: Line
) -> None:
    await warm(far)
    line.pull_out()
    kinds, seconds = await answers(*tasks(50, lambda n: far.write(add, f"d{n}.example")))
    assert kinds == {Unavailable}
    assert seconds < IN_TIME, "all together, not one after the other"
    kinds, seconds = await answers(*tasks(50, lambda n: far.write(add, f"e{n}.example")))
    assert kinds == {Unavailable}
    assert seconds < IN_TIME
    line.put_in()
    await far.write(add, "after.example")
    assert names(far) == {"before.example", "after.example"}


async def test_reads_in_a_silence_are_refused_in_time_and_the_next_after_it_is_answered(
    far: Database, line: Line
) -> None:
    await warm(far)
    line.pull_out()
    for _ in range(2):
        kinds, seconds = await answers(*tasks(60, lambda _: far.read(domains.every)))
        assert kinds == {Unavailable}
        assert seconds < IN_TIME, "all together, not four at a time"
    with pytest.raises(OutOfReach):
        await asyncio.to_thread(far.view, domains.every)
    line.put_in()
    assert len(await far.read(domains.every)) == 1


async def test_a_group_that_falls_into_a_silence_is_refused_as_one(far: Database, line: Line) -> None:
    def fall_silent(tx: Transaction) -> None:
        line.pull_out()
        add(tx, "last.example")

    gate = Gate()
    first = await behind(far, gate)
    waiting = tasks(30, lambda n: far.write(add, f"d{n}.example"))
    waiting += tasks(1, lambda _: far.write(fall_silent))
    await asyncio.sleep(0)
    gate.open.set()
    kinds, seconds = await answers(first, *waiting)
    assert Unavailable in kinds
    assert kinds <= {Unavailable, type(None), Domain}
    assert seconds < IN_TIME, "none of them tries again alone where there is nobody"
    stored = {f"d{n}.example" for n, each in enumerate(waiting[:-1]) if each.exception() is None}
    line.put_in()
    await far.write(add, "after.example")
    assert names(far) == stored | {"after.example"}


async def test_a_commit_that_nobody_answers_is_refused_and_not_done_twice(far: Database, line: Line) -> None:
    runs: list[int] = []

    def last_word(tx: Transaction) -> None:
        runs.append(1)
        add(tx, "unknown.example")
        line.pull_out()

    kinds, seconds = await answers(*tasks(1, lambda _: far.write(last_word)))
    assert kinds == {Unavailable}
    assert seconds < IN_TIME
    line.put_in()
    await far.write(add, "after.example")
    assert names(far) - {"unknown.example"} == {"after.example"}
    assert len(runs) == 1


async def test_a_server_whose_processes_stand_still_is_a_silence_too(
    far: Database, postgresql: Cluster
) -> None:
    await warm(far)
    with stopped(postgresql):
        for _ in range(2):
            writes = tasks(20, lambda n: far.write(add, f"d{n}.example"))
            kinds, seconds = await answers(*writes, *tasks(20, lambda _: far.read(domains.every)))
            assert kinds == {Unavailable}
            assert seconds < IN_TIME
    await far.write(add, "after.example")
    assert names(far) == {"before.example", "after.example"}


async def test_a_server_that_takes_connections_and_does_nothing_with_them_is_a_silence_too(
    far: Database,
) -> None:
    def stand_still(tx: Transaction) -> None:
        tx.execute(sa.text(f"SELECT pg_sleep({6 * SILENT})"))

    kinds, seconds = await answers(*tasks(20, lambda _: far.write(stand_still)))
    assert kinds == {Unavailable}
    assert seconds < IN_TIME


async def test_a_database_that_moved_away_without_a_word_costs_no_write_and_no_read(
    far: Database, line: Line
) -> None:
    await warm(far)
    line.move()
    assert await far.read(relationships.by_id, 1) is None, "the second try is not by another old connection"
    kinds, seconds = await answers(
        *tasks(20, lambda n: far.write(add, f"d{n}.example")), *tasks(20, lambda _: far.read(domains.every))
    )
    assert Unavailable not in kinds
    assert seconds < IN_TIME
    assert len(await far.read(domains.every)) == 21


async def test_closing_does_not_wait_for_a_server_that_says_nothing(far: Database, line: Line) -> None:
    await warm(far)
    line.pull_out()
    waiting = tasks(5, lambda n: far.write(add, f"d{n}.example"))
    await asyncio.sleep(0)
    began = time.monotonic()
    await asyncio.to_thread(far.close)
    assert time.monotonic() - began < IN_TIME
    assert (await answers(*waiting))[0] == {Unavailable}


async def test_an_answer_that_comes_slowly_is_no_silence(far: Database) -> None:
    slow = "SELECT pg_sleep(0.3), repeat('x', 50000) FROM generate_series(1, 8)"
    rows = await far.read(lambda tx: tx.execute(sa.text(slow)).all())
    assert len(rows) == 8


def test_an_upgrade_may_be_silent_for_long(far: Database) -> None:
    def index(tx: Transaction) -> None:
        engine.take_time(tx)
        tx.execute(sa.text(f"SELECT pg_sleep({2 * SILENT})"))

    far.call(index)
    with pytest.raises(OutOfReach, match="nothing"):
        far.call(lambda tx: tx.execute(sa.text(f"SELECT pg_sleep({2 * SILENT})")))


def test_a_machine_that_is_gone_is_noticed_by_the_kernel_as_well(far: Database) -> None:
    def options(tx: Transaction) -> list[int]:
        raw = tx.connection.dbapi_connection
        with socket.socket(fileno=os.dup(raw.pgconn.socket)) as its:  # type: ignore[union-attr]
            wanted = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
            return [its.getsockopt(socket.IPPROTO_TCP, each) for each in wanted]

    for asked in (far.call, far.view):
        idle, interval, count, unacknowledged = asked(options)
        assert idle + interval * count <= 15
        assert unacknowledged == SILENT * 1000


def _letter(alias: str, subject: str) -> bytes:
    return written(f"From: {ORDERS}", f"To: {alias}", f"Message-ID: <{subject}@{VENDOR}>", subject=subject)


def _said(stage: Stage, alias: str, subject: str) -> tuple[int, int]:
    """What RCPT is answered, and the message where that was 250; each within the client's patience."""
    with stage.client() as client:
        client.ehlo()
        client.mail(ORDERS)
        asked = client.rcpt(alias)[0]
        if asked != 250:
            return asked, 0
        return asked, client.data(stage.signed(VENDOR, _letter(alias, subject)))[0]


def test_a_database_that_falls_silent_is_a_451_and_is_found_again_without_a_restart(
    postgresql: Cluster, line: Line
) -> None:
    with opened() as stage:
        name = postgresql.new()
        stage.configure(top=f'database = "postgresql://postgres@127.0.0.1:{line.port}/{name}"')
        stage.init()
        alias = stage.command("new", "Shop")
        stage.start()
        assert _said(stage, alias, "before") == (250, 250)
        with stage.client() as client:  # one that has got as far as DATA
            client.ehlo()
            client.mail(ORDERS)
            assert client.rcpt(alias)[0] == 250
            line.pull_out()
            assert client.data(stage.signed(VENDOR, _letter(alias, "silent")))[0] == 451
        assert _said(stage, alias, "dark") == (451, 0)
        line.put_in()
        for subject in ("silent", "dark"):
            until(partial(_taken, stage, alias, subject), f"{subject!r} to be taken")
        until(lambda: len(_subjects(stage)) >= 3, "what was taken")
        assert sorted(_subjects(stage)) == ["before", "dark", "silent"]
        assert stage.daemon is not None
        assert stage.daemon.poll() is None


def _taken(stage: Stage, alias: str, subject: str) -> bool:
    return _said(stage, alias, subject) == (250, 250)


def _subjects(stage: Stage) -> list[str]:
    raws = [each.octets for each in tuple(stage.home.received) if each.recipients == (MAILBOX,)]
    return [raw.split(b"Subject: ", 1)[1].split(b"\r\n", 1)[0].decode() for raw in raws]
