"""Whole numbers as options take them, no larger than either database holds."""

from __future__ import annotations

import click

_MOST = 10**9

COUNT = click.IntRange(1, _MOST)
COUNT_OR_NONE = click.IntRange(0, _MOST)  # 0 lifts a limit
NUMBER = click.IntRange(max=2**63 - 1)  # of a row
