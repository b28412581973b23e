"""Encodings of characters by characters: each undone over a whole text.

    undo(text) is the text with one layer taken off; equal to it where there is none

A rule runs where its trigger is seen, so that ordinary text costs a look and no more.

Promise: nothing here fails, and each rule is linear in the text.

Sources: RFC 2045 §6.7, RFC 2047, RFC 2152, RFC 3501 §5.1.3, RFC 3986 §2.1; WHATWG HTML §13.5; CSS Syntax 3
§4.3.7; ECMA-262 §B.2.1 (%u); RFC 8259 §7; RFC 4514; UAX 9.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable

from sortingoffice.frozen import dataclass
from sortingoffice.mail import charset, headers, html, transfer

# Where a pattern begins with signs as they are, `re` skips all others.
_PERCENT_RUN = re.compile(r"%[0-9A-Fa-f]{2}(?:%[0-9A-Fa-f]{2})*")
# "%40" as gateways write it into the links that they replace: "-40", "_40", "-2540".
_INSTEAD = re.compile(
    r"([-_.~!*$])(?<=[A-Za-z0-9].)(?:25)*40(?=[A-Za-z0-9][A-Za-z0-9-]{0,62}(?:\.|\1(?:25)*2[Ee])[A-Za-z])"
)
_SLASHED = re.compile(r"urldefense\.[^\s\"'<>]++")  # Proofpoint's second form: "_" is "/"
_QP = re.compile(r"=(?:[0-9A-Fa-f]{2}|[ \t]*\r?\n)")
_ENTITY = re.compile(r"&#?[0-9A-Za-z]{1,32};?")
_ESCAPE = re.compile(
    r"\\[ux]\{([0-9A-Fa-f]{1,8})\}|\\u([0-9A-Fa-f]{1,4})|%u([0-9A-Fa-f]{1,4})|\\U([0-9A-Fa-f]{8})"
    r"|U(?<!\wU)\+([0-9A-Fa-f]{4,6})\b"
    r"|_x([0-9A-Fa-f]{4})_|\\x([0-9A-Fa-f]{2})|\\'([0-9A-Fa-f]{2})|\\([0-3][0-7]{2})|\\([nrt/\"])"
)
_OTHER_ESCAPE = re.compile(r"\\u(\d{2,5}) ?\??|\\([0-9A-Fa-f]{2,6}) ?")
# UTF-16 of ASCII begins so in base64.
_UTF7 = re.compile(r"\+A[A-H][A-Za-z0-9+/]++-?")
_IMAP = re.compile(r"&(A[A-H][A-Za-z0-9+,]++)-")
_WORD = r"=\?[^?\s]{1,60}\?[bBqQ]\?[^?\s]*+\?="
_WORDS = re.compile(rf"{_WORD}(?:\s*+{_WORD})*")
_TAG = re.compile(r"<[a-zA-Z/!]")
_ASIDE = re.compile(r"\([^()@]{1,60}\)[ \t]{0,4}(?=[@.])|(?<=[@.])[ \t]{0,4}\([^()@]{1,60}\)")
_PAIR = re.compile(r"\\([0-9A-Fa-f]{2})")
_OVERRIDE = re.compile("\u202e([^\u202c\u202d\u202e\\n]*+)\u202c?")
_SIMPLE = {"n": "\n", "r": "\r", "t": "\t"}
TOGETHER = "\u2060"  # where something invisible stood: a reader sees no gap, but the word may end there


@dataclass(frozen=True, slots=True)
class Layer:
    """One rule.

    name     what it undoes
    how      a phrase for the person, after the place: "percent-encoded"
    trigger  a quick look
    alone    whether it is not tried again over what others have undone: it takes words away
    """

    name: str
    how: str
    trigger: Callable[[str], bool]
    undo: Callable[[str], str]
    alone: bool = False


def _percent(text: str) -> str:
    def run(match: re.Match[str]) -> str:
        octets = bytes.fromhex(match[0].replace("%", ""))
        try:
            return octets.decode("utf-8")
        except UnicodeDecodeError:
            return octets.decode("latin-1")

    return _PERCENT_RUN.sub(run, text)


def _instead(text: str) -> str:
    text = _SLASHED.sub(lambda match: match[0].replace("_", "/"), text)
    for sign in sorted({match[1] for match in _INSTEAD.finditer(text)}):
        text = re.sub(
            rf"{re.escape(sign)}(?:25)*([2-7][0-9A-Fa-f])", lambda match: chr(int(match[1], 16)), text
        )
    return text


def _qp(text: str) -> str:
    octets = transfer.decode(text.encode("utf-8", "replace"), "quoted-printable")
    return octets.decode("utf-8", "ignore")  # "?id=80" in a link is no quoted-printable


def unescape(text: str) -> str:
    """JSON, C, Perl, JavaScript, RTF and PDF; names in XML; "U+0040"."""

    def character(match: re.Match[str]) -> str:
        *hexadecimal, octal, simple = match.groups()
        if simple:
            return _SIMPLE.get(simple, simple)
        return _character(int(octal, 8) if octal else int(next(filter(None, hexadecimal)), 16))

    return _ESCAPE.sub(character, text)


def _unescape_other(text: str) -> str:
    """RTF's Unicode, and CSS: their digits mean something else than those of the former."""

    def character(match: re.Match[str]) -> str:
        return _character(int(match[1]) if match[1] else int(match[2], 16))

    return _OTHER_ESCAPE.sub(character, text)


