"""How values look where a directive stood: labelled lines, an HTML table, a bare word inline.

Promise: every value stands in what is written exactly once, as it is in the ledger, and can't
be read as markup, as another label, or as a directive.  No template engine.

Sources: the cards document of the design, "What the vendor gets"; HTML §13.3 (escaping);
WCAG 1.3.1 (a header cell says what its row is).
"""

from __future__ import annotations

import re
from html import escape

from sortingoffice.core import fields
from sortingoffice.core.cards import Filled, Item
from sortingoffice.core.directive import Ask
from sortingoffice.core.model import Via
from sortingoffice.core.wallet import Value

_SUFFIX = {"vcard": "vcf", "vcard4": "vcf", "jscontact": "json"}


def file_name(ask: Ask) -> str:
    """What the file of an ask "as vcard" is called; ASCII."""
    stem = ask.name if re.fullmatch(r"[a-z0-9_-]+", ask.name) else "card"
    return f"{stem}.{_SUFFIX[ask.form]}"


def text(filled: Filled) -> str:
    """For a text part; lines end in LF, no line end after the last."""
    if filled.ask.form != "text":
        return f"({file_name(filled.ask)})"
    if filled.ask.via is Via.INLINE:
        return " ".join(_value(each) for each in filled.items)
    return "\n".join(f"{label}: {_indented(_value(each))}" for label, each in _labelled(filled.items))


def markup(filled: Filled) -> str:
    """For an HTML part."""
    if filled.ask.form != "text":
        return _escaped(f"({file_name(filled.ask)})")
    if filled.ask.via is Via.INLINE:
        return _escaped(" ".join(_value(each) for each in filled.items))
    rows = "".join(
        f'<tr><th scope="row">{_escaped(label)}</th><td>{_escaped(_value(each))}</td></tr>'
        for label, each in _labelled(filled.items)
    )
    return f"<table>{rows}</table>"


def labels(values: tuple[Value, ...]) -> tuple[str, ...]:
    """What stands beside each value; two of one name are told apart by their cards."""
    keys = [value.key for value in values]
    return tuple(
        fields.label(value.key) + (f" ({value.card})" if keys.count(value.key) > 1 else "")
        for value in values
    )


def _labelled(items: tuple[Item, ...]) -> list[tuple[str, Item]]:
    return list(zip(labels(tuple(each.value for each in items)), items, strict=True))


def _value(item: Item) -> str:
    if item.value.text is None:
        raise ValueError(f"{item.value.named} has no value to write")
    return item.value.text


def _indented(value: str) -> str:
    """Further lines of a value stand under the first, so none can pose as a label."""
    return value.replace("\n", "\n    ")


def _escaped(value: str) -> str:
    return escape(value).replace("\n", "<br>")
