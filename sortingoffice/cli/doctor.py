"""`sortingoffice doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

import click

from sortingoffice.cli.terminal import Terminal, printable, say
from sortingoffice.core.diagnosis import Finding, Health, failed
from sortingoffice.errors import OfficeError

_MARK = {Health.OK: "ok     ", Health.WARNING: "warning", Health.FAILED: "FAILED "}


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
        _print(found)
    if any(each.health is Health.FAILED for each in found):
        ctx.exit(1)


def _row(of: Finding) -> dict[str, str]:
    return {"check": of.check, "health": of.health.value, "said": of.said, "remedy": of.remedy}


def _print(found: tuple[Finding, ...]) -> None:
    width = max(len(each.check) for each in found)
    for each in found:
        click.echo(printable(f"{_MARK[each.health]}  {each.check:<{width}}  {each.said}"))
        if each.remedy:
            click.echo(printable(f"{'':<{width + 11}}→ {each.remedy}"))
    bad = sum(each.health is Health.FAILED for each in found)
    warned = sum(each.health is Health.WARNING for each in found)
    say(f"{len(found)} looked at: {bad} failed, {warned} with a warning.")


commands: list[click.Command] = [doctor]
