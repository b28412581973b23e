"""Processor time and memory of trees of processes, from /proc.

Sources: proc(5) (stat, smaps_rollup, task/…/children).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(roots: Iterable[int]) -> list[int]:
    """The processes and all that descend from them."""
    found: list[int] = []
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        for task in _each(f"/proc/{pid}/task"):
            try:
                waiting += [int(child) for child in (task / "children").read_text().split()]
            except OSError:
                continue
    return found


def seconds(roots: Iterable[int]) -> float:
    """Processor time so far, the ended children's with it."""
    total = 0
    for pid in tree(roots):
        try:
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, after_name[11:15]))  # utime, stime, cutime, cstime
    return total / _TICKS


def octets(roots: Iterable[int]) -> int:
    """Memory as PSS: what is shared counts in parts."""
    total = 0
    for pid in tree(roots):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += (
            next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0) * 1024
        )
    return total


def _each(folder: str) -> list[Path]:
    try:
        return list(Path(folder).iterdir())
    except OSError:
        return []
