"""A bar for long work, on standard error, while somebody sits at a terminal.

Promise: into a pipe, and for work that is quick, nothing is drawn; when the work ends the bar is gone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sortingoffice.core.progress import Watcher, unwatched

if TYPE_CHECKING:
    from rich.progress import Progress

_QUICK = 0.5  # seconds for which nobody wonders


@contextmanager
def watched(what: str) -> Iterator[Watcher]:
    """A watcher that draws how far `what` has come."""
    if not sys.stderr.isatty():
        yield unwatched
        return
    bar = _Bar(what)
    try:
        yield bar
    finally:
        bar.end()


class _Bar:
    """Drawn when the work turns out to be long."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._since = time.monotonic()
        self._drawn: Progress | None = None

    def __call__(self, done: int, of: int) -> None:
        if self._drawn is None:
            if time.monotonic() - self._since < _QUICK:
                return
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            console = Console(file=sys.stderr, force_terminal=True)
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._drawn = Progress(*columns, console=console, transient=True, redirect_stdout=False)
            self._drawn.start()
            self._drawn.add_task(self._what, total=of)
        self._drawn.update(self._drawn.task_ids[0], completed=done, total=of)

    def end(self) -> None:
        if self._drawn is not None:
            self._drawn.stop()
