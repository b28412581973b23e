"""All that can be found out about who wrote a message, at once and within a deadline.

Promise: `authenticate` returns in time and never raises but when it is cancelled.  What could not be found
out is temperror, so that nobody is refused for our troubles; a bug of ours is logged, and temperror too.

Sources: RFC 7208 §4.6.4 (20 s at least for a whole SPF check); RFC 6376 §6; RFC 7489 §6.6; RFC 8617 §5.2.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Generic, TypeVar

from sortingoffice import log
from sortingoffice.core.model import Peer
from sortingoffice.mail import arc, dkim, dmarc, spf
from sortingoffice.mail.address import Address
from sortingoffice.mail.asking import Program, Question
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
from sortingoffice.net.resolver import Ended, Memo, Resolver, Step

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
    by_spf = run("spf", spf.check(peer.ip, peer.helo, sender, now=at), _no_spf(peer, sender))
    by_dkim = run(
        "dkim", dkim.verify(message, at), (DkimResult(Result.TEMPERROR, reason="not found out in time"),)
    )
    by_arc = run("arc", arc.validate(message), ArcResult(Result.TEMPERROR, reason="not found out in time"))
    waiting = [each.wait() for each in (by_spf, by_dkim, by_arc) if each.unfinished]
    if waiting:
        # The policy is looked up while the others ask; its answers wait in the runner's memo.
        policy = dmarc.evaluate(author, SpfResult(Result.NONE), (), discovery=discovery)
        waiting.append(run("dmarc", policy, DmarcResult(Result.NONE)).wait())
        await asyncio.gather(*waiting)
    by_dmarc = run(
        "dmarc",
        dmarc.evaluate(author, by_spf.value, by_dkim.value, discovery=discovery),
        dmarc.unreachable(author, by_spf.value, by_dkim.value),
    )
    await by_dmarc.wait()
    return Authentication(by_spf.value, by_dkim.value, by_dmarc.value, by_arc.value, author, peer.ip)


def _no_spf(peer: Peer, sender: Address | None) -> SpfResult:
    """The result where nothing could be found out in time, with the domain it would have been about."""
    reason = "not found out in time"
    if sender is None:
        return SpfResult(Result.TEMPERROR, peer.helo.lower(), "helo", peer.helo, reason=reason)
    return SpfResult(Result.TEMPERROR, sender.domain, "mailfrom", str(sender), reason=reason)


class _Runner:
    """Runs the programs about one message: one deadline, one memo of answers."""

    def __init__(self, resolver: Resolver, until: float, size: int):
        self.resolver = resolver
        self.until = until
        self.memo: Memo = {}
        self.step: Step | None = asyncio.to_thread if size > LARGE else None

    def __call__(self, method: str, program: Program[T], otherwise: T) -> _Run[T]:
        """Begin a program: here and now as far as answers are known, mostly to its end."""
        run = _Run(self, method, program, otherwise)
        if self.step is None:
            try:
                found = self.resolver.begun(program, self.memo)
            except Exception as error:
                log.bug("authentication-failed", error, method=method)
                run.unfinished = False
            else:
                if isinstance(found, Ended):
                    run.value, run.unfinished = found.result, False
                else:
                    run.at = found
        return run


class _Run(Generic[T]):
    """One program.  `value` is its result, or what was given instead where it is late or we fail."""

    def __init__(self, runner: _Runner, method: str, program: Program[T], otherwise: T):
        self.value = otherwise
        self.unfinished = True
        self.at: Question | None = None
        self._runner = runner
        self._method = method
        self._program = program

    async def wait(self) -> None:
        if not self.unfinished:
            return
        runner = self._runner
        try:
            async with asyncio.timeout_at(runner.until):
                self.value = await runner.resolver.run(
                    self._program, memo=runner.memo, step=runner.step, at=self.at
                )
        except TimeoutError:
            log.event("authentication-late", method=self._method)
        except Exception as error:
            log.bug("authentication-failed", error, method=self._method)
        self.unfinished = False
