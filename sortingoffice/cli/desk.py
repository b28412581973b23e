"""What a desk needs: an address as a QR code, completion for the shell, the manual page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from sortingoffice.cli import complete
from sortingoffice.cli.terminal import Terminal
from sortingoffice.errors import OfficeError
from sortingoffice.flows import overview


@click.command("qr")
@click.argument("relationship", shell_complete=complete.relationships)
@click.option(
    "--svg", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write an image."
)
@click.pass_obj
def qr(terminal: Terminal, relationship: str, svg: Path | None) -> None:
    """Show RELATIONSHIP's address as a QR code, to be read by whoever stands at the desk."""
    import segno

    office = terminal.office
    alias = office.db.view(overview.named, office, terminal.account, relationship)["alias"]
    code = segno.make(f"mailto:{alias}", micro=False)
    if svg is None and terminal.json:
        terminal.data({"alias": alias, "content": f"mailto:{alias}"})
        return
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
    yield ".SH OPTIONS"
    yield "They may stand before or after the command."
    yield from _options(front, root, ())
    yield ".SH COMMANDS"
    for name in front.list_commands(root):
        command = front.get_command(root, name)
        if command is not None:
            yield from _command(command, name, root)
    yield ".SH EXIT STATUS"
    yield "0 done; 1 refused, with one sentence on standard error; 2 wrong usage."
    for section, lines in _SURROUNDINGS.items():
        yield f".SH {section}"
        for name, text in lines.items():
            yield from (".TP", f"\\fB{_roff(name)}\\fR", _roff(text))


_SURROUNDINGS = {
    "ENVIRONMENT": {
        "SORTINGOFFICE_CONFIG": "The config file, where --config names none.",
        "NO_COLOR": "Where it is set, tables at a terminal have no colours.",
    },
    "FILES": {
        "./sortingoffice.toml": "The config, where neither --config nor SORTINGOFFICE_CONFIG names one.",
        "~/.config/sortingoffice/config.toml": "The config where that is missing.",
        "/etc/sortingoffice/config.toml": "The config where that is missing, too.",
    },
}
_SHARED = ("--config FILE", "--account NAME", "--json", "--help", "-h, --help")


def _command(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    ctx = click.Context(command, info_name=name, parent=parent)
    group = command if isinstance(command, click.Group) else None
    if group is None or group.invoke_without_command:
        usage = command.collect_usage_pieces(ctx) if group is None else ["[OPTIONS]"]
        yield ".SS " + _roff(f"{name} {' '.join(usage)}")
        yield _roff(command.help or "")
        yield from _options(command, ctx, _SHARED)
    if group is not None:
        for inner in group.list_commands(ctx):
            found = group.get_command(ctx, inner)
            if found is not None:
                yield from _command(found, f"{name} {inner}", parent)


def _options(command: click.Command, ctx: click.Context, but: tuple[str, ...]) -> Iterator[str]:
    for each in command.get_params(ctx):
        record = each.get_help_record(ctx)
        if record is not None and record[1] and record[0] not in but:
            yield from (".TP", f"\\fB{_roff(record[0])}\\fR", _roff(record[1]))


def _roff(text: str) -> str:
    """Text that roff prints as it is."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    lines = [line.strip() for line in escaped.strip().splitlines()]
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line or ".PP" for line in lines)


commands: list[click.Command] = [qr, completion, man]
