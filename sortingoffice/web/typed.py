"""Members of a request, read as what they must be.

Promise: what is of another type than the client's documentation says is a `Refused` that names it,
never an exception of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sortingoffice.web.answers import Refused

_LONGEST = 4000


def text(given: Mapping[str, Any], name: str) -> str:
    """A text; "" where it is missing or null."""
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Refused(400, f"{name} must be a text")
    if "\0" in value:
        raise Refused(400, f"{name} holds a control character")
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise Refused(400, f"{name} holds half a character")  # JSON's \\ud800 alone: no octets say it
    if len(value) > _LONGEST:
        raise Refused(400, f"{name} is longer than {_LONGEST} characters")
    return value


def yes_or_no(given: Mapping[str, Any], name: str) -> bool | None:
    """Whether it is so; None where it is missing or null."""
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise Refused(400, f"{name} must be true or false")
    return value


def number(given: Mapping[str, Any], name: str, default: int, *, least: int, most: int) -> int:
    """A whole number, also one that is written as a text (a query's)."""
    value = given.get(name, default)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Refused(400, f"{name} must be a whole number from {least} to {most}")
    return value


def numbers(given: Mapping[str, Any], name: str) -> list[int]:
    """A list of row numbers, or one alone; empty where it is missing."""
    value = given.get(name)
    listed = [] if value is None else value if isinstance(value, list) else [value]
    return [number({name: each}, name, 0, least=1, most=2**62) for each in listed]
