"""The API's doorkeeper: whose token a request shows, and what it may do.

Promise: no cookie counts here, so that no page of somebody else's can act for a person; what is
refused says nothing about whom a token might have belonged to.

Sources: RFC 6750 §2.1 (Authorization: Bearer), §3; SimpleLogin's API (Authentication: TOKEN).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sortingoffice import log
from sortingoffice.core.access import ApiToken, Scope
from sortingoffice.core.model import Account
from sortingoffice.errors import OfficeError
from sortingoffice.flows import tokens
from sortingoffice.flows.office import Office
from sortingoffice.frozen import dataclass
from sortingoffice.store import tokens as token_rows
from sortingoffice.store.database import Unavailable
from sortingoffice.web import limits
from sortingoffice.web.answers import Refused, of_mistake, refusal
from sortingoffice.web.limits import Buckets, Rate

NO_TOKEN = "this needs a token: make one on the page Settings, or with `sortingoffice admin token new`"  # noqa: S105
_LATER = {"Retry-After": "5"}


@dataclass(frozen=True, slots=True)
class Desk:
    """What the pages and the API stand on: the office of the moment, and this process's buckets."""

    office: Callable[[], Office]
    buckets: Buckets


@dataclass(frozen=True, slots=True)
class Call:
    """A request of somebody who may do what they ask for."""

    request: Request
    desk: Desk
    office: Office
    account: Account
    token: ApiToken

    @property
    def actor(self) -> str:
        return f"token #{self.token.id}"

    def spend(self, rate: Rate, name: str) -> None:
        """Raises `Refused` (429) where a bucket is empty."""
        spend(self.desk, rate, name)


Handler = Callable[[Call], Awaitable[Response]]


def spend(desk: Desk, rate: Rate, name: str) -> None:
    """Take one request out of a bucket.  Raises `Refused` (429)."""
    wait = desk.buckets.wait(rate, name, desk.office().clock())
    if wait:
        raise too_many(wait)


def too_many(wait: int) -> Refused:
    return Refused(429, f"too many requests: wait {wait} s", headers={"Retry-After": str(wait)})


def shown_token(request: Request) -> str:
    """The token that the client shows, in either dialect's way; "" for none."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and value.strip():
        return value.strip()
    return request.headers.get("Authentication", "").strip()


def peer(request: Request) -> str:
    return request.client.host if request.client is not None else "unknown"


async def let_in(desk: Desk, request: Request, scope: Scope | None) -> Call:
    """Raises `Refused`: 401 for a token that opens nothing, 403 for one that may not do this."""
    office, secret = desk.office(), shown_token(request)
    now = office.clock()
    if "\0" in request.url.path or b"%00" in request.scope["query_string"]:
        raise Refused(404, "there is no such thing")  # PostgreSQL takes no NUL, so nothing has one
    wait = desk.buckets.empty(limits.GUESSES, peer(request), now)
    if wait:
        raise too_many(wait)
    found = await office.db.read(tokens.opened, secret, now) if secret else None
    if found is None:
        if secret:
            desk.buckets.wait(limits.GUESSES, peer(request), now)
        raise Refused(
            401, "the token opens nothing here: it is wrong, expired or revoked" if secret else NO_TOKEN
        )
    token, account = found
    spend(desk, limits.REQUESTS, f"token {token.id}")
    if scope is not None and not token.may(scope):
        raise Refused(403, f'this token may not do that: it lacks the scope "{scope.value}"')
    if token.last_used is None or now - token.last_used > tokens.TOUCH_EVERY:
        await office.db.write(token_rows.touch, token.id, now)
    return Call(request, desk, office, account, token)


def route(
    desk: Desk, path: str, handler: Handler, *methods: str, scope: Scope | None, mistake: int = 400
) -> Route:
    """A path of the API.

    scope    what the token must be allowed; None: any token will do
    mistake  the status for a person's mistake that is of no special kind
    """

    async def answered(request: Request) -> Response:
        return await guarded(lambda: _handled(desk, request, handler, scope), mistake, request)

    return Route(path, answered, methods=list(methods))


async def _handled(desk: Desk, request: Request, handler: Handler, scope: Scope | None) -> Response:
    return await handler(await let_in(desk, request, scope))


def logged(request: Request) -> str:
    """The path for the log: what stands for somebody in it, or is a link's secret, by its name alone."""
    path: str = request.url.path
    for name, value in request.path_params.items():
        path = re.sub(rf"(?<=/){re.escape(str(value))}(?=/|\Z)", f"{{{name}}}", path)
    return path


async def guarded(work: Callable[[], Awaitable[Response]], mistake: int, request: Request) -> Response:
    """The answer, or what went wrong as an answer: nobody ever sees a traceback."""
    try:
        return await work()
    except Refused as refused:
        return refusal(refused, request.url.path)
    except Unavailable as error:
        log.event("web-unavailable", path=logged(request), reason=error)
        return refusal(
            Refused(503, "the office can't do that now: try again in a moment", headers=_LATER),
            request.url.path,
        )
    except OfficeError as error:
        return refusal(of_mistake(error, mistake), request.url.path)
    except Exception as error:
        log.bug("web-failed", error, method=request.method, path=logged(request))
        return refusal(Refused(500, "something is wrong here; it was written down"), request.url.path)
