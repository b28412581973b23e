"""The public conformance suites, read from `shared/corpora` beside the project; skipped without it."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "corpora"


def path(name: str) -> Path:
    """A file of a suite; its absence skips the whole module or test by name (the suites are optional)."""
    found = FOLDER / name
    if not found.is_file():
        pytest.skip(f"no {name} in {FOLDER}", allow_module_level=True)
    return found
