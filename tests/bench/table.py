"""What was measured, as a table for a person: medians, and ratios to the yardstick."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.bench.rounds import Figures

_HEAD = ("", "msg/s", "p50 ms", "p99 ms", "250 ms", "CPU ms", "PSS MB")
_RATIOS = ("×msg/s", "×p50", "×CPU", "×PSS")


def shown(found: Iterable[Figures], yardstick: str) -> str:
    """A block per case; ratios to the system of this name, where it took part."""
    cases: dict[str, list[Figures]] = {}
    for figures in found:
        cases.setdefault(figures.case, []).append(figures)
    return "\n\n".join(_block(case, rows, yardstick) for case, rows in cases.items())


def _block(case: str, rows: list[Figures], yardstick: str) -> str:
    base = next((each for each in rows if each.system == yardstick), None)
    head = (case, *_HEAD[1:], *(_RATIOS if base else ()))
    return aligned([head, *(_row(each, base) for each in rows)])


def _row(each: Figures, base: Figures | None) -> tuple[str, ...]:
    row = [each.system, f"{each.rate:.0f}", f"{each.p50:.1f}", f"{each.p99:.1f}", f"{each.taken:.1f}"]
    row += [f"{each.cpu:.2f}", f"{each.memory:.0f}"]
    if base is not None:
        row += [
            f"{part / whole:.2f}" if whole else "–"
            for part, whole in (
                (each.rate, base.rate),
                (each.p50, base.p50),
                (each.cpu, base.cpu),
                (each.memory, base.memory),
            )
        ]
    return tuple(row)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns under one another, the first to the left."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for row in rows:
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([row[0].ljust(widths[0]), *rest]).rstrip())
    return "\n".join(lines)
