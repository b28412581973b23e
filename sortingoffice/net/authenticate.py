"""All that can be found out about who wrote a message, at once and within a deadline.

Promise: `authenticate` returns in time and never raises but when it is cancelled.  What could not be found
out is temperror, so that nobody is refused for our troubles; a bug of ours is logged, and temperror too.

Sources: RFC 7208 §4.6.4 (20 s at least for a whole SPF check); RFC 6376 §6; RFC 7489 §6.6; RFC 8617 §5.2.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TypeVar

from sortingoffice import log
from sortingoffice.core.model import Peer
from sortingoffice.mail import arc, dkim, dmarc, spf
from sortingoffice.mail.address import Address
from sortingoffice.mail.asking import Program
from sortingoffice.mail.authentication import (
    ArcResult,
    Authentication,
    DkimResult,
    DmarcResult,
    Result,
    SpfResult,
)
from sortingoffice.mail.dmarc import Discovery
from sortingoffice.mail.message import Message
from sortingoffice.net.resolver import Memo, Resolver, Step

T = TypeVar("T")

DEADLINE = 20.0  # seconds for all methods together
LARGE = 262_144  # octets; hashing this takes about 2 ms, more belongs into a thread


async def authenticate(
    resolver: Resolver,
    peer: Peer,
    sender: Address | None,
    raw: bytes,
    message: Message,
    *,
    now: datetime | None = None,
    discovery: Discovery = Discovery.SUFFIX_LIST,
    deadline: float = DEADLINE,
) -> Authentication:
    """SPF, DKIM, DMARC and ARC of one message.

    raw        its octets as received; message is Message.parse(raw)
    now        the time at which signatures are judged; None: the clock's
    discovery  how DMARC finds the organizational domain
    """
    at = now or datetime.now(UTC)
    author = dmarc.author_domain(message)
    run = _Runner(resolver, asyncio.get_running_loop().time() + deadline, len(raw))
    by_spf, by_dkim, by_arc, _ = await asyncio.gather(
        run("spf", spf.check(peer.ip, peer.helo, sender, now=at), _no_spf(peer, sender)),
        run(
            "dkim", dkim.verify(message, at), (DkimResult(Result.TEMPERROR, reason="not found out in time"),)
        ),
        run("arc", arc.validate(message), ArcResult(Result.TEMPERROR, reason="not found out in time")),
        # The policy is looked up while the others ask; its answers wait in the runner's memo.
        run(
            "dmarc",
            dmarc.evaluate(author, SpfResult(Result.NONE), (), discovery=discovery),
            DmarcResult(Result.NONE),
        ),
    )
    by_dmarc = await run(
        "dmarc",
        dmarc.evaluate(author, by_spf, by_dkim, discovery=discovery),
        dmarc.unreachable(author, by_spf, by_dkim),
    )
    return Authentication(by_spf, by_dkim, by_dmarc, by_arc, author, peer.ip)


def _no_spf(peer: Peer, sender: Address | None) -> SpfResult:
    """The result where nothing could be found out in time, with the domain it would have been about."""
    reason = "not found out in time"
    if sender is None:
        return SpfResult(Result.TEMPERROR, peer.helo.lower(), "helo", peer.helo, reason=reason)
    return SpfResult(Result.TEMPERROR, sender.domain, "mailfrom", str(sender), reason=reason)


class _Runner:
    """Runs the programs about one message: one deadline, one memo of answers."""

    def __init__(self, resolver: Resolver, until: float, size: int):
        self._resolver = resolver
        self._until = until
        self._memo: Memo = {}
        self._step: Step | None = asyncio.to_thread if size > LARGE else None

    async def __call__(self, method: str, program: Program[T], otherwise: T) -> T:
        """The program's result, or `otherwise` where it is late or we fail."""
        try:
            async with asyncio.timeout_at(self._until):
                return await self._resolver.run(program, memo=self._memo, step=self._step)
        except TimeoutError:
            log.event("authentication-late", method=method)
        except Exception as error:
            log.bug("authentication-failed", error, method=method)
        return otherwise
