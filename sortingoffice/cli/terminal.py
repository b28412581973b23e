"""The terminal: what every command is given, and how it speaks.

`Terminal` carries the options that all commands share (--config, --account, --json) and
opens the office only when a command asks for it.  A command gets it by `@click.pass_obj`.

Promise: data goes to standard output and everything else to standard error; nothing that
came in by mail can move the cursor or colour the screen.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sortingoffice import config
from sortingoffice.cli import table
from sortingoffice.cli.table import printable
from sortingoffice.errors import OfficeError

if TYPE_CHECKING:
    from sortingoffice.core.model import Account
    from sortingoffice.flows.office import Office


@dataclass
class Terminal:
    """The shared options, as they were given anywhere on the command line."""

    config_file: Path | None = None
    account_name: str = ""
    json: bool = False

    @cached_property
    def config(self) -> config.Config:
        """The configuration; `OfficeError` where there is none."""
        path = config.find(self.config_file)
        if path is None:
            raise OfficeError(
                "there is no config file yet: run `sortingoffice init --domain … --mailbox …`, "
                "or name one with --config"
            )
        return config.load(path)

    @cached_property
    def office(self) -> Office:
        """The open office: database and keys, no network."""
        from sortingoffice.flows import office

        opened = office.open(self.config, "cli")
        at_the_end(opened.db.close)
        return opened

    @cached_property
    def account(self) -> Account:
        """The account that --account names, or the only one there is."""
        from sortingoffice.flows import accounts

        return accounts.named(self.office, self.account_name)

    def rows(
        self,
        rows: Sequence[Mapping[str, Any]],
        columns: Iterable[str],
        *,
        empty: str,
        spare: Sequence[str] = (),
    ) -> None:
        """Print a list: a JSON array of everything, or a table of some columns.

        spare  columns that a narrow window goes without, the first first
        """
        if self.json:
            self.data(list(rows))
        elif not rows:
            say(empty)
        else:
            table.show(rows, tuple(columns), spare)

    def data(self, value: Any) -> None:
        """Print one value as JSON."""
        click.echo(_json(value, indent=2))

    def stream(self, pages: Iterable[Sequence[Mapping[str, Any]]]) -> None:
        """Print a long list as a JSON array, each page as it comes, a row on each line."""
        begun = False
        for page in pages:
            text = ",\n".join("  " + _json(row) for row in page)
            click.echo((",\n" if begun else "[\n") + text, nl=False)
            begun = True
        click.echo("\n]" if begun else "[]")

    def sheet(self, value: Mapping[str, Any]) -> None:
        """Print one thing, a line for each of its parts, for a person."""
        table.sheet(value)

    def done(self, sentence: str, value: Mapping[str, Any]) -> None:
        """Report what was done: the value as JSON, or a sentence on standard error."""
        if self.json:
            self.data(value)
        else:
            say(sentence)


def one_or_all(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    """A name that may be left out: "" for all.  An empty one is a mistake: a script's variable is not set."""
    if value is not None and not value.strip():
        raise click.BadParameter("it is empty: leave it out where all are meant", ctx, param)
    return value or ""


def at_the_end(close: Callable[[], None]) -> None:
    """Call this when the command has ended, well or not."""
    click.get_current_context().find_root().call_on_close(close)


def say(sentence: str) -> None:
    """A sentence for the person, on standard error."""
    click.echo(printable(sentence), err=True)


def interactive() -> bool:
    """Whether somebody sits there to be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _json(value: Any, indent: int | None = None) -> str:
    plain = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") != "utf8"
    return json.dumps(value, ensure_ascii=plain, indent=indent, default=_plain)


def _plain(value: Any) -> Any:
    """What JSON has no shape for."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return str(value)
