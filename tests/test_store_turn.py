"""Turns: who waits is woken, who waits in vain goes on, and a dead process keeps nobody waiting."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sortingoffice.store.turn import Turn

_HOLDER = """
import sys, time
from pathlib import Path
from sortingoffice.store.turn import Turn
Turn(Path(sys.argv[1])).take()
print("taken", flush=True)
time.sleep(60)
"""


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Turn, Turn]]:
    with closing(Turn(tmp_path / "office.db")) as one, closing(Turn(tmp_path / "office.db")) as other:
        yield one, other


def test_where_no_file_can_be_made_everybody_goes_on_without(tmp_path: Path) -> None:
    turn = Turn(tmp_path / "no such folder" / "office.db")
    turn.take()
    turn.leave()
    turn.close()


_SOON = 15.0  # seconds: half of what whoever isn't woken would wait


def _taken(turn: Turn, patience: float = 30.0) -> float:
    """How long it took to have it, or to go on without."""
    started = time.monotonic()
    turn.take(patience)
    return time.monotonic() - started


def test_who_waits_is_woken_when_the_other_is_done(two: tuple[Turn, Turn]) -> None:
    one, other = two
    one.take()
    started = time.monotonic()
    threading.Timer(0.3, one.leave).start()
    assert _taken(other) < _SOON
    assert time.monotonic() - started >= 0.3
    assert _taken(one, 0.1) >= 0.1  # it is the other's now
    other.leave()


def test_who_waited_in_vain_leaves_nobody_waiting_later(two: tuple[Turn, Turn]) -> None:
    one, other = two
    one.take()
    assert _taken(other, 0.1) >= 0.1
    other.leave()  # it went on without, and is done
    one.leave()  # now the turn falls to somebody who doesn't want it any more
    time.sleep(0.1)
    assert _taken(one) < _SOON
    one.leave()
    assert _taken(other) < _SOON
    other.leave()


def test_a_turn_that_is_taken_twice_is_left_once(two: tuple[Turn, Turn]) -> None:
    one, other = two
    one.take()
    one.take()  # its transaction was rolled back and begun again
    one.leave()
    assert _taken(other) < _SOON
    other.leave()


def test_a_killed_process_ends_its_turn(tmp_path: Path) -> None:
    path = tmp_path / "office.db"
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"taken\n"
        started = time.monotonic()
        threading.Timer(0.2, holder.kill).start()
        with closing(Turn(path)) as turn:
            assert _taken(turn) < _SOON
        assert time.monotonic() - started >= 0.2
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
