"""What a desk needs: an address as a QR code, completion for the shell, the manual page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from sortingoffice.cli.terminal import Terminal
from sortingoffice.errors import OfficeError
from sortingoffice.flows import relationships


@click.command("qr")
@click.argument("relationship")
@click.option(
    "--svg", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write an image."
)
@click.pass_obj
def qr(terminal: Terminal, relationship: str, svg: Path | None) -> None:
    """Show RELATIONSHIP's address as a QR code, to be read by whoever stands at the desk."""
    import segno

    office = terminal.office
    alias = office.db.view(relationships.shown, office, terminal.account, relationship)["alias"]
    code = segno.make(f"mailto:{alias}", micro=False)
    if svg is None:
        code.terminal(compact=True)
        return
    try:
        code.save(str(svg), kind="svg", scale=8, border=4, light="#fff")
    except OSError as error:
        raise OfficeError(f"{svg} can't be written ({error.strerror})") from None
    terminal.done(f"{svg} written.", {"file": str(svg), "alias": alias})


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete our commands.

    For bash: sortingoffice completion bash > ~/.local/share/bash-completion/completions/sortingoffice
    """
    made = get_completion_class(shell)
    assert made is not None, "click knows the three"
    front = click.get_current_context().find_root().command
    click.echo(made(front, {}, "sortingoffice", "_SORTINGOFFICE_COMPLETE").source())


@click.command("man")
@click.pass_context
def man(ctx: click.Context) -> None:
    """Print the manual page: sortingoffice man | man -l -"""
    for line in _manual(ctx.find_root()):
        click.echo(line)


def _manual(root: click.Context) -> Iterator[str]:
    front = root.command
    assert isinstance(front, click.Group)
    yield '.TH SORTINGOFFICE 1 "" "" "Sorting Office"'
    yield ".SH NAME"
    yield "sortingoffice \\- one mail address for each vendor"
    yield ".SH SYNOPSIS"
    yield ".B sortingoffice"
    yield "[\\-\\-config FILE] [\\-\\-account NAME] [\\-\\-json] COMMAND"
    yield ".SH DESCRIPTION"
    yield _roff(front.help or "")
    yield ".SH COMMANDS"
    for name in front.list_commands(root):
        command = front.get_command(root, name)
        if command is not None:
            yield from _command(command, name, root)
    yield ".SH EXIT STATUS"
    yield "0 done; 1 refused, with one sentence on standard error; 2 wrong usage."


def _command(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    ctx = click.Context(command, info_name=name, parent=parent)
    if isinstance(command, click.Group):
        for inner in command.list_commands(ctx):
            found = command.get_command(ctx, inner)
            if found is not None:
                yield from _command(found, f"{name} {inner}", parent)
        return
    pieces = " ".join(command.collect_usage_pieces(ctx))
    yield ".SS " + _roff(f"{name} {pieces}")
    yield _roff(command.help or "")
    for each in command.get_params(ctx):
        record = each.get_help_record(ctx)
        if record is not None and record[0] not in ("--json", "--help", "-h, --help"):
            yield ".TP"
            yield "\\fB" + _roff(record[0]) + "\\fR"
            yield _roff(record[1]) or "\\&"


def _roff(text: str) -> str:
    """Text that roff prints as it is."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    lines = [line.strip() for line in escaped.splitlines()]
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line or ".PP" for line in lines)


commands: list[click.Command] = [qr, completion, man]
