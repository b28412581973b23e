"""A delivery has failed for good: who is told, and in which words.

    outward   the person: a plain note with the remote's words and their own mail
    inward    the vendor: a DSN that knows only the address it wrote to; and the person at another mailbox
    anything of the office's own: nobody

Promise: nobody is told who didn't prove to have written (no backscatter), nor for mail that nobody waits
for; what goes to a vendor holds no word of the mailbox's server, which would name the mailbox.

Sources: RFC 5321 §6.1; RFC 3464; RFC 3834 §2; RFC 2369 and RFC 2919 lists want no returns to authors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from enum import StrEnum
from itertools import takewhile

from sortingoffice.core.delivery import REFUSED, End
from sortingoffice.core.model import DeliveryState, Direction, SpooledMessage
from sortingoffice.core.notice import ATTACHED, Notice
from sortingoffice.frozen import dataclass
from sortingoffice.mail import headers, mime
from sortingoffice.mail.address import Address
from sortingoffice.mail.dsn import Failure
from sortingoffice.mail.message import Field, Message, field
from sortingoffice.mail.reply import Reply, heard

MOST_ATTACHED = 10 * 1024 * 1024  # octets; of larger mail only the header goes back
FAILURES = 3  # in a row, and the mailbox counts as failing
LOOKED_AT = 200  # of the last ends: a busy mailbox's may be many in `_FAILS_FOR`
_FAILS_FOR = timedelta(hours=4)  # from the first of them, where the recipient was not refused as such

# What a vendor may see of its own message: it wrote these, and we kept them octet for octet.
_KNOWN_BY = ("date", "subject")
_ID = "message-id"  # not as it stands: for a second copy in one account it is one of ours
_OF_AUTHOR = ("1.7", "1.8")  # RFC 3463: the sender's address is what is wrong
_PLAIN_ID = re.compile(r"<[\x21-\x7e]{1,900}>")


class Told(StrEnum):
    PERSON = "person"
    VENDOR = "vendor"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class Telling:
    """Who, and the rule that says so."""

    whom: Told
    rule: str


Rule = Callable[[SpooledMessage], Telling | None]


def outward_mail(message: SpooledMessage) -> Telling | None:
    if message.direction is Direction.OUTWARD:
        return Telling(Told.PERSON, "outward_mail")
    return None


def own_mail(message: SpooledMessage) -> Telling | None:
    """A notice or a DSN of ours: a return of a return is where loops begin."""
    if message.direction in (Direction.NOTICE, Direction.RETURN):
        return Telling(Told.NOBODY, "own_mail")
    return None


def null_sender(message: SpooledMessage) -> Telling | None:
    return None if message.sender else Telling(Told.NOBODY, "null_sender")


def bulk_mail(message: SpooledMessage) -> Telling | None:
    return Telling(Told.NOBODY, "bulk_mail") if message.bulk else None


def unproved_sender(message: SpooledMessage) -> Telling | None:
    """The envelope sender may be forged: a DSN would hit somebody who wrote nothing."""
    return None if message.authenticated else Telling(Told.NOBODY, "unproved_sender")


def proved_sender(message: SpooledMessage) -> Telling | None:
    return Telling(Told.VENDOR, "proved_sender")


RULES: tuple[Rule, ...] = (outward_mail, own_mail, null_sender, bulk_mail, unproved_sender, proved_sender)


def whom(message: SpooledMessage) -> Telling:
    """Who is told that this message failed."""
    return next(telling for rule in RULES if (telling := rule(message)) is not None)


# ---- to the person -----------------------------------------------------------------------------------


def failure_note(message: SpooledMessage, *, to: str, reply: Reply, reason: str) -> Notice:
    """The mail that the person wrote did not arrive.

    to      the contact's address as written
    reason  "refused", "message refused", "expired" or "bounced": how the delivery ended
    """
    first = {
        "expired": f"Your mail to {to} could not be delivered, and the office has stopped trying.",
        "bounced": f"Your mail to {to} was accepted at first, and then came back.",
    }.get(reason, f"Your mail to {to} was refused.")
    lines = [first, _what_to_do(reply, reason), "", f"Subject: {message.subject}"]
    if str(reply):
        lines += ["", "The other side said:", f"    {reply.shown}"]
    original = _own_mail(message)
    if original is not None:
        lines += ["", "Your mail, as it was sent, is attached."]
    return Notice(f"Not delivered: {message.subject}", tuple(lines), original)


def delay_note(message: SpooledMessage, *, to: str, reply: Reply, hours: int) -> Notice:
    """The mail that the person wrote still waits."""
    left = "an hour" if hours <= 1 else f"{hours} hours"
    return Notice(
        f"Still waiting: {message.subject}",
        (
            f"Your mail to {to} has not been delivered yet; the office goes on trying.",
            f"You need not do anything. If it has not arrived in {left}, you are told.",
            "",
            f"Subject: {message.subject}",
            "",
            "The last try ended with:",
            f"    {reply.shown}",
        ),
    )


def mailbox_note(message: SpooledMessage, *, mailbox: str, reply: Reply, failing: bool) -> Notice:
    """Mail for the person did not reach one of their mailboxes: told at another one of theirs."""
    held = (
        "Mail for it is held from now on: verify the mailbox again, or choose another one, and then release "
        "what is held."
    )
    return Notice(
        f"Your mailbox {mailbox} did not take a mail",
        (
            f"A mail for you could not be delivered to {mailbox}.",
            held if failing else "Look whether that mailbox is full or closed.",
            "",
            f"Subject: {message.subject}",
            "",
            "Its server said:",
            f"    {reply.shown}",
        ),
    )


def without_attached(note: SpooledMessage, reply: Reply) -> Notice | None:
    """A note of ours as it was, without the mail that it carried; None where it carried none, or where that
    wasn't why it was refused."""
    if not _of_content(reply):
        return None
    own, attached, _ = note.raw.partition(ATTACHED)  # what is attached may be more than can be looked through
    if not attached:
        return None
    root = mime.parse(Message.parse(own))
    head, text = root.message, root.children[0].text() or ""
    why = (
        "",
        "The mail itself is not attached. With it, your mailbox's server did not take this, and said:",
        f"    {reply.shown}",
    )
    subject = headers.decode(head.value("Subject") or b"")
    answers = tuple(headers.message_ids(head.value("References") or b""))
    return Notice(subject, (*text.splitlines(), *why), answers=answers)


