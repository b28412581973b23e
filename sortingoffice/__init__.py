"""Sorting Office: a self-hosted, relationship-specific email proxy."""

from importlib.metadata import version

__version__ = version("sortingoffice")
