"""Which processors this office may use, and the one that a worker stays on.

CPython lets one thread of a process go on at a time, so a second processor gives a worker next to nothing:
its threads would only carry what they work on from one cache to the other, and wake each other across
(figures in docs/performance.md).  Where each processor has a worker, each therefore stays on its own.
Threads that work long on one thing, and processes beside, may go anywhere.

Promise: nothing fails where a system has no such call or forbids it; then its scheduler decides, as ever.

Sources: sched_setaffinity(2), whose mask threads and processes inherit.
"""

from __future__ import annotations

import os
from contextlib import suppress

# As we were started: a worker's own mask is smaller.
ALLOWED = frozenset(
    os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
)


def stay(number: int, workers: int) -> None:
    """Keep the calling thread, and those that it starts, on the processor of this worker's number.

    Does nothing unless there are as many workers as processors.
    """
    if workers == len(ALLOWED):
        _keep(0, frozenset((sorted(ALLOWED)[number],)))


def anywhere(pid: int = 0) -> None:
    """Let this process's first thread go wherever the office may be; 0: the calling thread."""
    _keep(pid, ALLOWED)


def _keep(pid: int, processors: frozenset[int]) -> None:
    with suppress(OSError, AttributeError):
        os.sched_setaffinity(pid, processors)
