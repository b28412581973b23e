"""What Prometheus is told: counts, sizes and times of the office's processes together.

Promise: no label holds anything that a stranger wrote, nor an address: labels are rules, states and
classes, all of them names in our code.

A process that listens for no scrape counts all the same: it costs a microsecond.  Several that `share`
count in files in memory, one each, which the scrape adds up; a dead one's counts stay.

Sources: the Prometheus text format; prometheus.io, "Metric and label naming"; prometheus_client's
multiprocess mode; flock(2).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 600)
_HOURS = (*_SECONDS, 3600, 4 * 3600, 24 * 3600, 5 * 24 * 3600)
_WRITES = (1, 2, 4, 8, 16, 32, 64, 128)


class _Figures:
    """What is counted here, by whatever class of values is in force when it is made."""

    def __init__(self) -> None:
        self.registry = every = CollectorRegistry()
        self.accepted = Counter("sortingoffice_accepted", "Messages answered 250.", ["rule"], registry=every)
        self.refused = Counter(
            "sortingoffice_refused",
            "Connections, recipients and messages not taken; verdict: refuse (5xx) or defer (4xx).",
            ["stage", "verdict", "rule"],
            registry=every,
        )
        self.receive = self._histogram("receive_seconds", "From the end of a message to its answer.")
        self.attempts = Counter(
            "sortingoffice_attempts",
            "Delivery attempts by the class of the reply: 2xx, 4xx, 5xx; unknown: lost after the dot.",
            ["reply"],
            registry=every,
        )
        self.attempt = self._histogram("attempt_seconds", "How long an attempt took.")
        self.delivered = self._histogram("delivered_seconds", "From acceptance to delivery.", _HOURS)
        self.commit_writes = self._histogram("commit_writes", "Writes in one group commit.", _WRITES)
        self.commit = self._histogram("commit_seconds", "How long a group commit took, from its first write.")

    def _histogram(self, name: str, told: str, buckets: Sequence[float] = _SECONDS) -> Histogram:
        return Histogram(f"sortingoffice_{name}", told, buckets=buckets, registry=self.registry)


_figures = _Figures()

WAITING = ("queued", "held")
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it
_PREFIX = f"sortingoffice-{os.getuid()}-"
_CLASSES = {2: "2xx", 4: "4xx", 5: "5xx"}


def accepted(rule: str) -> None:
    """A message was answered 250."""
    _figures.accepted.labels(rule).inc()


def refused(stage: str, verdict: str, rule: str) -> None:
    """A connection ("connect"), a recipient ("rcpt") or a message ("mail", by its size or sender, or "data")
    was not taken."""
    _figures.refused.labels(stage, verdict, rule).inc()


def answered(seconds: float) -> None:
    """A message had its answer, so long after its end."""
    _figures.receive.observe(seconds)


def attempted(code: int, seconds: float, *, unknown: bool) -> None:
    """An attempt ended with this reply."""
    _figures.attempts.labels("unknown" if unknown else _CLASSES.get(code // 100, "4xx")).inc()
    _figures.attempt.observe(seconds)


def delivered(seconds: float) -> None:
    """A delivery was taken, so long after its message was accepted."""
    _figures.delivered.observe(seconds)


def committed(writes: int, seconds: float) -> None:
    """A group commit returned."""
    _figures.commit_writes.observe(writes)
    _figures.commit.observe(seconds)


def text(census: Mapping[str, tuple[int, datetime]] | None, now: datetime) -> bytes:
    """The page for a scrape.

    census  how many deliveries wait in each state, and since when the oldest does; None where the
            database doesn't answer: then the page says nothing about the queue
    """
    page = CollectorRegistry()
    page.register(_Queue(census, now))
    figures: Collector = _figures.registry
    if _folder():
        figures = MultiProcessCollector(None, path=_folder())  # type: ignore[no-untyped-call]
    page.register(figures)
    return generate_latest(page)


class _Queue(Collector):
    """What waits: asked of the database at each scrape, so it is nobody's to add up."""

    def __init__(self, census: Mapping[str, tuple[int, datetime]] | None, now: datetime) -> None:
        self._census, self._now = census, now

    def collect(self) -> Iterator[GaugeMetricFamily]:
        number = GaugeMetricFamily(
            "sortingoffice_queue_deliveries", "Deliveries that wait, by state.", labels=["state"]
        )
        oldest = GaugeMetricFamily(
            "sortingoffice_queue_oldest_seconds",
            "Age of the delivery that waits longest, by state.",
            labels=["state"],
        )
        for state in WAITING if self._census is not None else ():
            assert self._census is not None
            waiting, since = self._census.get(state, (0, self._now))
            number.add_metric([state], waiting)
            oldest.add_metric([state], max(0.0, (self._now - since).total_seconds()))
        yield number
        yield oldest


# ---- several processes -----------------------------------------------------------------------------------


def share() -> Path:
    """From now on count together with the processes that this one will fork; the folder to `forget`.

    To be called before anything is counted.  What a killed office left is taken away.
    """
    global _figures
    # Memory: whoever writes to a page of a disk's file may stand still for as long as an fsync takes.
    base = Path("/dev/shm")  # noqa: S108 - each folder in it is made by mkdtemp
    base = base if os.access(base, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    for old in base.glob(f"{_PREFIX}*"):
        if (lock := _locked(old, fcntl.LOCK_EX)) is not None:  # no process has it any more
            shutil.rmtree(old, ignore_errors=True)
            os.close(lock)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        _locked(folder, fcntl.LOCK_SH)  # kept open by all who are forked
        if folder.exists():  # else another office, starting in this moment, took it for an old one
            break
    os.environ[_FOLDER] = str(folder)
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
    _figures = _Figures()
    return folder


def forget(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _folder() -> str:
    return os.environ.get(_FOLDER, "")


def _locked(folder: Path, how: int) -> int | None:
    """A descriptor of the folder, locked; None where another process has it, or it isn't ours."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
