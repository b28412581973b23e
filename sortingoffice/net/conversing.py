"""A server of byte streams that leaves nothing open.

asyncio's own server (3.11) forgets what it accepted: a connection that is half inside when it closes is
dropped open, a conversation that is cancelled before it began never closes its own, and one that has closed
may still wait for its peer to read.

Promise: when `close` returns, every connection it accepted is closed.

Sources: asyncio's streams and `Server.close_clients` (3.13, which does this for a server's transports).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable

_TURNS = 4  # of the loop: accepted, a transport, a conversation, and closed

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Conversing:
    """One listening socket; `serve` is run for each connection, which is closed when it returns.

    An OSError or an early end of the stream in `serve` ends that conversation only.
    """

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self._closed = False

    async def listen(
        self, host: str, port: int, *, limit: int = 2**16, context: ssl.SSLContext | None = None
    ) -> int:
        """Returns the port.  `limit`: octets of a line that a reader may hold.  Raises OSError."""
        self._server = await asyncio.start_server(self._connected, host, port, limit=limit, ssl=context)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and end every conversation; again does nothing."""
        if self._server is None or self._closed:
            return
        self._closed = True
        for listening in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        for _ in range(_TURNS):  # who is half inside: a closed server would drop it, open as it is
            await asyncio.sleep(0)
        self._server.close()
        for task, writer in self._open.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await asyncio.sleep(0)  # an aborted transport closes its socket in the loop's next turn

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._closed:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._converse(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._open.pop)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            try:
                await self._serve(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()
