"""What the fuzzers begin with at the HTTP door: each path of the API in both dialects and the office's own.

The paths are those of the application, so that a new one is here as soon as it is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from starlette.routing import BaseRoute, Route

from sortingoffice.web import api, compat_addy, compat_simplelogin, operations
from sortingoffice.web.auth import Desk
from sortingoffice.web.limits import Buckets
from tests.fuzz.counter import END

_EACH = 6  # requests in one seed
_PARTS = {
    "{relationship}": "lamp-shop",
    "{card}": "home",
    "{field}": "street",
    "{view}": "short",
    "{number:int}": "1",
    "{id:int}": "1",
    "{id}": "00000000-0000-4000-8000-000000000001",
    "{what}": "home",
    "{address}": "private@home.example",
}
# By the end of the path: what a client says there.
_SAID: dict[str, Any] = {
    "/relationships": {"name": "Tea", "site": "tea.example", "until": "2027-01-01T00:00:00Z", "max": 3},
    "/relationships/lamp-shop": {"note": "x", "strangers": "hold", "until": None, "mailbox": ""},
    "/pocket": {"number": 2},
    "/pause": {"until": "2099-01-01T00:00:00+01:00"},
    "/revoke": {"properly": True},
    "/allow": {"sender": "post.example"},
    "/refuse": {"sender": "a@post.example"},
    "/lamp-shop/contacts": {"address": "b@lampshop.example"},
    "/1/contacts": {"contact": '"J, Ö" <b@lampshop.example>'},
    "/cards/home": {"values": {"street": "Weg 2", "phone": "+41446681800"}, "from": "2026-01-01T00:00:00Z"},
    "/views/short": {"fields": ["home.street"]},
    "/grants": {"card": "home", "fields": ["street"], "mode": "ask", "purpose": "p", "uses": 2},
    "/notify": {"dry_run": True},
    "/disclosures": {"card": "home", "fields": [], "via": "paper"},
    "/office/mailboxes": {"address": "b@home.example", "delivers": False},
    "/api/mailboxes": {"email": "c@home.example"},
    "/passwords": {"label": "phone"},
    "/tokens": {"label": "x", "scopes": ["new"], "expires": "2099-01-01T00:00:00Z"},
    "/rejects/accept": {"address": "x@sort.example", "relationship": "lamp-shop"},
    "/office/account": {"trigger": "karte", "from_form": "name", "new_contacts": True},
    "/names": {"mark": "name", "name": "Anna Doe"},
    "/names/remove": {"mark": "name", "name": "Anna Doe"},
    "/import": {"text": "alias,note,enabled\na@x.example,Shop,true\n", "dry_run": False},
    "/alias/random/new": {"note": "line\nline", "mode": "uuid"},
    "/alias/custom/new": {"alias_prefix": "me", "signed_suffix": "@sort.example.x", "mailbox_ids": [1]},
    "/v1/aliases": {"description": "d", "format": "custom", "local_part": "me", "domain": "sort.example"},
    "/aliases/1": {"note": "n", "name": "N", "mailbox_id": 1},
    "/active-aliases": {"id": "00000000-0000-4000-8000-000000000001"},
    "/alias-recipients": {
        "alias_id": "00000000-0000-4000-8000-000000000001",
        "recipient_ids": ["00000000-0000-4000-9000-000000000001"],
    },
    "/api_key": {"device": "d"},
}
_QUERIES = {
    "/relationships": "state=active&search=lamp&offset=0&limit=2",
    "/log": "offset=0&limit=2",
    "/explain": "from=a@lampshop.example&to=x@sort.example",
    "/aliases": "page_id=0&page[size]=2&page[number]=1&sort=-email&filter[search]=a&filter[deleted]=with",
    "/alias/options": "hostname=www.tea.example",
    "/random/new": "hostname=tea.example",
}


def _requests(routes: Iterable[BaseRoute], below: str, shown: str) -> tuple[bytes, ...]:
    """Seeds of some requests each, over these paths."""
    found = []
    for route in routes:
        assert isinstance(route, Route)
        path = route.path
        for part, value in _PARTS.items():
            path = path.replace(part, value)
        for method in sorted((route.methods or set()) - {"HEAD"}):
            found.append(request(method, below + path, shown))
    return tuple(END.join(found[at : at + _EACH]) for at in range(0, len(found), _EACH))


def request(method: str, path: str, shown: str) -> bytes:
    """One request, with what a client says at such a path."""
    said = next((_SAID[end] for end in sorted(_SAID, key=len, reverse=True) if path.endswith(end)), None)
    query = next((f"?{q}" for end, q in _QUERIES.items() if method == "GET" and path.endswith(end)), "")
    body = json.dumps(said).encode() if method != "GET" and said is not None else b""
    head = f"{method} {path}{query}\r\n{shown}\r\nContent-Type: application/json\r\n\r\n"
    return head.encode() + body


def _nobody() -> Any:
    raise AssertionError("no request is answered here")


_DESK = Desk(_nobody, Buckets())
_BEARER = "Authorization: Bearer TOKEN"
OFFICE = _requests(operations.routes(_DESK, api.OPERATIONS), "/api/office", _BEARER)
ADDY = _requests(compat_addy.routes(_DESK), "/api/v1", _BEARER)
SIMPLELOGIN = _requests(compat_simplelogin.routes(_DESK), "/api", "Authentication: TOKEN")
_FORM = "\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n"
PAGES = (
    END.join(
        each.encode()
        for each in (
            f"POST /signin{_FORM}mailbox=nobody@home.example&next=/cards",
            "GET /signin?next=/r/lamp-shop\r\n\r\n",
            "GET /signin/abcdefghij\r\n\r\n",
            f"POST /signin/abcdefghij{_FORM}",
            'POST /signin/passkey\r\nContent-Type: application/json\r\n\r\n{"id": "AA", "response": {}}',
            f"POST /leave/abcdefghij{_FORM}List-Unsubscribe=One-Click",
            'POST /api/auth/login\r\n\r\n{"email": "anna", "password": "x y", "device": "d"}',
            'POST /api/auth/login\r\n\r\n{"username": "anna", "password": "x y", "expiration": "week"}',
        )
    ),
    END.join(
        each.encode()
        for each in (
            "GET /?done=made&search=a\r\nCookie: COOKIE\r\n\r\n",
            f"POST /new\r\nCookie: COOKIE{_FORM}form_token=FORM&name=Tea&site=tea.example&until=2027-01-01",
            f"POST /cards\r\nCookie: COOKIE{_FORM}form_token=FORM&card=home&field=town&value=Z%C3%BCrich",
            f"POST /r/lamp-shop/change\r\nCookie: COOKIE{_FORM}form_token=FORM&note=n&strangers=lock",
            f"POST /settings/trigger\r\nCookie: COOKIE{_FORM}form_token=FORM&trigger=karte",
            "GET /held/1\r\nCookie: COOKIE\r\n\r\n",
            "GET /api/office/account\r\nCookie: COOKIE\r\n\r\n",
        )
    ),
)
WORDS = (
    b"TOKEN",
    b"COOKIE",
    b"FORM",
    END,
    b"null",
    b"true",
    b"[[[[",
    b'{"a":',
    b'"\\u0000"',
    b'"\\ud800"',
    b"1e400",
    b"%00",
    b"%0d%0a",
    b"?limit=",
    b"&offset=",
    b"Content-Type: ",
    b"Accept: application/json\r\n",
    b"Origin: https://x.example\r\n",
    b"Cookie: ",
    b"0001-01-01T00:00:00Z",
    b"9999-12-31T23:59:59-14:00",
    b"../",
)
