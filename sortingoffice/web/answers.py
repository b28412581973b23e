"""What the API answers: JSON, also where something went wrong.

Promise: every answer below /api is JSON and never a redirect; a refusal has `error` and `message`.
Where a dialect's clients read the sentence, there it stands; in the other one stands what the status
is called, since Bitwarden shows both.  The office's own API has the sentence in both.

Sources: RFC 9110 §15 (status codes), §10.2.3 (Retry-After); RFC 6585 §4 (429).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows.signup import Late, Taken

BODY_MOST = 1 << 20  # octets of a request's body; an import of addresses is the largest


class Refused(Exception):
    """A request that can't be fulfilled; `sentence` is shown to whoever uses the client.

    more  further members of the answer, such as addy.io's `errors`
    """

    def __init__(
        self,
        status: int,
        sentence: str,
        *,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = dict(headers or {})
        self.more = dict(more or {})


class Answer(Response):
    """JSON, times in ISO 8601; nobody on the way keeps a copy of it."""

    media_type = "application/json"

    def __init__(self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(value, status, {"Cache-Control": "no-store", **(headers or {})})

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"), default=_plain).encode()


def nothing() -> Response:
    """Done, and there is nothing to say."""
    return Response(status_code=204, headers={"Cache-Control": "no-store"})


def refusal(refused: Refused, path: str) -> Response:
    sentence, kind = refused.sentence, HTTPStatus(refused.status).phrase
    addy, own = path.startswith("/api/v1/"), path.startswith("/api/office/")
    said = {"error": kind if addy else sentence, "message": sentence if addy or own else kind}
    return Answer({**said, **refused.more}, refused.status, refused.headers)


def of_mistake(error: OfficeError, status: int) -> Refused:
    """A person's mistake as an answer; `status` where the mistake is of no special kind."""
    if isinstance(error, NotThere):
        return Refused(404, str(error))
    if isinstance(error, Taken):
        return Refused(409, str(error))
    if isinstance(error, Late):
        return Refused(412, str(error))
    return Refused(status, str(error))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return str(value)


async def octets(request: Request, most: int = BODY_MOST) -> bytes:
    """The request's body.  Raises `Refused` where it is too large, or the client went away."""
    found = bytearray()
    try:
        async for chunk in request.stream():
            found += chunk
            if len(found) > most:
                raise Refused(413, f"the request is larger than {most} octets")
    except ClientDisconnect:
        raise Refused(400, "the request ended half-way") from None
    return bytes(found)


async def said(request: Request) -> dict[str, Any]:
    """The body as a JSON object, whatever its Content-Type says; empty for none.  Raises `Refused`."""
    body = await octets(request)
    if not body.strip():
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "the request's body is no JSON") from None
    if not isinstance(found, dict):
        raise Refused(400, "the request's body is no JSON object")
    return found
