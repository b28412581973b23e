"""Invitations, on their way in: the organizer becomes reachable, the invited alias becomes the mailbox.

The one exception to "the body is not touched": without it no mail client offers an answer, or
it sends the answer to the organizer directly.  Lines that name nobody of these stay octet for octet.

An address is read where clients read one: as mailto:, bare, in percent, and in the parameter EMAIL, to which
Apple's calendar answers.

Sources: RFC 5545 §3.1 (folding), §3.2.18 (SENT-BY), §3.8.4.1 (ATTENDEE), §3.8.4.3 (ORGANIZER); RFC 6047;
RFC 7986 §6.2 (EMAIL); RFC 6068 (percent).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote

from sortingoffice.mail.address import Address, parse

_PROPERTY = re.compile(r"(ORGANIZER|ATTENDEE)[;:]", re.IGNORECASE)
_PARAMETERS = re.compile(r'(?:[^":]++|"[^"]*+")*+')  # up to the colon before the value
_ADDRESS = r'([^;:,"\s<>?]{1,320})'
_IN_PARAMETERS = re.compile(r'(?:mailto:|;EMAIL="?)' + _ADDRESS, re.IGNORECASE)
_IN_VALUE = re.compile(r":(?:mailto:)?\s{0,3}<?" + _ADDRESS, re.IGNORECASE)
_FOLD = re.compile(r"\r?\n[ \t]")
_WIDTH = 73  # octets a line; 75 with the blank of the fold

Swap = Callable[[str, Address], Address | None]


def organizers(text: str) -> tuple[Address, ...]:
    """Those to whom an answer would go."""
    return tuple(
        address
        for name, line in _lines(text)
        if name == "ORGANIZER"
        for _, _, address in _addresses(_FOLD.sub("", line.rstrip("\r\n")))
    )


def rewrite(text: str, swap: Swap) -> str:
    """The text with each address of an ORGANIZER or ATTENDEE line as `swap(name, address)` says;
    None keeps it."""
    parts: list[str] = []
    for name, line in _lines(text):
        parts.append(_rewritten(name, line, swap) if name else line)
    return "".join(parts)


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Content lines with their folds and line ends; the property's name where it is one of ours."""
    pending: list[str] = []
    for line in text.splitlines(keepends=True):
        if pending and line[:1] not in (" ", "\t"):
            yield _named("".join(pending))
            pending = []
        pending.append(line)
    if pending:
        yield _named("".join(pending))


def _named(line: str) -> tuple[str, str]:
    match = _PROPERTY.match(line)
    return (match[1].upper() if match else "", line)


def _rewritten(name: str, line: str, swap: Swap) -> str:
    ending = line[len(line.rstrip("\r\n")) :]
    flat = _FOLD.sub("", line.rstrip("\r\n"))
    pieces: list[str] = []
    at = 0
    for start, end, address in _addresses(flat):
        new = swap(name, address)
        if new is not None:
            pieces += (flat[at:start], str(new))
            at = end
    return _folded("".join((*pieces, flat[at:]))) + ending if pieces else line


def _addresses(line: str) -> Iterator[tuple[int, int, Address]]:
    """Where the addresses of an unfolded line stand."""
    parameters = _PARAMETERS.match(line)
    end = parameters.end() if parameters is not None else 0
    if line[end : end + 1] != ":":  # a quote that nothing closes
        end = len(line)
    for match in (*_IN_PARAMETERS.finditer(line, 0, end), _IN_VALUE.match(line, end)):
        if match is not None and (address := parse(unquote(match[1]))) is not None:
            yield *match.span(1), address


def _folded(line: str) -> str:
    """RFC 5545 §3.1: at most 75 octets a line, never within a character."""
    pieces: list[str] = []
    piece = ""
    size = 0
    for char in line:
        octets = len(char.encode("utf-8", "replace"))
        if size + octets > _WIDTH:
            pieces.append(piece)
            piece, size = "", 0
        piece += char
        size += octets
    pieces.append(piece)
    return "\r\n ".join(pieces)


def said(text: str) -> Iterator[str]:
    """Each line that a calendar shows, with its property's name and without (RFC 5545 §3.1, §3.3.11)."""
    whole = _FOLD.sub("", text).replace("\\n", "\n").replace("\\N", "\n")
    for line in whole.splitlines():
        yield line
        yield line.rpartition(":")[2]
