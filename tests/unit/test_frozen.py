"""sortingoffice.frozen: values that the type checker keeps as they are."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run

from sortingoffice.frozen import dataclass

_ASSIGNED = """\
from sortingoffice.frozen import dataclass

@dataclass(frozen=True, slots=True)
class Value:
    number: int

Value(1).number = 2
"""


@dataclass(frozen=True, slots=True)
class _Value:
    number: int
    text: str = ""


def test_two_values_with_the_same_fields_are_equal_and_hash_alike() -> None:
    assert _Value(1, "a") == _Value(1, "a") != _Value(1, "b")
    assert len({_Value(1, "a"), _Value(1, "a"), _Value(2, "a")}) == 2


def test_the_type_checker_refuses_to_change_a_value(tmp_path: Path) -> None:
    source = tmp_path / "changed.py"
    source.write_text(_ASSIGNED)
    done = run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(source)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert 'Property "number" defined in "Value" is read-only' in done.stdout, done.stdout + done.stderr
