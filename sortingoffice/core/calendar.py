"""Invitations, on their way in: the organizer becomes reachable, the invited alias becomes the mailbox.

The one exception to "the body is not touched": without it no mail client offers an answer, or
it sends the answer to the organizer directly.  Lines that name nobody of these stay octet for octet.

An address is read where clients read one: as mailto:, bare, in percent, and in the parameter EMAIL, to which
Apple's calendar answers.  Where programs unfold differently, every way of theirs counts.  Where a message has
its calendars: `core.invitation`.

Sources: RFC 5545 §3.1 (folding), §3.2.18 (SENT-BY), §3.8.4.1 (ATTENDEE), §3.8.4.3 (ORGANIZER); RFC 6047;
RFC 7986 §6.2 (EMAIL); RFC 6068 (percent); RFC 6350 §3.3 (groups); vCalendar 1.0 (ROLE, ENCODING).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote

from sortingoffice.mail.address import Address, parse

_PROPERTY = re.compile(r"[\s\ufeff]*+(?:[\w-]++\.)*+(ORGANIZER|ATTENDEE)\s*+[;:]", re.IGNORECASE)
_PARAMETERS = re.compile(r'(?:[^":]++|"[^"]*+")*+')  # up to the colon before the value
_ADDRESS = r'([^;:,"\s<>?]{1,320})'
_IN_PARAMETERS = re.compile(
    r'(?:mailto:|(?<!CID):(?!//)|;\s{0,3}(?:EMAIL|SENT-BY|X-[A-Z-]{1,40})\s{0,3}=\s{0,3}"?(?!mailto:))\s{0,3}<?'
    + _ADDRESS,
    re.IGNORECASE,
)
_IN_VALUE = re.compile(r":\s{0,3}(?:mailto:)?\s{0,3}<?" + _ADDRESS, re.IGNORECASE)
_AT = re.compile(r"@|%40")
# vCalendar 1.0 names the organizer so, and writes values in other octets.
_ROLE = re.compile(r';\s*+ROLE\s*+=\s*+"?(?:ORGANIZER|OWNER)\b', re.IGNORECASE)
_ENCODED = re.compile(
    r';\s*+(?:ENCODING\s*+=\s*+(?!"?[78])(?:"[^"]*+"|[^;:"]*+)|QUOTED-PRINTABLE|BASE64)(?=[;:])',
    re.IGNORECASE,
)
_METHOD = re.compile(r"[\s\ufeff]*+(?:[\w-]++\.)*+METHOD\s*+(?:;[^:]*+)?:\s*+(\w*+)", re.IGNORECASE)
_SHOWN_FOLD = re.compile(r"\r?\n[ \t]")
_FOLD = re.compile(r"(?<![\r\n])(?:\r*+\n)++[ \t]")  # some unfold across empty lines, and after CR CR LF
_CR_FOLD = re.compile(r"\r[ \t]")
# What ends a line for some programs and not for others.
_LONE_CR = re.compile(r"(?<!\r)\r++(?!\n)")
_RARE_ENDS = re.compile(r"[\v\f\x1c-\x1e\x85\u2028\u2029]")
_GAP = re.compile(r"(?<![\r\n])(?:\r*+\n(?:\r*+\n)++|\r\r++\n)(?=[ \t])")
_BLANKS = re.compile(r"\s+")
_OURS = re.compile(r"(?:ORGANIZER|ATTENDEE|METHOD)[;:]", re.IGNORECASE)
_WIDTH = 73  # octets a line; 75 with the blank of the fold

Swap = Callable[[str, Address], Address | None]


def organizers(text: str) -> tuple[Address, ...]:
    """Those to whom an answer would go."""
    return tuple(
        address
        for name, line in _lines(settled(text))
        if name
        for flat in (_unfolded(line.rstrip("\r\n")),)
        if _role(name, flat) == "ORGANIZER"
        for address in _addresses(flat)
    )


def rewrite(text: str, swap: Swap, unread: Address | None = None) -> str:
    """The text with each address of an ORGANIZER or ATTENDEE line as `swap(name, address)` says;
    None keeps it.

    unread  what stands for an organizer whose address can't be read here, but perhaps elsewhere
    """
    plain = settled(text)
    new = "".join(_rewritten(name, line, swap, unread) if name else line for name, line in _lines(plain))
    return text if new == plain else new


def settled(text: str) -> str:
    """The text in which all programs see one and the same line where one of them may see an organizer."""
    if _is_cr_only(text) or not _ambiguous(text):
        return text
    return "".join(_settled(line) for _, line in _lines(text))


def asks(text: str) -> bool:
    """Whether somebody is asked for an answer: what is only published, and invites nobody, asks for none."""
    for name, line in _lines(settled(text)):
        if name == "ATTENDEE":
            return True
        method = _METHOD.match(_unfolded(line))
        if method is not None and method[1].upper() != "PUBLISH":
            return True
    return False


def said(text: str) -> Iterator[str]:
    """Each line that a calendar shows, with its property's name and without (RFC 5545 §3.1, §3.3.11)."""
    whole = _SHOWN_FOLD.sub("", text).replace("\\n", "\n").replace("\\N", "\n")
    for line in whole.splitlines():
        yield line
        yield line.rpartition(":")[2]


