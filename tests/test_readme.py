"""The README's commands exist, its files are there, and its first steps work as written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from sortingoffice.cli.main import COMMANDS, sortingoffice
from tests.person import DOMAIN, MAILBOX, Person, said

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def _shown() -> list[str]:
    """Every command line that the README shows, in blocks and in sentences."""
    blocks = [line.partition("#")[0].strip() for line in README.splitlines() if line.startswith("    ")]
    blocks = [part.strip() for line in blocks for part in line.split("&&")]
    spoken = [text.replace("\n", " ") for text in re.findall(r"`(sortingoffice [^`]+)`", README)]
    return [line for line in [*blocks, *spoken] if line.startswith("sortingoffice ")]


def _entered(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words lead to, and what is left of them."""
    context = click.Context(sortingoffice)
    command: click.Command = sortingoffice
    rest = list(words)
    while rest and isinstance(command, click.Group):
        if rest[0] == "--config":
            rest = rest[2:]
            continue
        found = command.get_command(context, rest[0])
        assert found is not None, words
        command, rest = found, rest[1:]
    return command, rest


@pytest.mark.parametrize("line", [line for line in _shown() if "COMMAND" not in line])
def test_every_command_that_the_readme_shows_exists_with_its_options(line: str) -> None:
    command, rest = _entered(shlex.split(line)[1:])
    known = {spelling for param in command.params for spelling in param.opts}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, line


def test_the_table_of_commands_names_what_exists() -> None:
    table = README.partition("## Commands")[2].partition("**Write")[0]
    named = re.findall(r"`([a-z-]+)(?: ([a-z]+))?`", table)
    assert {first for first, _ in named} <= set(COMMANDS)
    for first, second in named:
        if second:
            command, rest = _entered([first, second])
            assert rest == []
            assert command.name == second


def test_every_file_that_the_readme_names_is_there() -> None:
    for name in re.findall(r"`((?:docs/)?[\w.]+\.(?:md|toml))`", README):
        assert (ROOT / name).exists(), name
    assert "[smarthost]" not in README


def test_the_first_steps_work_as_written(tmp_path: Path) -> None:
    person = Person(tmp_path)
    steps = README.partition("## Five minutes")[2].partition("### DNS")[0]
    lines = [line.strip() for line in steps.splitlines() if line.startswith("    sortingoffice ")]
    assert len(lines) == 5
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        if words[0] != "serve":
            assert said("--config", person.config, *words).status == 0, line
    assert person.json("show", "lamp-shop")["state"] == "revoked"
    assert DOMAIN in steps
    assert MAILBOX in steps


def test_the_makefile_has_the_targets_that_are_promised() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in ("demo", "test", "check", "bench", "format"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
