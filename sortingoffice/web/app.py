"""The HTTP door: who serves what.

    /healthz, /readyz     for whoever watches; they say nothing about anybody
    /api/…                JSON for programs: SimpleLogin's dialect; addy.io's below /api/v1; the office's own
                          below /api/office, with its OpenAPI document
    /                     the pages

Promise: whatever is asked, the answer below /api is JSON with the headers that let a browser's page
read it, and never a redirect; a stranger learns neither who is here nor why something failed.

Sources: RFC 9110; the WHATWG's Fetch standard (CORS); the interface document of the design.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from sortingoffice.flows.office import Office
from sortingoffice.store import domains
from sortingoffice.store.database import Unavailable
from sortingoffice.values import Endpoint
from sortingoffice.web import (
    api,
    compat_addy,
    compat_simplelogin,
    files,
    leave,
    operations,
    pages,
    pages_account,
    pages_cards,
    pages_notify,
    pages_others,
    signin,
    visit,
)
from sortingoffice.web.answers import Refused, refusal
from sortingoffice.web.auth import Desk
from sortingoffice.web.connections import Bounded
from sortingoffice.web.limits import Buckets

_PATH_MOST = 2000  # characters

# Any page may ask, with a token that it was given and whatever headers its tools add; cookies are never
# sent and never looked at.
_CORS = Middleware(
    CORSMiddleware,
    allow_origins=["*"],
    allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
    allow_headers=["*"],
    expose_headers=["Retry-After"],
    max_age=86400,
)


def application(office: Callable[[], Office]) -> Starlette:
    """The routes; `office` is asked at each request, since a reload puts another in its place."""
    desk = Desk(office, Buckets())

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        try:
            await office().db.read(domains.every)
        except Unavailable:
            return PlainTextResponse("the database does not answer\n", status_code=503)
        if not await office().db.takes_writes():
            return PlainTextResponse("the database takes no writes: mail is put off\n", status_code=503)
        return PlainTextResponse("ok\n")

    made = Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Mount("/api", app=_api(desk)),
            *files.routes(),
            *signin.routes(desk),
            *leave.routes(desk),
            *pages.routes(desk),
            _Long(),  # below those without numbers, which have their own answer to any length
            *pages_cards.routes(desk),
            *pages_notify.routes(desk),
            *pages_others.routes(desk),
            *pages_account.routes(desk),
        ],
        middleware=[Middleware(_Joined)],
        exception_handlers={HTTPException: _no_such_path},
    )
    made.router.redirect_slashes = False
    return made


class _Joined:
    """Clients join the address that a person typed and a path: `//api/user_info`, `/api/v1/aliases/`.
    Such a path means the one without; a redirect, which others answer here, loses a POST's body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = "/" + scope["path"].lstrip("/")
            if path.startswith("/api/"):
                scope = {**scope, "path": path.rstrip("/")}
        await self.app(scope, receive, send)


class _Long(BaseRoute):
    """Whatever is longer than any path of ours, before a number in it is read: Python refuses long ones."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.FULL if len(scope["path"]) > _PATH_MOST else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise HTTPException(414)


def _api(desk: Desk) -> Starlette:
    """What programs speak to: an application of its own, so that each of its answers is JSON."""
    made = Starlette(
        routes=[
            _Long(),
            Mount("/v1", app=Router(compat_addy.routes(desk), redirect_slashes=False)),
            Mount("/office", app=Router(operations.routes(desk, api.OPERATIONS), redirect_slashes=False)),
            *compat_simplelogin.routes(desk),
        ],
        middleware=[_CORS],
        exception_handlers={HTTPException: _no_such_path},
    )
    made.router.redirect_slashes = False
    return made


async def _no_such_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = {
        404: "there is nothing at this path",
        405: "this path does not take that method",
        414: f"a path has at most {_PATH_MOST} characters",
    }
    told = sentence.get(error.status_code, "that is not possible")
    if not request.url.path.startswith("/api"):
        return visit.told(request, error.status_code, told, error.headers or {})
    return refusal(Refused(error.status_code, told, headers=error.headers), request.url.path)


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


async def serve(office: Callable[[], Office], door: socket.socket) -> Server:
    """Answer at this socket."""
    return await listen(application(office), door)


async def listen(made: Starlette, door: socket.socket) -> Server:
    """Serve an application."""
    server = _Quiet(
        uvicorn.Config(
            made,
            http=Bounded,
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
