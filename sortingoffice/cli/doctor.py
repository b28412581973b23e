"""`sortingoffice doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

import click

from sortingoffice.cli.terminal import Terminal, say
from sortingoffice.core.diagnosis import Finding, Health, failed
from sortingoffice.errors import OfficeError

_COLUMNS = ("health", "check", "said")
_MARK = {Health.OK: "ok", Health.WARNING: "warning", Health.FAILED: "FAILED"}


@click.command("doctor")
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Look at DNS, ports, certificates, the clock, the database, the queue and the files.

    Exit status 1 if anything has failed; a warning is none.
    """
    from sortingoffice.flows import doctor as flow

    terminal = ctx.find_object(Terminal)
    assert terminal is not None, "the front door makes it"
    try:
        found = flow.everything(terminal.office)
    except OfficeError as error:  # it can't even be opened: that is the finding
        found = (failed("office", str(error), "mend that first, then run `sortingoffice doctor` again"),)
    if terminal.json:
        terminal.data([_row(each) for each in found])
    else:
        terminal.rows([row for each in found for row in _lines(each)], _COLUMNS, empty="")
        bad = sum(each.health is Health.FAILED for each in found)
        warned = sum(each.health is Health.WARNING for each in found)
        say(f"{len(found)} looked at: {bad} failed, {warned} with a warning.")
    if any(each.health is Health.FAILED for each in found):
        ctx.exit(1)


def _row(of: Finding) -> dict[str, str]:
    return {"check": of.check, "health": of.health.value, "said": of.said, "remedy": of.remedy}


def _lines(of: Finding) -> list[dict[str, str]]:
    """The finding, and below it what to do."""
    found = [{"health": _MARK[of.health], "check": of.check, "said": of.said}]
    return [*found, {"health": " ", "check": " ", "said": f"→ {of.remedy}"}] if of.remedy else found


commands: list[click.Command] = [doctor]
