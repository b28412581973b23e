"""Octets that are written in a text: base64, hexadecimal digits, uuencode and their like.

Each rule gives the decoded runs of its kind, a list per way of reading them; which of them are
words, keys or pictures nobody asks.

Promise: nothing here fails, and each rule is linear in the text.

Sources: RFC 4648 §4–§6; the uuencode and yEnc formats; Adobe, PostScript Language Reference §3.13 (ASCII85).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from contextlib import suppress

from sortingoffice.frozen import dataclass
from sortingoffice.mail import signalled, transfer

_LONG_RUN = 1 << 17
_MOST_85 = 1 << 18
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}+(?:[ \t]*\r?\n[ \t>]*[A-Za-z0-9+/_-]{4,}+)*+={0,2}")
_LONG_WORD = re.compile(r"[A-Za-z0-9]{16,}+")
_BASE32 = re.compile(r"[A-Z2-7]{16,}+|[a-z2-7]{24,}+")
_BASE32_HEX = re.compile(r"[0-9A-V]{16,}+|[0-9a-v]{24,}+")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}[\s:,;|./_-]?){8,}")
_NUMBER = r"(?:0[xX])?[0-9A-Fa-f]{2,8}"
_CODES = re.compile(rf"(?<![\w.])(?:{_NUMBER}(?:[,;.:|/-]\s*+|\s++)){{7,}}+(?:{_NUMBER})?")
_CODE = re.compile(r"[0-9A-Fa-fxX]+")
# The same between the words of a program: char(97)+char(110), chr(97).chr(110).
_CALLS = re.compile(r"\([0-9]{2,3}(\)[^0-9(]{0,10}\()(?:[0-9]{2,3}\1){5,}[0-9]{2,3}")
_DECIMAL = re.compile(r"[0-9]+")
_LONG_NUMBER = re.compile(r"[0-9]{21,}+")
_EIGHT_BITS = {f"{code:08b}": code for code in range(256)}
_THREE_DIGITS = {f"{code:03}": code for code in range(256)}
_UU = re.compile(r"(?m)^begin [0-7]{3,4} [^\n]*\n((?:[ -`]{1,62}\r?\n)+)")
_Y_HEAD = re.compile(r"(?m)^=ybegin [^\n]*\n(?:=ypart [^\n]*\n)?")
_Y_END = "\n=yend"
_Y_ESCAPE = re.compile(r"=(.)", re.DOTALL)
_85_END = "~>"
_NOT_85 = re.compile(r"[^!-uz\s]")
_SPACES = re.compile(r"[\s>]+")
_SEPARATORS = re.compile(r"[\s:,;|./_-]+")
_VEILED = re.compile(r"(?:data-cfemail=[\"']?|email-protection#)([0-9A-Fa-f]{12,512})")
_FROM_URL = str.maketrans("-_", "+/")


@dataclass(frozen=True, slots=True)
class Embedding:
    """One rule.

    how      a phrase for the person, after the place: "in base64"
    aligned  each way of reading begins the same runs one sign later: something may stand before them
    """

    name: str
    how: str
    runs: Callable[[str], Iterator[list[bytes]]]
    aligned: bool = False


def _base64(text: str) -> Iterator[list[bytes]]:
    runs = [
        _SPACES.sub("", match[0]).translate(_FROM_URL).encode("ascii") for match in _BASE64.finditer(text)
    ]
    for start in range(4 if runs else 0):
        # At each alignment: what stands before a run may belong to it or not.
        yield [transfer.decode(run[start:], "base64") for run in runs if not start or len(run) < _LONG_RUN]


def _base32(text: str) -> Iterator[list[bytes]]:
    # Digits alone are no text's: all above 0xD0, or no letter in each fourth place.
    words = [each for each in _LONG_WORD.findall(text) if not each.isdigit()]
    yield [base64.b32decode(_padded(each)) for each in words if _BASE32.fullmatch(each)]
    yield [base64.b32hexdecode(_padded(each)) for each in words if _BASE32_HEX.fullmatch(each)]


def _padded(run: str) -> str:
    run = run[: len(run) - (len(run) % 8 in (1, 3, 6))].upper()
    return run + "=" * (-len(run) % 8)


def _hexadecimal(text: str) -> Iterator[list[bytes]]:
    digits = [_SEPARATORS.sub("", match[0]) for match in _HEX.finditer(text)]
    for start in range(2 if digits else 0):
        yield [binascii.unhexlify(run[start : start + (len(run) - start) // 2 * 2]) for run in digits]


def _codes(text: str) -> Iterator[list[bytes]]:
    """Numbers of characters, as programs and puzzles write them."""
    runs = [_CODE.findall(match[0]) for match in _CODES.finditer(text)]
    runs += [_DECIMAL.findall(match[0]) for match in _CALLS.finditer(text)]
    written = {each for run in runs for each in run}
    for base in (10, 16, 8, 2) if runs else ():
        codes = {each: code for each in written if (code := _number(each, base)) is not None}
        yield [bytes(codes[each] for each in run if each in codes) for run in runs]


def _digits(text: str) -> Iterator[list[bytes]]:
    """Numbers of characters with nothing between: eight bits each, or three decimal digits."""
    runs = _LONG_NUMBER.findall(text)
    for size, codes in ((8, _EIGHT_BITS), (3, _THREE_DIGITS)) if runs else ():
        yield [_in_groups(each, size, codes) for each in runs]


def _in_groups(run: str, size: int, codes: dict[str, int]) -> bytes:
    groups = (run[at : at + size] for at in range(0, len(run), size))
    return bytes(codes[each] for each in groups if each in codes)


def _number(digits: str, base: int) -> int | None:
    try:
        code = int(digits, base)
    except ValueError:
        return None
    return code if code < 256 else None


def _uu(text: str) -> Iterator[list[bytes]]:
    yield [transfer.decode(match[1].encode("ascii", "ignore"), "uuencode") for match in _UU.finditer(text)]


def _yenc(text: str) -> Iterator[list[bytes]]:
    found = []
    at = 0
    while (head := _Y_HEAD.search(text, at)) is not None:
        end = text.find(_Y_END, head.end())
        at = len(text) if end < 0 else end + 1
        plain = _Y_ESCAPE.sub(lambda match: chr((ord(match[1]) - 64) % 256), text[head.end() : at])
        found.append(bytes((ord(each) - 42) % 256 for each in plain if each not in "\r\n"))
    yield found


def _ascii85(text: str) -> Iterator[list[bytes]]:
    """What stands before a "~>": from a "<~" on, or from a PDF's "stream"."""
    found = []
    start = 0
    while (end := text.find(_85_END, start)) >= 0:
        first = max(text.rfind("<~", start, end) + 2, text.rfind("stream", start, end) + 6, start)
        run = _NOT_85.sub("", text[first:end][:_MOST_85])
        with suppress(ValueError, OverflowError):
            found.append(base64.a85decode(run))
        start = end + 2
    yield found


def _veiled(text: str) -> Iterator[list[bytes]]:
    """As Cloudflare writes addresses into the pages that it passes on: a key, and all else XOR it."""
    runs = [binascii.unhexlify(each[: len(each) // 2 * 2]) for each in _VEILED.findall(text)]
    yield [bytes(octet ^ run[0] for octet in run[1:]) for run in runs]


EMBEDDINGS: tuple[Embedding, ...] = (
    Embedding("base64", "in base64", _base64, aligned=True),
    Embedding("base32", "in base32", _base32),
    Embedding("hexadecimal", "in hexadecimal", _hexadecimal, aligned=True),
    Embedding("character codes", "as numbers", _codes),
    Embedding("digits", "as one number", _digits),
    Embedding("Morse", "in Morse code", signalled.morse),
    Embedding("radio alphabet", "spelled by words", signalled.radio),
    Embedding("uuencode", "uuencoded", _uu),
    Embedding("yEnc", "in yEnc", _yenc),
    Embedding("ASCII85", "in ASCII85", _ascii85),
    Embedding("Cloudflare", "veiled by Cloudflare", _veiled),
)
