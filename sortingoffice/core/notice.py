"""Mail of the office to a person: ordinary mail, first line what, second line what to do.

The person's own mail is attached whole as message/rfc822, so nothing that was typed is lost.
Notices leave with the null reverse-path and Auto-Submitted, so nothing answers them.

Sources: RFC 5322 §3.6; RFC 2046 §5.1, §5.2.1; RFC 3834 §3.1.2, §5; RFC 3676 is not used: the text is
plain and short.
"""

from __future__ import annotations

from datetime import datetime
from email.utils import format_datetime

from sortingoffice.frozen import dataclass
from sortingoffice.mail import headers
from sortingoffice.mail.address import Address

_NAME = "Sorting Office"
ATTACHED = b"\r\nContent-Type: message/rfc822\r\nContent-Disposition: attachment\r\n"


@dataclass(frozen=True, slots=True)
class Notice:
    """What the office has to say.

    subject   text, one line
    lines     text, one paragraph line each; addressed to the person, so it may name their things
    original  the mail it is about, octets; None where there is none
    answers   Message-IDs of the thread that it answers in, the latest last; ASCII
    """

    subject: str
    lines: tuple[str, ...]
    original: bytes | None = None
    answers: tuple[str, ...] = ()


def sender(hostname: str) -> Address:
    """Whom notices come from; mail to it reaches the admin (RFC 5321 §4.5.1)."""
    return Address("postmaster", hostname)


def compose(notice: Notice, *, to: Address, author: Address, token: str, now: datetime) -> bytes:
    """The notice as a message.

    author  its From: `sender`, or an address of the office that answers
    token   unique; makes the Message-ID and, with an original, the boundary
    """
    text = "\r\n".join(notice.lines) + "\r\n"
    eight_bit = not text.isascii()
    plain = (
        b'Content-Type: text/plain; charset="utf-8"\r\nContent-Transfer-Encoding: '
        + (b"8bit" if eight_bit else b"7bit")
        + b"\r\n\r\n"
        + text.encode("utf-8", "replace")
    )
    head = [
        b"From: " + headers.mailbox(_NAME, author),
        b"To: " + str(to).encode(),
        b"Subject: " + headers.encode_words(notice.subject),
        b"Date: " + format_datetime(now).encode("ascii"),
        f"Message-ID: <{token}@{author.domain}>".encode("ascii"),
        b"Auto-Submitted: auto-generated",
        b"MIME-Version: 1.0",
    ]
    if notice.answers:
        head.append(b"In-Reply-To: " + notice.answers[-1].encode("ascii"))
        head.append(b"References: " + b"\r\n ".join(each.encode("ascii") for each in notice.answers))
    if notice.original is None:
        return b"\r\n".join(head) + b"\r\n" + plain
    boundary = f"=_{token}".encode("ascii")
    while boundary in notice.original:  # somebody sends us our own boundary
        boundary += b"_"
    head.append(b'Content-Type: multipart/mixed; boundary="' + boundary + b'"')
    original = _attached(notice.original)
    parts = [
        b"",
        b"--" + boundary,
        plain.rstrip(b"\r\n"),
        b"",
        b"--" + boundary,
        original,
        b"--" + boundary + b"--",
        b"",
    ]
    return b"\r\n".join(head) + b"\r\n" + b"\r\n".join(parts)


def _attached(original: bytes) -> bytes:
    """The original as an attached message, never encoded: RFC 2046 §5.2.1 allows it no other way."""
    encoding = b"7bit" if original.isascii() else b"8bit"
    return ATTACHED[2:] + b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + original
