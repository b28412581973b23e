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
from urllib.parse import parse_qsl

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


def _form(body: bytes) -> dict[str, Any]:
    """A form's members; empty for what is none."""
    try:
        text = body.decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=100))
    except ValueError:
        return {}


async def said(request: Request) -> dict[str, Any]:
    """The body as a JSON object, whatever its Content-Type says; empty for none.  Raises `Refused`.

    A form is taken too, where it says that it is one; many tools say so and send JSON.
    """
    body = await octets(request)
    if not body.strip():
        return {}
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        form = _form(body) if kind == "application/x-www-form-urlencoded" else {}
        if not form:
            raise Refused(400, "body: the request holds no JSON") from None
        return form
    if not isinstance(found, dict):
        raise Refused(400, "body: the request holds no JSON object")
    return found
