"""The parent and its workers by themselves: who falls, stands still or reloads."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from sortingoffice.cli.stage import until
from tests.test_workers import workers_of

_CREW = """
import os, signal, sys, time
from sortingoffice import log
from sortingoffice.workers import Crew

def work(seat):
    def reload(number, frame):
        log.event("begins", number=seat.number)
        time.sleep(0.5)
        log.event("done", number=seat.number)
        seat.reloaded()

    signal.signal(signal.SIGHUP, reload)
    if sys.argv[1] == "killed" and seat.number and not os.path.exists(sys.argv[2]):
        open(sys.argv[2], "x").close()
        os.kill(os.getpid(), signal.SIGKILL)
    seat.ready()
    while seat.alive():
        time.sleep(0.05)
        if sys.argv[1] == "fall" and seat.number:
            raise ValueError("a bug")

log.start()
crew = Crew(2, work, lambda number: None, lambda: True, lambda: None, silent=3.0)
crew.run(lambda: print("ready", flush=True))
"""


@contextlib.contextmanager
def _crew(kind: str, log: Path) -> Iterator[int]:
    """A crew that is ready: its workers only live, or the second falls again and again, or is killed once
    before it was ready."""
    with log.open("wb") as words:
        command = [sys.executable, "-c", _CREW, kind, str(log.with_name("killed"))]
        timed = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
        parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=words, env=timed)
    assert parent.stdout is not None
    try:
        assert parent.stdout.readline() == b"ready\n"
        yield parent.pid
    finally:
        parent.terminate()
        assert parent.wait(15) == 0
        parent.stdout.close()


def test_a_worker_that_is_killed_while_it_starts_has_a_successor(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with _crew("killed", log) as parent:
        assert len(workers_of(parent)) == 2
    assert len(re.findall("worker-ended number=1 .*status=-9", log.read_text())) == 1


def test_a_worker_is_told_of_a_reload_when_it_is_done_with_the_last_one(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with _crew("live", log) as parent:
        for number in (1, 2, 3):  # the third finds the second waiting
            os.kill(parent, signal.SIGHUP)
            until(lambda: "begins number=1" in log.read_text(), "the first reload")
            time.sleep(0.1 * number)
        until(lambda: log.read_text().count("done number=1") >= 2, "the second reload")
    assert re.findall(r"(begins|done) number=1", log.read_text()) == ["begins", "done"] * 2


def test_a_worker_that_stands_still_is_replaced(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with _crew("live", log) as parent:
        stands, lives = workers_of(parent)
        os.kill(stands, signal.SIGSTOP)
        until(lambda: stands not in workers_of(parent) and len(workers_of(parent)) == 2, "its successor")
        assert lives in workers_of(parent)
    assert f"worker-silent number=0 pid={stands}" in log.read_text()


def test_a_parent_that_stood_still_itself_ends_no_worker_for_its_silence(tmp_path: Path) -> None:
    """As when the whole machine was suspended."""
    log = tmp_path / "log"
    with _crew("live", log) as parent:
        before = workers_of(parent)
        for each in (*before, parent):
            os.kill(each, signal.SIGSTOP)
            time.sleep(0.2)  # until the parent waits for its workers
        time.sleep(4)  # longer than a worker may be silent
        for each in (*before, parent):
            os.kill(each, signal.SIGCONT)
        time.sleep(1)
        assert workers_of(parent) == before
    assert "worker-silent" not in log.read_text()


def _times(log: Path, event: str) -> list[datetime]:
    found = re.findall(rf"^(\S+ \S+) {event}\b", log.read_text(), re.MULTILINE)
    return [datetime.strptime(each, "%Y-%m-%d %H:%M:%S,%f") for each in found]  # noqa: DTZ007  differences only


def test_one_that_falls_again_and_again_is_replaced_ever_more_slowly(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with _crew("fall", log):
        until(lambda: len(_times(log, "worker-started number=1")) >= 6, "six births")
    born, died = _times(log, "worker-started number=1"), _times(log, "worker-ended number=1")
    pauses = [(birth - death).total_seconds() for death, birth in zip(died, born[1:6], strict=False)]
    for pause, least in zip(pauses, (0, 0.1, 0.2, 0.4, 0.8), strict=True):
        assert pause >= least - 0.002  # the log tells milliseconds
    assert 'reason="ValueError: a bug"' in log.read_text()
    assert len(re.findall("worker-started number=0", log.read_text())) == 1
