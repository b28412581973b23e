"""Style that hides: whether a declaration takes text out of a reader's sight.

Errs on the side of "hidden": what is hidden is never taken as the person's own words.

Sources: CSS 2.2 §11 (visibility), CSS Display 3 §2.5; Outlook's mso-hide.
"""

from __future__ import annotations

import re

from sortingoffice.frozen import dataclass

_MAX_STYLE = 4096  # characters of one style attribute; a longer one is cut
_MAX_SHEET = 1 << 18  # characters of style sheets in one document
_MAX_RULES = 2000
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_ESCAPE = re.compile(r"\\([0-9a-fA-F]{1,6})\s?|\\(.)", re.DOTALL)
_ZERO = re.compile(r"[+-]?0*\.?0+(?:%|[a-z]+)?")
_TINY = re.compile(r"[+]?(?:0*\.\d+|0*1(?:\.\d*)?)(?:px|pt)?")
_FAR = re.compile(r"-\s*\d{3,}(?:\.\d+)?(?:px|pt|em|rem|%)?|-\d{2,}(?:\.\d+)?(?:em|rem)")
_SIMPLE = re.compile(r"[a-z0-9]*[.#][\w-]+")


@dataclass(frozen=True, slots=True)
class Hidden:
    """What a document's style sheets hide: class names and ids."""

    classes: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()


def declarations(style: str) -> dict[str, str]:
    """Property → value, both lower case, without comments and !important; the last one wins."""
    text = unescaped(_COMMENT.sub(" ", style[:_MAX_STYLE]))
    found: dict[str, str] = {}
    for part in text.split(";"):
        name, colon, value = part.partition(":")
        if colon:
            found[name.strip().lower()] = value.lower().replace("!important", "").strip()
    return found


def unescaped(text: str) -> str:
    """With the characters that escapes stand for (CSS Syntax 3 §4.3.7)."""
    return _ESCAPE.sub(_unescaped, text)


def hides(style: str) -> bool:
    """Whether a style attribute hides what is inside."""
    found = declarations(style)
    clipped = found.get("overflow", "") in ("hidden", "clip") or "overflow-y" in found
    return (
        found.get("display", "") == "none"
        or found.get("visibility", "") in ("hidden", "collapse")
        or found.get("mso-hide", "") == "all"
        or found.get("content-visibility", "") == "hidden"
        or _zero(found.get("opacity", ""))
        or _TINY.fullmatch(found.get("font-size", "")) is not None
        or _zero(found.get("font-size", ""))
        or _zero(found.get("font", "").partition("/")[0].partition(" ")[0])
        or (clipped and any(_zero(found.get(name, "")) for name in _EXTENTS))
        or _zero(found.get("max-height", ""))
        or any(_FAR.fullmatch(found.get(name, "")) for name in ("left", "top", "text-indent", "margin-left"))
        or found.get("color", "") == "transparent"
        or found.get("clip", "").replace(" ", "").startswith(("rect(0", "rect(1px"))
    )


_EXTENTS = ("height", "width", "max-width", "line-height")


def hidden_by(sheets: str) -> Hidden:
    """The classes and ids that a style sheet hides; rules inside @media are taken as if they held."""
    text = _COMMENT.sub(" ", sheets[:_MAX_SHEET])
    classes: set[str] = set()
    ids: set[str] = set()
    for rule in text.split("}", _MAX_RULES)[:_MAX_RULES]:
        before, _, style = rule.rpartition("{")
        if not hides(style):
            continue
        for selector in before.rpartition("{")[2].split(","):
            last = selector.strip().rpartition(" ")[2].rpartition(">")[2]
            if _SIMPLE.fullmatch(last.lower()):
                name = re.split(r"[.#]", last)[1].lower()
                (classes if "." in last else ids).add(name)
    return Hidden(frozenset(classes), frozenset(ids))


def _zero(value: str) -> bool:
    return _ZERO.fullmatch(value) is not None


def _unescaped(match: re.Match[str]) -> str:
    if match[2] is not None:
        return match[2]
    code = int(match[1], 16)
    return chr(code) if code < 0xD800 or 0xE000 <= code < 0x110000 else "\ufffd"
