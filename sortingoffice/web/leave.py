"""The link behind our List-Unsubscribe: a mail program posts to it, a person sees a button.

Promise: a look changes nothing, since scanners look at links; what a wrong link is told says nothing.

Sources: RFC 8058 §3.2 (the POST carries no cookie and needs no answer but 200).
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sortingoffice.flows import unsubscribe
from sortingoffice.web import limits
from sortingoffice.web.answers import Refused
from sortingoffice.web.auth import Desk, peer, spend
from sortingoffice.web.visit import guarded, html


def routes(desk: Desk) -> list[BaseRoute]:
    async def look(request: Request) -> Response:
        return await guarded(desk, request, lambda: _look(desk, request))

    async def press(request: Request) -> Response:
        return await guarded(desk, request, lambda: _press(desk, request))

    path = unsubscribe.PATH + "/{secret}"
    return [Route(path, look, methods=["GET"]), Route(path, press, methods=["POST"])]


async def _look(desk: Desk, request: Request) -> Response:
    office = desk.office()
    found = await office.db.read(unsubscribe.find, office, request.path_params["secret"])
    if found is None:
        raise _no_good(desk, request)
    return html("leave.html", account=None, name=found[0].name, done=None)


async def _press(desk: Desk, request: Request) -> Response:
    office = desk.office()
    done = await office.db.write(unsubscribe.press, office, request.path_params["secret"])
    if done is None:
        raise _no_good(desk, request)
    if done.changed:
        office.wake()
        if done.relationship.leave_url:
            office.later("unsubscribe", unsubscribe.tell_vendor(office, done.relationship))
    return html("leave.html", account=None, name=done.relationship.name, done=done.relationship.slug)


def _no_good(desk: Desk, request: Request) -> Refused:
    spend(desk, limits.GUESSES, f"leave {peer(request)}")
    return Refused(404, "This link leads nowhere, or the relationship is over.")
