"""Message-IDs of the person's side in a message on its way to the vendor, wherever they stand.

    of(entities) → what to look up;  plain, markup → a text with each as the vendor knows it

A mail client writes them into the header of a forwarded message, above quoted text, and into receipts.  One
of the person's side shows the vendor the person's provider, or an id that only we have given.

Promise: only the ids change, and a text without any is returned as it is; linear time.

Sources: RFC 5322 §3.6.4 (Message-ID); RFC 2392 (mid:, written without brackets).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping

from sortingoffice.core import turned
from sortingoffice.core.cleansed import REPORTS
from sortingoffice.core.turned import Change
from sortingoffice.frozen import dataclass
from sortingoffice.mail import headers, html, mime, quoting
from sortingoffice.mail.message import Message
from sortingoffice.mail.mime import Entity
from sortingoffice.mail.quoting import Kind

_HEADERS = frozenset({"text/rfc822-headers", "message/global-headers"})
_RECEIPTS = frozenset({"message/disposition-notification", "message/global-disposition-notification"})
MOST = 20_000  # ids and addresses of one message that are looked up
_BRACKETED = re.compile(r"<([^<>\s@]{1,400}@[^<>\s@]{1,250})>")
_BARE = re.compile(r"(?<![^\s<>()\[\]\"',;:])([^\s<>()\[\]\"',;:@]{1,400}@[\w-]+(?:\.[\w-]+)*)")


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids that a message names, each once, with their brackets.

    top     in the message's own fields
    fields  in those of attached messages and reports
    texts   what could be one in a text: addresses, too
    """

    top: tuple[str, ...]
    fields: tuple[str, ...]
    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raises mime.TooComplex: what can't be looked up can't be sent."""
        if len(self.top) + len(self.fields) + len(self.texts) > MOST:
            raise mime.TooComplex(f"more than {MOST} addresses and ids of messages")


def of(entities: Iterable[Entity]) -> Ids:
    """The ids in fields, reports and texts.  Raises mime.TooComplex."""
    top: dict[str, None] = {}
    fields: dict[str, None] = {}
    texts: dict[str, None] = {}
    for entity in entities:
        place = fields if entity.path else top
        place |= dict.fromkeys(_in_fields(entity.message))
        text = entity.text() if not entity.children and is_read(entity) else None
        if text is None:
            continue
        if entity.content_type in _HEADERS:
            fields |= dict.fromkeys(_in_fields(Message.parse(text.encode("utf-8", "replace"))))
        shown = entity.content_type == "text/html"
        texts |= dict.fromkeys(_named_in_markup(text) if shown else _named(text))
    return Ids(tuple(top), tuple(fields), tuple(each for each in texts if each not in fields))


def answered(message: Message) -> tuple[str, ...]:
    """The ids of what the message answers, the likeliest first (RFC 3834 §3.1.5, RFC 8098 §3.2.5).

    Raises mime.TooComplex.
    """
    told: list[str] = []
    for leaf in mime.parse(message).leaves():
        if leaf.content_type in _RECEIPTS:
            told += headers.message_ids((leaf.text() or "").encode("utf-8", "replace"))
    first = in_field(message, "In-Reply-To")
    return tuple(dict.fromkeys((*first, *told, *reversed(in_field(message, "References")))))


def in_field(message: Message, name: str) -> tuple[str, ...]:
    return tuple(each for f in message.all(name) for each in headers.message_ids(f.value))


def is_read(leaf: Entity) -> bool:
    """Whether its text is rewritten: what a program reads, and what a reader is shown as the message."""
    if leaf.content_type in REPORTS or leaf.content_type in turned.FORMS:
        return True
    attached = leaf.disposition == "attachment" or bool(leaf.filename)
    return not attached and leaf.content_type.startswith("text/")


def _in_fields(message: Message) -> Iterator[str]:
    for name in ("Message-ID", "In-Reply-To", "References"):
        yield from in_field(message, name)


def _named(text: str) -> Iterator[str]:
    """Whatever could be an id in a text, with brackets."""
    for pattern in (_BRACKETED, _BARE):
        for match in pattern.finditer(text):
            yield f"<{match[1]}>"


def _named_in_markup(source: str) -> Iterator[str]:
    if "@" in html.unescape(source):
        for line in html.visual_lines(source):
            yield from _named(line.text)


def plain(text: str, references: Mapping[str, str], *, automatic: bool) -> str:
    """Plain text: ids that the vendor doesn't know only outside the person's own new prose, nothing
    within what is signed there.

    references  inside → outside ids; "" for one that must not leave
    automatic   a program wrote the text
    """
    changes = list(_changes(text, references))
    if not changes:
        return text
    stretches = quoting.of_text(text)
    starts = [stretch.start for stretch in stretches]
    kinds = (stretches[bisect_right(starts, change.start) - 1].kind for change in changes)
    pairs = zip(changes, kinds, strict=True)
    return turned.applied(text, [change for change, kind in pairs if _may_change(change, kind, automatic)])


def markup(source: str, references: Mapping[str, str], *, automatic: bool) -> str:
    """HTML: what is shown, as in `plain`; the source between stays as it was."""
    if html.too_long(source) or "@" not in html.unescape(source):
        return source
    lines = html.visual_lines(source)
    found = [
        (number, change) for number, line in enumerate(lines) for change in _changes(line.text, references)
    ]
    if not found:
        return source
    kinds = quoting.of_html(lines)
    changes = [
        each
        for number, change in found
        if _may_change(change, kinds[number], automatic)
        for each in turned.in_source(lines[number], change)
    ]
    return turned.applied(source, sorted(changes, key=lambda change: change.start))


def _changes(text: str, references: Mapping[str, str]) -> Iterator[Change]:
    """In order; `own` where an id is to be taken out."""
    matches = {match.start(1): match for match in _BARE.finditer(text)}
    matches |= {match.start(1): match for match in _BRACKETED.finditer(text)}
    end = 0
    for start, match in sorted(matches.items()):
        inside = f"<{match[1]}>"
        outside = references.get(inside, inside)
        if outside == inside or match.start() < end:
            continue
        end = match.end()
        if outside:
            yield Change(start, match.end(1), outside[1:-1], own=False)
        else:
            yield Change(match.start(), end, "", own=True)


def _may_change(change: Change, kind: Kind, automatic: bool) -> bool:
    if kind is Kind.SIGNED:
        return False
    return automatic or not change.own or kind is not Kind.PROSE
