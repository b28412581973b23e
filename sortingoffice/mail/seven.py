"""A message in seven bits, for a next hop that takes no eight (RFC 6152 §3: convert, or return).

Promise: every leaf decodes to the octets it had; what is signed inside the message
(multipart/signed) or too complex to be read stays as it is.

Sources: RFC 6152 §3; RFC 2045 §6; RFC 1428 §3 (unknown-8bit); RFC 1847 §2.1.
"""

from __future__ import annotations

from dataclasses import replace

from sortingoffice.mail import mime
from sortingoffice.mail.message import Field, Message, field
from sortingoffice.mail.mime import Entity, Path

_EIGHT = (b"8bit", b"binary")


def downgraded(message: Message) -> Message:
    """The same message with 8-bit leaves in quoted-printable or base64; header fields stay as they came."""
    if message.body.isascii():
        return message
    if message.first("MIME-Version") is None and message.first("Content-Type") is None:
        unknown = field("Content-Type", "text/plain; charset=unknown-8bit")
        message = message.appended(field("MIME-Version", "1.0"), unknown)
    try:
        tree = mime.parse(message)
    except mime.TooComplex:
        return message
    changed: dict[Path, Entity] = {}
    _down(tree, changed)
    return Message.parse(bytes(mime.replaced(_relabelled(tree), changed)))


def _down(entity: Entity, changed: dict[Path, Entity]) -> None:
    if entity.content_type == "multipart/signed":
        return
    for child in entity.children:
        _down(child, changed)
    if not entity.children and not entity.message.body.isascii():
        bare = replace(entity, encoding="", message=replace(entity.message, body=b""))
        changed[entity.path] = bare.with_octets(entity.octets())


def _relabelled(entity: Entity) -> Entity:
    """The branches no longer hold 8-bit octets, and say so; leaves are labelled as they are encoded."""
    if not entity.children or entity.content_type == "multipart/signed":
        return entity
    children = tuple(_relabelled(child) for child in entity.children)

    def label(old: Field) -> Field:
        eight = old.is_named("Content-Transfer-Encoding") and old.unfolded.lower() in _EIGHT
        return field("Content-Transfer-Encoding", "7bit") if eight else old

    return replace(entity, message=entity.message.edit(label), children=children)
