"""Dates and spans of time as options take them: 2026-12-01, 2026-12-01T09:00, 14d, 6h."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_SPAN = re.compile(r"(\d{1,5})\s*([mhdw])")
_UNIT = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Moment(click.ParamType[datetime]):
    """An aware UTC datetime; a day begins at midnight where the person is."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        text = str(value).strip()
        if span := _SPAN.fullmatch(text):
            return datetime.now(UTC) + timedelta(**{_UNIT[span[2]]: int(span[1])})
        try:
            return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{text!r} is no date: write 2026-12-01, or a time from now such as 14d", param, ctx)


MOMENT = Moment()
