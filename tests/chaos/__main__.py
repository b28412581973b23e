"""`python -m tests.chaos`: run, print what was seen, and fail where a promise was broken."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from sortingoffice.cli.progress import watched
from tests.chaos.run import Plan, Report, run


def main() -> int:
    said = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    said.add_argument("--kills", type=int, default=60, help="SIGKILLs, at failpoints and at random")
    said.add_argument("--messages", type=int, default=2000, help="at least so many answered 250")
    said.add_argument("--rate", type=float, default=50, help="messages a second")
    said.add_argument("--sessions", type=int, default=8)
    said.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    said.add_argument("--seed", type=int, default=1)
    said.add_argument(
        "--steady", type=int, default=10, help="kills under 50 messages a second and no trouble"
    )
    said.add_argument("--seconds", type=float, default=math.inf, help="end with what was reached by then")
    said.add_argument(
        "--json", type=Path, help="write the figures there, too; every 30 seconds what was reached"
    )
    wanted = said.parse_args()
    plan = Plan(
        wanted.kills,
        wanted.messages,
        wanted.rate,
        wanted.sessions,
        wanted.database,
        wanted.seed,
        steady=wanted.steady,
        seconds=wanted.seconds,
    )

    def tell(report: Report) -> None:
        if wanted.json:
            fresh = wanted.json.with_suffix(".fresh")
            fresh.write_text(json.dumps(report, default=_plain, indent=1))
            fresh.replace(wanted.json)

    with watched("kills") as watcher:
        report = run(plan, watcher, tell)
    for line in lines(report):
        print(line)
    tell(report)
    return 1 if report.result.wrong else 0


def lines(report: Report) -> list[str]:
    """For a person."""
    result, kills = report.result, report.kills
    random = kills.where["random"] + kills.where["random worker"]
    per_kill = result.after_random / random if random else 0.0
    steady = kills.where["steady"]
    per_steady = result.after_steady / steady if steady else 0.0
    points = ", ".join(f"{name} {number}" for name, number in sorted(kills.where.items()))
    troubles = ", ".join(f"{name} {number}" for name, number in sorted(kills.troubles.items()))
    phases = ", ".join(f"{phase} {number}" for phase, number in result.phases.most_common())
    states = ", ".join(f"{state} {number}" for state, number in sorted(result.states.items()))
    return [
        f"{report.messages} messages answered 250 ({report.tries} tries) in {report.seconds:.0f} s on"
        f" {report.plan.database}, {len(kills.at)} kills",
        f"killed at: {points}",
        f"other trouble: {troubles or 'none'}{'' if report.small_disk else ' (no small disk to fill)'}",
        f"answered otherwise: {report.other}",
        f"{result.promised} recipients promised: {states}; {report.received} copies arrived",
        f"{result.dsns} DSNs, {result.notes} notes to the person",
        f"duplicates before a kill under a steady 50 messages a second: {result.after_steady}"
        f" ({per_steady:.2f} for each of {steady})",
        f"in all: {result.duplicates}, each named by trace; {result.after_random} before a random kill"
        f" ({per_kill:.2f} each), {result.after_point} before a kill at a point, {result.unanswered} by peers"
        " that took it and didn't say so",
        f"from arrival to settled: {_quartiles(result.open)}",
        f"from their arrival to the kill: {_quartiles(result.gaps)}",
        f"what had come of the first copies at the kill: {phases or '-'}",
        f"lost or wrong: {len(result.wrong)}",
        *(f"  {each}" for each in result.wrong[:50]),
    ]


def _plain(noun: Any) -> dict[str, Any]:
    """A dataclass for JSON; its counters are dicts already."""
    return {field.name: getattr(noun, field.name) for field in fields(noun)}


def _quartiles(gaps: list[float]) -> str:
    if len(gaps) < 2:
        return "-"
    return ", ".join(f"{1000 * each:.0f} ms" for each in statistics.quantiles(gaps, n=4))


if __name__ == "__main__":
    sys.exit(main())
