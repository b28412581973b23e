"""`python -m tests.bench`: see docs/performance.md for what it measures and how to read it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sortingoffice.net.zone import ZoneServer
from tests.bench import alone, growth, letters, office, plain, postfix, residents, rounds, steps, table
from tests.bench.letters import Vendor
from tests.bench.rounds import Case, Figures
from tests.bench.sink import Sink
from tests.bench.system import System

ONLY = ("office", "unsealed", "postfix", "signing", "both", "plain")
_POSTFIXES = {"postfix": postfix.BARE, "signing": postfix.SIGNING, "both": postfix.BOTH}
_WRITTEN_TO = 1000  # relationships that mail comes to; the others only stand there


def main() -> None:
    asked = _arguments()
    if "both" in asked.only and not postfix.missing():
        if not alone.possible():
            raise SystemExit("Postfix and its network of its own need root, unshare and ip; see --only")
        alone.enter()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=asked.folder)))
        folder.chmod(0o755)
        zone = stack.enter_context(ZoneServer(ttl=3600))
        sink = stack.enter_context(Sink())
        if "both" in asked.only and not postfix.missing():
            stack.enter_context(alone.nameserver(zone))
        zone.set(letters.HOME, "MX", f"10 mx.{letters.HOME}.")
        zone.set(f"mx.{letters.HOME}", "A", sink.host)
        writers = letters.vendors(zone)
        report: dict[str, object] = {
            "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors"
        }
        if not asked.no_cases:
            report["cases"] = [each.plain() for each in _cases(asked, folder, zone, sink, writers)]
        if asked.steps:
            report["steps"] = steps.run(asked, folder, zone, sink, writers)
        if asked.growth:
            report["growth"] = growth.run(asked, folder, zone, sink, writers)
    asked.to.write_text(json.dumps(report, indent=2) + "\n")
    print(f"\nwritten to {asked.to}; {os.cpu_count()} processors, shared by senders, systems and receiver")


def _arguments() -> argparse.Namespace:
    asked = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    asked.add_argument("--only", default=",".join(ONLY), help=f"of {', '.join(ONLY)}; separated by commas")
    asked.add_argument("--messages", type=int, default=2000, help="in a round of 10 sessions")
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--sessions", default="1,10,50")
    asked.add_argument("--sizes", default="4,64", help="KiB")
    asked.add_argument("--aliases", type=int, default=100_000)
    asked.add_argument("--database", default="", help="an empty PostgreSQL database's URL; else SQLite")
    asked.add_argument("--folder", type=Path, help="where the queues and databases lie; a disk, not a tmpfs")
    asked.add_argument("--to", type=Path, default=Path("bench.json"))
    asked.add_argument("--quick", action="store_true", help="one round, 10 sessions, 4 KiB, no growth")
    asked.add_argument("--no-cases", action="store_true", help="only what --steps and --growth ask for")
    asked.add_argument("--steps", action=argparse.BooleanOptionalAction, default=None)
    asked.add_argument("--growth", action=argparse.BooleanOptionalAction, default=None)
    asked.add_argument("--grown-aliases", default="1000,100000,1000000", help="what growth compares")
    asked.add_argument("--grown-queue", default="0,10000,100000", help="messages that wait for a dead host")
    chosen = asked.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.sessions, chosen.sizes = 1, "10", "4"
    chosen.only = chosen.only.split(",")
    if unknown := set(chosen.only) - set(ONLY):
        asked.error(f"--only knows {', '.join(ONLY)}, and not {', '.join(unknown)}")
    chosen.steps = not chosen.quick if chosen.steps is None else chosen.steps
    chosen.growth = not chosen.quick if chosen.growth is None else chosen.growth
    return chosen


def _cases(
    asked: argparse.Namespace, folder: Path, zone: ZoneServer, sink: Sink, writers: list[Vendor]
) -> list[Figures]:
    """Every case on every system, the rounds in turns, so that a busy minute of the machine hits all."""
    step = max(asked.aliases // _WRITTEN_TO, 1)
    aliases = [residents.alias(number) for number in range(0, asked.aliases, step)]
    found: list[Figures] = []
    with _systems(asked, folder, zone, sink) as systems:
        for system in systems:  # the first mail of each relationship, and every cache filled
            rounds.run(
                system,
                Case("the very first", 4096, 1),
                letters.written(writers, aliases[:1], 4096, 1),
                sink,
                folder,
            )
            case = Case("first mail of each relationship, 4 KiB, 10 sessions", 4096, 10)
            some = aliases if system.share == 1 else aliases[: len(aliases) // 5]
            first = rounds.run(system, case, letters.written(writers, some, 4096, len(some)), sink, folder)
            if system.share == 1:
                found.append(first)
        for case in _planned(asked):
            measured: dict[str, list[Figures]] = {}
            for _ in range(asked.rounds):
                for system in systems:
                    count = _count(asked.messages, case, system)
                    work = letters.written(writers, aliases, case.size, count)
                    measured.setdefault(system.name, []).append(rounds.run(system, case, work, sink, folder))
            medians = [rounds.median(each) for each in measured.values()]
            print("\n" + table.shown(medians, postfix.BOTH), flush=True)
            found += medians
    return found


def _planned(asked: argparse.Namespace) -> Iterator[Case]:
    if not asked.quick:
        yield Case("low load: 20 messages/s, 4 KiB, 1 session", 4096, 1, rate=20)
    for size in map(int, asked.sizes.split(",")):
        for sessions in map(int, asked.sessions.split(",")):
            yield Case(f"{size} KiB, {sessions} session{'s' * (sessions > 1)}", size << 10, sessions)


def _count(messages: int, case: Case, system: System) -> int:
    if case.rate:
        return min(messages, 200)
    count = messages * system.share
    if case.sessions == 1:
        count /= 4
    if case.size > 16384:
        count /= 2
    return max(int(count), min(messages, 30))


@contextmanager
def _systems(asked: argparse.Namespace, folder: Path, zone: ZoneServer, sink: Sink) -> Iterator[list[System]]:
    end = (sink.host, sink.port)
    with ExitStack() as stack:
        systems: list[System] = []
        if postfix.missing() and set(asked.only) & set(_POSTFIXES):
            print(f"not installed, so left out: {', '.join(postfix.missing())}")
        for name in asked.only:
            if name in ("office", "unsealed"):
                variant = "" if name == "office" else "unsealed"
                title = office.NAME if name == "office" else f"{office.NAME}, no seal"
                database = asked.database if name == "office" else ""
                premises = office.Premises(folder / name, zone, sink.port, asked.aliases, database, variant)
                systems.append(stack.enter_context(office.running(premises, title)))
            elif name == "plain":
                systems.append(stack.enter_context(plain.running(folder / name, end, asked.aliases)))
            elif not postfix.missing():
                made = postfix.running(_POSTFIXES[name], folder / name, end, asked.aliases, zone)
                systems.append(stack.enter_context(made))
        yield systems


if __name__ == "__main__":
    main()
