"""The scrape's own door: `/metrics` on a listener that the pages' proxy can't show.

Sources: the Prometheus text format.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sortingoffice import metrics
from sortingoffice.flows.office import Office
from sortingoffice.store import spool
from sortingoffice.store.database import Unavailable


def application(office: Callable[[], Office]) -> Starlette:
    """The one page; `office` is asked at each scrape, since a reload puts another in its place."""

    async def page(request: Request) -> Response:
        now = office().clock()
        try:
            census = await office().db.read(spool.census)
        except Unavailable:
            found = None
        else:
            found = {state.value: waiting for state, waiting in census.items()}
        return Response(metrics.text(found, now), media_type=metrics.CONTENT_TYPE)

    return Starlette(routes=[Route("/metrics", page)])
