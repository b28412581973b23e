"""DNS questions, asked once: a cache with bounds over the configured name servers.

Promise: `ask` never raises; what could not be found out is TEMPORARY, never "absent".  Equal questions
that are under way at the same time are one question on the wire.

A failure is not cached (RFC 2308 §7 would allow it): the next message asks again, and questions
that fail together are one.  `secure` is true only where every name server is on loopback, for
nobody between can then have set the AD bit (RFC 6840 §5.8, resolv.conf's trust-ad).

Sources: RFC 1035; RFC 2308; RFC 6891; RFC 7208 §4.6.4 and RFC 6376 §6.1.2 for whom it serves.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.inet
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver

from sortingoffice import log
from sortingoffice.errors import OfficeError
from sortingoffice.frozen import dataclass
from sortingoffice.mail.asking import Answer, Outcome, Program, Question
from sortingoffice.values import Endpoint

T = TypeVar("T")

UDP_PAYLOAD = 1232  # octets that travel unfragmented nearly everywhere (DNS flag day 2020)
MAX_CACHED_OCTETS = 4096  # a larger answer is used, not kept: strangers choose what we ask
MAX_RECORDS = 200  # of one answer; the rest is cut
NEGATIVE_TTL = 30  # seconds, where an absence came without an SOA
_FLAGS = dns.flags.RD | dns.flags.AD

Memo = dict[Question, Answer]
Step = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class CacheBounds:
    """How long (seconds) and how many answers are kept; a TTL outside is moved to the nearer bound."""

    least_ttl: float = 0
    most_ttl: float = 3600
    most_negative_ttl: float = 300
    entries: int = 10_000


_BOUNDS = CacheBounds()


class Resolver:
    """Asks the given name servers, or the system's where none are given.

    timeout  seconds for one question in all: every server, every retry, UDP and TCP
    Raises OfficeError where there is no name server to ask.
    """

    def __init__(
        self,
        nameservers: Iterable[Endpoint] = (),
        timeout: float = 5.0,
        *,
        bounds: CacheBounds = _BOUNDS,
        at_once: int = 256,
    ):
        self._resolver = _asker(tuple(nameservers), timeout)
        self._timeout = timeout
        self._bounds = bounds
        self._at_once = asyncio.Semaphore(at_once)
        self._cache: dict[tuple[str, str], tuple[float, Answer]] = {}
        self._under_way: dict[tuple[str, str], asyncio.Task[Answer]] = {}
        self._trusted = _on_loopback(self._resolver)

    async def ask(self, question: Question) -> Answer:
        """The answer, from the cache or from the wire."""
        key = (question.name.lower().rstrip("."), question.type)
        kept = self._cache.get(key)
        if kept is not None and kept[0] > asyncio.get_running_loop().time():
            return kept[1]
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._fetch(key))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)  # one who stops waiting must not stop the others

    def begun(self, program: Program[T], memo: Memo) -> Question | Ended[T]:
        """Drive a program as far as answers are known, without waiting: to its end, or to the question that
        `run` goes on with."""
        now = asyncio.get_running_loop().time()
        found = _advanced(program, None)
        while isinstance(found, Question):
            answer = memo.get(found)
            if answer is None:
                kept = self._cache.get((found.name.lower().rstrip("."), found.type))
                if kept is None or kept[0] <= now:
                    break
                answer = memo[found] = kept[1]
            found = _advanced(program, answer)
        return found

    async def run(
        self,
        program: Program[T],
        *,
        most: int = 150,
        memo: Memo | None = None,
        step: Step | None = None,
        at: Question | None = None,
    ) -> T:
        """Drive a program to its end.

        most  questions it may ask; what it asks beyond them fails temporarily.  Programs keep
              their own, smaller limits: this is the net below
        memo  answers that programs about one message share, whatever their TTL
        step  how the program is advanced: asyncio.to_thread for one that computes for long between
              its questions; None: here
        at    the question where `begun` left it
        """
        answers: Memo = {} if memo is None else memo
        asked = 0
        answer: Answer | None = None
        found: Question | Ended[T]
        try:
            while True:
                if at is not None:
                    found, at = at, None
                elif step is None:
                    found = _advanced(program, answer)
                else:
                    found = await step(_advanced, program, answer)
                if isinstance(found, Ended):
                    return found.result
                answer = answers.get(found)
                if answer is None:
                    asked += 1
                    answer = await self.ask(found) if asked <= most else Answer(Outcome.TEMPORARY)
                    answers[found] = answer
        finally:
            with suppress(ValueError):  # cancelled while a thread is still at it
                program.close()

    def _ended(self, key: tuple[str, str], task: asyncio.Task[Answer]) -> None:
        if self._under_way.get(key) is task:
            del self._under_way[key]

    async def _fetch(self, key: tuple[str, str]) -> Answer:
        name = _name(key[0])
        if name is None:
            return Answer(Outcome.NO_NAME)
        try:
            async with asyncio.timeout(self._timeout), self._at_once:
                answer, ttl = await self._resolve(name, key[1])
        except (dns.exception.DNSException, OSError, TimeoutError, EOFError):
            return Answer(Outcome.TEMPORARY)
        except Exception as error:  # a server's octets may find a mistake in the library or in us
            log.bug("dns-failed", error, type=key[1])
            return Answer(Outcome.TEMPORARY)
        self._keep(key, answer, ttl)
        return answer

    async def _resolve(self, name: dns.name.Name, type: str) -> tuple[Answer, float]:
        """The answer and its time to live in seconds."""
        try:
            found = await self._resolver.resolve(
                name, type, raise_on_no_answer=False, lifetime=self._timeout, search=False
            )
        except dns.resolver.NXDOMAIN as absent:
            response: dns.message.Message = absent.response(name)  # type: ignore[no-untyped-call]
            return Answer(Outcome.NO_NAME, secure=self._secure(response)), _negative_ttl(response)
        secure = self._secure(found.response)
        if found.rrset is None:
            return Answer(Outcome.NO_DATA, secure=secure), _negative_ttl(found.response)
        records = tuple(_plain(record) for record in found.rrset[:MAX_RECORDS])
        return Answer(Outcome.FOUND, records, secure), found.chaining_result.minimum_ttl

    def _secure(self, response: dns.message.Message) -> bool:
        return self._trusted and bool(response.flags & dns.flags.AD)

    def _keep(self, key: tuple[str, str], answer: Answer, ttl: float) -> None:
        most = self._bounds.most_ttl if answer.outcome is Outcome.FOUND else self._bounds.most_negative_ttl
        ttl = max(self._bounds.least_ttl, min(ttl, most))
        if ttl <= 0 or sum(_size(record) for record in answer.records) > MAX_CACHED_OCTETS:
            return
        self._cache.pop(key, None)
        while len(self._cache) >= self._bounds.entries:
            del self._cache[next(iter(self._cache))]  # the one that was written first
        self._cache[key] = (asyncio.get_running_loop().time() + ttl, answer)


@dataclass(frozen=True, slots=True)
class Ended(Generic[T]):
    """A program's return; StopIteration can't leave a thread or a coroutine."""

    result: T


def _advanced(program: Program[T], answer: Answer | None) -> Question | Ended[T]:
    try:
        return next(program) if answer is None else program.send(answer)
    except StopIteration as stop:
        return Ended(stop.value)


def _asker(nameservers: tuple[Endpoint, ...], timeout: float) -> dns.asyncresolver.Resolver:
    try:
        resolver = dns.asyncresolver.Resolver(configure=not nameservers)
    except dns.resolver.NoResolverConfiguration:
        raise OfficeError(
            'This system names no DNS server (/etc/resolv.conf); set [dns] nameservers = ["ADDRESS:53"].'
        ) from None
    for at in nameservers:
        if not dns.inet.is_address(at.host):
            raise OfficeError(f"[dns] nameservers: {at.host} is no IP address.")
    if nameservers:
        resolver.nameservers = [dns.nameserver.Do53Nameserver(at.host, at.port) for at in nameservers]
    resolver.lifetime = timeout
    resolver.timeout = max(timeout / 3, 0.05)  # of one try, so that a lost datagram costs a third
    resolver.use_edns(0, 0, UDP_PAYLOAD)
    resolver.flags = _FLAGS
    return resolver


def _on_loopback(resolver: dns.asyncresolver.Resolver) -> bool:
    hosts = [at if isinstance(at, str) else at.answer_nameserver() for at in resolver.nameservers]
    try:
        return bool(hosts) and all(ipaddress.ip_address(host).is_loopback for host in hosts)
    except ValueError:
        return False


def _name(text: str) -> dns.name.Name | None:
    """The name, its labels taken as they are written (no escapes); None where no such name can exist."""
    try:
        return dns.name.Name([*(label.encode() for label in text.split(".")), b""]) if text else None
    except (dns.exception.DNSException, UnicodeEncodeError):
        return None


def _negative_ttl(response: dns.message.Message) -> float:
    """RFC 2308 §5: the lesser of the SOA's TTL and its minimum."""
    for rrset in response.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return min(float(rrset.ttl), float(rrset[0].minimum))
    return NEGATIVE_TTL


def _plain(record: Any) -> object:
    """A record in the form that `mail.asking.Answer` promises."""
    match record.rdtype:
        case dns.rdatatype.TXT:
            return b"".join(record.strings)
        case dns.rdatatype.A | dns.rdatatype.AAAA:
            return str(record.address)
        case dns.rdatatype.MX:
            return int(record.preference), record.exchange.to_text(omit_final_dot=True).rstrip(".")
        case dns.rdatatype.PTR:
            return record.target.to_text(omit_final_dot=True)
        case dns.rdatatype.TLSA:
            return int(record.usage), int(record.selector), int(record.mtype), bytes(record.cert)
    return record.to_text()


def _size(record: object) -> int:
    return len(record) if isinstance(record, bytes | str) else 64
