"""Fetching an MTA-STS policy: one HTTPS request, with nothing that could lead elsewhere.

Promise: `fetch` returns the octets of a 200 text/plain answer from a server whose certificate is good for
`mta-sts.<domain>`, or None; within its deadline, at most `mtasts.MOST_OCTETS`; no redirect is followed, and
the request goes to no address where mail may not go either.

Sources: RFC 8461 §3.3; RFC 9110.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from contextlib import closing, suppress

from sortingoffice import log
from sortingoffice.mail import mtasts
from sortingoffice.net import route
from sortingoffice.net.resolver import Resolver
from sortingoffice.net.route import Here

PORT = 443
DEADLINE = 15.0  # seconds, for the whole of it
_PATH = "/.well-known/mta-sts.txt"


async def fetch(
    domain: str,
    resolver: Resolver,
    context: ssl.SSLContext,
    here: Here,
    *,
    port: int = PORT,
    deadline: float = DEADLINE,
) -> bytes | None:
    """The policy's octets; None where it can't be had, which is logged."""
    host = f"mta-sts.{domain}"
    addresses = await resolver.run(route.addresses(host, here))
    if not addresses:
        log.event("mta-sts-unreachable", domain=domain, reason="no address")
        return None
    dialled = socket.socket(socket.AF_INET6 if ":" in addresses[0] else socket.AF_INET, socket.SOCK_STREAM)
    dialled.settimeout(deadline)
    work = asyncio.create_task(
        asyncio.to_thread(_get, host, (addresses[0], port), dialled, context, deadline)
    )
    try:
        return await asyncio.wait_for(asyncio.shield(work), deadline)
    except (OSError, TimeoutError, http.client.HTTPException, ValueError) as problem:
        log.event("mta-sts-unreachable", domain=domain, reason=str(problem) or type(problem).__name__)
        return None
    finally:
        with suppress(OSError):
            dialled.shutdown(socket.SHUT_RDWR)  # the thread ends at its next octet
        dialled.close()
        work.add_done_callback(_forget)


def _forget(work: asyncio.Task[bytes]) -> None:
    if not work.cancelled():
        work.exception()


def _get(
    host: str, where: tuple[str, int], dialled: socket.socket, context: ssl.SSLContext, seconds: float
) -> bytes:
    """In a thread: the body, or ValueError for an answer that is no policy."""
    dialled.connect(where)
    with context.wrap_socket(dialled.dup(), server_hostname=host) as wire:
        wire.settimeout(seconds)
        client = http.client.HTTPSConnection(host, context=context, timeout=seconds)
        client.sock = wire
        client.request("GET", _PATH, headers={"Accept": "text/plain", "User-Agent": "sortingoffice"})
        with closing(client.getresponse()) as answer:
            return _body(answer)


def _body(answer: http.client.HTTPResponse) -> bytes:
    if answer.status != 200:  # no redirects: RFC 8461 §3.3
        raise ValueError(f"answered {answer.status}")
    kind = answer.getheader("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "text/plain":
        raise ValueError("is no text/plain")
    body = answer.read(mtasts.MOST_OCTETS + 1)
    if len(body) > mtasts.MOST_OCTETS:
        raise ValueError("is too large")
    return body
