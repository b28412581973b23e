"""SPF macros: `%{ir}.%{v}._spf.%{d2}`, their syntax and their expansion.

Promise: a string that `compiled` takes expands without an exception, whatever the sender wrote, and one that
breaks the grammar is refused before anything is asked.

Sources: RFC 7208 §7, §12 (grammar); RFC 8616 §4 (a local part beyond ASCII).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import quote

from sortingoffice.frozen import dataclass

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_PIECE = re.compile(
    r"%\{(?P<letter>[A-Za-z])(?P<digits>[0-9]{0,9})(?P<reverse>[rR]?)(?P<delimiters>[.\-+,/_=]*)\}"
    r"|%(?P<escape>[%_-])|(?P<literal>[^%]+)"
)
_ESCAPES = {"%": "%", "_": " ", "-": "%20"}
_IN_NAMES = frozenset("slodiphv")
_IN_WORDS = _IN_NAMES | frozenset("crt")
# RFC 7208 §12: toplabel is not all digits, and ends in a letter or digit.
_END = re.compile(r".*\.(?=[A-Za-z0-9-]*[A-Za-z-])[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.?", re.DOTALL)
_VISIBLE = re.compile(r"[\x21-\x7e]*")


@dataclass(frozen=True, slots=True)
class _Part:
    """A literal (letter ""), or one macro."""

    literal: str
    letter: str = ""
    keep: int = 0
    reverse: bool = False
    delimiters: str = "."


@dataclass(frozen=True, slots=True)
class MacroString:
    parts: tuple[_Part, ...]

    @property
    def letters(self) -> frozenset[str]:
        return frozenset(part.letter.lower() for part in self.parts if part.letter)

    def expanded(self, values: Mapping[str, str]) -> str:
        """values: one text per lower-case letter that occurs."""
        return "".join(_expanded(part, values) for part in self.parts)


def compiled(text: str, *, words: bool = False) -> MacroString | None:
    """Parsed; None where it breaks the grammar.

    words  an explanation, in which blanks may stand and c, r and t be used (RFC 7208 §6.2)
    """
    if not words and not _VISIBLE.fullmatch(text):
        return None
    parts: list[_Part] = []
    at = 0
    while at < len(text):
        match = _PIECE.match(text, at)
        if match is None:
            return None
        at = match.end()
        if match["letter"]:
            digits = match["digits"]
            if (
                match["letter"].lower() not in (_IN_WORDS if words else _IN_NAMES)
                or digits.strip("0") == "" < digits
            ):
                return None
            keep = int(digits or "0")
            parts.append(_Part("", match["letter"], keep, bool(match["reverse"]), match["delimiters"] or "."))
        else:
            parts.append(_Part(_ESCAPES[match["escape"]] if match["escape"] else match["literal"]))
    return MacroString(tuple(parts))


def domain_spec(text: str) -> MacroString | None:
    """A domain-spec: it ends in a top label or in a macro."""
    found = compiled(text)
    if found is None or not found.parts:
        return None
    return found if found.parts[-1].letter or (text[-2:-1] != "%" and _END.fullmatch(text)) else None


def _expanded(part: _Part, values: Mapping[str, str]) -> str:
    if not part.letter:
        return part.literal
    value = values[part.letter.lower()]
    if part.keep or part.reverse or part.delimiters != ".":
        words = re.split("[" + re.escape(part.delimiters) + "]", value)
        if part.reverse:
            words.reverse()
        value = ".".join(words[-part.keep :])  # the rightmost ones; -0: all
    return quote(value, safe="-._~") if part.letter.isupper() else value


def dotted(ip: IpAddress) -> str:
    """The address for %{i}: an IPv6 address as 32 nibbles (RFC 7208 §7.3)."""
    if isinstance(ip, ipaddress.IPv4Address):
        return str(ip)
    return ".".join(ip.exploded.replace(":", "").upper())


def shortened(name: str) -> str:
    """A domain of at most 253 characters, labels taken off on the left (RFC 7208 §7.3)."""
    name = name.removesuffix(".")
    return name if len(name) <= 253 else name[-254:].partition(".")[2]
