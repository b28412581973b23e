"""The public conformance suites, read from `shared/corpora` beside the project.

They are not ours to copy, so where the whole folder is missing they are skipped by name.  Where it is there,
a suite that is missing from it is an error, and `tests/test_skips.py` holds each to its number of cases.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "corpora"
SPF, ADDRESSES, SUFFIXES = "spf/rfc7208-tests.yml", "isemail/tests.xml", "publicsuffix/test_psl.txt"
ARC_VALID, ARC_SIGN = "arc/arc-draft-validation-tests.yml", "arc/arc-draft-sign-tests.yml"


def read(name: str) -> str | None:
    """A suite's text; None where there are no suites at all.  Raises where this one alone is missing."""
    return (FOLDER / name).read_text(encoding="utf-8") if FOLDER.is_dir() else None


def whole(name: str) -> list[Any]:
    """A suite's text as the parameter of a test; skipped by name where there are no suites."""
    text = read(name)
    return [pytest.param(text, marks=() if text is not None else skipped(name), id=name)]


def skipped(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skip(reason=f"no {name}: there is no {FOLDER}")
