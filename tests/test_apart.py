"""A very large reply is read in a process beside the office's own, and nobody waits for the interpreter."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from sortingoffice.core.model import Direction, Envelope, Peer, SpooledMessage
from sortingoffice.flows import receive
from sortingoffice.flows.apart import Apart, Ended
from sortingoffice.flows.arrival import Arrival
from sortingoffice.flows.computed import SEARCHED, VERY_LARGE, Computed, Elsewhere
from sortingoffice.mail.address import parse
from sortingoffice.mail.authentication import Authentication
from sortingoffice.mail.message import Message
from sortingoffice.store import schema
from sortingoffice.store.database import Database
from tests.desk import MAILBOX, Desk, open_desk

_NEWEST = sa.select(schema.message).where(schema.message.c.direction == Direction.OUTWARD)
_NEWEST = _NEWEST.order_by(schema.message.c.id.desc()).limit(1)
_HELD = range(20_000_000)  # to be summed up by one call, which gives the interpreter to nobody


@pytest.fixture
def apart() -> Iterator[Apart]:
    made = Apart()
    yield made
    made.close()


def eventually(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 30
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_it_answers_what_the_function_answers_in_one_process_of_its_own(apart: Apart) -> None:
    pid = apart(os.getpid)
    assert pid != os.getpid()
    assert apart(os.getpid) == pid
    assert apart(bytes.upper, b"a" * (3 << 20)) == b"A" * (3 << 20)


def test_it_raises_what_the_function_raises(apart: Apart) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        apart(int, "x")
    assert apart(int, "7") == 7


def test_the_loop_turns_while_one_call_holds_the_interpreter_there(apart: Apart) -> None:
    async def turns() -> int:
        apart(os.getpid)  # it has begun
        work = asyncio.get_running_loop().run_in_executor(None, partial(apart, sum, _HELD))
        count = 0
        while not work.done():
            await asyncio.sleep(0.001)
            count += 1
        assert await work == sum(_HELD)
        return count

    assert asyncio.run(turns()) > 20


def test_one_that_was_killed_is_started_anew(apart: Apart) -> None:
    pid = apart(os.getpid)
    os.kill(pid, signal.SIGKILL)
    assert apart(os.getpid) != pid


def test_a_call_that_ends_it_twice_is_told_and_the_next_one_is_answered(apart: Apart) -> None:
    with pytest.raises(Ended):
        apart(os.abort)
    assert apart(int, "7") == 7


def test_it_ends_when_it_has_nothing_to_do() -> None:
    apart = Apart(idle=0.05)
    pid = apart(os.getpid)
    assert eventually(lambda: not lives(pid))
    assert apart(os.getpid) != pid
    apart.close()


def test_it_ends_with_whoever_has_it() -> None:
    apart = Apart()
    pid = apart(os.getpid)
    del apart
    gc.collect()
    assert eventually(lambda: not lives(pid))


def test_it_does_not_outlive_a_process_that_is_killed() -> None:
    code = (
        "import os, time; from sortingoffice.flows.apart import Apart; a = Apart()\n"
        "print(a(os.getpid), flush=True); time.sleep(600)"
    )
    with subprocess.Popen((sys.executable, "-c", code), stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, signal.SIGTERM)  # a supervisor tells all: the office ends it, when it has drained
        assert lives(pid)
        parent.kill()
        assert eventually(lambda: not lives(pid))


# ---- what is read there ----------------------------------------------------------------------------------


@pytest.fixture
def desk(sqlite_db: Database, tmp_path: Path) -> Desk:
    return open_desk(sqlite_db, tmp_path)


def _wanted(size: int) -> Elsewhere:
    with pytest.raises(Elsewhere) as wanted:
        Computed(size=size).apart(int, "7")
    return wanted.value


def test_only_what_is_very_large_goes_there() -> None:
    assert Computed(size=SEARCHED).apart(int, "7") == 7
    assert not _wanted(VERY_LARGE).apart
    assert _wanted(VERY_LARGE + 1).apart
    with pytest.raises(Elsewhere) as wanted:
        Computed(size=VERY_LARGE + 1)(int, "7")
    assert not wanted.value.apart


def children() -> set[str]:
    return {pid for each in Path("/proc/self/task").glob("*/children") for pid in each.read_text().split()}


async def test_a_very_large_reply_is_changed_as_a_small_one_is(desk: Desk) -> None:
    alias = parse(desk.clerk.reverse_alias)
    assert alias is not None
    head = f"From: Anna <{MAILBOX}>\r\nTo: <{alias}>\r\nSubject: s\r\n\r\n"
    for body in ("Yes.\r\n", "a line of prose about lamps\r\n" * 40_000):
        raw = f"{head}{body}> you are {MAILBOX}\r\n".encode()
        before = children()
        arrival = Arrival(
            Peer("192.0.2.1", account_id=desk.account.id),
            Envelope(parse(MAILBOX), (alias,)),
            Message.parse(raw),
            len(raw),
            Authentication(),
            os.urandom(8).hex(),
            desk.now[0],
            computed=Computed(size=len(raw)),
        )
        assert (await receive.accepted(desk.office, arrival)).rule == "sent_as_alias"
        [stored] = desk.db.view(lambda tx: list(schema.every(SpooledMessage, tx.execute(_NEWEST))))
        assert MAILBOX.encode() not in stored.raw
        assert stored.raw.endswith(body.encode() + b"> you are lamp.shop1234@sort.example\r\n")
        assert bool(children() - before) is (len(raw) > VERY_LARGE)
    desk.office.apart.close()
