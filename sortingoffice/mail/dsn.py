"""Delivery status notifications: the one we send, and those that come back.

Promise: `build` makes what RFC 3464 asks for and nothing about anybody but the recipient that it is
given.  `read` is total and bounded: any message is a `Report` or None, however broken.

What comes back is rarely by the book, so a message without a machine-readable part is still read as a
bounce where it plainly is one; what only might be one is not.

Sources: RFC 3464 (delivery-status), RFC 6522 (multipart/report), RFC 6533 (internationalised), RFC
3463 (codes), RFC 3834 §2 (automatic answers are no bounces), RFC 5321 §6.1 (null reverse-path).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum

from sortingoffice.frozen import dataclass
from sortingoffice.mail import headers, mime
from sortingoffice.mail.address import Address
from sortingoffice.mail.classify import auto_submitted, report_type
from sortingoffice.mail.message import Field, Message

_MAX_DEPTH = 10
_MAX_PARTS = 50
_MAX_STATUS = 64 * 1024  # octets of a delivery-status part, or of a text, that are read
# Three numbers of an IP address or of a program's version are no status.
_STATUS = re.compile(r"(?<![\w.])([245]\.[0-9]{1,3}\.[0-9]{1,3})(?!\w|\.\d)")
_FAULT = re.compile(r"(?<![\w.])([45]\.[0-9]{1,3}\.[0-9]{1,3})(?!\w|\.\d)")
_CODE = re.compile(
    r"(?m)(?:^|[\s:(\[<])([45][0-9]{2})(?: |-|: )(?:([45]\.[0-9]{1,3}\.[0-9]{1,3})(?!\w|\.\d))?"
)
# What was taken, in prose; "250 recipients" in the middle of a line says nothing.
_TAKEN = re.compile(
    r"(?im)(?:^[ \t]*|[:(\[<][ \t]*)25[0-2][ -]|(?<![\w.])25[0-2][ -]ok\b"
    r"|(?<![\w.])2\.[0-7]\.[0-9]{1,3}(?!\w|\.\d)"
)
_TYPE = re.compile(r"[ \t]*[A-Za-z][A-Za-z0-9_-]*[ \t]*;")
_STATUS_TYPES = ("message/delivery-status", "message/global-delivery-status")
_MAX_WORDS = 500


class Action(StrEnum):
    """RFC 3464 §2.3.3."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


_ACTIONS = tuple(action.value for action in Action)  # the worst first


