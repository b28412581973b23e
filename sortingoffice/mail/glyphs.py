"""The text that a PDF shows: numbers of glyphs, and the tables that say which letters they are.

What browsers and word processors print stands in no other way in the file: "anna" is <00010002000200010003>.

Promise: linear in the streams for each of a bounded number of tables; what can't be read is passed over.

Sources: ISO 32000-1 §9.4.3 (showing text), §9.6.6 (Differences), §9.10.3 (ToUnicode CMaps);
Adobe Technical Note 5411.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from sortingoffice.mail.layers import TOGETHER

MOST_TABLES = 200
MOST = 1 << 26  # octets of streams that show text, times tables
_MOST_CODES = 1 << 16
_BEGIN = re.compile(rb"beginbf(char|range)")
_PAIR = re.compile(rb"<([0-9A-Fa-f]{2,8})>\s*<([0-9A-Fa-f]{4,32})>")
_RANGE = re.compile(rb"<([0-9A-Fa-f]{2,8})>\s*<([0-9A-Fa-f]{2,8})>\s*(?:<([0-9A-Fa-f]{4,32})>|\[([^\]]*)\])")
_EACH = re.compile(rb"<([0-9A-Fa-f]{4,32})>")
_STRING = re.compile(rb"<([0-9A-Fa-f\s]{2,}+)>|\(((?:[^\\()]|\\.)*+)\)", re.DOTALL)
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL)
_DIFFERENCES = b"/Differences"
_ARRAY = re.compile(rb"/Differences\s{0,9}\[[^\[\]]{0,20000}+\]")
_NUMBER_OR_NAME = re.compile(rb"(\d{1,3})\b|/([A-Za-z]+)")
_GLYPHS = {
    **dict(zip(b"zero one two three four five six seven eight nine".split(), "0123456789", strict=True)),
    **dict(zip(b"at period hyphen underscore plus space".split(), "@.-_+ ", strict=True)),
}
_SIMPLE = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"\n": b""}


def differences(octets: bytes) -> list[bytes]:
    """The arrays that say which glyphs a font's codes are: tables, too."""
    return _ARRAY.findall(octets)


def is_table(stream: bytes) -> bool:
    return b"beginbfchar" in stream or b"beginbfrange" in stream


def shows(stream: bytes) -> bool:
    return b"Tj" in stream or b"TJ" in stream


def texts(tables: Iterable[bytes], streams: Iterable[bytes]) -> Iterator[str]:
    """What the streams show, by each of the tables: which font takes which is not asked."""
    strings = [_octets(match) for stream in streams for match in _STRING.finditer(stream)]
    wide = TOGETHER.join(each.decode("utf-16-be", "replace") for each in strings)
    narrow = TOGETHER.join(each.decode("latin-1") for each in strings)
    if strings:
        yield narrow  # letter by letter, each at its place
    for table in tables:
        letters, width = _letters(table)
        if letters:
            yield (narrow if width == 1 else wide).translate(letters)


def _letters(table: bytes) -> tuple[dict[int, str], int]:
    """Code → letters; and how many octets a code takes."""
    found: dict[int, str] = {}
    if table.startswith(_DIFFERENCES):
        return _named(table), 1
    width = 2
    for kind, block in _blocks(table):
        if kind == b"char":
            for code, letters in _PAIR.findall(block):
                width = len(code) // 2
                found[int(code, 16)] = _text(letters)
            continue
        for first, last, letters, many in _RANGE.findall(block):
            width = len(first) // 2
            start = int(first, 16)
            each = [_text(one) for one in _EACH.findall(many)]
            for step in range(min(int(last, 16) - start + 1, _MOST_CODES - len(found))):
                if many:
                    found[start + step] = each[step] if step < len(each) else ""
                else:
                    found[start + step] = _next(_text(letters), step)
        if len(found) >= _MOST_CODES:
            break
    return found, max(width, 1)


def _named(differences: bytes) -> dict[int, str]:
    """ISO 32000-1 §9.6.6.2: a code, and the names of the glyphs from there on."""
    found: dict[int, str] = {}
    code = 0
    for number, name in _NUMBER_OR_NAME.findall(differences, len(_DIFFERENCES)):
        if number:
            code = int(number)
        else:
            found[code] = _GLYPHS.get(name, name.decode("latin-1") if len(name) == 1 else "")
            code += 1
    return found


def _blocks(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """ "char" or "range", and what stands there."""
    at = 0
    while (match := _BEGIN.search(table, at)) is not None:
        end = table.find(b"endbf", match.end())
        if end < 0:
            return
        yield match[1], table[match.end() : end]
        at = end


def _next(text: str, step: int) -> str:
    """The last letter of a range's first counts on."""
    if not text or ord(text[-1]) + step > 0x10FFFF:
        return ""
    return text[:-1] + chr(ord(text[-1]) + step)


def _text(digits: bytes) -> str:
    octets = bytes.fromhex(digits.decode("ascii")[: len(digits) // 4 * 4])
    return octets.decode("utf-16-be", "ignore")


def _octets(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        digits = b"".join(match[1].split()).decode("ascii")
        return bytes.fromhex(digits + "0" * (len(digits) % 2))
    return _ESCAPE.sub(_escaped, match[2])


def _escaped(match: re.Match[bytes]) -> bytes:
    found = match[1]
    if found[0] in b"01234567":  # the pattern leaves "\\8" and "\\9" to what stands for itself
        return bytes((int(found, 8) & 0xFF,))
    return _SIMPLE.get(found, found)
