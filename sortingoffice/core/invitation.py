"""Where a message has its invitations, and how each is read and written again.

    no program that finds a calendar in `rewritten(message, …)` reads an organizer whom `swap` did not see

Programs find and read calendars in more ways than the standards give them, so whatever one of them might
read is read; and what a calendar's labels say becomes true where programs would differ: a charset that nobody
here knows, a broken transfer encoding, a field that stands twice.  All else stays octet for octet.

Sources: RFC 2045 §6 (encodings), RFC 2046 §5 (multipart), RFC 2183 and RFC 2231 (names), RFC 2047;
RFC 6047 (iMIP).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from sortingoffice.core import calendar
from sortingoffice.core.calendar import Swap
from sortingoffice.mail import charset, headers, mime, parameters, transfer
from sortingoffice.mail.address import Address
from sortingoffice.mail.message import Field, Message, field

# As many as common readers look at, and more than anybody sends (Dovecot: 100 deep).
MAX_DEPTH = 100
MAX_PARTS = 2_000
MAX_WRAPPED = 4  # messages in base64 within each other

_TYPE = re.compile(r"(?:text|application)/(?:x-)?(?:v?calendar|ics|ical|icalendar|vcs|ifb)\b")
_ALWAYS = re.compile(r"(?:text|application)/(?:x-)?v?calendar\b")
_NAME = re.compile(r"\.(?:ics|ical|icalendar|ifb|vcs)[\W_]*\Z", re.IGNORECASE)
_BASE64_BEGIN = b"QkVHSU46VkNBTEVOREFS"  # "BEGIN:VCALENDAR"
# What stands in the octets of every message with a calendar: a type, a name, maybe encoded, the text itself.
_HINTS = (b"calendar", b"/ic", b"/x-ic", b"vcs", b".ic", b".ifb", b"/ifb", b"name*", b"=?", b"\\")
_WITHIN = (b"message/", _BASE64_BEGIN.lower())
_SMALL = 1 << 14  # octets of a body; a larger one's tree is read faster than all its octets
_ONCE = (b"content-type", b"content-transfer-encoding", b"content-disposition")
_ENCODING = "Content-Transfer-Encoding"
_NESTED = ("message/rfc822", "message/global", "message/news")
_ENCODED = ("base64", "quoted-printable")
_CLEAN_BASE64 = re.compile(rb"[A-Za-z0-9+/]*+={0,2}")
_BROKEN_QP = re.compile(rb"=(?![0-9A-Fa-f]{2}|\r?\n|\Z)")
# Where the octets of ASCII may mean something else.
_UNLIKE_ASCII = ("utf_7", "utf_16", "utf_32", "iso2022", "hz")
_WIDE = ("utf_16_le", "utf_16_be", "utf_32_le", "utf_32_be")


def organizers(message: Message) -> Iterator[Address]:
    """Those to whom an answer to an invitation in the message would go."""
    try:
        root = _tree(message)
    except (mime.TooComplex, RecursionError):
        return
    yield from _organizers(root, 0)


def rewritten(message: Message, swap: Swap, unread: Address) -> Message:
    """The message with the addresses of its invitations as `swap` says (`calendar.rewrite`).

    unread  what stands for an organizer whose address can't be read
    """
    return _rewritten(message, swap, unread, 0)


def _rewritten(message: Message, swap: Swap, unread: Address, depth: int) -> Message:
    try:
        root = _tree(message) if depth <= MAX_WRAPPED else None
    except (mime.TooComplex, RecursionError):
        return _as_text(message) if _hints(bytes(message)) else message
    if root is None:
        return message if depth <= MAX_WRAPPED else _as_text(message)
    changes: dict[mime.Path, mime.Entity] = {}
    for entity in root.walk():
        new = _once(entity)
        if _wraps(new):
            inner = Message.parse(new.octets())
            turned = _rewritten(inner, swap, unread, depth + 1)
            new = new if turned is inner else new.with_octets(bytes(turned))
        elif not new.children and _is_calendar(new):
            new = _turned(new, swap, unread)
        if new is not entity:
            changes[entity.path] = new
    return Message.parse(bytes(mime.replaced(root, changes))) if changes else message


def _tree(message: Message) -> mime.Entity | None:
    """None where the octets name no calendar: a quick no for most mail.  Raises mime.TooComplex."""
    return mime.parse(message, MAX_DEPTH, MAX_PARTS) if _speaks(message) else None


def _speaks(message: Message) -> bool:
    head = b"".join(each.raw for each in message.fields if each.name[:8].lower() == b"content-").lower()
    if _hints(head):
        return True
    if b"multipart/" not in head:
        begins = message.body[:256]
        return b"BEGIN:VCALENDAR" in begins.upper() or _BASE64_BEGIN in begins
    return len(message.body) > _SMALL or _hints(message.body)


def _hints(octets: bytes) -> bool:
    lower = octets.lower()
    return any(hint in lower for hint in (*_HINTS, *_WITHIN))


def _organizers(root: mime.Entity | None, depth: int) -> Iterator[Address]:
    for entity in root.walk() if root is not None else ():
        leaf = _once(entity)
        if _wraps(leaf) and depth < MAX_WRAPPED:
            try:
                inner = _tree(Message.parse(leaf.octets()))
            except (mime.TooComplex, RecursionError):
                continue
            yield from _organizers(inner, depth + 1)
        elif not leaf.children and _is_calendar(leaf):
            octets = leaf.octets()
            for codec in _codecs(leaf, octets):
                text = _decoded(octets, codec)
                if _looked_at(leaf, text):
                    yield from calendar.organizers(text)


# ---- which part is one -------------------------------------------------------------------------------


def _wraps(leaf: mime.Entity) -> bool:
    """A message in base64, which the tree takes for a leaf and some readers open."""
    return leaf.content_type in _NESTED and leaf.encoding in _ENCODED


def _is_calendar(leaf: mime.Entity) -> bool:
    found = [leaf.message.first(name) for name in ("Content-Type", "Content-Disposition")]
    values = [each.value for each in found if each is not None]
    if any(hint in value.lower() for value in values for hint in _HINTS):
        if any(_TYPE.match(parameters.parse(value).head) for value in values):
            return True
        if any(_NAME.search(name) for value in values for name in _names(value)):
            return True
    return not leaf.content_type.startswith("text/") and _begins_as_one(leaf)


def _names(value: bytes) -> Iterator[str]:
    """Every name that a reader might take, decoded as readers decode."""
    for each in parameters.parse(value).parameters:
        if each.name in ("name", "filename"):
            yield each.value
            yield headers.decode(each.value.encode("utf-8", "replace"))


def _begins_as_one(leaf: mime.Entity) -> bool:
    """Some readers look at what an attachment of no certain type begins with."""
    begins = transfer.decode(leaf.message.body[:256], leaf.encoding)
    return b"BEGIN:VCALENDAR" in begins.upper().replace(b"\0", b"")


def _looked_at(leaf: mime.Entity, text: str) -> bool:
    return _ALWAYS.match(leaf.content_type) is not None or calendar.asks(text)


# ---- reading and writing one -------------------------------------------------------------------------


def _turned(leaf: mime.Entity, swap: Swap, unread: Address) -> mime.Entity:
    before = content = leaf.octets()
    label = ""
    for codec in _codecs(leaf, before):
        text = _decoded(content, codec)
        if not _looked_at(leaf, text):
            continue
        new = calendar.rewrite(calendar.settled(text), swap, unread)
        if new != text:
            octets = _encoded(new, codec, content)
            content, label = (octets, label) if octets is not None else (charset.clean(new).encode(), "utf-8")
    if any(each and not charset.known(each) for each in _labels(leaf)):
        label = "utf-8"  # so that everybody reads what was read here
    elif before.isascii() and not content.isascii() and b"\0" not in before:  # the mailbox isn't ASCII
        label = "" if charset.codec(leaf.charset) == "utf_8" else "utf-8"
    clean = _is_clean(leaf)
    if content == before and not label and clean:
        return leaf
    body, encoding = (
        transfer.encode(content, leaf.encoding, leaf.message.body)
        if clean
        else (transfer.to_base64(content), "base64")
    )
    message = _labelled(leaf.message, label) if label else leaf.message
    if encoding != leaf.encoding or not clean:
        message = _with_encoding(message, encoding)
    return replace(leaf, message=replace(message, body=body), encoding=encoding)


def _labels(leaf: mime.Entity) -> list[str]:
    kind = leaf.message.first("Content-Type")
    named = parameters.parse(kind.value).parameters if kind is not None else ()
    return [each.value.strip() for each in named if each.name == "charset"]


def _codecs(leaf: mime.Entity, octets: bytes) -> Iterator[str]:
    """How programs may read the octets, the likeliest first; "" stands for the octets as they are.

    An unknown charset is read as what it has in common with ASCII."""
    known = [each for each in _labels(leaf) if charset.known(each)]
    unlike = [each for each in known if charset.codec(each).startswith(_UNLIKE_ASCII)]
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        yield from (each for each in known if each not in unlike)
        yield ""
    else:
        yield "utf_8"
    yield from unlike
    if b"\0" in octets:
        yield from _WIDE


def _decoded(octets: bytes, codec: str) -> str:
    if codec in _WIDE:
        octets = octets[: _whole(octets, codec)]
        try:
            return octets.decode(codec, "surrogatepass")
        except UnicodeDecodeError:
            return octets.decode(codec, "replace")
    if codec == "utf_8":
        return octets.decode(codec, "replace")
    return charset.decode(octets, codec) if codec else octets.decode("latin-1")


def _encoded(text: str, codec: str, before: bytes) -> bytes | None:
    """None where the charset lacks a character."""
    if codec in _WIDE:
        return text.encode(codec, "surrogatepass") + before[_whole(before, codec) :]
    if codec == "utf_8":
        return text.encode(codec)
    return charset.encode(text, codec, before) if codec else text.encode("latin-1", "replace")


def _whole(octets: bytes, codec: str) -> int:
    width = 2 if "16" in codec else 4
    return len(octets) // width * width


# ---- what the fields say -----------------------------------------------------------------------------


def _is_clean(leaf: mime.Entity) -> bool:
    """Whether every reader undoes the transfer encoding as we do."""
    body = leaf.message.body
    named = leaf.message.first(_ENCODING)
    if leaf.encoding in _ENCODED and named is not None and named.unfolded.lower() != leaf.encoding.encode():
        return False  # quotes and comments, which some read past
    if leaf.encoding == "base64":
        octets = body.translate(None, b" \t\r\n")
        return len(octets) % 4 == 0 and _CLEAN_BASE64.fullmatch(octets) is not None
    if leaf.encoding == "quoted-printable":
        return _BROKEN_QP.search(body) is None
    return leaf.encoding in transfer.IDENTITY


def _once(entity: mime.Entity) -> mime.Entity:
    """The entity with the first of each field that says what its body is, where another one of them may say
    that it has a calendar: some readers take the last."""
    names = [each.name.lower() for each in entity.message.fields]
    if all(names.count(name) < 2 or _agree(entity, name) for name in _ONCE):
        return entity
    seen: set[bytes] = set()
    kept: list[Field] = []
    for each in entity.message.fields:
        name = each.name.lower()
        if name not in _ONCE or name not in seen:
            kept.append(each)
        seen.add(name)
    return entity.with_fields(tuple(kept))


def _agree(entity: mime.Entity, name: bytes) -> bool:
    values = {each.unfolded.lower() for each in entity.message.all(name.decode("ascii"))}
    if len(values) < 2:
        return True
    if name == _ONCE[0]:
        return not any(hint in value for value in values for hint in (*_HINTS, *_WITHIN, b"multipart/"))
    return not _wraps(entity) and (bool(entity.children) or not _is_calendar(entity))


def _labelled(message: Message, label: str) -> Message:
    """With this charset and no other."""
    old = message.first("Content-Type")
    value = old.value if old is not None else b" text/calendar"
    spans = [s for p in parameters.parse(value).parameters if p.name == "charset" for s in p.spans]
    for start, end in sorted(spans, reverse=True):
        value = value[:start] + f"charset={label}".encode() + value[end:]
    if not spans:
        value = value.rstrip() + f"; charset={label}".encode()
    new = field("Content-Type", _on_lines(value))
    if old is None:
        return message.appended(new)
    return message.edit(lambda each: new if each is old else each)


def _on_lines(value: bytes) -> bytes:
    """A value whose folds are CR LF and a blank, as `field` takes it."""
    return re.sub(rb"[\r\n]+[ \t]*", b"\r\n ", value.strip()).replace(b"\0", b"")


def _with_encoding(message: Message, encoding: str) -> Message:
    kept = tuple(each for each in message.fields if not each.is_named(_ENCODING))
    return replace(message, fields=kept).appended(field(_ENCODING, encoding))


def _as_text(message: Message) -> Message:
    """A message whose parts are more than anybody counts, as the one text that a reader shows."""
    old = message.first("Content-Type")
    kept = tuple(each for each in message.fields if each is old or not each.is_named("Content-Type"))
    new = field("Content-Type", "text/plain")
    return replace(message, fields=tuple(new if each is old else each for each in kept))
