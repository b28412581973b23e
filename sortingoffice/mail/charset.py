"""Octets to text by a charset's name, and nothing that a charset's name could do besides.

Python's codec registry also holds compressors, escapes and punycode; only real
charsets are admitted here, and every octet string decodes in linear time.

Sources: RFC 2046 §4.1.2, RFC 2047 §3, the WHATWG encoding labels that mail really carries.
"""

from __future__ import annotations

import codecs

_ALIASES = {
    "": "utf-8",
    "unknown": "latin-1",
    "unknown-8bit": "latin-1",
    "x-unknown": "latin-1",
    "us-ascii": "utf-8",  # a superset; what is mislabelled is nearly always UTF-8
    "ascii": "utf-8",
    "ansi_x3.4-1968": "utf-8",
    "iso-8859-1": "cp1252",  # as browsers and mail clients read it
    "latin1": "cp1252",
    "iso-8859-8-i": "iso-8859-8",
    "ks_c_5601-1987": "cp949",
    "ks_c_5601": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "x-sjis": "cp932",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "windows-31j": "cp932",
    "x-mac-roman": "mac-roman",
    "unicode-1-1-utf-7": "utf-7",
    "unicode-1-1-utf-8": "utf-8",
    "utf8mb4": "utf-8",
}
# Not charsets, though the registry decodes bytes with them.
_REFUSED = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"})


def codec(name: str) -> str | None:
    """Python's name for a charset; None if it is no charset that we can read."""
    wanted = name.strip().strip("\"'").lower()
    wanted = _ALIASES.get(wanted, wanted)
    if len(wanted) > 40:
        return None
    try:
        found = codecs.lookup(wanted)
    except (LookupError, ValueError, UnicodeError):
        return None
    if found.name.replace("-", "_") in _REFUSED or not getattr(found, "_is_text_encoding", True):
        return None
    return found.name


def decode(octets: bytes, name: str) -> str | None:
    """Text, with U+FFFD for what doesn't fit; None where the charset is unknown.

    An unlabelled or ASCII-labelled text that is not UTF-8 is read as windows-1252.
    """
    known = codec(name)
    if known is None:
        return None
    if known == "utf-8":
        try:
            return octets.decode("utf-8")
        except UnicodeDecodeError:
            if name.strip().lower() not in ("utf-8", "utf8"):
                return octets.decode("cp1252", "replace")
    try:
        return octets.decode(known, "replace")
    except (UnicodeError, ValueError):
        return octets.decode("latin-1")
