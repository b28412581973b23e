"""Complaints: a mailbox provider tells that its customer pressed "spam".

Promise: total and bounded: any message is a `Complaint` or None.

Sources: RFC 5965 (message/feedback-report), RFC 6650 (who sends which).
"""

from __future__ import annotations

from sortingoffice.frozen import dataclass
from sortingoffice.mail import mime
from sortingoffice.mail.classify import report_type
from sortingoffice.mail.message import Message

_MAX_REPORT = 16 * 1024
_MAX_VALUE = 200


@dataclass(frozen=True, slots=True)
class Complaint:
    """kind  "abuse", "fraud", "virus", "not-spam", "other" …; lower case"""

    kind: str


def read(message: Message) -> Complaint | None:
    """The complaint in a message; None where it is none."""
    if report_type(message) != "feedback-report":
        return None
    try:
        tree = mime.parse(message, 10, 50)
    except mime.TooComplex:
        return None
    for entity in tree.walk():
        if entity.content_type == "message/feedback-report":
            fields = Message.parse(entity.octets()[:_MAX_REPORT].lstrip())
            kind = (fields.value("Feedback-Type") or b"").decode("ascii", "replace")[:_MAX_VALUE]
            return Complaint(kind.lower() or "other")
    return None
