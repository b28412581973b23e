"""What stands in a header field: address lists, encoded words, message ids.

The grammar is RFC 5322's with its obsolete forms, read on octets in linear time, with
source offsets, so that one address can be replaced while its neighbours stay octet for
octet.  Envelope addresses are stricter: `mail.address`.

Promise: no input raises, and edited(value, ()) == value.

Sources: RFC 5322 §3.4, §4.4; RFC 2047; RFC 6532 (UTF-8 in fields).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from sortingoffice.frozen import dataclass
from sortingoffice.mail import address as addresses_5321
from sortingoffice.mail import charset
from sortingoffice.mail.address import Address

MAX_MENTIONS = 500  # addresses read from one field; a longer list is cut (`limits`)
_LONGEST_DATE = 200  # octets
_LONGEST_NAME = 500  # characters of a display name of ours
_SHORT = 500  # octets of a value whose addresses are kept in mind

_UNQUOTED = rb'(?P<blank>[ \t\r\n]++)|(?P<special>[<>,;:()])|(?P<word>[^"<>,;:() \t\r\n]++)|(?P<stray>")'
_TOKEN = re.compile(rb'(?P<quoted>"(?:[^"\\]|\\.)*+")|' + _UNQUOTED, re.DOTALL)
# Once a quote was seen that nothing closes, no later one is looked at again: that would be quadratic.
_TOKEN_AFTER_STRAY = re.compile(_UNQUOTED)
_WORD = re.compile(r"=\?([!-<>@-~]{1,60})\?([bBqQ])\?([!->@-~]*)\?=")
_BETWEEN = re.compile(r"(\?=)[ \t\r\n]+(?==\?)")
_MESSAGE_ID = re.compile(rb"<[^<>\s]{1,996}>")
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_QUOTABLE = re.compile(r"[\x20-\x7e]*")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_FOLD = re.compile(rb"\r?\n(?=[ \t])")


@dataclass(frozen=True, slots=True)
class Mention:
    """One mailbox in an address list.

    display     its display name, decoded text without quotes; "" if none
    address     None where what stands there is no RFC 5321 mailbox
    start, end  offsets in the value: the mailbox from its first to its last octet, without the
                separator and the blanks around it
    """

    display: str
    address: Address | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    octets: bytes
    start: int
    end: int


def addresses(value: bytes) -> tuple[Mention, ...]:
    """The mailboxes of an address-list field (From, To, Reply-To …), groups opened, in order."""
    return _short(value) if len(value) <= _SHORT else _long(value)


def _mentions(value: bytes) -> tuple[Mention, ...]:
    found: list[Mention] = []
    for segment in _segments(value):
        mention = _mention(segment)
        if mention is not None:
            found.append(mention)
            if len(found) == MAX_MENTIONS:
                break
    return tuple(found)


# Whoever decides about a message asks for its From: a dozen times, and the same for the vendor's next.
_short = lru_cache(256)(_mentions)
_long = lru_cache(4)(_mentions)  # 128 kB of separators take 0.2 s


def _tokens(value: bytes) -> Iterator[_Token]:
    """Tokens; a comment, nested ones and all, is one token of kind "comment"."""
    depth = 0
    opened = 0
    at = 0
    pattern = _TOKEN
    while match := pattern.match(value, at):
        at = match.end()
        kind = match.lastgroup or "word"
        if kind == "stray":
            pattern = _TOKEN_AFTER_STRAY
        if kind == "special" and match[0] == b"(":
            if depth == 0:
                opened = match.start()
            depth += 1
        elif kind == "special" and match[0] == b")" and depth:
            depth -= 1
            if depth == 0:
                yield _Token("comment", value[opened : match.end()], opened, match.end())
        elif depth == 0:
            yield _Token(kind, match[0], match.start(), match.end())
    if depth:  # a comment that never closes: the rest of the field, but for the line end that is nobody's
        end = len(value.rstrip(b" \t\r\n"))
        yield _Token("comment", value[opened:end], opened, end)


def _segments(value: bytes) -> Iterator[list[_Token]]:
    """What stands between the separators of the list; a comma inside <…> is an old route's.

    After <…> what holds an @ or a bracket is another mailbox: a client that misses the comma reads it so.
    """
    segment: list[_Token] = []
    angle = False
    whole = 0  # tokens up to the bracket that closed
    for token in _tokens(value):
        if whole and not angle and (token.octets == b"<" or (token.kind == "word" and b"@" in token.octets)):
            yield segment[:whole]
            segment, whole = segment[whole:], 0
        if token.kind == "special":
            if token.octets == b"<":
                angle = True
            elif token.octets == b">":
                angle = False
                whole = whole or len(segment) + 1
            elif not angle:
                if token.octets in (b",", b";"):
                    yield segment
                    segment, whole = [], 0
                elif token.octets == b":":  # the name of a group ends here, or an address where that is none
                    if whole or any(each.kind == "word" and b"@" in each.octets for each in segment):
                        yield segment
                    segment, whole = [], 0
                continue
        segment.append(token)
    yield segment


def _mention(segment: list[_Token]) -> Mention | None:
    solid = [token for token in segment if token.kind not in ("blank", "comment")]
    if not solid:
        return None
    visible = [token for token in segment if token.kind != "blank"]
    start, end = visible[0].start, visible[-1].end
    opening = next((i for i, t in enumerate(solid) if t.kind == "special" and t.octets == b"<"), None)
    if opening is None:
        if _unbracketed(segment):
            return Mention(
                _phrase(segment[: segment.index(solid[-1])]), _address(solid[-1].octets), start, end
            )
        spec = b"".join(token.octets for token in solid)
        comments = [token.octets[1:-1] for token in segment if token.kind == "comment"]
        return Mention(decode(b" ".join(comments)), _address(spec), start, end)
    closing = next(
        (i for i in range(opening + 1, len(solid)) if solid[i].octets == b">" and solid[i].kind == "special"),
        len(solid),
    )
    inside = b"".join(token.octets for token in solid[opening + 1 : closing])
    if inside.startswith(b"@") and b":" in inside:  # RFC 5322 §4.4 obs-route
        inside = inside.partition(b":")[2]
    before = [token for token in segment if token.start < solid[opening].start]
    return Mention(_phrase(before), _address(inside), start, end)


def _unbracketed(segment: list[_Token]) -> bool:
    """Whether a name stands before an address without "<": "Lamp Shop orders@lampshop.example"."""
    tokens = [token for token in segment if token.kind != "comment"]
    while tokens and tokens[-1].kind == "blank":
        tokens.pop()
    before = [token.octets for token in tokens[:-1] if token.kind != "blank"]
    return (
        bool(before)
        and tokens[-2].kind == "blank"
        and b"@" in tokens[-1].octets[1:]
        and not any(b"@" in each for each in before)
        and before[-1][-1:] != b"."
    )


def _address(spec: bytes) -> Address | None:
    found = addresses_5321.parse(spec)
    if found is None and spec.endswith(b"."):  # "user@example.com." is seen in the wild
        found = addresses_5321.parse(spec[:-1])
    return found


def _phrase(tokens: Iterable[_Token]) -> str:
    parts: list[bytes] = []
    for token in tokens:
        if token.kind == "quoted":
            parts.append(_ESCAPE.sub(rb"\1", token.octets[1:-1]))
        elif token.kind == "blank":
            parts.append(b" ")
        elif token.kind != "comment":
            parts.append(token.octets)
    return decode(b"".join(parts))


def unfold(value: bytes) -> bytes:
    """One line, without blanks at the ends (RFC 5322 §2.2.3)."""
    return _FOLD.sub(b"", value).strip()


def decode(value: bytes) -> str:
    """A field's text for a person: unfolded, encoded words decoded (RFC 2047), no control characters.

    Octets over 127 are read as UTF-8 (RFC 6532), else as windows-1252.
    """
    text = as_written(value)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def as_written(value: bytes) -> str:
    """The same with every character that stands there, also the unseen ones: for looking, not for showing."""
    octets = unfold(value)
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        text = octets.decode("cp1252", "replace")
    if "=?" in text:
        text = _decode_words(text)
    return text


def _decode_words(text: str) -> str:
    """Encoded words replaced; neighbours in one charset are joined before they are decoded, since
    senders cut them within a character."""
    parts: list[str] = []
    pending = b""
    pending_charset = ""
    at = 0
    text = _BETWEEN.sub(r"\1", text)
    for match in _WORD.finditer(text):
        octets = _word_octets(match[2], match[3])
        name = match[1].partition("*")[0].lower()  # RFC 2231 §5: charset*language
        if octets is None or charset.codec(name) is None:
            continue
        if match.start() != at or name != pending_charset:
            parts += (charset.decode(pending, pending_charset) or "", text[at : match.start()])
            pending, pending_charset = b"", name
        pending += octets
        at = match.end()
    parts += (charset.decode(pending, pending_charset) or "", text[at:])
    return "".join(parts)


def _word_octets(encoding: str, text: str) -> bytes | None:
    if encoding in "qQ":
        return binascii.a2b_qp(text.replace("_", " ").encode("ascii"), header=False)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None


def encode_words(text: str) -> bytes:
    """Unstructured text for a field of ours: ASCII as it is, else encoded words, folded (RFC 2047)."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return clean.encode("ascii") if clean.isascii() and "=?" not in clean else _words(clean)


