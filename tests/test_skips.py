"""What is not tested says so: in CI nothing is skipped that could have been installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import corpora
from tests.database import skip_or_fail

# tests.database: the one way to skip.  corpora: the suites beside us.  IPv6 is the machine's, not a package.
_MAY_SKIP = {"database.py": 1, "corpora.py": 1, "test_edge_serve.py": 1}


def test_in_ci_what_is_not_installed_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="Postfix is not installed, and CI=true"):
        skip_or_fail("Postfix")


def test_on_a_persons_machine_it_is_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="Postfix is not installed"):
        skip_or_fail("Postfix")


def test_there_is_no_other_way_to_skip() -> None:
    found: dict[str, int] = {}
    for file in Path(__file__).parent.rglob("*.py"):
        if file != Path(__file__):
            text = file.read_text(encoding="utf-8")
            number = len(re.findall(r"pytest\.(?:skip\(|importorskip|mark\.(?:skip|xfail)|xfail)", text))
            found |= {file.name: number} if number else {}
    assert found == _MAY_SKIP


@pytest.mark.parametrize(
    ("name", "number"),
    [
        pytest.param(name, number, marks=() if corpora.FOLDER.is_dir() else corpora.skipped(name), id=name)
        for name, number in ((corpora.SPF, 203), (corpora.ARC_VALID, 171), (corpora.ARC_SIGN, 17))
    ],
)
def test_a_suite_beside_us_is_whole(name: str, number: int) -> None:
    sections: list[Any] = list(yaml.safe_load_all(corpora.read(name) or ""))
    assert sum(len(section["tests"]) for section in sections) == number
