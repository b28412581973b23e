"""The office's counter: what is said at the HTTP door, without a socket; the real application and database.

Octets hold up to eight requests, one after the other, parted by `END`.  In them TOKEN, COOKIE and FORM
stand for secrets that open; who doesn't say one of them is a stranger.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import h11
from starlette.applications import Starlette

from sortingoffice import config
from sortingoffice.core.access import Scope
from sortingoffice.core.model import DeliveryState
from sortingoffice.flows import office as offices
from sortingoffice.flows import signin, tokens
from sortingoffice.flows.office import Office
from sortingoffice.store import accounts
from sortingoffice.store.database import Transaction
from sortingoffice.web.app import application
from tests.person import DOMAIN, Person

END = b"\r\n%%\r\n"
_MOST = 8  # requests of one call
_CALLS = 100  # at one office, before there is a fresh one
_STEP = timedelta(seconds=10)  # between requests, so that every bucket is full again
MAILBOX = "private@home.example"  # which no stranger may see
_OPEN = ("/api/office/openapi.json", "/healthz", "/readyz")


class Counter:
    """An office, its application and a loop for both, until `closed`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        shutil.copytree(_furnished(), self.folder, dirs_exist_ok=True)
        self.runner = asyncio.Runner()
        office = offices.open(config.load(self.folder / config.FILE_NAME), "web")
        clock = office.clock
        self.later = timedelta()
        self.office = replace(office, clock=lambda: clock() + self.later)
        self.calls = 0

    def closed(self) -> None:
        self.office.db.close()
        self.runner.close()
        shutil.rmtree(self.folder)

    def called(self, octets: bytes) -> None:
        self.calls += 1
        self.runner.run(self._called(octets))

    async def _called(self, octets: bytes) -> None:
        secrets = self.office.db.call(_secrets, self.office)
        for one in octets.split(END)[:_MOST]:
            known = any(word in one for word in secrets)
            for word, secret in secrets.items():
                one = one.replace(word, secret)
            request = _read(one)
            if request is not None:
                self.later += _STEP
                head, body = await asked(_application(), request, one.partition(b"\r\n\r\n")[2])
                holds(request, head, body, stranger=not known)
        await self.office.settled()


_open: list[Counter] = []


def spoken(octets: bytes) -> None:
    """Every answer is one: never a mistake of ours, never a way elsewhere, nothing for a stranger."""
    _open[0].called(octets)


def opened() -> None:
    """There is an office, and not one that has grown old."""
    if _open and _open[0].calls >= _CALLS:
        closed()
    if not _open:
        _open.append(Counter())
        _application()


def closed() -> None:
    """Nothing is left open."""
    while _open:
        _open.pop().closed()


@cache
def _application() -> Starlette:
    return application(lambda: _open[0].office)


@cache
def _furnished() -> Path:
    """A folder with an office in which there is something of each kind."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    person = Person(folder)
    person.out("init", "--domain", DOMAIN, "--mailbox", MAILBOX)
    person.out("new", "Lamp Shop", "--site", "lampshop.example")
    person.out("contact", "lamp-shop", "orders@lampshop.example")
    person.out("card", "set", "home.street=Gasse 1")
    person.out("grant", "lamp-shop", "home")
    person.spooled("lamp-shop", DeliveryState.HELD, reason="muted")
    return folder


def _secrets(tx: Transaction, office: Office) -> dict[bytes, bytes]:
    account = accounts.the_only(tx)
    for each in tokens.live(tx, account.id, office.clock()):
        tokens.revoke(tx, office, account, str(each.id), actor="fuzz")
    token, _ = tokens.new(tx, office, account, tokens.Wish("fuzz", frozenset(Scope), None), actor="fuzz")
    cookie = signin.begin(tx, office, account, device="fuzz", how="link")
    found = signin.current(tx, office, cookie)
    assert found is not None
    form = signin.form_token(office, found[0])
    return {b"TOKEN": token.encode(), b"COOKIE": b"session=" + cookie.encode(), b"FORM": form.encode()}


def _read(octets: bytes) -> h11.Request | None:
    """What the server's library would take for a request; None where it says 400 itself."""
    lines = octets.partition(b"\r\n\r\n")[0].split(b"\r\n")
    method, _, target = lines[0].partition(b" ")
    headers = [(name, value.strip(b" \t")) for name, colon, value in (i.partition(b":") for i in lines[1:])]
    with suppress(h11.LocalProtocolError):
        return h11.Request(method=method, target=target, headers=[(b"host", b"office.example"), *headers])
    return None


async def asked(app: Starlette, request: h11.Request, body: bytes) -> tuple[dict[str, Any], bytes]:
    """The answer's start, and its body."""
    path, _, query = request.target.partition(b"?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method.decode("ascii"),
        "scheme": "http",
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": list(request.headers),
        "client": ("192.0.2.7", 4711),
        "server": ("office.example", 80),
    }
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        chunk = pieces.pop(0) if pieces else b""
        return {"type": "http.request", "body": chunk, "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        said.append(message)

    await app(scope, receive, send)
    return said[0], b"".join(each.get("body", b"") for each in said[1:])


def holds(request: h11.Request, head: dict[str, Any], body: bytes, *, stranger: bool) -> None:
    """What must be true of every answer."""
    method, target = request.method, request.target.decode("ascii")
    path, status = unquote(target.partition("?")[0]), head["status"]
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in head["headers"]}
    assert status < 500, (method, target, status, body)
    for name, value in headers.items():
        assert value.isprintable(), (name, value)
    where = headers.get("location", "/")
    assert where.startswith("/"), where
    assert not where.startswith(("//", "/\\")), where
    if method == b"OPTIONS":
        return
    if path.startswith("/api/"):
        assert not 300 <= status < 400, (target, status)
        if status >= 400:
            told = json.loads(body)
            assert isinstance(told["error"], str), told
            assert isinstance(told["message"], str), told
    if stranger:
        own = path.startswith(("/signin", "/leave/", "/static/", "/api/auth/login")) or path in _OPEN
        assert status >= 300 or own or not path.startswith(("/api/", "/r/", "/held")), (target, status)
        if MAILBOX.encode() not in request.target:
            assert MAILBOX.encode() not in body or path == "/api/auth/login", target