@dataclass(frozen=True, slots=True)
class Failure:
    """What a DSN of ours says.

    recipient  as the sender wrote it: never where it was forwarded to
    status     enhanced code
    words      for a person, ASCII
    fields     of the sender's own message, by which they know it again
    """

    recipient: Address
    status: str
    words: tuple[str, ...]
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What a DSN that came back says; its texts are a stranger's.

    status      "5.1.1"; "" where none was said
    diagnostic  the remote's words on one line, "" if none
    recipient   Final-Recipient's or Original-Recipient's address as written, "" if none
    """

    action: Action
    status: str = ""
    diagnostic: str = ""
    recipient: str = ""

    @property
    def final(self) -> bool:
        return self.action is Action.FAILED and not self.status.startswith("2")


# ---- ours ----------------------------------------------------------------------------------------


def build(failure: Failure, *, to: Address, author: Address, token: str, now: datetime) -> bytes:
    """The DSN as a message; it leaves with the null reverse-path.

    author  From: postmaster at a domain of ours, which is the Reporting-MTA, too
    token   unique; makes the Message-ID and the boundary
    """
    utf8 = not failure.recipient.ascii
    boundary = f"=_{token}"
    kind = "rfc822-headers" if all(f.raw.isascii() for f in failure.fields) else "global-headers"
    head = [
        b"From: " + headers.mailbox("Mail Delivery System", author),
        b"To: " + str(to).encode(),
        b"Subject: Undelivered mail returned to its sender",
        b"Date: " + format_datetime(now).encode("ascii"),
        f"Message-ID: <{token}@{author.domain}>".encode("ascii"),
        b"Auto-Submitted: auto-replied",  # RFC 3834 §3.1.7
        b"MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="{boundary}"'.encode(),
    ]
    text = _part(
        "text/plain; charset=us-ascii", "\r\n".join(failure.words).encode("ascii", "replace"), "7bit"
    )
    status = _status(failure, author.domain, utf8=utf8, now=now)
    original = b"".join(field.raw for field in failure.fields)
    parts = [
        text,
        _part(_STATUS_TYPES[utf8], status, "8bit" if utf8 else "7bit"),
        _part(
            f"{'message' if kind == 'global-headers' else 'text'}/{kind}",
            original,
            "8bit" if kind != "rfc822-headers" else "7bit",
        ),
    ]
    mark = b"\r\n--" + boundary.encode()
    return b"\r\n".join(head) + b"\r\n" + b"".join(mark + b"\r\n" + part for part in parts) + mark + b"--\r\n"


def _part(content_type: str, body: bytes, encoding: str) -> bytes:
    return f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + body


def _status(failure: Failure, reporting: str, *, utf8: bool, now: datetime) -> bytes:
    kind = "utf-8" if utf8 else "rfc822"  # RFC 6533 §3
    lines = [
        f"Reporting-MTA: dns; {reporting}",
        "",
        f"Final-Recipient: {kind}; {failure.recipient}",
        "Action: failed",
        f"Status: {failure.status}",
        f"Last-Attempt-Date: {format_datetime(now)}",
        "",
    ]
    return "\r\n".join(lines).encode()


# ---- what came back --------------------------------------------------------------------------------


def read(message: Message, *, null_sender: bool, about: str = "") -> Report | None:
    """The report in a message that came to a return path; None where it is no bounce.

    null_sender  its envelope sender was `<>`: without it only a well-formed report counts, for anybody
                 can write "delivery failed" in a Subject
    about        the Subject of what was sent: answering machines repeat it, and it says nothing
    """
    reported = report_type(message)
    if reported and reported not in ("delivery-status", "global-delivery-status"):
        return None  # a read receipt, a complaint: not about delivery
    if not reported and not null_sender:
        return None
    try:
        tree = mime.parse(message, _MAX_DEPTH, _MAX_PARTS)
    except mime.TooComplex:
        text = message.body[:_MAX_STATUS].decode("utf-8", "replace")
        return _prose(message, text, about) if null_sender else None
    for entity in tree.walk():
        if entity.content_type in _STATUS_TYPES:
            found = _machine(entity.octets()[:_MAX_STATUS])
            if found is not None:
                return found
    return _prose(message, _first_text(tree), about) if null_sender else None


def _machine(octets: bytes) -> Report | None:
    """A delivery-status part: groups of fields with blank lines between; the worst recipient counts."""
    found: list[Report] = []
    for group in _groups(octets):
        action = group.get("action", "").lower().split("(")[0].strip()
        status = _STATUS.search(group.get("status", ""))
        code = status[1] if status else ""
        if action not in _ACTIONS:
            if not code or "final-recipient" not in group:
                continue
            action = "failed" if code.startswith("5") else "delayed"
        recipient = group.get("final-recipient") or group.get("original-recipient") or ""
        diagnostic = group.get("diagnostic-code", "")
        found.append(Report(Action(action), code, _typed(diagnostic), _typed(recipient)))
    return min(found, key=lambda report: _ACTIONS.index(report.action), default=None)


def _groups(octets: bytes) -> Iterator[dict[str, str]]:
    lines: dict[str, str] = {}
    name = ""
    for raw in octets.splitlines():
        text = raw.decode("utf-8", "replace")
        if not text.strip():
            if lines:
                yield lines
            lines, name = {}, ""
        elif text[0] in " \t":
            if name:
                lines[name] = f"{lines[name]} {text.strip()}"[:_MAX_WORDS]
        else:
            key, colon, value = text.partition(":")
            name = key.strip().lower() if colon else ""
            if name:
                lines.setdefault(name, value.strip()[:_MAX_WORDS])
    if lines:
        yield lines


def _typed(value: str) -> str:
    """ "rfc822; anna@home.example" → the address; "smtp; 550 no" → the words, which may have a semicolon."""
    typed = _TYPE.match(value)
    return " ".join(value[typed.end() if typed else 0 :].split())


_ENDED = re.compile(
    r"undeliver|delivery (?:failure|has failed)|(?:mail|message) delivery failed|returned mail"
    r"|return(?:ed)? to sender|failure notice|non.?remis|unzustellbar|could not be delivered"
    r"|mail system error",
    re.IGNORECASE,
)
_OPEN = re.compile(r"delivery (?:status|problem)", re.IGNORECASE)  # says neither failed nor late
_DAEMON = re.compile(rb"(?i)\b(?:mailer-?daemon|mail-daemon|postmaster|mail delivery (?:sub)?system)\b")
_ANSWERED = re.compile(r"(?:[A-Za-z]{2,3} ?: ?)*")  # "Re:", "AW:", "Fwd:"
_WARNING = re.compile(r"warning|delay|still being retried", re.IGNORECASE)


def _prose(message: Message, text: str, about: str) -> Report | None:
    subject = _subject(message, about)
    return _human(subject, text) if _says_so(message, subject) else None


def _says_so(message: Message, subject: str) -> bool:
    """A bounce by its author or subject, and no automatic answer (which RFC 3834 §5 marks)."""
    auto = (message.value("Auto-Submitted") or b"").lower().startswith(b"auto-replied")
    daemon = bool(_DAEMON.search((message.value("From") or b"")[:_MAX_WORDS]))
    answer = auto and message.first("In-Reply-To") is not None
    status = bool(_OPEN.search(subject)) and not auto_submitted(message)  # a shop's, of a parcel
    return (daemon and not answer) or ((bool(_ENDED.search(subject)) or status) and not auto)


def _subject(message: Message, about: str) -> str:
    """Its own words: of what it is about, only what could be taken for them has to leave."""
    said = headers.decode((message.value("Subject") or b"")[: 2 * _MAX_WORDS])[:_MAX_WORDS]
    said, about = " ".join(said.split()), _ANSWERED.sub("", " ".join(about.split()))
    if not (_ENDED.search(about) or _OPEN.search(about) or _WARNING.search(about)):
        return said
    before, _, after = said.rpartition(about)
    return f"{before} {after}"


def _first_text(tree: mime.Entity) -> str:
    for leaf in tree.leaves():
        if leaf.content_type in ("text/plain", "text/html"):
            return (leaf.text() or "")[:_MAX_STATUS]
    return ""


def _human(subject: str, text: str) -> Report:
    """A bounce in prose: its code, if there is one, and the line where that stands; else its first words."""
    status, code = "", ""
    words = "" if text.lstrip().startswith("<") else text[:_MAX_WORDS]
    for line in text.splitlines():
        replied, named = _CODE.search(line), _FAULT.search(line)
        if replied or named:
            status = (replied[2] if replied else "") or (named[1] if named else "") or ""
            code = replied[1] if replied else status
            words = line
            break
    taken = not code and _TAKEN.search(text) is not None
    failed = code.startswith("5") or _over(subject, otherwise=not code and not taken)
    unfailed = Action.DELIVERED if taken and not _WARNING.search(subject) else Action.DELAYED
    return Report(
        Action.FAILED if failed else unfailed,
        status,
        " ".join(words.split())[:_MAX_WORDS],
    )


def _over(subject: str, *, otherwise: bool) -> bool:
    """Whether a subject says that nothing more is tried: what was refused with a 4xx for days has failed,
    too.  What it says first counts: the sender's own subject may stand behind it."""
    ended, late = _ENDED.search(subject), _WARNING.search(subject)
    if ended and late:
        return ended.start() < late.start()
    return otherwise if ended is late else ended is not None