def _pairs(text: str) -> str:
    """RFC 4514 §2.4: always two digits, whatever follows."""
    return _PAIR.sub(lambda match: _character(int(match[1], 16)), text)


def _character(code: int) -> str:
    return chr(code) if 0 < code < 0xD800 or 0xDFFF < code < 0x110000 else " "


def _utf7(text: str) -> str:
    def run(match: re.Match[str]) -> str:
        return match[0].encode("ascii").decode("utf-7", "ignore")

    return _UTF7.sub(run, text).encode("utf-8", "replace").decode("utf-8")


def _imap(text: str) -> str:
    def run(match: re.Match[str]) -> str:
        digits = match[1].replace(",", "/")
        octets = binascii.a2b_base64(digits[: len(digits) - (len(digits) % 4 == 1)] + "===")
        return octets.decode("utf-16-be", "ignore")

    return _IMAP.sub(run, text)


def _iso2022(text: str) -> str:
    return charset.decode(text.encode("ascii", "ignore"), "iso-2022-jp-2")


def _words(text: str) -> str:
    def run(match: re.Match[str]) -> str:
        return headers.decode(match[0].encode("utf-8", "replace"))

    return _WORDS.sub(run, text)


def _bidi(text: str) -> str:
    """UAX 9 §2.2: from an override on, letters stand from right to left."""
    return _OVERRIDE.sub(lambda match: match[1][::-1], text)


def _has(pattern: re.Pattern[str], sign: str = "") -> Callable[[str], bool]:
    """sign  one that is in all that is found: seen faster than the pattern"""
    return lambda text: sign in text and pattern.search(text) is not None


def _without_tags(text: str) -> str:
    return html.without_tags(text, TOGETHER)


TAGS = Layer("tags", "between tags", _has(_TAG), _without_tags, alone=True)
LAYERS: tuple[Layer, ...] = (
    Layer("character references", "as character references", _has(_ENTITY), html.unescape),
    Layer("percent", "percent-encoded", _has(_PERCENT_RUN), _percent),
    Layer("percent, by another sign", "percent-encoded", _has(_INSTEAD), _instead, alone=True),
    Layer("quoted-printable", "in quoted-printable", _has(_QP), _qp),
    Layer("escapes", "with escapes", _has(_ESCAPE), unescape),
    Layer("other escapes", "with escapes", _has(_OTHER_ESCAPE), _unescape_other),
    Layer("LDAP's escapes", "with escapes", _has(_PAIR), _pairs),
    Layer("encoded words", "in encoded words", _has(_WORDS), _words),
    Layer("ISO-2022", "in ISO-2022", lambda text: "\x1b" in text, _iso2022),
    Layer("IMAP's UTF-7", "in UTF-7", _has(_IMAP), _imap),
    Layer("overrides", "from right to left", lambda text: "\u202e" in text, _bidi),
    Layer("UTF-7", "in UTF-7", _has(_UTF7), _utf7, alone=True),
    TAGS,
    Layer("comments", "with comments", _has(_ASIDE, "("), lambda text: _ASIDE.sub("", text), alone=True),
)
