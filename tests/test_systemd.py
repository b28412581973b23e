"""The units: clean by systemd's own judgement, and true to the code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.database import skip_or_fail

UNITS = Path(__file__).parent.parent / "systemd"
ROLES = ("smtp", "queue", "web")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units in a folder, with a program where they look for it."""
    if shutil.which("systemd-analyze") is None:
        skip_or_fail("systemd-analyze")
    folder = tmp_path / "units"
    shutil.copytree(UNITS, folder)
    program = tmp_path / "sortingoffice"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in folder.glob("*.service"):
        unit.write_text(unit.read_text().replace("/opt/sortingoffice/bin/sortingoffice", str(program)))
    return folder


def _analyze(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{installed}:", "SYSTEMD_LOG_LEVEL": "warning"}
    return subprocess.run(
        ["systemd-analyze", *arguments],
        cwd=installed,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_systemd_finds_nothing_to_complain_about(installed: Path) -> None:
    units = ["sortingoffice.service", *(f"sortingoffice@{role}.service" for role in ROLES)]
    units += [unit.name for unit in installed.glob("*.socket")]
    done = _analyze(installed, "verify", *(f"./{unit}" for unit in units))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_service_is_hardened(installed: Path) -> None:
    done = _analyze(installed, "security", "--offline=true", "./sortingoffice.service")
    match = re.search(r"exposure level for \S+ ([\d.]+)", done.stdout)
    assert match, done
    assert float(match[1]) <= 2.0


def test_a_worker_may_stay_on_its_processor_though_other_calls_of_that_kind_are_forbidden() -> None:
    for name in ("sortingoffice.service", "sortingoffice@.service"):
        lines = (UNITS / name).read_text().splitlines()
        forbidden = lines.index("SystemCallFilter=~@privileged @resources")
        assert "SystemCallFilter=sched_setaffinity" in lines[forbidden:]  # what comes later counts


def test_each_role_is_given_its_own_secrets() -> None:
    given = {
        role: set(
            re.findall(
                r"^LoadCredential=([\w.]+):",
                (UNITS / "sortingoffice@.service").read_text()
                + (UNITS / f"sortingoffice@{role}.service.d" / "role.conf").read_text(),
                re.MULTILINE,
            )
        )
        for role in ROLES
    }
    assert given == {
        "smtp": {"token.key", "office.key"},
        "queue": {"token.key", "dkim"},
        "web": {"token.key", "office.key"},
    }


def test_the_sockets_have_the_names_that_the_daemon_looks_for() -> None:
    for kind, port in (("smtp", 25), ("submission", 587)):
        text = (UNITS / f"sortingoffice-{kind}.socket").read_text()
        assert f"FileDescriptorName={kind}\n" in text
        assert f"ListenStream=0.0.0.0:{port}\n" in text
