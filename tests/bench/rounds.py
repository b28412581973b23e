"""One case on one system: send, wait for what must arrive, look at the clocks; the median of several.

Promise: a round that loses, doubles or refuses a message, or leaves its work undone, ends the bench.
"""

from __future__ import annotations

import json
import pickle
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench import measure
from tests.bench.letters import Letter
from tests.bench.sink import Sink
from tests.bench.system import System

_LONGEST = 300.0


@dataclass(frozen=True, slots=True)
class Case:
    """What is sent how.

    rate  messages per second at most; 0: as fast as they are taken
    """

    title: str
    size: int
    sessions: int
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Figures:
    """One case on one system.

    rate      messages per second, from the first octet sent to the last message at its end
    p50, p99  milliseconds from a message's MAIL to its dot at the far end
    taken     milliseconds from MAIL to our 250, median
    cpu       milliseconds of processor time per message, of all processes of the system
    memory    the most that was seen, MB as PSS
    """

    system: str
    case: str
    size: int
    sessions: int
    messages: int
    rate: float
    p50: float
    p99: float
    taken: float
    cpu: float
    memory: float

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def run(system: System, case: Case, letters: list[Letter], sink: Sink, folder: Path) -> Figures:
    """One round."""
    sink.forget()
    path = folder / "letters.pickle"
    path.write_bytes(pickle.dumps(letters))
    spent = measure.seconds(system.roots())
    watch = _Watch(system)
    times = _sent(system, case, path)
    sink.wait(len(letters), _LONGEST)
    memory = watch.most()
    time.sleep(0.3)  # what is settled after the last arrival belongs to the work
    cpu = (measure.seconds(system.roots()) - spent) * 1000 / len(letters)
    if set(sink.arrived) != set(times) or sink.doubles:
        raise SystemExit(f"{system.name}: what arrived is not what was sent ({sink.doubles} came twice)")
    system.check(sink.last)
    if complaints := system.wrong():
        raise SystemExit(f"{system.name} complains: {complaints[:2000]}")
    waits = sorted((sink.arrived[name] - sent) * 1000 for name, (sent, _) in times.items())
    begun = min(sent for sent, _ in times.values())
    return Figures(
        system.name,
        case.title,
        case.size,
        case.sessions,
        len(letters),
        rate=len(letters) / (max(sink.arrived.values()) - begun),
        p50=waits[len(waits) // 2],
        p99=waits[len(waits) * 99 // 100],
        taken=statistics.median((accepted - sent) * 1000 for sent, accepted in times.values()),
        cpu=cpu,
        memory=memory / 2**20,
    )


def _sent(system: System, case: Case, letters: Path) -> dict[str, tuple[float, float]]:
    arguments = [str(system.port), str(case.sessions), str(case.rate), str(letters)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.load", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=_LONGEST,
    )
    if done.returncode:
        raise SystemExit(f"{system.name}: {done.stderr.strip()[-2000:]}\n{system.wrong()[-2000:]}")
    found: dict[str, tuple[float, float]] = json.loads(done.stdout)
    return found


class _Watch:
    """The most memory that was seen while it looked."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._seen = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._end.wait(1.0):  # a look costs the watched nothing, and us a few milliseconds
            self._seen = max(self._seen, measure.octets(self._system.roots()))

    def most(self) -> int:
        self._end.set()
        self._thread.join()
        return max(self._seen, measure.octets(self._system.roots()))


def median(rounds: list[Figures]) -> Figures:
    one = rounds[0]

    def of(name: str) -> float:
        return float(statistics.median(getattr(each, name) for each in rounds))

    return Figures(
        one.system,
        one.case,
        one.size,
        one.sessions,
        one.messages,
        rate=of("rate"),
        p50=of("p50"),
        p99=of("p99"),
        taken=of("taken"),
        cpu=of("cpu"),
        memory=of("memory"),
    )
