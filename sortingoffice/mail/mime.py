"""The MIME tree over octets: which part of a body is what, and a change of one leaf.

Promise: bytes(parse(message)) == bytes(message) for every message; a replaced leaf changes its
own octets and no other's.  Everything is linear in size times depth and bounded by caps, which
raise `TooComplex`.

Sources: RFC 2045 (fields, encodings), RFC 2046 §5.1 (multipart), §5.2 (message/rfc822),
RFC 2183 (disposition), RFC 2231 (parameters); RFC 6532 §3.7 (message/global).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from sortingoffice.frozen import dataclass
from sortingoffice.mail import charset as charsets
from sortingoffice.mail import parameters, transfer
from sortingoffice.mail.message import Field, Message, field

MAX_DEPTH = 20
MAX_PARTS = 200
MAX_BOUNDARY = 256  # RFC 2046 §5.1.1 says 70; a few senders go over
_HEADER_CHUNK = 1 << 16
_MOST_HEADER = 1 << 18  # octets of a part's header; a message's own is bounded before it comes here
_NESTED = frozenset({"message/rfc822", "message/global", "message/news"})
_PADDING = re.compile(rb"[ \t]*+(?:\r?\n|\Z)")
_BARE_LF = re.compile(r"\r?\n")

Path = tuple[int, ...]


class TooComplex(ValueError):
    """The tree is deeper, or has more parts, than the caller allows; str() is a phrase for a reply."""


@dataclass(frozen=True, slots=True)
class Entity:
    """One node of the tree.

    path          () for the root, then the index in each parent; a nested message's only child is its
                  own root
    message       its fields and separator; its body only where it has no children
    content_type  "text/plain", lower case; the default of its place where there is none
    parameters    of Content-Type; names lower case, values decoded
    encoding      Content-Transfer-Encoding, lower case, "" where there is none
    disposition   "attachment", "inline" or ""
    filename      as a reader would be shown it, "" if none
    children      parts, in order
    between       the octets before, between and after the children: delimiters, preamble, epilogue
    """

    path: Path
    message: Message
    content_type: str
    parameters: Mapping[str, str]
    encoding: str
    disposition: str
    filename: str
    children: tuple[Entity, ...] = ()
    between: tuple[bytes, ...] = ()

    def __bytes__(self) -> bytes:
        pieces: list[bytes] = []
        self._gather(pieces)
        return b"".join(pieces)

    def _gather(self, pieces: list[bytes]) -> None:
        pieces.append(bytes(self.message))
        for index, child in enumerate(self.children):
            pieces.append(self.between[index])
            child._gather(pieces)
        if self.children:
            pieces.append(self.between[-1])

    @property
    def charset(self) -> str:
        """As declared, lower case; "" where none is."""
        return self.parameters.get("charset", "").strip().lower()

    def walk(self) -> Iterator[Entity]:
        """Itself and everything below, in the order of the octets."""
        yield self
        for child in self.children:
            yield from child.walk()

    def leaves(self) -> Iterator[Entity]:
        return (entity for entity in self.walk() if not entity.children)

    def octets(self) -> bytes:
        """A leaf's content, its transfer encoding undone."""
        return transfer.decode(self.message.body, self.encoding)

    def text(self) -> str | None:
        """A leaf's content as text, line ends as they are; None where no charset of ours reads it.

        An octet that the charset doesn't know stands as one of U+EF80–U+EFFF (`mail.charset`).
        """
        if self.children or (self.charset and not charsets.known(self.charset)):
            return None
        return charsets.decode(self.octets(), self.charset)

    def with_text(self, text: str) -> Entity:
        """A leaf with other text, in its charset and encoding where they can carry it.

        Line ends become the leaf's own.  Where the charset lacks a character, it becomes UTF-8; where
        the encoding can't carry the octets, quoted-printable; only then its fields change.
        """
        before = self.octets()
        text = _BARE_LF.sub(_line_end(charsets.decode(before, self.charset)), text)
        content, label = charsets.encode(text, self.charset, before), ""
        if content is None:
            content, label = charsets.clean(text).encode("utf-8", "replace"), "utf-8"
        body, encoding = transfer.encode(content, self.encoding, self.message.body)
        message = self.message
        if label:
            message = _with_charset(message, self.content_type, label)
        if encoding != self.encoding:
            message = _with_field(message, "Content-Transfer-Encoding", encoding.encode("ascii"))
        return _described(replace(message, body=body), self.path, self.content_type)

    def with_octets(self, content: bytes) -> Entity:
        """A leaf with other content, in the same encoding."""
        body, encoding = transfer.encode(content, self.encoding, self.message.body)
        message = self.message
        if encoding != self.encoding:
            message = _with_field(message, "Content-Transfer-Encoding", encoding.encode("ascii"))
        return _described(replace(message, body=body), self.path, self.content_type)

    def with_fields(self, fields: tuple[Field, ...]) -> Entity:
        """Other header fields over the same body; what they say of the body must stay true."""
        separator = self.message.separator or (b"\r\n" if fields else b"")
        message = replace(self.message, fields=fields, separator=separator)
        described = _described(message, self.path, self.content_type)
        return replace(described, children=self.children, between=self.between)


