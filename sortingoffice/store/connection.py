"""A connection to PostgreSQL that is waited for only while somebody is there.

A server whose machine lost its power, that moved to another address, or that stands still while its kernel
still acknowledges, says nothing more and ends nothing: the driver would wait for hours.

Promise: who waits gets a word of the server's (or rid of some octets) within `Connection.patience` seconds
each time, or the connection is closed and its failure raised, as if the server had ended it.  How long the
whole of it takes is nobody's concern: a large message or a long result is waited for as long as it moves.

What was said to a server that then fell silent may have been done all the same; see `engine.Unavailable`.

Sources: psycopg's `Connection.wait` and its generators (psycopg/generators.py): each yields what it waits
for, and is sent 0 every tenth of a second in which nothing came.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg

V = TypeVar("V")


class Silent(psycopg.OperationalError):
    """Nothing came from the server in all this time, and the connection was closed."""


class Connection(psycopg.Connection[Any]):
    """patience  seconds without a word of the server's; None: for ever"""

    patience: float | None = None

    def wait(self, gen: Generator[Any, Any, V], *args: Any, **kwargs: Any) -> V:
        return super().wait(
            gen if self.patience is None else self._heard(gen, self.patience), *args, **kwargs
        )

    def _heard(self, gen: Generator[Any, Any, V], patience: float) -> Generator[Any, Any, V]:
        """The same generator, as long as something moves."""
        try:
            wanted = next(gen)
            silent_from = time.monotonic()
            while True:
                ready = yield wanted
                if ready:
                    silent_from = time.monotonic()
                elif time.monotonic() - silent_from > patience:
                    self.pgconn.finish()
                    raise Silent(f"the server has said nothing for {patience:g} seconds")
                wanted = gen.send(ready)
        except StopIteration as done:
            value: V = done.value
            return value
