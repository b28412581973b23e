"""Where a message's time goes: the office with a clock around each step (`tests.bench.variant`).

The clocks themselves cost about a fifth; so the sum is more than what the cases measure, and the shares are
what to look at.  "the loop, sockets, threads" is what no step has: the process's time less the sum.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
from pathlib import Path
from typing import Any

from sortingoffice.net.zone import ZoneServer
from tests.bench import letters, office, residents, rounds, table
from tests.bench.letters import Vendor
from tests.bench.rounds import Case
from tests.bench.sink import Sink
from tests.bench.variant import STEPS

_UNNAMED = "the loop, sockets, threads"


def run(
    asked: argparse.Namespace, folder: Path, zone: ZoneServer, sink: Sink, writers: list[Vendor]
) -> dict[str, Any]:
    """Milliseconds of processor time per message by step and size; printed, too."""
    columns = {
        size: _measured(asked, folder, zone, sink, writers, size << 10)
        for size in map(int, asked.sizes.split(","))
    }
    steps = [step for step in (*STEPS, _UNNAMED) if any(step in found for found in columns.values())]
    rows = [("where a message's time goes", *(f"{size} KiB: ms   " for size in columns), "calls")]
    calls = next(iter(columns.values()))
    for step in steps:
        cells = []
        for found in columns.values():
            total = sum(each["ms"] for each in found.values())
            spent = found.get(step, {"ms": 0.0})["ms"]
            cells.append(f"{spent:.3f} {spent / total:4.0%}")
        rows.append((step, *cells, f"{calls.get(step, {}).get('calls', 0):.1f}"))
    totals = (f"{sum(each['ms'] for each in found.values()):.3f} 100%" for found in columns.values())
    print("\n" + table.aligned([*rows, ("all of it", *totals, "")]), flush=True)
    return {f"{size} KiB": found for size, found in columns.items()}


def _measured(
    asked: argparse.Namespace, folder: Path, zone: ZoneServer, sink: Sink, writers: list[Vendor], size: int
) -> dict[str, dict[str, float]]:
    written = folder / f"steps-{size}.json"
    os.environ["BENCH_STEPS"] = str(written)
    case = Case("steps", size, 10)
    aliases = [residents.alias(number) for number in range(100)]
    count = max(asked.messages // (4 if size > 16384 else 1), 100)
    # One process: the clocks are its own.
    premises = office.Premises(folder / f"steps-{size}", zone, sink.port, 1000, variant="steps", processes=1)
    with office.running(premises) as system:
        rounds.run(system, case, letters.written(writers, aliases, size, 200), sink, folder)
        for pid in system.roots():
            os.kill(pid, signal.SIGUSR1)
        rounds.run(system, case, letters.written(writers, aliases, size, count), sink, folder)
    found = json.loads(written.read_text())
    spent: dict[str, float] = found["spent"]
    spent[_UNNAMED] = found["total"] - sum(spent.values())
    return {
        step: {"ms": seconds * 1000 / count, "calls": found["calls"].get(step, 0) / count}
        for step, seconds in spent.items()
    }
