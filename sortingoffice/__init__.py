"""Sorting Office: a self-hosted, relationship-specific email proxy."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """`__version__`, looked up when asked for: it costs a command more than its own work."""
    if name == "__version__":
        from importlib.metadata import version

        return version("sortingoffice")
    raise AttributeError(name)
