"""The mailto links of a field: whoever presses one writes to all whom it names.

Promise: no address that a mail program would read in a link gets past `turned`: not behind a comma, in a
`to`, `cc` or `bcc` of the link itself, between blanks and folds, or in encoded words.  Links that `turn`
leaves as they are stay octet for octet.

Sources: RFC 2369 §2 (blanks within the brackets count for nothing); RFC 6068 §2, §4 (what a link may say).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sortingoffice.mail import headers
from sortingoffice.mail.address import Address, parse

_LINK = re.compile(rb"(?i)(?<=<)\s*+mailto:[^<>]*+(?=>)|(?<![^\s<,])mailto:[^<>\s]*+")
_HEX = re.compile(rb"%([0-9A-Fa-f]{2})")
_NEXT = re.compile(rb"(?i),(?:mailto:)?")
_UNSEEN = re.compile(r"[^\x20-\x7e]")
_PEOPLE = (b"to", b"cc", b"bcc")
_WORDS = (b"subject", b"body", b"keywords", b"in-reply-to", b"references")

# An address (None: what may be one for others) to what stands in its place; None keeps it.
Turn = Callable[[Address | None], Address | None]


def addresses(value: bytes) -> tuple[Address, ...]:
    """Everyone whom the links name, in order."""
    found: list[Address] = []

    def seen(address: Address | None) -> None:
        if address is not None:
            found.append(address)

    turned(value, seen)
    return tuple(found)


def turned(value: bytes, turn: Turn) -> bytes:
    """The field's value with each address of its links as `turn` says."""
    plain = _plain(value)
    new = _LINK.sub(lambda match: _link(match[0], turn), plain)
    return value if new == plain else new


def _plain(value: bytes) -> bytes:
    """Encoded words have no place here, but readers decode a field before they look what it says."""
    if b"=?" not in value:
        return value
    text = headers.decode(value)
    if "mailto:" not in text.lower():
        return value
    return b" " + _UNSEEN.sub("?", text).replace(", ", ",\r\n ").encode("ascii") + b"\r\n"


def _link(link: bytes, turn: Turn) -> bytes:
    whole = b"".join(link.split())
    scheme, _, rest = whole.partition(b":")
    path, mark, query = rest.partition(b"?")
    said = [path and _people(path, turn)]
    for each in query.split(b"&") if mark else ():
        name, equals, value = each.partition(b"=")
        asked = _unquoted(name).lower()
        if asked in _PEOPLE:
            said.append(name + equals + _people(value, turn))
        elif asked in _WORDS:
            said.append(each)
    new = scheme + b":" + said[0] + (b"?" + b"&".join(said[1:]) if said[1:] else b"")
    return link if new == whole else new


def _people(listed: bytes, turn: Turn) -> bytes:
    return b",".join(_person(each, turn) for each in _NEXT.split(listed))


def _person(written: bytes, turn: Turn) -> bytes:
    text = _unquoted(written)
    if b"@" not in text:
        return written
    new = turn(parse(text))
    return written if new is None else str(new).encode("ascii")


def _unquoted(octets: bytes) -> bytes:
    return _HEX.sub(lambda match: bytes([int(match[1], 16)]), octets)
