"""The bench itself: that it runs, and that it would notice work left undone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sortingoffice.net.zone import ZoneServer
from tests.bench import letters
from tests.bench.system import System


@pytest.mark.timeout(110)
def test_the_bench_measures_the_office_alone(tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    asked = ["--only", "office", "--quick", "--messages", "50", "--aliases", "100", "--to", str(report)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *asked, "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    assert "sorting office" in done.stdout
    assert "CPU ms" in done.stdout
    last = json.loads(report.read_text())["cases"][-1]
    assert last["messages"] == 50
    assert last["rate"] > 0
    assert last["cpu"] > 0
    assert last["p50"] <= last["p99"]


def test_a_system_that_leaves_its_work_undone_ends_the_bench() -> None:
    system = System("lazy", 25, list, (rb"DKIM-Signature: [^\n]*d=sort\.example",))
    system.check(b"DKIM-Signature: v=1; d=sort.example\r\n\r\n")
    with pytest.raises(SystemExit, match="lazy"):
        system.check(b"Subject: unsigned\r\n\r\n")


def test_no_two_letters_are_the_same_message() -> None:
    with ZoneServer() as zone:
        written = letters.written(letters.vendors(zone, 1), ["a@sort.example"], 4096, 20)
    assert len({letter.name for letter in written}) == 20
    assert all(3900 < len(letter.wire) < 4500 for letter in written)
