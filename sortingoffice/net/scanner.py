"""What a spam filter says of a message: rspamd, asked by HTTP.

Promise: `scan` returns in time and never raises but when it is cancelled; what could not be found out is
"nothing was found", and logged: a filter that is down stops no mail.

Sources: rspamd's protocol documentation (POST /checkv2; Action); RFC 9112 (HTTP/1.0, so no chunks come).
"""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

from sortingoffice import log
from sortingoffice.core.decide import Scan
from sortingoffice.core.model import Envelope, Peer

DEADLINE = 10.0  # seconds
_MOST = 2**20  # octets of an answer
_MEANS = {
    "no action": Scan.CLEAN,
    "rewrite subject": Scan.SPAM,
    "add header": Scan.SPAM,
    "greylist": Scan.GREYLIST,
    "soft reject": Scan.LATER,
    "quarantine": Scan.SPAM,
    "reject": Scan.REJECT,
    "discard": Scan.REJECT,  # in silence: nothing is lost in silence here
}


async def scan(url: str, peer: Peer, envelope: Envelope, raw: bytes, *, deadline: float = DEADLINE) -> Scan:
    """What is to become of the message, as far as the filter is concerned; CLEAN where `url` is empty."""
    if not url:
        return Scan.CLEAN
    try:
        async with asyncio.timeout(deadline):
            found = await _ask(url, peer, envelope, raw)
            action = str(json.loads(found)["action"])
    except (OSError, EOFError, TimeoutError, ValueError, KeyError, TypeError, RecursionError) as error:
        log.event("scanner-unreachable", reason=str(error) or type(error).__name__)
        return Scan.CLEAN
    if action not in _MEANS:
        log.event("scanner-unknown-action", action=action)
    return _MEANS.get(action, Scan.CLEAN)


async def _ask(url: str, peer: Peer, envelope: Envelope, raw: bytes) -> bytes:
    """The body of the answer; ValueError where it is none."""
    parts = urlsplit(url)
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
    try:
        writer.write(_head(f"{parts.path}/checkv2", parts.netloc, peer, envelope, len(raw)))
        writer.write(raw)
        await writer.drain()
        answer = await reader.read(_MOST)
        while more := await reader.read(_MOST):
            answer += more
            if len(answer) > _MOST:
                raise ValueError("an endless answer")
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200" not in head.partition(b"\r\n")[0]:
        raise ValueError(head.partition(b"\r\n")[0].decode("ascii", "replace")[:100] or "no answer")
    return body


def _head(path: str, host: str, peer: Peer, envelope: Envelope, size: int) -> bytes:
    fields: list[tuple[str, Any]] = [
        ("Host", host),
        ("Content-Length", size),
        ("IP", peer.ip),
        ("Helo", peer.helo),
        ("From", envelope.sender or ""),
    ]
    fields += [("Rcpt", each) for each in envelope.recipients]
    lines = [f"POST {path} HTTP/1.0", *(f"{name}: {_plain(str(value))}" for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace")


def _plain(value: str) -> str:
    """A peer's words on one line, whatever they are."""
    return "".join(c if c.isprintable() else "?" for c in value)
