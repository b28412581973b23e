"""A message in which disguised addresses are replaced where that is safe: what `core.guard` may rewrite.

Safe are quoted text and its attribution line, signatures, forwarded headers, attributes, comments and
style of HTML, calendar and vCard addresses, file names, Subject, ids.  The person's own new prose,
attachments and what is signed stay octet for octet.

Promise: only the octets of an address change, within the encoding that they are in.

Sources: the design, "The leak guard"; RFC 2231 (file names); RFC 2047 (Subject); RFC 6068 (mailto).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from sortingoffice.core import turned
from sortingoffice.core.secrets import Hit, Secrets
from sortingoffice.core.secrets import Kind as Sought
from sortingoffice.core.turned import Change
from sortingoffice.mail import headers, html, mime, parameters, quoting
from sortingoffice.mail.address import Address
from sortingoffice.mail.message import Field, Message
from sortingoffice.mail.mime import Entity

REPORTS = frozenset(
    {
        "text/rfc822-headers",
        "message/global-headers",
        "message/delivery-status",
        "message/global-delivery-status",
        "message/disposition-notification",
        "message/global-disposition-notification",
    }
)
_SEALED = frozenset({"multipart/signed", "multipart/encrypted"})
_IDS = (b"content-id", b"message-id", b"content-location")
_PROPERTY = re.compile(
    r"(?im)^(?:[\w-]+\.)?(?:ORGANIZER|ATTENDEE|EMAIL|IMPP|X-[\w-]*EMAIL|X-MS-OLK-[\w-]+|X-WR-CALNAME)[;:]"
    r"[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*"
)
_MOST_ATTRIBUTE = 1 << 16
_PERCENT = re.compile(r"%([0-9A-Fa-f]{2})")


def cleansed(message: Message, sought: Secrets, alias: Address) -> Message:
    """Raises mime.TooComplex."""
    root = mime.parse(message)
    clean = _Clean(sought, str(alias))
    changed = {}
    for entity in _open(root):
        new = clean.entity(entity)
        if new is not entity:
            changed[entity.path] = new
    return Message.parse(bytes(mime.replaced(root, changed)))


def _open(entity: Entity) -> Iterator[Entity]:
    yield entity
    if entity.content_type not in _SEALED:
        for child in entity.children:
            yield from _open(child)


class _Clean:
    """What is looked for, and what stands in its place."""

    def __init__(self, sought: Secrets, alias: str) -> None:
        self.sought = sought
        self.alias = alias

    def entity(self, entity: Entity) -> Entity:
        new = entity
        fields = tuple(self.field(each) for each in entity.message.fields)
        if fields != entity.message.fields:
            new = entity.with_fields(fields)
        if entity.children:
            return new
        kind = entity.content_type
        attached = entity.disposition == "attachment" or bool(entity.filename)
        machine = kind in turned.FORMS or kind in REPORTS
        if not machine and (attached or kind not in ("text/plain", "text/html")):
            return new
        text = new.text()
        if text is None:
            return new
        if kind in REPORTS:
            cleaned = self.text(text)
        elif kind in turned.FORMS:
            cleaned = _PROPERTY.sub(lambda match: self.text(match[0]), text)
        elif kind == "text/html":
            cleaned = self.markup(text)
        else:
            cleaned = self.plain(text)
        return new if cleaned == text else new.with_text(cleaned)

    def hits(self, text: str, *, exact: bool = True) -> Iterator[Hit]:
        """Addresses with a place of their own, in order, none over another."""
        end = 0
        hits = (hit for hit in self.sought.hits(text, exact=exact) if hit.secret.kind is Sought.ADDRESS)
        for hit in sorted(hits, key=lambda hit: hit.start):
            if hit.end > hit.start >= end:
                yield hit
                end = hit.end

    def changes(self, text: str, *, exact: bool = True) -> list[Change]:
        return [Change(hit.start, hit.end, self.alias, own=True) for hit in self.hits(text, exact=exact)]

    def text(self, text: str, *, exact: bool = True) -> str:
        return turned.applied(text, self.changes(text, exact=exact))

    # ---- fields ----

    def field(self, old: Field) -> Field:
        value = old.value
        exact = old.name.lower() not in _IDS
        new = self.text(value.decode("latin-1"), exact=exact).encode("latin-1")
        if b"=?" in new:
            shown = headers.decode(new)
            cleaned = self.text(shown)
            if cleaned != shown and b";" not in new:
                new = b" " + headers.encode_words(cleaned) + b"\r\n"
        if b";" in new:
            new = self.parameters(new)
        return old if new == value else Field(old.name, old.raw[: -len(value)] + new)

    def parameters(self, value: bytes) -> bytes:
        """A file name and its like, in one piece and in its place (RFC 2231)."""
        changes: list[tuple[int, int, bytes]] = []
        for each in parameters.parse(value).parameters:
            shown = headers.decode(each.value.encode("utf-8")) if "=?" in each.value else each.value
            cleaned = self.text(shown)
            if cleaned != shown:
                first, *others = each.spans
                changes.append((*first, _parameter(each.name, cleaned)))
                changes += [(value.rfind(b";", 0, start), end, b"") for start, end in others]
        return headers.edited(value, sorted(changes))

    # ---- text ----

    def plain(self, text: str) -> str:
        changes = self.changes(text)
        if not changes:
            return text
        stretches = quoting.of_text(text)
        starts = [stretch.start for stretch in stretches]
        kept = []
        for change in changes:
            stretch = stretches[bisect_right(starts, change.start) - 1]
            if stretch.kind not in quoting.UNTOUCHED and change.end <= stretch.end:
                kept.append(change)
        return turned.applied(text, kept)

    def markup(self, source: str) -> str:
        if html.too_long(source):
            return source
        changes = [*self.tags(source)]
        lines = html.visual_lines(source)
        for line, kind in zip(lines, quoting.of_html(lines), strict=True):
            if kind not in quoting.UNTOUCHED:
                for change in self.changes(line.text):
                    changes += turned.in_source(line, change)
        return turned.applied(source, sorted(changes, key=lambda change: change.start))

    def tags(self, source: str) -> Iterator[Change]:
        """Attributes, comments, style."""
        for token in html.tokens(source):
            if token.kind in (html.Kind.COMMENT, html.Kind.RAW):
                for hit in self.hits(source[token.start : token.end]):
                    yield Change(token.start + hit.start, token.start + hit.end, self.alias, own=True)
                continue
            for each in token.attributes:
                new = self.attribute(each.value)
                if new != each.value:
                    yield Change(each.start, each.end, html.escape(new), own=True)

    def attribute(self, value: str) -> str:
        """Direct, then percent-encoded; cid: and mid: as the ids that they name."""
        new = self.text(value, exact=not value.lower().startswith(("cid:", "mid:")))
        if "%" not in new or len(new) > _MOST_ATTRIBUTE:
            return new
        plain, positions = _percent_decoded(new)
        changes = [
            Change(positions[hit.start], positions[hit.end], self.alias.replace("@", "%40"), own=True)
            for hit in self.hits(plain)
        ]
        return turned.applied(new, changes)


def _percent_decoded(text: str) -> tuple[str, list[int]]:
    """The text with %XX of ASCII decoded, and where each character (and the end) stands in it."""
    pieces: list[str] = []
    positions: list[int] = []
    at = 0
    while at < len(text):
        positions.append(at)
        match = _PERCENT.match(text, at)
        if match is not None:
            pieces.append(chr(int(match[1], 16)))
            at = match.end()
        else:
            pieces.append(text[at])
            at += 1
    positions.append(at)
    return "".join(pieces), positions


def _parameter(name: str, value: str) -> bytes:
    if value.isascii() and value.isprintable():
        return f'{name}="'.encode() + value.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'
    octets = "".join(f"%{octet:02X}" for octet in value.encode("utf-8", "replace"))
    return f"{name}*=utf-8''{octets}".encode()
