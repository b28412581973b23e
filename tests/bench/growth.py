"""What more costs: aliases, and mail that waits for a host that is dead.

Offices that differ in one thing run side by side, and their rounds take turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from sortingoffice.net.zone import ZoneServer
from tests.bench import letters, office, residents, rounds, table
from tests.bench.letters import Vendor
from tests.bench.rounds import Case, Figures
from tests.bench.sink import Sink
from tests.bench.system import System

DEAD = "dead.example"  # its only host is 127.0.0.9, where nothing listens
_OVER = timedelta(minutes=5)  # in which each waiting message falls due once
_LEAST = 1_000


def run(
    asked: argparse.Namespace, folder: Path, zone: ZoneServer, sink: Sink, writers: list[Vendor]
) -> dict[str, Any]:
    """Figures by what grows; printed, too."""
    zone.set(DEAD, "MX", f"10 mx.{DEAD}.")
    zone.set(f"mx.{DEAD}", "A", "127.0.0.9")

    def aliases(count: int) -> office.Premises:
        return office.Premises(folder / f"aliases-{count}", zone, sink.port, count)

    def queued(count: int) -> office.Premises:
        premises = office.Premises(folder / f"queued-{count}", zone, sink.port, _LEAST)
        premises.prepare()
        db = premises.open_database()
        try:
            residents.queue(db, count, DEAD, over=_OVER)
        finally:
            db.close()
        return premises

    return {
        "aliases": _compared(asked, folder, sink, writers, "aliases", asked.grown_aliases, aliases),
        "queued": _compared(
            asked, folder, sink, writers, "waiting for a dead host", asked.grown_queue, queued
        ),
    }


def _compared(
    asked: argparse.Namespace,
    folder: Path,
    sink: Sink,
    writers: list[Vendor],
    what: str,
    asked_for: str,
    make: Callable[[int], office.Premises],
) -> list[dict[str, Any]]:
    counts = [int(each) for each in asked_for.split(",")]
    case = Case(f"{what}; 4 KiB, 10 sessions", 4096, 10)
    written_to = [residents.alias(number) for number in range(200)]
    measured: dict[int, list[Figures]] = {count: [] for count in counts}
    with ExitStack() as stack:
        systems: dict[int, System] = {}
        for count in counts:
            premises = make(count)
            ready = premises.folder.exists()
            made = office.running(premises, f"{count:,} {what}", prepared=ready)
            systems[count] = stack.enter_context(made)
        for turn in range(asked.rounds + 1):  # the first fills the caches
            for count, system in systems.items():
                work = letters.written(writers, written_to, case.size, asked.messages)
                found = rounds.run(system, case, work, sink, folder)
                if turn:
                    measured[count].append(found)
    medians = [rounds.median(each) for each in measured.values()]
    print("\n" + table.shown(medians, medians[0].system), flush=True)
    least = medians[0]
    return [{**each.plain(), "times_the_least": each.rate / least.rate} for each in medians]
