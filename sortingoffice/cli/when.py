"""The end of something, as options take it: a time from now, or a date, which is its last day."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import click

from sortingoffice.cli.moment import Moment

NEVER = "never"


class Until(click.ParamType["datetime | str"]):
    """When something ends; with `lifts`, "never" becomes the empty text."""

    name = "DATE|14d"

    def __init__(self, *, lifts: bool = False) -> None:
        self._lifts = lifts

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | str:
        if self._lifts and str(value).strip().lower() == NEVER:
            return ""
        found = Moment().convert(value, param, ctx)
        try:
            return found + timedelta(days=1, seconds=-1) if _day(value) else found
        except OverflowError:  # the last evening of the calendar, west of Greenwich
            self.fail(f"{value} lies too far ahead: write an earlier day", param, ctx)


def _day(value: object) -> bool:
    try:
        date.fromisoformat(str(value).strip())
    except ValueError:
        return False
    return True


UNTIL = Until()
UNTIL_OR_NEVER = Until(lifts=True)
