"""Fields with parameters: Content-Type, Content-Disposition, Content-Transfer-Encoding.

A reader that never fails and is linear in the length of the value, whatever stands in it.  What is
odd (no quotes around blanks, comments, missing semicolons' ends, 8-bit octets) is read as mail
clients read it.

Sources: RFC 2045 §5.1, RFC 2183 (disposition), RFC 2231 (continuations and charsets),
RFC 822 §3.3 (comments, quoted strings).
"""

from __future__ import annotations

import re

from sortingoffice.frozen import dataclass
from sortingoffice.mail import charset

MAX_PARAMETERS = 100
MAX_PIECES = 1000
_BLANK = b" \t\r\n"
_NAME = re.compile(rb"[^\s;=\"()]+")
_WORD = re.compile(rb"[^\s;(\"]*")
_UNQUOTED = re.compile(rb"[^;]*")
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*+)("?)', re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_PIECE = re.compile(r"([^*]+)(?:\*(\d{1,3}))?(\*?)")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_HEAD = re.compile(rb"[^;(\"]*")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter, its pieces joined.

    name   lower case, without "*"
    value  text, decoded by RFC 2231
    spans  where its pieces stand in the field's value (from the name to the value's end)
    """

    name: str
    value: str
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A value with parameters.

    head        what stands before the first semicolon, lower case, comments and blanks taken off
    parameters  those in RFC 2231's form, then the plain ones, each in the order of first pieces
    """

    head: str
    parameters: tuple[Parameter, ...]

    def get(self, name: str) -> str | None:
        """The parameter's value; where a name occurs twice, RFC 2231's form first, then the first."""
        return next((each.value for each in self.parameters if each.name == name), None)


@dataclass(slots=True)
class _Piece:
    index: int
    extended: bool
    value: bytes
    span: tuple[int, int]


def parse(value: bytes) -> Parsed:
    """A field's value, folded or not."""
    head, at = _head(value)
    pieces: dict[tuple[str, bool], list[_Piece]] = {}
    count = 0
    while at < len(value) and count < MAX_PIECES and len(pieces) <= MAX_PARAMETERS:
        at = _skip(value, at, _BLANK + b";")
        name = _NAME.match(value, at)
        if name is None:
            at += 1
            continue
        start, at = at, _skip(value, name.end(), _BLANK)
        if value[at : at + 1] != b"=":
            continue
        at = _skip(value, at + 1, _BLANK)
        octets, at = _value(value, at, name[0].lower())
        match = _PIECE.fullmatch(name[0].decode("latin-1").lower())
        if match is None:
            continue
        split = match[2] is not None or match[3] != ""
        piece = _Piece(int(match[2] or 0), match[3] != "", octets, (start, at))
        pieces.setdefault((match[1], split), []).append(piece)
        count += 1
    # RFC 6266 §4.3, and every client: the extended form wins over the plain one beside it.
    joined = [_joined(name, each) for (name, split), each in pieces.items() if split]
    plain = [
        Parameter(name, _text(piece.value), (piece.span,))
        for (name, split), each in pieces.items()
        if not split
        for piece in each
    ]
    return Parsed(head, (*joined, *plain))


def _head(value: bytes) -> tuple[str, int]:
    words: list[bytes] = []
    at = 0
    while at < len(value):
        match = _HEAD.match(value, at)
        assert match is not None  # the pattern matches the empty string
        words.append(match[0])
        at = match.end()
        if value[at : at + 1] == b"(":
            at = _comment(value, at)
        elif value[at : at + 1] == b'"':
            at += 1  # `"text/plain"; …` exists: the quotes mean nothing
        else:
            break
    text = b"".join(b"".join(words).split()).decode("latin-1").lower()
    return text, at


def _skip(value: bytes, at: int, these: bytes) -> int:
    """Past blanks (and what else is named) and comments."""
    while at < len(value):
        if value[at] in these:
            at += 1
        elif value[at] == 0x28:
            at = _comment(value, at)
        else:
            break
    return at


def _comment(value: bytes, at: int) -> int:
    """Past a comment, nested ones included; to the end where it isn't closed."""
    depth = 0
    while at < len(value):
        octet = value[at]
        if octet == 0x5C:
            at += 1
        elif octet == 0x28:
            depth += 1
        elif octet == 0x29:
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return len(value)


def _value(value: bytes, at: int, name: bytes) -> tuple[bytes, int]:
    quoted = _QUOTED.match(value, at)
    if quoted is not None:
        content = re.sub(rb"\r?\n(?=[ \t])", b"", quoted[1])
        return _ESCAPE.sub(rb"\1", content), quoted.end()
    # A file name with blanks and without quotes is common; elsewhere a blank or a comment ends the word.
    named = name.startswith((b"name", b"filename"))
    match = (_UNQUOTED if named else _WORD).match(value, at)
    assert match is not None  # both patterns match the empty string
    return match[0].strip(), at + len(match[0].rstrip())


def _joined(name: str, pieces: list[_Piece]) -> Parameter:
    """RFC 2231 §3 and §4.1: the pieces in the order of their numbers."""
    pieces.sort(key=lambda piece: piece.index)
    label, octets = "", bytearray()
    for position, piece in enumerate(pieces):
        value = piece.value
        if piece.extended:
            if position == 0 and value.count(b"'") >= 2:
                charset_octets, _, value = value.split(b"'", 2)
                label = charset_octets.decode("latin-1")
            value = _PERCENT.sub(lambda match: bytes((int(match[1], 16),)), value)
        octets += value
    text = charset.decode(bytes(octets), label) if label else _text(bytes(octets))
    return Parameter(name, text, tuple(sorted(piece.span for piece in pieces)))


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("latin-1")