def parse(message: Message, max_depth: int = MAX_DEPTH, max_parts: int = MAX_PARTS) -> Entity:
    """The tree of a message.

    max_depth  levels of parts and nested messages below the root
    max_parts  entities in all, the root not counted

    Raises TooComplex beyond them.
    """
    head = replace(message, body=b"")
    return _Parser(message.body, max_depth, max_parts).entity(head, (), 0, len(message.body), "text/plain")


def replaced(root: Entity, by: Mapping[Path, Entity]) -> Entity:
    """The tree with the entities at these paths replaced; all else octet for octet.

    A new leaf in which a line would read as a delimiter around it is written in base64.
    """
    return _replaced(root, by, ())


def _replaced(entity: Entity, by: Mapping[Path, Entity], boundaries: tuple[str, ...]) -> Entity:
    new = by.get(entity.path, entity)
    if not new.children:
        return new if new is entity else _apart(new, boundaries)
    below = [path for path in by if len(path) > len(new.path) and path[: len(new.path)] == new.path]
    if not below:
        return new
    inner = (*boundaries, new.parameters.get("boundary", ""))
    return replace(new, children=tuple(_replaced(child, by, inner) for child in new.children))


def _apart(leaf: Entity, boundaries: tuple[str, ...]) -> Entity:
    body = leaf.message.body
    for boundary in filter(None, boundaries):
        delimiter = b"--" + boundary.encode("utf-8", "replace")
        if body.startswith(delimiter) or b"\n" + delimiter in body:
            message = _with_field(leaf.message, "Content-Transfer-Encoding", b"base64")
            encoded = transfer.to_base64(leaf.octets())
            return _described(replace(message, body=encoded), leaf.path, leaf.content_type)
    return leaf


# ---- reading -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Parser:
    """One walk over one body: offsets into the same octets at every depth."""

    raw: bytes
    max_depth: int
    left: int

    def entity(self, head: Message, path: Path, start: int, end: int, default: str) -> Entity:
        """The entity whose fields are `head` and whose body is raw[start:end]."""
        leaf = _described(head, path, default)
        if leaf.content_type.startswith("multipart/"):
            return self._multipart(leaf, start, end)
        if leaf.content_type in _NESTED and leaf.encoding not in ("base64", "quoted-printable"):
            self._count(path)
            child = self._part((*path, 0), start, end, "text/plain")
            return replace(leaf, children=(child,), between=(b"", b""))
        return replace(leaf, message=replace(head, body=self.raw[start:end]))

    def _count(self, path: Path) -> None:
        if len(path) >= self.max_depth:
            raise TooComplex(f"parts nested more than {self.max_depth} deep")
        self.left -= 1
        if self.left < 0:
            raise TooComplex("too many parts")

    def _part(self, path: Path, start: int, end: int, default: str) -> Entity:
        head, body = _head(self.raw, start, end)
        return self.entity(head, path, body, end, default)

    def _multipart(self, leaf: Entity, start: int, end: int) -> Entity:
        boundary = leaf.parameters.get("boundary", "")
        octets = boundary.encode("utf-8", "replace")
        spans: list[tuple[int, int]] = []
        if 0 < len(octets) <= MAX_BOUNDARY:
            spans = self._parts(octets, start, end, leaf.path)
        if not spans:
            return replace(leaf, message=replace(leaf.message, body=self.raw[start:end]))
        default = "message/rfc822" if leaf.content_type == "multipart/digest" else "text/plain"
        children: list[Entity] = []
        between: list[bytes] = []
        at = start
        for index, (first, last) in enumerate(spans):
            between.append(self.raw[at:first])
            children.append(self._part((*leaf.path, index), first, last, default))
            at = last
        between.append(self.raw[at:end])
        return replace(leaf, children=tuple(children), between=tuple(between))

    def _parts(self, boundary: bytes, start: int, end: int, path: Path) -> list[tuple[int, int]]:
        """Where the parts' octets begin and end (RFC 2046 §5.1.1)."""
        delimiter = b"--" + boundary
        spans: list[tuple[int, int]] = []
        open_at = -1
        at = start
        while (at := self.raw.find(delimiter, at, end)) >= 0:
            line, at = at, at + len(delimiter)
            if line > start and self.raw[line - 1] != 0x0A:
                continue
            closing = self.raw.startswith(b"--", at, end)
            rest = _PADDING.match(self.raw, at + 2 if closing else at, end)
            if rest is None:
                continue
            if open_at >= 0:
                spans.append((open_at, max(open_at, self._before(line, start))))
            if closing:
                return spans
            self._count(path)
            open_at = at = rest.end()
        if open_at >= 0:  # no closing delimiter: the last part goes to the end, as readers take it
            spans.append((open_at, end))
        return spans

    def _before(self, line: int, start: int) -> int:
        """The line end before a delimiter belongs to the delimiter."""
        if line - start >= 2 and self.raw[line - 2 : line] == b"\r\n":
            return line - 2
        return max(start, line - 1)