def words_for(value: bytes) -> bytes | None:
    """Encoded words for raw octets, which only hosts with SMTPUTF8 take (RFC 6532).

    None where it is ASCII, or holds what is not seen: that would be lost.
    """
    text = as_written(value)
    return None if value.isascii() or not text.isprintable() else encode_words(text)


def _words(clean: str) -> bytes:
    """Encoded words, folded."""
    words: list[bytes] = []
    piece = b""
    for char in clean:
        octets = char.encode("utf-8", "replace")
        if len(piece) + len(octets) > 42:  # 42 octets are 56 in base64: a word of at most 75 with its frame
            words.append(piece)
            piece = b""
        piece += octets
    words.append(piece)
    return b"\r\n ".join(b"=?utf-8?b?" + base64.b64encode(word) + b"?=" for word in words)


def encode_phrase(text: str) -> bytes:
    """A display name: atoms, a quoted string, or encoded words; b"" for none."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if not clean:
        return b""
    if _QUOTABLE.fullmatch(clean) and "=?" not in clean and len(clean) <= 200:
        if _ATOMS.fullmatch(clean):
            return clean.encode("ascii")
        return b'"' + clean.replace("\\", "\\\\").replace('"', '\\"').encode("ascii") + b'"'
    return _words(clean[:_LONGEST_NAME])


def mailbox(display: str, address: Address) -> bytes:
    """One mailbox as it stands in a field of ours, folded between name and address where it is long."""
    phrase = encode_phrase(display)
    spec = f"<{address}>".encode()
    if not phrase:
        return spec[1:-1]
    last_line = phrase.rpartition(b"\n")[2]
    return phrase + (b"\r\n " if len(last_line) + len(spec) > 70 else b" ") + spec


def edited(value: bytes, changes: Iterable[tuple[int, int, bytes]]) -> bytes:
    """The value with the spans (start, end) replaced; the changes don't overlap and stand in order."""
    parts: list[bytes] = []
    at = 0
    for start, end, new in changes:
        parts += (value[at:start], new)
        at = end
    parts.append(value[at:])
    return b"".join(parts)


def date(value: bytes) -> datetime | None:
    """A Date in UTC; None where none can be read."""
    if not value or len(value) > _LONGEST_DATE:
        return None
    try:
        found = parsedate_to_datetime(value.decode("ascii", "replace"))
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def message_ids(value: bytes) -> tuple[str, ...]:
    """The ids of Message-ID, References or In-Reply-To, with their brackets, in order."""
    return tuple(match.decode("utf-8", "replace") for match in _MESSAGE_ID.findall(_FOLD.sub(b"", value)))
