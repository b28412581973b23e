"""What Prometheus is told: counts, sizes and times of this process.

Promise: no label holds anything that a stranger wrote, nor an address: labels are rules, states and
classes, all of them names in our code.

A process that listens for no scrape counts all the same: it costs a microsecond.

Sources: the Prometheus text format; prometheus.io, "Metric and label naming".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 600)
_HOURS = (*_SECONDS, 3600, 4 * 3600, 24 * 3600, 5 * 24 * 3600)
_WRITES = (1, 2, 4, 8, 16, 32, 64, 128)

_registry = CollectorRegistry()
_accepted = Counter("sortingoffice_accepted", "Messages answered 250.", ["rule"], registry=_registry)
_refused = Counter(
    "sortingoffice_refused",
    "Recipients and messages not taken; verdict: refuse (5xx) or defer (4xx).",
    ["stage", "verdict", "rule"],
    registry=_registry,
)
_receive = Histogram(
    "sortingoffice_receive_seconds",
    "From the end of a message to its answer.",
    buckets=_SECONDS,
    registry=_registry,
)
_attempts = Counter(
    "sortingoffice_attempts",
    "Delivery attempts by the class of the reply: 2xx, 4xx, 5xx; unknown: lost after the dot.",
    ["reply"],
    registry=_registry,
)
_attempt = Histogram(
    "sortingoffice_attempt_seconds", "How long an attempt took.", buckets=_SECONDS, registry=_registry
)
_delivered = Histogram(
    "sortingoffice_delivered_seconds",
    "From acceptance to delivery.",
    buckets=_HOURS,
    registry=_registry,
)
_commit_writes = Histogram(
    "sortingoffice_commit_writes", "Writes in one group commit.", buckets=_WRITES, registry=_registry
)
_commit = Histogram(
    "sortingoffice_commit_seconds",
    "How long a group commit took, from its first write.",
    buckets=_SECONDS,
    registry=_registry,
)
_queue = Gauge(
    "sortingoffice_queue_deliveries", "Deliveries that wait, by state.", ["state"], registry=_registry
)
_oldest = Gauge(
    "sortingoffice_queue_oldest_seconds",
    "Age of the delivery that waits longest, by state.",
    ["state"],
    registry=_registry,
)

WAITING = ("queued", "held")
_CLASSES = {2: "2xx", 4: "4xx", 5: "5xx"}


def accepted(rule: str) -> None:
    """A message was answered 250."""
    _accepted.labels(rule).inc()


def refused(stage: str, verdict: str, rule: str) -> None:
    """A recipient ("rcpt") or a message ("data") was not taken."""
    _refused.labels(stage, verdict, rule).inc()


def answered(seconds: float) -> None:
    """A message had its answer, so long after its end."""
    _receive.observe(seconds)


def attempted(code: int, seconds: float, *, unknown: bool) -> None:
    """An attempt ended with this reply."""
    _attempts.labels("unknown" if unknown else _CLASSES.get(code // 100, "4xx")).inc()
    _attempt.observe(seconds)


def delivered(seconds: float) -> None:
    """A delivery was taken, so long after its message was accepted."""
    _delivered.observe(seconds)


def committed(writes: int, seconds: float) -> None:
    """A group commit returned."""
    _commit_writes.observe(writes)
    _commit.observe(seconds)


def text(census: Mapping[str, tuple[int, datetime]] | None, now: datetime) -> bytes:
    """The page for a scrape.

    census  how many deliveries wait in each state, and since when the oldest does; None where the
            database doesn't answer: then the page says nothing about the queue
    """
    _queue.clear()
    _oldest.clear()
    for state in WAITING if census is not None else ():
        assert census is not None
        number, since = census.get(state, (0, now))
        _queue.labels(state).set(number)
        _oldest.labels(state).set(max(0.0, (now - since).total_seconds()))
    return generate_latest(_registry)