def _head(raw: bytes, start: int, end: int) -> tuple[Message, int]:
    """The fields of the entity at raw[start:end], and where its body begins; copies no body."""
    size = _HEADER_CHUNK
    while True:
        chunk = raw[start : min(end, start + size)]
        message = Message.parse(chunk)
        if message.separator or b"\n" in message.body or start + size >= end:
            body = start + len(chunk) - len(message.body)
            return replace(message, body=b""), body
        if size >= _MOST_HEADER:
            raise TooComplex("a part with a very long header")
        size *= 4


def _described(message: Message, path: Path, default: str) -> Entity:
    """A leaf with what its fields say of it."""
    content_type, named = default, parameters.Parsed("", ())
    kind = message.first("Content-Type")
    if kind is not None:
        named = parameters.parse(kind.value)
        # RFC 2045 §5.2: what can't be read is text/plain.
        content_type = named.head if re.fullmatch(r"[^\s/]+/[^\s/]+", named.head) else "text/plain"
    values: dict[str, str] = {}
    for each in named.parameters:
        values.setdefault(each.name, each.value)
    disposition, filename = "", ""
    disposed = message.first("Content-Disposition")
    if disposed is not None:
        parsed = parameters.parse(disposed.value)
        disposition, filename = parsed.head, parsed.get("filename") or ""
    encoded = message.first("Content-Transfer-Encoding")
    encoding = parameters.parse(encoded.value).head if encoded is not None else ""
    return Entity(
        path, message, content_type, values, encoding, disposition, filename or values.get("name", "")
    )


# ---- writing -------------------------------------------------------------------------------------


def _line_end(text: str) -> str:
    return "\n" if "\n" in text and "\r\n" not in text else "\r\n"


def _with_field(message: Message, name: str, value: bytes) -> Message:
    """The field in the place of the first of its name; further ones go; else at the block's end."""
    new = field(name, value)
    if message.first(name) is None:
        return message.appended(new)
    first = True

    def change(old: Field) -> Field | None:
        nonlocal first
        if not old.is_named(name):
            return old
        kept, first = (new if first else None), False
        return kept

    return message.edit(change)


def _with_charset(message: Message, content_type: str, label: str) -> Message:
    kind = message.first("Content-Type")
    if kind is None:
        return _with_field(message, "Content-Type", f"{content_type}; charset={label}".encode())
    value = kind.value
    parameter = next((p for p in parameters.parse(value).parameters if p.name == "charset"), None)
    if parameter is None:
        new = value.rstrip() + b"; charset=" + label.encode()
    else:
        start, end = parameter.spans[0]
        new = value[:start] + b"charset=" + label.encode() + value[end:].rstrip()
    return _with_field(message, "Content-Type", new.strip())
