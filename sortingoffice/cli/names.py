"""`sortingoffice names`: names that no vendor may see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from sortingoffice.cli.terminal import Terminal, say
from sortingoffice.core.names import Mark
from sortingoffice.flows import names as flow
from sortingoffice.store.database import Transaction

_COLUMNS = ("mark", "name", "looked_for")
ACTOR = "cli"


@click.group("names")
def names() -> None:
    """Mark names private: mail that would show one is held, and you are asked.

    Each word of four letters or more is looked for by itself, in any case, with or without accents.
    """


def _marks(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--display-name", "display", is_flag=True, help="What your mail program shows as yours."
        ),
        click.option("--login", is_flag=True, help="The account's name."),
        click.argument("written", metavar="[NAME]...", nargs=-1),
    ):
        command = option(command)
    return command


def _named(written: tuple[str, ...], login: bool, display: bool) -> list[tuple[Mark, str]]:
    found = [(Mark.NAME, each) for each in written]
    found += [(Mark.LOGIN, "")] if login else []
    found += [(Mark.DISPLAY, "")] if display else []
    if not found:
        raise click.UsageError("name what is meant: NAME, --login or --display-name")
    return found


def _each(
    terminal: Terminal, act: Callable[..., dict[str, Any]], said: str, marks: list[tuple[Mark, str]]
) -> None:
    """All of them, or none where one is wrong."""
    office, account = terminal.office, terminal.account

    def acted(tx: Transaction) -> list[dict[str, Any]]:
        return [act(tx, office, account, mark, name, actor=ACTOR) for mark, name in marks]

    done = office.db.call(acted)
    if terminal.json:
        terminal.data(done)
        return
    for each in done:
        say(f"{said}: {each['name'] or each['mark']}.")


@names.command("list")
@click.pass_obj
def list_(terminal: Terminal) -> None:
    """List the marked names, and the words that are looked for."""
    rows = terminal.office.db.view(flow.every, terminal.account)
    terminal.rows(rows, _COLUMNS, empty="No name is marked private.")


@names.command("add")
@_marks
@click.pass_obj
def add(terminal: Terminal, written: tuple[str, ...], login: bool, display: bool) -> None:
    """Mark each NAME private."""
    _each(terminal, flow.add, "Private", _named(written, login, display))


@names.command("remove")
@_marks
@click.pass_obj
def remove(terminal: Terminal, written: tuple[str, ...], login: bool, display: bool) -> None:
    """Let each NAME be seen again."""
    _each(terminal, flow.remove, "No longer private", _named(written, login, display))


commands: list[click.Command] = [names]
