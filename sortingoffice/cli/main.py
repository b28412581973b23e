"""`sortingoffice`: the command line's front door.

Commands are listed here by name and module, and a module is imported only when one of its
commands runs, so that `sortingoffice new` doesn't wait for what `serve` needs.  A module
exports `commands`, a list of click commands, each of which gets a `Terminal`.

Promise: exit status 0 done, 1 refused (one sentence on standard error), 2 wrong usage; a
person's mistake never shows a traceback.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import importlib
import io
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import click

from sortingoffice.cli.terminal import Terminal, say
from sortingoffice.core.text import quoted
from sortingoffice.errors import OfficeError


class _Room(NamedTuple):
    """Where a command lives, and its line in the list of commands."""

    module: str
    line: str


COMMANDS: dict[str, _Room] = {
    "init": _Room("init", "Set the office up, and print its DNS records."),
    "serve": _Room("serve", "Run the office."),
    "demo": _Room("demo", "Show the whole job on this machine."),
    "doctor": _Room("doctor", "Look for what is wrong, and say what to do."),
    "new": _Room("relationship", "Issue a fresh alias for a vendor."),
    "list": _Room("relationship", "List relationships."),
    "show": _Room("relationship", "Show one relationship."),
    "set": _Room("relationship", "Change a relationship's settings."),
    "allow": _Room("relationship", "Let a sender write to a relationship."),
    "refuse": _Room("relationship", "Turn a sender away from a relationship."),
    "pause": _Room("relationship", "Hold a relationship's mail for a while."),
    "resume": _Room("relationship", "End a pause, and let the held mail go."),
    "revoke": _Room("relationship", "Close an alias: nothing arrives any more."),
    "restore": _Room("relationship", "Undo a revocation."),
    "rotate": _Room("relationship", "Issue a new alias; the old one goes on, flagged."),
    "pocket": _Room("relationship", "Issue aliases ahead, for a vendor not yet known."),
    "contact": _Room("relationship", "Print the address through which to write to a contact."),
    "explain": _Room("relationship", "Say what would happen to a mail, and by which rule."),
    "strangers": _Room("strangers", "List who wrote and is not the vendor."),
    "leaks": _Room("leaks", "List leaked addresses; write and verify a report."),
    "rejects": _Room("rejects", "List recipients that never existed; accept a slip."),
    "card": _Room("card", "Keep cards of personal data."),
    "grant": _Room("card", "Permit a relationship to receive a card."),
    "ungrant": _Room("card", "Take a permission back."),
    "who-has": _Room("card", "Say who holds a card or field."),
    "disclosures": _Room("card", "List what was given to whom, and when."),
    "disclosed": _Room("card", "Write down what you gave in a web form or on paper."),
    "consent-receipt": _Room("receipt", "Print what a vendor was permitted and given, as a consent receipt."),
    "held": _Room("held", "Look at held mail; release or drop it."),
    "names": _Room("names", "Mark names that no vendor may see."),
    "trace": _Room("trace", "Follow a message, or an address's mail."),
    "log": _Room("log", "Show what happened."),
    "admin": _Room("admin", "Accounts, domains, mailboxes, keys, passwords, tokens."),
    "queue": _Room("queue", "Look at the spool; retry or drop."),
    "db": _Room("db", "Upgrade or check the database."),
    "backup": _Room("backup", "Write a backup of the database."),
    "restore-backup": _Room("backup", "Put a backup back."),
    "export": _Room("moving", "Write what is yours to a file."),
    "import": _Room("moving", "Move addresses in from another office."),
    "qr": _Room("desk", "Show an address as a QR code."),
    "completion": _Room("desk", "Print what makes a shell complete our commands."),
    "man": _Room("desk", "Print the manual page."),
}


class _Front(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        room = COMMANDS.get(name)
        if room is None:
            return None
        module = importlib.import_module(f"sortingoffice.cli.{room.module}")
        command: click.Command | None = next((each for each in module.commands if each.name == name), None)
        if command is not None:
            equip(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As usual, with the nearest command where there is none of that name."""
        near = (
            difflib.get_close_matches(args[0], COMMANDS, n=1, cutoff=0.7) if args[0] not in COMMANDS else []
        )
        if near and not args[0].startswith("-"):
            ctx.fail(f"No such command '{args[0]}'. Did you mean {near[0]}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].line) for name in self.list_commands(ctx)])


class _Text(click.types.StringParamType):
    """Words that can be kept and said back.  A file's name may be any octets: that is `click.Path`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = super().convert(value, param, ctx)
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise OfficeError(f"{quoted(text)} is no text in UTF-8: type it anew")
        return text


_TEXT = _Text()


def _keep(name: str) -> Any:
    """A callback that keeps a shared option's value on the one `Terminal`."""

    def keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        terminal = ctx.find_root().ensure_object(Terminal)
        if value:
            setattr(terminal, name, value)

    return keep


def _shared(*, hidden: bool) -> list[click.Option]:
    return [
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            expose_value=False,
            callback=_keep("config_file"),
            hidden=hidden,
            help="The config file.",
        ),
        click.Option(
            ["--account"],
            type=_TEXT,
            metavar="NAME",
            expose_value=False,
            callback=_keep("account_name"),
            hidden=hidden,
            help="Whose; may be left out where there is one account.",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=_keep("json"),
            help="Print JSON, for programs.",
        ),
    ]


