"""Taking connections from a socket that other processes of the office take from too.

The system wakes all that wait, and the one that was woken first would have nearly everything that comes in
at a quiet time, for as long as those sessions last.  So whoever has more inside than another waits a
moment before it takes one more.

Promise: a connection waits no longer than that moment for its session; whatever accept(2) says, we go on.
With TLS from the first octet a peer is counted before TLS begins, and no longer than it takes: as long as
it is silent, it takes the room of a session.

Sources: accept(2), epoll(7); RFC 8314 §3.3.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable

from sortingoffice import log
from sortingoffice.edge.reader import Hangup
from sortingoffice.edge.session import HANDSHAKE_SECONDS, Session

_MOMENT = 0.004  # seconds: an idle process is there in a tenth of it
_BREATH = 1.0  # when the system has no room for one more
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Accepting:
    """From one socket, until `end`.

    begin    what a connection is given to
    context  for TLS from the first octet, asked at each connection; None: none
    client   whose a connection is, before its TLS begins: of a listed proxy, whom it names.  Raises Hangup
    ahead    whether this process has more inside than another
    """

    def __init__(
        self,
        door: socket.socket,
        begin: Callable[[], Session],
        context: Callable[[], ssl.SSLContext | None],
        client: Callable[[socket.socket], Awaitable[str]],
        ahead: Callable[[], bool],
    ) -> None:
        self._door, self._begin, self._context, self._ahead = door, begin, context, ahead
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._later: asyncio.TimerHandle | None = None
        self.beginning: set[asyncio.Task[None]] = set()  # taken, but not yet a session
        door.setblocking(False)
        self._loop.add_reader(door, self._knocked)

    def _knocked(self) -> None:
        if self._ahead():
            self._pause(_MOMENT, self._take_and_go_on)
        else:
            self._take()

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._door)
        self._later = self._loop.call_later(seconds, then)

    def _take_and_go_on(self) -> None:
        self._go_on()
        self._take()

    def _go_on(self) -> None:
        self._later = None
        self._loop.add_reader(self._door, self._knocked)

    def _take(self) -> None:
        try:
            connection, _ = self._door.accept()
        except OSError as error:  # another was faster, or the peer has gone
            if error.errno in _NO_ROOM:
                log.event("accept-failed", reason=error.strerror)
                self._pause(_BREATH, self._go_on)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._open(connection))
        self.beginning.add(task)
        task.add_done_callback(self.beginning.discard)

    async def _open(self, connection: socket.socket) -> None:
        context = self._context()
        try:
            if context is None:
                await self._loop.connect_accepted_socket(self._begin, connection)
            else:
                await self._secured(connection, context)
        except (OSError, EOFError, Hangup):  # gone before it began, or TLS that came to nothing
            connection.close()
        except asyncio.CancelledError:  # it makes room, or the office ends
            connection.close()
            raise

    async def _secured(self, connection: socket.socket, context: ssl.SSLContext) -> None:
        """TLS, by one who was counted in before.

        A listed proxy is counted as no peer, neither here nor in a session: it is its client, whom it has a
        few seconds to name.
        """
        client = await self._client(connection)
        session = self._begin()
        task = asyncio.current_task()
        assert task is not None
        if not session.secure(client, task.cancel):
            connection.close()
            return
        try:
            await self._loop.connect_accepted_socket(
                lambda: session, connection, ssl=context, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        finally:
            session.missed()

    def end(self) -> None:
        """Take no more, while the socket is still open; what has begun goes on."""
        self._loop.remove_reader(self._door)
        if self._later is not None:
            self._later.cancel()
