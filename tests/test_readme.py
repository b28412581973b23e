"""The README's commands exist, its files are there, and its first steps work as written."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import click
import pytest

from sortingoffice.cli.main import COMMANDS, sortingoffice
from tests.database import skip_or_fail
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


def test_a_source_archive_holds_all_that_the_readme_names(tmp_path: Path) -> None:
    if int(version("setuptools").partition(".")[0]) < 77:
        skip_or_fail("setuptools 77", "is not installed: older ones can't build this project")
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "Makefile"):
        shutil.copy(ROOT / name, tree)
    shutil.copy(ROOT / "config.example.toml", tree)
    for name in ("sortingoffice", "docs", "systemd", "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = "import sys; from setuptools.build_meta import build_sdist; print(build_sdist(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, tmp_path], cwd=tree, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done
    with tarfile.open(tmp_path / done.stdout.split()[-1]) as archive:
        held = {each.name.partition("/")[2] for each in archive.getmembers() if each.isfile()}
    whole = {str(each.relative_to(tree)) for each in tree.rglob("*") if each.is_file()}
    assert {each for each in whole if ".egg-info" not in each and "/build/" not in each} <= held


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
