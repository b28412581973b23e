"""What kind of mail a message says it is: automatic, bulk, a report.

Only fields are read; nothing here is proof of anything.  It decides whom we do not
bother with a return, and what at a return path is a bounce.

Sources: RFC 3834 §2, §5 (Auto-Submitted); RFC 2919, RFC 2369 (List-*); RFC 2076 (Precedence);
RFC 6522 (multipart/report).
"""

from __future__ import annotations

import re

from sortingoffice.mail.message import Message

_LISTS = ("List-Id", "List-Unsubscribe", "List-Post", "Feedback-ID")
_REPORT_TYPE = re.compile(rb';\s*report-type\s*=\s*"?([a-z-]+)', re.IGNORECASE)


def auto_submitted(message: Message) -> bool:
    """Sent by no human hand (RFC 3834 §5): anything but an absent field or "no"."""
    value = message.value("Auto-Submitted")
    return value is not None and value.split(b";")[0].strip().lower() not in (b"no", b"")


def automatic(message: Message) -> bool:
    """A machine's answer, also by the signs that came before RFC 3834: it says that nobody has read."""
    precedence = (message.value("Precedence") or b"").strip().lower()
    return (
        auto_submitted(message)
        or precedence in (b"bulk", b"list", b"junk", b"auto_reply")
        or any(message.first(name) is not None for name in ("X-Autoreply", "X-Autorespond"))
        or report_type(message) != ""
    )


def bulk(message: Message) -> bool:
    """List, bulk or automatic mail: nobody waits for a return of it."""
    precedence = (message.value("Precedence") or b"").strip().lower()
    return (
        precedence in (b"bulk", b"list", b"junk", b"auto_reply")
        or auto_submitted(message)
        or any(message.first(name) is not None for name in _LISTS)
    )


def report_type(message: Message) -> str:
    """The report-type of a multipart/report, lower case; "" for any other message."""
    content_type = message.value("Content-Type") or b""
    if not content_type.lower().lstrip().startswith(b"multipart/report"):
        return ""
    match = _REPORT_TYPE.search(content_type)
    return match[1].decode("ascii").lower() if match else ""
