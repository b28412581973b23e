"""Where a worker's threads may run, and what is let go."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from sortingoffice import processors
from sortingoffice.flows.apart import Apart

T = TypeVar("T")

CORES = sorted(os.sched_getaffinity(0))


def _in_a_thread(work: Callable[[], T]) -> T:
    """The mask is a thread's, and ours must not change."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def test_where_each_processor_has_a_worker_each_stays_on_its_own() -> None:
    for number, expected in enumerate(CORES):

        def stayed(number: int = number) -> set[int]:
            processors.stay(number, len(CORES))
            return _in_a_thread(lambda: os.sched_getaffinity(0))  # and so does what it starts

        assert _in_a_thread(stayed) == {expected}


def test_with_fewer_or_more_workers_than_processors_the_scheduler_decides() -> None:
    before = os.sched_getaffinity(0)
    for workers in (len(CORES) - 1, len(CORES) + 1):

        def stayed(workers: int = workers) -> set[int]:
            processors.stay(0, workers)
            return os.sched_getaffinity(0)

        assert _in_a_thread(stayed) == before


def test_what_is_let_go_may_go_wherever_the_office_may() -> None:
    def gone() -> tuple[set[int], set[int]]:
        processors.stay(0, len(CORES))
        with_us = Apart()
        try:
            assert with_us(abs, -1) == 1
            assert with_us._process is not None
            beside = os.sched_getaffinity(with_us._process.pid)
        finally:
            with_us.close()
        processors.anywhere()
        return os.sched_getaffinity(0), beside

    assert _in_a_thread(gone) == (set(CORES), set(CORES))


def test_a_process_that_has_ended_is_let_go_without_a_word() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    processors.anywhere(pid)


def test_a_system_without_such_a_call_has_its_own_way() -> None:
    said = (
        "import os; del os.sched_getaffinity, os.sched_setaffinity;"
        "from sortingoffice import processors; from sortingoffice.cli import main;"
        "processors.stay(0, len(processors.ALLOWED)); processors.anywhere();"
        "print(len(processors.ALLOWED) == os.cpu_count())"
    )
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")
