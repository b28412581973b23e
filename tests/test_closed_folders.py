"""Folders that an account may not look into, as the keys are to a service that systemd hands them to."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sortingoffice.flows import office as offices
from tests.database import skip_or_fail
from tests.person import DOMAIN, Person, said_outside


def unprivileged() -> list[str]:
    """Starts a program for whom modes mean what they say: root without its capabilities."""
    if os.getuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        skip_or_fail("setpriv")
    return ["setpriv", "--bounding-set=-all", "--"]


@contextmanager
def closed(folder: Path) -> Iterator[None]:
    mode = folder.stat().st_mode
    folder.chmod(0)
    try:
        yield
    finally:
        folder.chmod(mode)


def test_a_working_folder_that_may_not_be_looked_into_holds_no_config(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    environment = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONSAFEPATH": "1",
    }
    closing = ["sh", "-c", 'chmod 0 . && exec "$@"', "sh", *unprivileged()]
    try:
        said = said_outside("list", cwd=here, env=environment, by=closing)
    finally:
        here.chmod(0o700)
    assert said.status == 1, said
    assert said.err.count("\n") == 1, said
    assert "there is no" in said.err


def test_an_account_without_a_home_is_told_that_there_is_no_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sortingoffice import config

    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CONFIG_HOME", config.ENVIRONMENT):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)  # nobody's
    found = config.find(None)
    assert found in (None, Path("/etc/sortingoffice/config.toml"))


@pytest.mark.parametrize(
    "command",
    [
        "admin key list",
        "admin key new",
        "admin key rotate",
        "admin key rotate --office",
        "admin domain add other.example",
        "admin account add bob",
        "card set home.city=Berlin",
    ],
)
def test_who_may_not_look_at_the_keys_is_told_so_in_one_sentence(person: Person, command: str) -> None:
    with person.office() as office:
        keys = offices.key_folder(office.config)
    with closed(keys):
        said = said_outside("--config", person.config, *command.split(), by=unprivileged())
    assert said.status == 1, said
    assert said.err.count("\n") == 1, said
    assert "keys" in said.err
    assert "run this as" in said.err


def test_doctor_looks_at_all_the_rest_where_it_may_not_look_at_the_keys(person: Person) -> None:
    text = person.config.read_text() + '\n[dns]\nnameservers = ["127.0.0.1:1"]\ntimeout = 0.2\n'
    person.config.write_text(text)
    with person.office() as office:
        keys = offices.key_folder(office.config)
    with closed(keys):
        said = said_outside("--config", person.config, "doctor", by=unprivileged())
    assert "Traceback" not in said.err
    assert f"keys {DOMAIN}" in said.out
    assert f"mx {DOMAIN}" in said.out.lower()
