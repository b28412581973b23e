"""The HTTP door: health for whoever watches.  The pages and the API come with the signup issue.

`/healthz` says that the process answers, `/readyz` that it can do its work: the database
takes a read.  Neither says anything about anybody.

Sources: RFC 9110; the interface document of the design.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sortingoffice.errors import OfficeError
from sortingoffice.flows.office import Office
from sortingoffice.store import domains
from sortingoffice.store.database import Unavailable
from sortingoffice.values import Endpoint


def application(office: Callable[[], Office]) -> Starlette:
    """The routes; `office` is asked at each request, since a reload puts another in its place."""

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        try:
            await office().db.read(domains.every)
        except Unavailable:
            return PlainTextResponse("the database does not answer\n", status_code=503)
        return PlainTextResponse("ok\n")

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz)])


@dataclass(eq=False, slots=True)
class Server:
    """A running HTTP server; `endpoint` has the port that the system chose."""

    endpoint: Endpoint
    _server: uvicorn.Server
    _task: asyncio.Task[None]

    async def stop(self) -> None:
        self._server.should_exit = True
        await asyncio.gather(self._task, return_exceptions=True)


class _Quiet(uvicorn.Server):
    """uvicorn without its own signal handlers: the daemon has them."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]  # uvicorn's own signature
        yield


async def serve(office: Callable[[], Office], endpoint: Endpoint) -> Server:
    """Listen and answer; raises `OfficeError` where the address can't be had."""
    try:
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        door = socket.create_server((endpoint.host, endpoint.port), family=family, backlog=256)
    except OSError as error:
        raise OfficeError(
            f"can't listen for http on {endpoint} ({error.strerror}): change http.listen, or set it to "
            '"" for no pages'
        ) from None
    server = _Quiet(
        uvicorn.Config(
            application(office),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=3,
        )
    )
    name = door.getsockname()
    task = asyncio.create_task(server.serve(sockets=[door]))
    return Server(Endpoint(str(name[0]), int(name[1])), server, task)
