"""Connections to the pages: so many at most, and none that is only held open.

A browser's stand behind the TLS proxy, but a request that comes a letter a minute passes through that, and
each connection takes a file descriptor of a process that also takes mail.

Promise: the pages never take more than `Bounded.most`, so mail has the others; and a request that has not
come whole in `seconds`, or twice as many where its head came, is given up.

Sources: CVE-2007-6750 (slow requests); getrlimit(2), RLIMIT_NOFILE.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol


class Bounded(H11Protocol):
    """uvicorn's protocol, which waits for a request for ever."""

    most: ClassVar[int] = 256
    seconds: ClassVar[float] = 60.0

    _seen: object = None  # the request that was there when last looked at
    _next_look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.abort()
        else:
            self._next_look = self.loop.call_later(self.seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        request = self.cycle
        comes = request is None or request.response_complete or request.more_body
        if comes and request is self._seen:
            self.transport.abort()
            return
        self._seen = request
        self._next_look = self.loop.call_later(self.seconds, self._look)
