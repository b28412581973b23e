"""`sortingoffice card notify`: who holds an old value, tell them, and what became of it.

Each vendor is told in a transaction of their own: what is interrupted goes on when it is run again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from sortingoffice.cli import complete
from sortingoffice.cli.terminal import Terminal, interactive, say
from sortingoffice.errors import OfficeError
from sortingoffice.flows import notified, notify
from sortingoffice.flows.notify import MAIL, Step
from sortingoffice.values import duration

ACTOR = "cli"


class Span(click.ParamType[timedelta]):
    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        found = value if isinstance(value, timedelta) else duration(str(value))
        if not found or found > timedelta(days=366):
            self.fail(f"{value!r} is no span of time: write for example 14d, at most 366d", param, ctx)
        return found


@click.command("notify")
@click.argument("name", shell_complete=complete.cards)
@click.option("--dry-run", is_flag=True, help="Only show who would be told what.")
@click.option("--status", is_flag=True, help="Show who was told, and who has answered.")
@click.option("--again", is_flag=True, help="Ask those who have not answered again.")
@click.option(
    "--patience", type=Span(), metavar="14d", help="How long they may be silent; else cards.silent_after."
)
@click.option("--letter", metavar="RELATIONSHIP|all", help="Write letters to print; nothing is sent.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where the letters go.",
)
@click.pass_obj
def notify_(
    terminal: Terminal,
    name: str,
    dry_run: bool,
    status: bool,
    again: bool,
    patience: timedelta | None,
    letter: str | None,
    out: Path | None,
) -> None:
    """Tell each vendor that holds an old value of this card or view, from the address that they know."""
    if sum((dry_run, status, again, letter is not None)) > 1:
        raise click.UsageError("--dry-run, --status, --again and --letter go one at a time")
    if (letter is None) != (out is None):
        raise click.UsageError("letters need both: --letter RELATIONSHIP|all --out FOLDER")
    if status:
        _status(terminal, name)
    elif again:
        _again(terminal, name, patience)
    elif letter is not None and out is not None:
        _letters(terminal, name, letter, out)
    else:
        _tell(terminal, name, patience, dry_run=dry_run)


def _tell(terminal: Terminal, name: str, patience: timedelta | None, *, dry_run: bool) -> None:
    office, account = terminal.office, terminal.account
    steps = office.db.view(notify.plan, office, account, name)
    mails = [step for step in steps if step.how == MAIL]
    if not dry_run and mails and interactive() and not terminal.json:
        _shown(terminal, steps)
        click.confirm(f"Send {_count(len(mails), 'mail')}?", abort=True, err=True)
    told: list[Step] = []
    for step in () if dry_run else mails:
        made = office.db.call(
            notify.send, office, account, name, only=step.to.id, patience=patience, actor=ACTOR
        )
        told += [each for each in made if each.how == MAIL]
    rest = [step for step in steps if step.to.id not in {each.to.id for each in told}]
    if terminal.json:
        done = [{**notify.row(step), "sent": True} for step in told]
        terminal.data(done + [{**notify.row(step), "sent": False} for step in rest])
    elif dry_run or not interactive():
        _shown(terminal, (*told, *rest))
    if told:
        say(f"{len(told)} told; `sortingoffice card notify {name} --status` shows what becomes of it")
    _hint(rest, name)


def _hint(steps: Sequence[Step], name: str) -> None:
    left = [step.to.slug for step in steps if step.how in (notify.LETTER, notify.SENSITIVE)]
    if left:
        say(f"not by mail: {', '.join(left)}; `sortingoffice card notify {name} --letter all --out FOLDER`")


def _status(terminal: Terminal, name: str) -> None:
    office = terminal.office
    rows = office.db.view(notified.status, office, terminal.account, name)
    columns = ("relationship", "state", "how", "at", "sent", "acknowledged", "bounced", "again")
    terminal.rows(rows, columns, empty="nobody was told of it, and nobody has to be", spare=("how", "at"))


def _again(terminal: Terminal, name: str, patience: timedelta | None) -> None:
    office, account = terminal.office, terminal.account
    steps = office.db.call(notified.again, office, account, name, patience=patience, actor=ACTOR)
    if terminal.json:
        terminal.data([{**notify.row(step), "sent": True} for step in steps])
    elif steps:
        _shown(terminal, steps)
    if not terminal.json:
        say(f"{_count(len(steps), 'vendor')} asked again" if steps else "nobody is silent")


def _letters(terminal: Terminal, name: str, relationship: str, out: Path) -> None:
    office, account = terminal.office, terminal.account
    pages = office.db.view(notified.papers, office, account, name, relationship)
    rows = []
    for slug, page in pages:
        rows.append({"relationship": slug, "file": str(_written(out, f"{slug}.html", page))})
    if terminal.json:
        terminal.data(rows)
        return
    for row in rows:
        click.echo(row["file"])
    if rows:
        say(
            f"Print and post them; then: sortingoffice disclosed {rows[0]['relationship']} {name} --via paper"
        )
    else:
        say("nobody holds an old value of it")


def _written(folder: Path, name: str, page: str) -> Path:
    """For the person's eyes only; a letter of the same name is replaced, and a link is not followed."""
    path = folder / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(page)
    except OSError as error:
        raise OfficeError(f"{path} can't be written ({error.strerror}): name another folder") from None
    return path


def _shown(terminal: Terminal, steps: Sequence[Step]) -> None:
    rows = [{**row, **change} for row in map(notify.row, steps) for change in row["fields"] or [{}]]
    columns = ("relationship", "to", "how", "card", "field", "old", "new", "from")
    terminal.rows(rows, columns, empty="nobody holds an old value of it")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
