"""One HTTPS request, with nothing that could lead elsewhere.

Promise: within its deadline, to a server whose certificate is good for the name; no redirect is followed,
and the request goes to no address where mail may not go either (`net.route.addresses`).  Servers that hang
are in the way of nobody but who asks them, and what was never asked is told from what was not answered.

Sources: RFC 9110; RFC 9112.
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import field
from typing import TypeVar
from weakref import WeakValueDictionary

from sortingoffice.core.limits import network
from sortingoffice.frozen import dataclass
from sortingoffice.net import route
from sortingoffice.net.resolver import Resolver
from sortingoffice.net.route import Here

T = TypeVar("T")

PORT = 443
DEADLINE = 15.0  # seconds, from its beginning; as long again it may wait for its turn
_MOST = 64
_MOST_OF_ONE = 8
_WRONG = (OSError, TimeoutError, http.client.HTTPException, ValueError)


class Unanswered(Exception):
    """There is no answer, or none that can be used; str() says why."""


class Unasked(Unanswered):
    """For want of room here: that says nothing about the server."""


class Turns:
    """Threads that ask, and whose turn it is: so many in all, and so many of them one server.

    Servers that hang would take all of the threads that signatures and passwords wait for, and one server
    all of these.  A server is known by its network, as a peer is.
    """

    def __init__(self, most: int = _MOST, most_of_one: int = _MOST_OF_ONE) -> None:
        self.threads = ThreadPoolExecutor(most, "https")
        self._all = asyncio.Semaphore(most)
        self._most_of_one = most_of_one
        self._servers: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def take(self, address: str, seconds: float) -> Callable[[], None]:
        """Wait for a thread to be free; the call that gives it back.  Raises Unasked."""
        server = self._servers.setdefault(network(address), asyncio.Semaphore(self._most_of_one))
        try:
            async with asyncio.timeout(seconds):
                await server.acquire()
                try:
                    await self._all.acquire()
                except BaseException:
                    server.release()
                    raise
        except TimeoutError:
            raise Unasked("too many others are being asked") from None

        def give_back() -> None:
            self._all.release()
            server.release()

        return give_back


_OF_ALL = Turns()


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    body     None for GET, else it is posted
    outside  a stranger chose the host: only addresses of the public net will do
    """

    host: str
    path: str
    port: int = PORT
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    outside: bool = False


async def ask(
    question: Question,
    read: Callable[[http.client.HTTPResponse], T],
    resolver: Resolver,
    context: ssl.SSLContext,
    here: Here,
    *,
    deadline: float = DEADLINE,
    turns: Turns = _OF_ALL,
) -> T:
    """What `read`, in a thread, makes of the answer; it raises ValueError for one that is of no use.

    Raises Unanswered, and of it Unasked.
    """
    addresses = await resolver.run(route.addresses(question.host, here))
    if question.outside and not here.loopback:
        addresses = tuple(each for each in addresses if ipaddress.ip_address(each).is_global)
    if not addresses:
        raise Unanswered("no address")
    give_back = await turns.take(addresses[0], deadline)
    try:
        with ExitStack() as undone:
            undone.callback(give_back)
            dialled = undone.enter_context(_socket(addresses[0], deadline))
            work = asyncio.get_running_loop().run_in_executor(
                turns.threads, _asked, question, read, addresses[0], dialled, context, deadline
            )
            undone.pop_all()
    except (OSError, RuntimeError) as problem:  # no socket, or no thread
        raise Unasked(str(problem)) from None
    work.add_done_callback(lambda _: give_back())  # the thread may end later than we do
    try:
        return await asyncio.wait_for(asyncio.shield(work), deadline)
    except _WRONG as problem:
        raise Unanswered(str(problem) or type(problem).__name__) from None
    finally:
        with suppress(OSError):
            dialled.shutdown(socket.SHUT_RDWR)  # the thread ends at its next octet
        dialled.close()
        work.add_done_callback(_forget)


def _socket(address: str, seconds: float) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    made.settimeout(seconds)
    return made


def _forget(work: asyncio.Future[T]) -> None:
    if not work.cancelled():
        work.exception()


def _asked(
    question: Question,
    read: Callable[[http.client.HTTPResponse], T],
    address: str,
    dialled: socket.socket,
    context: ssl.SSLContext,
    seconds: float,
) -> T:
    dialled.connect((address, question.port))
    with context.wrap_socket(dialled.dup(), server_hostname=question.host) as wire:
        wire.settimeout(seconds)
        client = http.client.HTTPSConnection(question.host, question.port, context=context, timeout=seconds)
        client.sock = wire
        headers = {"User-Agent": "sortingoffice", **question.headers}
        method = "GET" if question.body is None else "POST"
        client.request(method, question.path, body=question.body, headers=headers)
        with closing(client.getresponse()) as answer:
            return read(answer)