def equip(command: click.Command) -> None:
    """Let the shared options stand after the command, too, and take nothing for text that is none."""
    taken = {spelling for param in command.params for spelling in param.opts}
    command.params += [each for each in _shared(hidden=True) if each.opts[0] not in taken]
    for param in command.params:
        if type(param.type) is click.types.StringParamType:
            param.type = _TEXT
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            equip(inner)


@click.group(
    cls=_Front,
    params=list(_shared(hidden=False)),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="sortingoffice", prog_name="sortingoffice")
def sortingoffice() -> None:
    """A relationship-specific email proxy: one address per vendor, answered with data cards,
    revoked with one command."""


# What writing to standard output fails with; a closed pipe is nobody's mistake, and click's.
_UNWRITTEN = frozenset({errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG})


def _open_ends() -> None:
    """Ends also where one is closed, with nothing behind it, and a way to write what a charset lacks."""
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.FileIO(os.open(os.devnull, os.O_RDONLY), "r"))
    for name in ("stdout", "stderr"):
        end = getattr(sys, name)
        if end is None:
            setattr(sys, name, io.TextIOWrapper(io.FileIO(os.open(os.devnull, os.O_WRONLY), "w")))
        elif isinstance(end, io.TextIOWrapper) and end.errors == "strict":
            end.reconfigure(errors="backslashreplace")


def main(arguments: list[str] | None = None) -> None:
    """The console script."""
    _open_ends()
    try:
        status = sortingoffice.main(arguments, prog_name="sortingoffice", standalone_mode=False)
    except click.exceptions.Abort:
        say("stopped")
        sys.exit(130)
    except click.ClickException as error:
        told = io.StringIO()
        error.show(told)
        for line in told.getvalue().splitlines():  # what was typed stands in it: a file's name, too
            say(line)
        sys.exit(error.exit_code)
    except OfficeError as error:
        say(str(error))
        sys.exit(1)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            say("the name of the file is longer than this machine allows: take a shorter one")
            sys.exit(1)
        if isinstance(error, PermissionError) and error.filename is not None:
            say(f"{os.fsdecode(error.filename)} is closed to this account: run this as its owner")
            sys.exit(1)
        if error.errno not in _UNWRITTEN or error.filename is not None:
            raise
        say(f"the output can't be written: {error.strerror}")
        with contextlib.suppress(OSError):  # what is left of it is tried again at the end, and would fail
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)
