"""Failpoints: each has one place, an unset one does nothing, a wrong one is named."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import sortingoffice
from sortingoffice import failpoint
from sortingoffice.errors import OfficeError


def _python(setting: str, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"from sortingoffice import failpoint\n{code}"],
        env={**os.environ, failpoint.VARIABLE: setting},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_each_point_stands_at_one_place_in_the_code() -> None:
    found = Counter[str]()
    for path in Path(sortingoffice.__file__).parent.rglob("*.py"):
        found.update(re.findall(r'failpoint\.at\("([^"]+)"\)', path.read_text()))
    assert found == dict.fromkeys(failpoint.POINTS, 1)


def test_unset_a_point_costs_next_to_nothing() -> None:
    assert failpoint.at is failpoint._nothing
    best = min(_seconds(10_000) for _ in range(20))
    assert best < 0.2e-6 * 10_000


def _seconds(times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        failpoint.at("after-dot")
    return time.perf_counter() - began


def test_kill_ends_the_process_at_the_nth_passing() -> None:
    done = _python(
        "after-dot=kill@3", "for n in range(9):\n  print(n, flush=True)\n  failpoint.at('after-dot')"
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["0", "1", "2"]


def test_raise_and_sleep_act_where_they_are_named_and_nowhere_else() -> None:
    code = (
        "import time\nfailpoint.at('claimed')\nbegan = time.monotonic()\nfailpoint.at('settled')\n"
        "print(time.monotonic() - began)\nfailpoint.at('in-put')"
    )
    done = _python("settled=sleep:0.2, in-put=raise", code)
    assert float(done.stdout) >= 0.2
    assert "Failed: failpoint in-put" in done.stderr


@pytest.mark.parametrize(
    "setting", ["after-lunch=kill", "after-dot=explode", "after-dot", "after-dot=kill@0"]
)
def test_a_setting_that_means_nothing_is_refused(setting: str) -> None:
    with pytest.raises(OfficeError, match=failpoint.VARIABLE):
        failpoint.parse(setting)