# ---- lines -------------------------------------------------------------------------------------------


def _is_cr_only(text: str) -> bool:
    """Lines that end in CR, as old Macs wrote them; what was carried may have got a line end at its end."""
    return "\n" not in text.rstrip("\r\n") and "\r" in text


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Content lines with their folds and line ends; the property's name where it is one of ours."""
    end = "\r" if _is_cr_only(text) else "\n"
    pending: list[str] = []
    for piece in text.split(end):
        line = piece + end
        if pending and line[0] not in " \t\r\n":
            yield _named("".join(pending))
            pending = []
        pending.append(line)
    pending[-1] = pending[-1][:-1]
    if last := "".join(pending):
        yield _named(last)


def _named(line: str) -> tuple[str, str]:
    match = _PROPERTY.match(line) or _PROPERTY.match(_unfolded(line))
    return (match[1].upper() if match else "", line)


def _unfolded(line: str) -> str:
    if "\n" in line:
        line = _FOLD.sub("", line)
    return _CR_FOLD.sub("", line) if "\r" in line else line


def _ambiguous(text: str) -> bool:
    return any(pattern.search(text) is not None for pattern in (_LONE_CR, _RARE_ENDS, _GAP))


def _settled(line: str) -> str:
    if not _ambiguous(line) or _OURS.search(_BLANKS.sub("", line)) is None:
        return line
    # In this order: what a bare CR ends may go on after an empty line.
    return _GAP.sub("\r\n", _LONE_CR.sub("\r\n", _RARE_ENDS.sub(" ", line)))


def _role(name: str, flat: str) -> str:
    return "ORGANIZER" if _ROLE.search(flat, 0, _colon(flat)) is not None else name


def _colon(flat: str) -> int:
    """Where the value's colon stands; the end where a quote that nothing closes hides it."""
    parameters = _PARAMETERS.match(flat)
    end = parameters.end() if parameters is not None else 0
    return end if flat[end : end + 1] == ":" else len(flat)


def _rewritten(name: str, line: str, swap: Swap, unread: Address | None) -> str:
    ending = line[len(line.rstrip("\r\n")) :]
    flat = _unfolded(line.rstrip("\r\n"))
    colon = _colon(flat)
    name = _role(name, flat)
    organizer = name == "ORGANIZER" and unread is not None

    def turned(match: re.Match[str]) -> str:
        address = _read(match)
        new = swap(name, address) if address is not None else None
        if address is None and organizer and _AT.search(match[1]):
            new = unread
        return match[0] if new is None else f"{match[0][: -len(match[1])]}{new}"

    parameters, value = _IN_PARAMETERS.sub(turned, flat[:colon]), flat[colon:]
    found = _IN_VALUE.match(value)
    rest = value if found is None or _read(found) is None else value[found.end() :]
    encoded = _ENCODED.search(flat, 0, colon + 1) is not None
    if organizer and (encoded or _AT.search(rest)):
        parameters, value = _ENCODED.sub("", parameters + ":")[:-1], f":mailto:{unread}"
    elif found is not None:
        value = turned(found) + value[found.end() :]
    new = parameters + value
    return line if new == flat else _folded(new) + ending


def _addresses(line: str) -> Iterator[Address]:
    """The addresses of an unfolded line."""
    end = _colon(line)
    for match in (*_IN_PARAMETERS.finditer(line, 0, end), _IN_VALUE.match(line, end)):
        if match is not None and (address := _read(match)) is not None:
            yield address


def _read(match: re.Match[str]) -> Address | None:
    return parse(unquote(match[1]))


def _folded(line: str) -> str:
    """RFC 5545 §3.1: at most 75 octets a line, never within a character."""
    if len(line.encode("utf-8", "replace")) <= _WIDTH:
        return line
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
