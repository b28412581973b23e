"""Pages out of templates: what the templates can say about times, and where static files are.

Promise: every value is escaped, whatever it is; a template that names what isn't there is an error.

Sources: Jinja2's documentation (autoescape, StrictUndefined).
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

_STATIC = files("sortingoffice.web").joinpath("static")


def when(at: datetime | None, form: str = "minute") -> Markup:
    """A time as an element that the page's script turns into the reader's own zone."""
    if at is None:
        return Markup("")
    shown = at.strftime("%Y-%m-%d" if form == "day" else "%Y-%m-%d %H:%M")
    zone = "" if form == "day" else " UTC"
    return Markup('<time datetime="{}" data-form="{}">{}{}</time>').format(at.isoformat(), form, shown, zone)


def soft(address: str) -> Markup:
    """An address that breaks before its @ where it must; copied, it is the same."""
    local, at, domain = address.rpartition("@")
    return Markup("{}<wbr>{}").format(local, at + domain) if at else escape(address)


def about(number: int) -> str:
    """A large number as one reads it: "10 billion"; smaller ones as they are."""
    for size, word in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:,.0f} {word}"
    return f"{number:,}"


@cache
def static(name: str) -> str:
    """A static file's address, which changes with its content."""
    digest = hashlib.sha256(_STATIC.joinpath(name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("sortingoffice.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["when"] = when
    made.filters["about"] = about
    made.filters["soft"] = soft
    made.globals["static"] = static
    return made


def render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)
