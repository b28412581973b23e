"""What a mail program tells in Content- fields without being asked: when a file was made, by which clock and
on what machine, and in a boundary the message's own id, whose host is the person's.

Promise: only a parameter or a boundary that tells goes; what stands between the boundaries is the same, octet
for octet.  What is signed or encrypted is not touched, nor what is inside an attached message.

Sources: RFC 2183 §2.4 to 2.6 (dates, in the clock's own zone), RFC 2046 §5.1.1 (boundaries); Exchange, which
begins a boundary with the letters of the Message-ID; Apple Mail (x-unix-mode, x-apple-part-url).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import replace

from sortingoffice.mail import mime, parameters
from sortingoffice.mail.message import Field
from sortingoffice.mail.message import field as new_field
from sortingoffice.mail.mime import Entity

_DATES = frozenset({"creation-date", "modification-date", "read-date"})
_BROKEN = re.compile(rb"[\r\n\x00]")
_SIGNS = re.compile(r"[^a-z0-9]+")
_SHARED = 16  # letters and digits that a boundary has in common with a Message-ID by no chance
_SHORTEST = 6  # letters of a domain that is looked for
_CLOSED = frozenset({"multipart/signed", "multipart/encrypted"})


def without_parameters(old: Field) -> Field:
    """A Content-Type or Content-Disposition without what only the sender's machine means."""
    if not (old.is_named("Content-Type") or old.is_named("Content-Disposition")):
        return old
    value = _BROKEN.sub(b"", old.unfolded)
    told = [
        span
        for each in parameters.parse(value).parameters
        if each.name in _DATES or each.name.startswith("x-")
        for span in each.spans
    ]
    if not told:
        return old
    for start, end in sorted(told, reverse=True):
        divider = value.rfind(b";", 0, start)
        value = value[: divider if divider >= 0 else start] + value[end:]
    return new_field("Content-Type" if old.is_named("Content-Type") else "Content-Disposition", value.strip())


def renamed(root: Entity, ids: Collection[str], domains: Collection[str], name: str) -> Entity:
    """The tree with another boundary where one has letters of these ids or domains.

    A whole address in one is no program's doing: it is left for the leak guard to ask about.

    name  what the new ones are made of; known to whoever gets the message
    """
    wanted = tuple(filter(None, map(_letters, ids)))
    homes = tuple(each for each in map(_letters, domains) if len(each) >= _SHORTEST)
    return _renamed(root, wanted, homes, name)


def _renamed(entity: Entity, ids: tuple[str, ...], homes: tuple[str, ...], name: str) -> Entity:
    if not entity.content_type.startswith("multipart/") or entity.content_type in _CLOSED:
        return entity
    children = tuple(_renamed(each, ids, homes, name) for each in entity.children)
    if any(new is not old for new, old in zip(children, entity.children, strict=True)):
        entity = replace(entity, children=children)
    boundary = entity.parameters.get("boundary", "")
    if not entity.children or not _tells(boundary, ids, homes):
        return entity
    made = hashlib.sha256(f"{name} {entity.path}".encode()).hexdigest()[:24]
    return _with_boundary(entity, boundary, f"=_{made}")


def _tells(boundary: str, ids: tuple[str, ...], homes: tuple[str, ...]) -> bool:
    letters = "" if "@" in boundary else _letters(boundary)
    if any(home in letters for home in homes):
        return True
    windows = [letters[at : at + _SHARED] for at in range(len(letters) - _SHARED + 1)]
    return any(window in each for each in ids for window in windows)


def _letters(text: str) -> str:
    return _SIGNS.sub("", text[: mime.MAX_BOUNDARY * 4].lower())


def _with_boundary(entity: Entity, old: str, new: str) -> Entity:
    line = re.compile(
        rb"(^|\n)--" + re.escape(old.encode("utf-8", "replace")) + rb"(?=(?:--)?[ \t]*(?:\r?\n|\Z))"
    )
    between = tuple(line.sub(rb"\g<1>--" + new.encode("ascii"), each) for each in entity.between)
    fields = tuple(_declaring(each, new) for each in entity.message.fields)
    return replace(entity.with_fields(fields), between=between)


def _declaring(old: Field, boundary: str) -> Field:
    if not old.is_named("Content-Type"):
        return old
    value = _BROKEN.sub(b"", old.unfolded)
    spans = [s for p in parameters.parse(value).parameters if p.name == "boundary" for s in p.spans]
    for start, end in sorted(spans, reverse=True):
        written = b'boundary="' + boundary.encode("ascii") + b'"' if start == min(spans)[0] else b""
        value = value[:start] + written + value[end:]
    return new_field("Content-Type", value.strip())
