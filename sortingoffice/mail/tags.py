"""Tag lists: `v=1; a=rsa-sha256; …`, the syntax that DKIM, its keys, DMARC and ARC share.

Promise: linear, and None for whatever breaks the grammar; a tag that stands twice breaks it.

Sources: RFC 6376 §3.2; RFC 7489 §6.4 (the same, for policy records); RFC 8616 (UTF-8 in values).
"""

from __future__ import annotations

import base64
import binascii
import re

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_FWS = " \t\r\n"
_BLANKS = re.compile(rb"[ \t\r\n]+")
_UNSEEN = re.compile(r"[^\x20-\x3a\x3c-\x7e\t\r\n\u0080-\U0010ffff]")


def parse(octets: bytes) -> dict[str, str] | None:
    """{tag: value}, in order; values without the blanks around them, inner folds as they came."""
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        return None
    parts = text.split(";")
    if not parts[-1].strip(_FWS):
        parts.pop()
    found: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip(_FWS)
        if not equals or not _NAME.fullmatch(name) or name in found or _UNSEEN.search(value):
            return None
        found[name] = value.strip(_FWS)
    return found


def words(value: str, separator: str = ":") -> tuple[str, ...]:
    """A list inside a value, blanks around each word taken off."""
    return tuple(word.strip(_FWS) for word in value.split(separator))


def octets(value: str) -> bytes | None:
    """base64 with folds in it, padded or not; None where it is something else."""
    packed = _BLANKS.sub(b"", value.encode("ascii", "replace"))
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def number(value: str) -> int | None:
    """A decimal number of at most twelve digits (RFC 6376 §3.5, t= and x=); None for anything else."""
    return int(value) if re.fullmatch(r"[0-9]{1,12}", value) else None
