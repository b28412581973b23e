"""Trace: the fields that say which way a message came and what we found out about it.

Promise: every field made here is ASCII, folded below 78 octets wherever a blank allows it, and what a peer
put into a HELO name or an address can't end a comment, a clause or the field.

Sources: RFC 5321 §4.4 (Received), §6.3 (loops); RFC 3848 and RFC 6531 §3.7.3 (with); RFC 8601 §5 (forged
results), §2.2 (their grammar).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

import idna

from sortingoffice.mail import headers
from sortingoffice.mail.message import Field, Message, field

_WIDTH = 76
_LONGEST_NAME = 255
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HELO = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.:-]{0,253}[A-Za-z0-9_])?")
_LITERAL = re.compile(r"\[[A-Za-z0-9.:]{1,60}\]")
_ATOM = re.compile(rb"[^\s;()\"]+")
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_SPECIAL = re.compile(rb"\\.|[()]", re.DOTALL)
# What is never closed goes on to the end, and an escaped sign opens nothing: looked for anew from each, it
# would cost the square.
_BREAK = re.compile(
    r'"(?:[^"\\]|\\.?)*+(?:"|\Z)|\((?:[^()\\]|\\.?)*+(?:\)|\Z)|(?P<end>; )|(?P<blank> )|[^"(; \\]+|\\.?|.',
    re.DOTALL,
)


# The line that an mbox file has before a message's fields; "From : a@b.example" is a field (RFC 5322 §4.5).
_MAILBOX_LINE = re.compile(rb">*From [^\s:][^\n]*+\n(?=[!-9;-~]++[ \t]*+:)")


class Client(Protocol):
    """What is known of a connection; `core.model.Peer` is one."""

    @property
    def ip(self) -> str: ...
    @property
    def helo(self) -> str: ...
    @property
    def tls(self) -> str: ...
    @property
    def account_id(self) -> int | None: ...
    @property
    def esmtp(self) -> bool: ...


def origin(client: Client) -> str:
    """Where a message came from, for `received`: "mail.shop.example ([192.0.2.1]) with ESMTPS"."""
    helo = client.helo
    name = helo if _HELO.fullmatch(helo) or _LITERAL.fullmatch(helo) else "unknown"
    protocol = "ESMTP" + ("S" if client.tls else "") + ("A" if client.account_id is not None else "")
    return f"{name} ({_literal(client.ip)}) with {protocol if client.esmtp else 'SMTP'}"


def _literal(ip: str) -> str:
    """RFC 5321 §4.1.3."""
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return "[unknown]"
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"


def received(hostname: str, token: str, at: datetime, *, origin: str = "", mark: str = "") -> Field:
    """Our Received field, with a UTC date and without `for`: recipients are nobody else's business.

    origin  what `origin` told; "" leaves out `from` and `with`, as outward mail must
    mark    the loop mark of an inward message, which `carries` finds again; "" for none
    """
    name, _, protocol = origin.partition(" with ")
    clauses = [
        f"from {name}" if name else "",
        f"by {hostname}",
        f"with {protocol}" if protocol else "",
        f"id {token}",
        f"(mark {mark})" if mark else "",
    ]
    lines = _wrapped([*(clause for clause in clauses if clause)], len("Received: "))
    return field("Received", f"{lines};\r\n\t{date(at)}")


def date(at: datetime) -> str:
    """RFC 5322 §3.3, in UTC; a tenth of what `email.utils` takes."""
    utc = at.astimezone(UTC)
    day, month = _DAYS[utc.weekday()], _MONTHS[utc.month - 1]
    return f"{day}, {utc.day:02} {month} {utc.year:04} {utc.hour:02}:{utc.minute:02}:{utc.second:02} +0000"


def carries(message: Message, hostname: str, mark: str) -> bool:
    """Whether a Received field of ours has this mark: it has been here for this relationship."""
    by, marked = f"by {hostname} ".lower().encode(), f"(mark {mark})".lower().encode()
    for each in message.all("Received"):
        text = b" ".join(each.value.lower().split())
        if marked in text and by in text:
            return True
    return False


def with_mailbox_line(raw: bytes) -> bytes:
    """A message; the line of a mailbox file before its fields becomes one of them, as in Postfix: else all
    that follows would be body."""
    return b"X-Mailbox-Line: " + raw if _MAILBOX_LINE.match(raw) else raw


def hops(message: Message) -> int:
    """How many servers it has passed (RFC 5321 §6.3)."""
    return sum(1 for _ in message.all("Received"))


def recorded_results(text: str) -> Field:
    """The Authentication-Results field of a value that `Authentication.text` made, folded."""
    return field("Authentication-Results", folded(text, len("Authentication-Results: ")))


def folded(text: str, used: int) -> str:
    """A value of results, a result per line; never broken inside a quoted string or a comment."""
    lines: list[str] = []
    for result in results(text):
        lines.append(_wrapped(result, used if not lines else 8))
    return ";\r\n\t".join(lines)


def results(text: str) -> Iterator[list[str]]:
    """The results of a value, each as its words."""
    if '"' not in text and "(" not in text:  # nothing that a blank or a semicolon could stand in
        yield from (result.split(" ") for result in text.split("; "))
        return
    words: list[str] = []
    word = ""
    for match in _BREAK.finditer(text):
        if match["end"] or match["blank"]:
            words.append(word)
            word = ""
            if match["end"]:
                yield words
                words = []
        else:
            word += match[0]
    yield [*words, word]


def _wrapped(words: list[str], used: int) -> str:
    """Words joined by blanks, or by a fold where the line would grow too long."""
    text = ""
    for word in words:
        if not text:
            text, used = word, used + len(word)
        elif used + 1 + len(word) > _WIDTH:
            text, used = f"{text}\r\n\t{word}", 8 + len(word)
        else:
            text, used = f"{text} {word}", used + 1 + len(word)
    return text


def without_forged(message: Message, authserv_id: str) -> Message:
    """The message without the results that claim to be ours (RFC 8601 §5), however the id is written."""
    ours = _forms(authserv_id)

    def kept(each: Field) -> Field | None:
        if each.is_named("Authentication-Results") and ours & _forms(_claimed(each.value)):
            return None
        return each

    return message.edit(kept)


def _forms(claimed: str) -> set[str]:
    """What readers may take a host's name for: without its case and its last dot, and where it holds more
    than ASCII, its A-labels (RFC 8601 §2.2) as browsers map them."""
    forms = {claimed.casefold().rstrip(".")}
    if not claimed.isascii() and len(claimed) <= _LONGEST_NAME:
        with suppress(idna.IDNAError, UnicodeError):
            forms.add(idna.encode(claimed.rstrip("."), uts46=True).decode("ascii"))
    return forms


def _claimed(value: bytes) -> str:
    """The authserv-id of a field's value; "" where none can be read.

    Encoded words have no place in it, but readers decode a field before they look what it says.
    """
    if b"=?" in value:
        value = headers.decode(value).encode()
    at = _after_blanks(value, 0)
    quoted = _QUOTED.match(value, at)
    found = quoted or _ATOM.match(value, at)
    if found is None:
        return ""
    octets = re.sub(rb"\\(.)", rb"\1", quoted[1], flags=re.DOTALL) if quoted else found[0]
    return octets.decode("utf-8", "replace").strip()


def _after_blanks(value: bytes, at: int) -> int:
    """The offset behind blanks and comments (CFWS, RFC 5322 §3.2.2), nested ones too."""
    depth = 0
    while at < len(value):
        if depth == 0:
            if value[at : at + 1].isspace():
                at += 1
                continue
            if value[at : at + 1] != b"(":
                return at
            depth, at = 1, at + 1
        special = _SPECIAL.search(value, at)
        if special is None:
            return len(value)
        at = special.end()
        depth += {b"(": 1, b")": -1}.get(special[0], 0)
    return at
