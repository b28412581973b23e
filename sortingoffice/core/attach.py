"""A file put into a message that a person wrote, beside what is there.

Promise: the parts that were there stay octet for octet; a message of one part becomes the first
part of a multipart/mixed with its own content fields.

Sources: RFC 2045 §5, RFC 2046 §5.1.1 and §5.1.3, RFC 2183.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from sortingoffice.frozen import dataclass
from sortingoffice.mail import transfer
from sortingoffice.mail.message import Field, Message, field
from sortingoffice.mail.mime import Entity


@dataclass(frozen=True, slots=True)
class File:
    """name: printable ASCII without quotes; content_type: with its parameters."""

    name: str
    content_type: str
    octets: bytes


def attached(root: Entity, files: tuple[File, ...]) -> Message:
    """The message with the files as its last parts."""
    if not files:
        return Message.parse(bytes(root))
    raw = bytes(root)
    boundary = root.parameters.get("boundary", "") if root.content_type == "multipart/mixed" else ""
    if boundary and root.children and _closed(root, boundary):
        # Before the closing delimiter, which the last octets begin with.
        between = root.between[-1]
        start = between.index(b"--" + boundary.encode())
        head = raw[: len(raw) - len(between)] + between[:start]
        return Message.parse(head + _parts(files, boundary.encode()) + between[start:])
    return _wrapped(Message.parse(raw), files)


def _closed(root: Entity, boundary: str) -> bool:
    return b"--" + boundary.encode() + b"--" in root.between[-1]


def _wrapped(message: Message, files: tuple[File, ...]) -> Message:
    digest = hashlib.sha256(bytes(message)).hexdigest()[:24]
    boundary = f"=_{digest}".encode()
    while boundary in message.body:
        boundary += b"_"
    own = tuple(each for each in message.fields if each.name.lower().startswith(b"content-"))
    rest = tuple(each for each in message.fields if each not in own)
    if not any(each.is_named("MIME-Version") for each in rest):
        rest = (*rest, field("MIME-Version", "1.0"))
    inner = bytes(Message(own, b"\r\n", message.body))
    body = (
        b"--" + boundary + b"\r\n" + inner + b"\r\n" + _parts(files, boundary) + b"--" + boundary + b"--\r\n"
    )
    kind = Field(b"Content-Type", b'Content-Type: multipart/mixed; boundary="' + boundary + b'"\r\n')
    return replace(message, fields=(*rest, kind), separator=b"\r\n", body=body)


def _parts(files: tuple[File, ...], boundary: bytes) -> bytes:
    written = b""
    for file in files:
        fields = (
            field("Content-Type", f'{file.content_type}; name="{file.name}"'),
            field("Content-Transfer-Encoding", "base64"),
            field("Content-Disposition", f'attachment; filename="{file.name}"'),
        )
        part = bytes(Message(fields, b"\r\n", transfer.to_base64(file.octets)))
        written += b"--" + boundary + b"\r\n" + part.rstrip(b"\r\n") + b"\r\n"
    return written
