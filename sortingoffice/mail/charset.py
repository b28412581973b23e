"""Charsets: octets to text and back, without guessing a codec that a stranger named.

Only charsets of the list below are looked up: Python's codec search imports what it
is asked for, remembers every name for ever, and holds codecs (punycode, idna) that are
quadratic.

Promise: encode(decode(octets, charset), charset, like=octets) == octets for every charset that
keeps no state between characters.  Octets that the charset doesn't know become the private
characters U+EF80–U+EFFF, so that they come back as they were and no text holds a surrogate.

Sources: RFC 2045 §6, RFC 2046 §4.1.2 (charset); WHATWG Encoding (labels in real mail);
RFC 1468 (ISO-2022-JP), RFC 2152 (UTF-7), RFC 2781 (UTF-16).
"""

from __future__ import annotations

import re
from encodings.aliases import aliases as _PYTHON_ALIASES

_NAMES = (
    "ascii utf_8 utf_7 utf_16 utf_16_be utf_16_le utf_32 utf_32_be utf_32_le latin_1 iso8859_2 iso8859_3 "
    "iso8859_4 iso8859_5 iso8859_6 iso8859_7 iso8859_8 iso8859_9 iso8859_10 iso8859_11 iso8859_13 iso8859_14 "
    "iso8859_15 iso8859_16 cp437 cp850 cp852 cp858 cp866 cp874 cp932 cp949 cp950 cp1250 cp1251 cp1252 cp1253 "
    "cp1254 cp1255 cp1256 cp1257 cp1258 koi8_r koi8_u koi8_t mac_roman mac_cyrillic mac_greek mac_turkish "
    "mac_latin2 shift_jis shift_jisx0213 euc_jp iso2022_jp iso2022_jp_1 iso2022_jp_2 iso2022_jp_ext euc_kr "
    "iso2022_kr johab gb2312 gbk gb18030 hz big5 big5hkscs tis_620"
)
_CODECS = frozenset(_NAMES.split())
# Labels that real mail carries and Python doesn't know, and labels whose senders mean a superset.
_LABELS = {
    "utf8mb4": "utf_8",
    "utf_8_": "utf_8",
    "unicode_1_1_utf_8": "utf_8",
    "unicode_1_1_utf_7": "utf_7",
    "x_unicode_2_0_utf_7": "utf_7",
    "iso_8859_8_i": "iso8859_8",
    "iso_8859_8_e": "iso8859_8",
    "iso_8859_6_i": "iso8859_6",
    "x_sjis": "cp932",
    "x_gbk": "gbk",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x_cp1252": "cp1252",
    "x_mac_roman": "mac_roman",
    "macintosh": "mac_roman",
    "ansi": "cp1252",
    "x_euc_jp": "euc_jp",
    "windows_31j": "cp932",
    "windows_949": "cp949",
    "ks_c_5601": "cp949",
    "windows_874": "cp874",
}
_MAX_LABEL = 64
_SURROGATE = re.compile("[\udc80-\udcff]")
_PRIVATE = re.compile("[\uef80-\uefff]")
_TO_PRIVATE = {chr(0xDC00 + octet): chr(0xEF00 + octet) for octet in range(0x80, 0x100)}
_TO_SURROGATE = {private: surrogate for surrogate, private in _TO_PRIVATE.items()}


def codec(label: str) -> str:
    """Python's name of the codec for a charset's label; "" where it is unknown or not a charset of mail."""
    if len(label) > _MAX_LABEL:
        return ""
    name = re.sub(r"[^a-z0-9]+", "_", label.strip().strip("\"'").lower()).strip("_")
    name = _LABELS.get(name) or _PYTHON_ALIASES.get(name, name)
    name = _LABELS.get(name, name)
    return name if name in _CODECS else ""


def known(label: str) -> bool:
    return codec(label) != ""


def decode(octets: bytes, label: str) -> str:
    """The text of octets; never fails.

    An unknown or absent charset, and 8-bit octets under US-ASCII, are read as UTF-8 where they
    are UTF-8; what no reading gives becomes U+EF80–U+EFFF.
    """
    name = _effective(octets, label)
    try:
        return octets.decode(name)
    except (UnicodeError, ValueError):
        pass
    try:
        text = octets.decode(name, "surrogateescape")
    except (UnicodeError, ValueError):
        text = octets.decode("ascii", "surrogateescape")
    if _PRIVATE.search(text):  # the sender's own private characters: then ours would be ambiguous
        return _SURROGATE.sub("\ufffd", text)
    return _clean(_mapped(text, _TO_PRIVATE))


def encode(text: str, label: str, like: bytes = b"") -> bytes | None:
    """The octets of a text in a charset; None where the charset lacks one of its characters.

    like  the octets that the text was decoded from before it was changed: they tell how their
          8-bit octets were read
    """
    name = _effective(like, label)
    try:
        octets = text.encode(name)
    except (UnicodeError, ValueError):
        octets = None
    if octets is not None and not (_PRIVATE.search(text) and _escaped(like, name)):
        return _as_before(octets, like, name)
    try:
        return _mapped(text, _TO_SURROGATE).encode(name, "surrogateescape")
    except (UnicodeError, ValueError):
        return None


def clean(text: str) -> str:
    """The text with U+FFFD for each octet that had no reading: for another charset, or to be shown."""
    return _PRIVATE.sub("\ufffd", text)


def _clean(text: str) -> str:
    """Lone surrogates, which UTF-16, UTF-7 and UTF-32 can smuggle in, can't be encoded again anywhere."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _mapped(text: str, by: dict[str, str]) -> str:
    """Some characters replaced: a pass per different one costs a tenth of str.translate."""
    for character in by.keys() & set(text):
        text = text.replace(character, by[character])
    return text


def _effective(octets: bytes, label: str) -> str:
    name = codec(label)
    if name in ("", "ascii") and not octets.isascii():
        try:
            octets.decode("utf-8")
        except UnicodeDecodeError:
            return "ascii"
        return "utf_8"
    return name or "ascii"


def _escaped(octets: bytes, name: str) -> bool:
    try:
        octets.decode(name)
    except (UnicodeError, ValueError):
        return True
    return False


def _as_before(octets: bytes, like: bytes, name: str) -> bytes:
    """UTF-16 and UTF-32 get a byte order mark only where there was one, and in that order."""
    if name not in ("utf_16", "utf_32") or not like:
        return octets
    width = 2 if name == "utf_16" else 4
    if like[:width] == octets[:width]:
        return octets
    reverse = octets[:width][::-1]
    text = octets.decode(name)
    if like[:width] == reverse:
        return reverse + text.encode(f"{name}_be")
    return text.encode(f"{name}_le")  # what Python's decoder takes for granted without a mark
