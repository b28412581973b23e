"""vCard: content lines read and written, in linear time.

What a property means to a person's cards is `core.exchange`'s.

Promise: parse(serialize(cards)) gives the same properties; any octets give cards or a ValueError
with a sentence, never more (vobject takes minutes for 200 kB of "a;", and recursion for nested cards).

Sources: RFC 6350 (4.0), RFC 2426 (3.0), RFC 6868 (^ in parameters).
"""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Iterable

from sortingoffice.frozen import dataclass

MAX_OCTETS = 1 << 20
MAX_LINES = 20_000
_FOLD = 75  # octets of a line without its end, RFC 6350 §3.2

_HEAD = re.compile(r"(?:[A-Za-z0-9-]{1,64}\.)?([A-Za-z0-9-]{1,64})")
_PARAMETER = re.compile(r';([A-Za-z0-9-]{1,64})(?:=("[^"]*"|[^";:,]*)((?:,(?:"[^"]*"|[^";:,]*))*))?')
_UNFOLD = re.compile(r"\r?\n[ \t]|\r[ \t]")
_UNESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPE_OR_SEPARATOR = re.compile(r"\\.|;", re.DOTALL)
_SAFE = re.compile(r'[^";:,\x00-\x1f\x7f]*')


@dataclass(frozen=True, slots=True)
class Property:
    """One content line.

    name        upper case, without its group
    components  of the value, split at ";" and unescaped; one for a plain text value
    types       of TYPE, lower case
    """

    name: str
    components: tuple[str, ...]
    types: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The whole value, for properties that have no components."""
        return ";".join(self.components)


def parse(octets: bytes) -> tuple[tuple[Property, ...], ...]:
    """The vCards of a file, each without BEGIN, VERSION and END.

    Raises ValueError with what is wrong.
    """
    if len(octets) > MAX_OCTETS:
        raise ValueError(f"it is larger than {MAX_OCTETS // 1024} KiB")
    text = _decoded(octets)
    lines = [line for line in re.split(r"\r\n|\n|\r", _UNFOLD.sub("", text)) if line.strip()]
    if len(lines) > MAX_LINES:
        raise ValueError(f"it has more than {MAX_LINES} lines")
    cards: list[tuple[Property, ...]] = []
    current: list[Property] | None = None
    for line in lines:
        found = _line(line)
        if found is None:
            raise ValueError(f"{line[:40]!r} is no line of a vCard")
        word = found.text.strip().upper()
        if found.name == "BEGIN":
            if current is not None or word != "VCARD":
                raise ValueError("one card begins within another")
            current = []
        elif current is None:
            raise ValueError("it does not begin with BEGIN:VCARD")
        elif found.name == "END":
            cards.append(tuple(current))
            current = None
        elif found.name == "VERSION":
            if word not in ("3.0", "4.0"):
                raise ValueError(f"it is of version {word[:10]}; versions 3.0 and 4.0 are read")
        else:
            current.append(found)
    if current is not None:
        raise ValueError("END:VCARD is missing")
    return tuple(cards)


def serialize(properties: Iterable[Property], version: str) -> bytes:
    """One vCard, "3.0" or "4.0"; FN and, in 3.0, N are the caller's to give."""
    lines = ["BEGIN:VCARD", f"VERSION:{version}", *(_written(each) for each in properties), "END:VCARD"]
    return b"".join(_folded(line) for line in lines)


def _decoded(octets: bytes) -> str:
    """UTF-8 (RFC 6350 §3.1); by its mark UTF-16, and else windows-1252, as address books of old wrote it."""
    if octets.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return octets.decode("utf-16", "replace")
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        return octets.decode("cp1252", "replace")


def _line(line: str) -> Property | None:
    head = _HEAD.match(line)
    if head is None:
        return None
    at = head.end()
    types: list[str] = []
    quoted = False  # as phones write 3.0, too, though only 2.1 knows it
    while match := _PARAMETER.match(line, at):
        at = match.end()
        name, values = match[1].upper(), f"{match[2] or ''}{match[3] or ''}"
        if "QUOTED-PRINTABLE" in (name, values.strip('"').upper()):
            quoted = True
        elif name == "TYPE":
            types += [each for each in values.replace('"', "").lower().split(",") if each]
        elif match[2] is None:
            types.append(match[1].lower())  # TEL;CELL:… as 2.1 and many phones write it
    if line[at : at + 1] != ":":
        return None
    value = line[at + 1 :]
    if quoted:
        value = _decoded(binascii.a2b_qp(value.encode("utf-8", "replace")))
    components = tuple(_UNESCAPE.sub(_character, each) for each in _split(value))
    return Property(head[1].upper(), components, tuple(types))


def _split(value: str) -> list[str]:
    """At each ";" that no backslash precedes."""
    pieces: list[str] = []
    start = 0
    for match in _ESCAPE_OR_SEPARATOR.finditer(value):
        if match[0] == ";":
            pieces.append(value[start : match.start()])
            start = match.end()
    return [*pieces, value[start:]]


def _character(match: re.Match[str]) -> str:
    return "\n" if match[1] in "nN" else match[1]


def _written(each: Property) -> str:
    types = ",".join(name for name in each.types if _SAFE.fullmatch(name))
    head = f"{each.name};TYPE={types}" if types else each.name
    return f"{head}:{';'.join(_escaped(part) for part in each.components)}"


def _escaped(text: str) -> str:
    for character in "\\;,":
        text = text.replace(character, f"\\{character}")
    return text.replace("\r\n", "\n").replace("\n", "\\n")


def _folded(line: str) -> bytes:
    """With its line end; folds never cut a character (RFC 6350 §3.2)."""
    pieces: list[bytes] = []
    piece = b""
    for character in line:
        octets = character.encode("utf-8", "replace")
        if len(piece) + len(octets) > _FOLD:
            pieces.append(piece)
            piece = b" "
        piece += octets
    return b"\r\n".join([*pieces, piece]) + b"\r\n"
