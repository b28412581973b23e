"""Call an entry with one input after the other, and stop at what must not be: a crash, or a stall.

A stall is more than a second of this thread's own time (where the work is done in several, the process's) for
at most 64 kB, so a busy machine makes none.
"""

from __future__ import annotations

import atexit
import signal
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.entries import ENTRIES, Entry
from tests.fuzz.octets import octets

STALL_SECONDS = 1.0
_HOPELESS_SECONDS = 30.0  # of processor time, after which a call is broken off


class Stall(AssertionError):
    """Somebody could hold the office with this."""


@dataclass(slots=True)
class Tally:
    """What was looked at.  slowest: in seconds"""

    calls: int = 0
    slowest: float = 0.0
    findings: list[str] = field(default_factory=list)


def tried(entry: Entry, given_octets: bytes, tally: Tally) -> None:
    """One call.  Raises what the entry raises, and Stall."""
    entry.open()
    with _broken_off():
        before = entry.clock()
        entry.call(given_octets)
        spent = entry.clock() - before
    tally.calls += 1
    tally.slowest = max(tally.slowest, spent)
    if spent > STALL_SECONDS:
        raise Stall(f"{spent:.2f} s for {len(given_octets)} octets")


@contextmanager
def _broken_off() -> Any:
    def hopeless(number: int, frame: Any) -> None:
        raise Stall(f"no end after {_HOPELESS_SECONDS:.0f} s")

    before = signal.signal(signal.SIGVTALRM, hopeless)
    signal.setitimer(signal.ITIMER_VIRTUAL, _HOPELESS_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def by_hypothesis(name: str, tally: Tally, *, examples: int, number: int | None = None) -> None:
    """So many inputs of hypothesis's making, the smallest that fails is raised.  number  of the seed"""
    entry = ENTRIES[name]

    def one(given_octets: bytes) -> None:
        tried(entry, given_octets, tally)

    run: Callable[[], None] = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        print_blob=False,
    )(given(octets(entry.seeds, entry.words))(one))
    if number is not None:
        run = seed(number)(run)
    try:
        for each in entry.seeds:
            tried(entry, each, tally)
        run()
    finally:
        entry.close()


def by_atheris(name: str, tally: Tally, *, seconds: float, corpus: str) -> None:
    """Inputs that reach new code, by coverage; ends the process, as libFuzzer does."""
    import atheris

    entry = ENTRIES[name]
    atexit.register(entry.close)
    for number, each in enumerate((*entry.seeds, *entry.words)):
        Path(corpus, f"seed{number}").write_bytes(each)
    options = [f"-max_total_time={int(seconds)}", "-max_len=65536", "-len_control=50", "-print_final_stats=1"]
    atheris.Setup(
        [name, f"-artifact_prefix={corpus}/", *options, corpus], lambda each: tried(entry, each, tally)
    )
    atheris.Fuzz()
