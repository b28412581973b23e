"""What programs say about messages, on its way to the vendor: attached headers, DSNs, read receipts.

Each has an allow-list of its own: the mailbox's server and client name themselves, its users and its
neighbours in all other fields.

Sources: RFC 3464 §2 (DSN), RFC 8098 §3 (MDN), RFC 6522 (text/rfc822-headers), RFC 5322 §3.6.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sortingoffice.core.turned import Turn
from sortingoffice.mail import headers
from sortingoffice.mail.message import Field, Message

# Of an attached message: what a reader is shown, and what its body needs.
_NAMES = (
    b"from sender reply-to to cc subject date message-id in-reply-to references mime-version list-id "
    b"auto-submitted importance"
)
_NESTED = frozenset(_NAMES.split())
_IDS = frozenset({b"message-id", b"in-reply-to", b"references"})
_ADDRESSES = frozenset({b"from", b"sender", b"reply-to", b"to", b"cc"})
_DSN = frozenset({"reporting-mta", "final-recipient", "action", "status", "will-retry-until"})
_MDN = frozenset({"final-recipient", "original-message-id", "disposition", "error", "failure"})
_LINES = re.compile(r"[^\n]*\n(?:[ \t][^\n]*\n)*|[^\n]+\Z")
_DIAGNOSTIC = re.compile(r"(?i)(?:final-recipient|disposition|action|status)\s*:")


def nested(fields: tuple[Field, ...], turn: Turn, references: Mapping[str, str]) -> tuple[Field, ...]:
    """The header of an attached message."""
    kept: list[Field] = []
    for each in fields:
        name = each.name.lower()
        if name in _NESTED or name.startswith(b"content-"):
            new = _turned(each, name, turn, references)
            if new.unfolded or not each.unfolded:
                kept.append(new)
    return tuple(kept)


def _turned(old: Field, name: bytes, turn: Turn, references: Mapping[str, str]) -> Field:
    if name in _IDS:
        return _renamed(old, _ids(old.value, turn, references))
    if name in _ADDRESSES:
        return _renamed(old, _mailboxes(old.value, turn))
    return old


def _mailboxes(value: bytes, turn: Turn) -> bytes:
    """An address list with the known ones replaced; their display names were ours, or are private."""
    changes: list[tuple[int, int, bytes]] = []
    for mention in headers.addresses(value):
        new = turn.address(mention.address) if mention.address is not None else None
        if new is None or mention.address is None:
            continue
        name = "" if new == turn.alias else turn.name(mention.address)
        changes.append((mention.start, mention.end, headers.mailbox(name, new)))
    return headers.edited(value, changes)


def _ids(value: bytes, turn: Turn, references: Mapping[str, str]) -> bytes:
    """Ids as the vendor knows them; those that a mailbox's own domain made, and no mail carried, go."""
    for each in headers.message_ids(value):
        new = references.get(each, "" if turn.at_home(each) else each)
        if new != each:
            value = value.replace(each.encode(), new.encode())
    return value


def _renamed(old: Field, value: bytes) -> Field:
    """The field with its name as spelled and another value, which ends as the old one did."""
    return old if value == old.value else Field(old.name, old.raw[: -len(old.value)] + value)


def header_text(text: str, turn: Turn, references: Mapping[str, str]) -> str:
    """text/rfc822-headers: the header of the message that came back."""
    message = Message.parse(text.encode("utf-8", "replace"))
    kept = nested(message.fields, turn, references)
    return bytes(Message(kept, message.separator, message.body)).decode("utf-8", "replace")


def delivery_status(text: str, turn: Turn, references: Mapping[str, str]) -> str:
    """message/delivery-status: groups of fields; the reporting server is named by our domain."""
    return _report(text, turn, references, _DSN)


def disposition_notification(text: str, turn: Turn, references: Mapping[str, str]) -> str:
    """message/disposition-notification: a read receipt."""
    return _report(text, turn, references, _MDN)


def _report(text: str, turn: Turn, references: Mapping[str, str], allowed: frozenset[str]) -> str:
    if not _DIAGNOSTIC.search(text):  # no report at all: the leak guard reads it as it is
        return text
    kept: list[str] = []
    for match in _LINES.finditer(text):
        line = match[0]
        name, colon, value = line.partition(":")
        if not line.strip():
            kept.append(line)
        elif colon and name.strip().lower() in allowed:
            kept.append(_report_line(name, value, turn, references))
    return "".join(kept)


def _report_line(name: str, value: str, turn: Turn, references: Mapping[str, str]) -> str:
    ending = value[len(value.rstrip("\r\n")) :]
    kind = name.strip().lower()
    if kind == "reporting-mta":
        return f"{name}: dns; {turn.alias.domain}{ending}"
    if kind == "original-message-id":
        known = references.get(value.strip())
        return f"{name}: {known}{ending}" if known else ""
    if kind == "final-recipient":
        return f"{name}: rfc822; {turn.alias}{ending}"
    if kind == "disposition":
        # RFC 8098 §3.2.6: modifiers after "/" are free text of the client.
        return (
            f"{name}:{value.rstrip().partition('/')[0] if 'x-' in value.lower() else value.rstrip()}{ending}"
        )
    if kind in ("action", "status"):
        return f"{name}: {value.split()[0] if value.split() else ''}{ending}"
    return f"{name}:{turn.text(value.rstrip())}{ending}"