def _of_content(reply: Reply) -> bool:
    """Whether another message might be taken: too large, not liked, or nobody said why (RFC 3463 §3)."""
    subject = reply.status[2:3]
    if subject in ("", "0"):
        return reply.code == 554
    return subject in ("6", "7") or reply.status in ("5.2.3", "5.3.4")


def _what_to_do(reply: Reply, reason: str) -> str:
    """One line for the person, by the enhanced code (RFC 3463)."""
    subject_detail = reply.status.partition(".")[2]
    if reason == "expired":
        return "Try another way to reach them, or send it again later."
    if subject_detail in _OF_AUTHOR:
        return "They do not take mail from the address that yours came from: try another way to reach them."
    if subject_detail.startswith("1."):
        return "The address may be wrong or closed: check it with them."
    if subject_detail in ("2.2", "3.1"):
        return "Their mailbox is full: send it again later."
    if subject_detail in ("2.3", "3.4"):
        return "It is too large for them: send it without its attachments."
    return "Read below why, change that, and send it again; or try another way to reach them."


def _own_mail(message: SpooledMessage) -> bytes | None:
    if not message.raw:
        return None
    if len(message.raw) <= MOST_ATTACHED:
        return message.raw
    return Message.parse(message.raw).header + b"\r\n"


# ---- to the vendor -----------------------------------------------------------------------------------


def vendor_failure(message: SpooledMessage, recipient: Address, reason: str, message_id: str) -> Failure:
    """What the vendor is told: that the address it wrote to did not get it, and nothing more.

    One status for every refusal: "mailbox full" or "no such user" would speak of the mailbox.

    recipient   as the vendor wrote it
    message_id  the vendor's own, with brackets; "" leaves it out
    """
    expired = reason == "expired"
    return Failure(
        recipient=recipient,
        status="5.4.7" if expired else "5.0.0",
        words=(
            "Your mail could not be delivered to",
            "",
            f"    {recipient}",
            "",
            "It was tried for several days." if expired else "It was not taken.",
            "",
        ),
        fields=tuple(_known_by(Message.parse(message.raw), message_id) if message.raw else _kept(message)),
        arrived=message.accepted,
    )


def _known_by(original: Message, message_id: str) -> Iterator[Field]:
    """The fields by which the vendor knows its mail again; none where one of them holds an address.

    That is asked of whatever it wrote, and not by what the account keeps to itself: fields that are left out
    for that would tell whoever guesses that the guess was right.

    The id is always written anew: whether it was mapped must not show in blanks, folds or comments, else two
    aliases that got one mail are seen to be of one account.
    """
    own = [each for each in original.fields if any(map(each.is_named, (*_KNOWN_BY, _ID)))]
    if any("@" in headers.decode(each.value) for each in own if not each.is_named(_ID)):
        return
    wanted = _PLAIN_ID.fullmatch(message_id) is not None
    for each in own:
        if not each.is_named(_ID):
            yield each
        elif wanted:
            wanted = False
            yield field(each.name.decode("ascii"), message_id)


def _kept(message: SpooledMessage) -> Iterator[Field]:
    """The same of mail that was taken and came back: by then its octets are erased."""
    if message.subject and "@" not in message.subject:
        yield field("Subject", headers.encode_words(message.subject))


# ---- the mailbox ---------------------------------------------------------------------------------------


def speaks_of_mailbox(end: End) -> bool:
    """Whether a failure says something about the mailbox, and not about this one message.

    A refusal for what the message is (too large, spam, its form: X.2.3, X.3, X.6, X.7) does not.  One that
    came when the recipient had been accepted is about the message, too, unless its code names the mailbox:
    many filters give none, and a stranger chooses what they see.
    """
    subject, detail = _code(end.reply)
    if (subject, detail) == ("2", "3"):
        return False
    if end.reason == REFUSED:
        return subject in ("", "0", "1", "2", "4")
    if end.reason == "expired" and subject == "4":
        return detail != "2"  # a connection that was lost may be this message's doing
    return subject == "2" or (subject == "1" and f"{subject}.{detail}" not in _OF_AUTHOR)


def keeps_failing(latest: Iterable[End]) -> bool:
    """Whether a mailbox's mail is held from now on.

    Not at once where the recipient was accepted each time: what one stranger sends in an hour must not do it.

    latest  how the mailbox's last deliveries ended, the newest first
    """
    taken = takewhile(lambda end: end.state is DeliveryState.RETURNED, latest)
    failures = [end for end in taken if speaks_of_mailbox(end)]
    if len(failures) < FAILURES:
        return False
    if all(end.reason in (REFUSED, "expired") for end in failures[:FAILURES]):
        return True
    last, first = failures[0].at, failures[-1].at
    return last is not None and first is not None and last - first >= _FAILS_FOR


def _code(reply: str) -> tuple[str, str]:
    """Subject and detail of the enhanced code (RFC 3463); empty where there is none."""
    if not reply[:3].isdigit():
        return "", ""
    _, subject, detail = (heard(int(reply[:3]), reply[4:]).status or "..").split(".")
    return subject, detail
