"""What the office writes to a vendor in the person's name: a change, a withdrawal.

Promise: it names only fields that the vendor holds, and comes from the address that they know.

Sources: the cards document of the design, "Change, withdraw, ask"; RFC 5322 §3.6; GDPR art. 7(3), 16, 17.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime

from sortingoffice.frozen import dataclass
from sortingoffice.mail import headers
from sortingoffice.mail.address import Address


@dataclass(frozen=True, slots=True)
class Changed:
    """One field: what they hold, and what is or will be true."""

    label: str
    old: str
    new: str
    since: datetime | None  # in the future; None: now


@dataclass(frozen=True, slots=True)
class Letter:
    subject: str
    lines: tuple[str, ...]


def change(card: str, changed: Sequence[Changed]) -> Letter:
    lines = ["Hello,", "", "please note this change of what I gave you:", ""]
    for each in changed:
        when = f"  (from {each.since:%Y-%m-%d})" if each.since is not None else ""
        lines += [f"{each.label}: {_one(each.old)} -> {_one(each.new)}{when}"]
    lines += ["", "Please confirm with a short answer that your records are up to date.", "", "Thank you"]
    return Letter(f"Change: {card}", tuple(lines))


def reminder(card: str, changed: Sequence[Changed], told: datetime) -> Letter:
    """told: when it was written to them first."""
    again = change(card, changed)
    lines = [
        "Hello,",
        "",
        f"on {told:%Y-%m-%d} I wrote to you about a change, and have had no answer yet.",
        "",
    ]
    return Letter(f"Change: {card} (again)", (*lines, *again.lines[2:]))


def withdrawal(card: str, received: Sequence[tuple[str, datetime]]) -> Letter:
    """received: labels, and when they were given."""
    lines = ["Hello,", "", "you have received these details from me:", ""]
    lines += [f"{label}: on {at:%Y-%m-%d}" for label, at in received]
    lines += [
        "",
        "I withdraw my permission to use them. Please delete them, unless a law obliges you to keep them,",
        "and confirm it with a short answer.",
        "",
        "Thank you",
    ]
    return Letter(f"Withdrawal: {card}", tuple(lines))


def compose(
    letter: Letter, *, author: Address, display: str, to: Address, token: str, now: datetime
) -> bytes:
    """The mail: only fields that the outward allow-list knows."""
    text = "\r\n".join(letter.lines) + "\r\n"
    head = [
        b"From: " + headers.mailbox(display, author),
        b"To: " + str(to).encode(),
        b"Subject: " + headers.encode_words(letter.subject),
        b"Date: " + format_datetime(now.astimezone(UTC)).encode("ascii"),
        f"Message-ID: <{token}@{author.domain}>".encode("ascii"),
        b"MIME-Version: 1.0",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Transfer-Encoding: " + (b"7bit" if text.isascii() else b"8bit"),
    ]
    return b"\r\n".join(head) + b"\r\n\r\n" + text.encode()


def _one(value: str) -> str:
    return value.replace("\n", " / ")
