"""A person's visit: who is signed in, what their form says, and the page they get.

Promise: without a session nobody sees a page of anybody's; what changes something is a POST that
comes from a page of ours and carries its session's form token; every page forbids scripts, frames
and forms that aren't ours; nobody is ever sent elsewhere than to a page of ours.

Sources: CSP Level 3; Fetch Metadata; RFC 6265bis §4.1.3 (__Host-), §5.6.7 (SameSite); OWASP's CSRF advice.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sortingoffice import log
from sortingoffice.core.access import Session
from sortingoffice.core.model import Account
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows import held, signin
from sortingoffice.flows.office import Office
from sortingoffice.frozen import dataclass
from sortingoffice.store.database import Unavailable
from sortingoffice.web import limits
from sortingoffice.web.answers import Answer, Refused, octets
from sortingoffice.web.auth import Desk, logged, spend
from sortingoffice.web.rendering import render

_NEXT = re.compile(r"/(?:[a-z0-9?][^\\\x00-\x20]{0,500})?")
_FORM_MOST = 1 << 18
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_SAFE = {
    "Content-Security-Policy": _CSP,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # "no-referrer" would make a form's Origin null
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Cache-Control": "no-store",
}


class SignedOut(Exception):
    """Nobody is signed in here."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request of somebody who is signed in."""

    request: Request
    desk: Desk
    office: Office
    account: Account
    session: Session
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def actor(self) -> str:
        return f"account {self.account.name}"

    @property
    def form_token(self) -> str:
        return signin.form_token(self.office, self.session)

    def said(self, name: str) -> str:
        """A field of the form; "" where it is missing."""
        return self.form.get(name, "").strip()

    def asked(self, name: str) -> str:
        """A part of the query; "" where it is missing."""
        return self.request.query_params.get(name, "").strip()

    async def page(self, template: str, status: int = 200, *, state: str = "", **values: Any) -> Response:
        """A page with everything that each page shows.

        state  of the relationship that it shows: what was done and is undone by now is not said again
        """
        waiting = await self.office.db.read(held.every, self.account)
        done = self.asked("done")
        if state not in _HOLDS.get(done, state):
            done = ""
        return html(
            template,
            status,
            account=self.account,
            form_token=self.form_token,
            waiting=len(waiting),
            path=self.request.url.path,
            done=DONE.get(done, ""),
            undo=done == "revoked",
            now=self.office.clock(),
            **values,
        )


# What a page says after something was done: words of ours, never of the address bar.
DONE = {
    "made": "Your new address is ready.",
    "revoked": "Revoked: nothing arrives any more.",
    "restored": "Restored: it takes mail again.",
    "paused": "Paused: its mail is held for you.",
    "resumed": "Resumed; what was held is on its way.",
    "closing": "Closing: answers to your requests still pass, for 45 days.",
    "rotated": "A new address; the old one goes on until you revoke it.",
    "changed": "Saved.",
    "allowed": "This sender may write to it.",
    "refused": "This sender is turned away.",
    "granted": "Permitted.",
    "ungranted": "Taken back, for the future.",
    "released": "Sent.",
    "dropped": "Dropped: it goes nowhere.",
    "removed": "Removed.",
    "asked": "A mail is on its way to that mailbox: answer it.",
    "out": "That device is signed out.",
    "written": "Written down.",
    "taken": "Taken: mail to that spelling arrives, too.",
    "told": "Written: who answers is shown below.",
    "renewed": "Other addresses from now on: take the new file over into your address book.",
}

# In which states of a relationship that is true; a browser that goes back shows the page anew.
_HOLDS = {
    "revoked": ("revoked",),
    "paused": ("muted",),
    "closing": ("closing",),
    "restored": ("active", "unbound"),
    "resumed": ("active", "unbound"),
}

Handler = Callable[[Visit], Awaitable[Response]]


def html(template: str, status: int = 200, **values: Any) -> Response:
    return Response(render(template, **values), status, _SAFE, "text/html")


def download(octets: bytes, name: str, kind: str) -> Response:
    """A file to keep; it does nothing where a browser shows it.  name: ASCII, without quotes."""
    return Response(
        octets,
        media_type=kind,
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox; default-src 'none'",
        },
    )


def go(path: str, done: str = "") -> Response:
    """On to a page of ours."""
    assert own_path(path) == path
    return RedirectResponse(f"{path}?done={done}" if done else path, 303, _SAFE)


def own_path(text: str) -> str:
    """A path of ours that somebody wants to go on to; "/" for anything else."""
    return text if _NEXT.fullmatch(text) and not text.startswith("//") else "/"


# ---- the cookie ----------------------------------------------------------------------------------


def base_url(office: Office) -> str:
    """Where the pages are, from the config alone."""
    config = office.config.http
    return config.base_url.rstrip("/") or f"http://{config.listen or 'localhost'}"


def _secure(office: Office) -> bool:
    return base_url(office).startswith("https://")


def cookie_name(office: Office) -> str:
    return "__Host-session" if _secure(office) else "session"


def keep_cookie(office: Office, response: Response, secret: str) -> None:
    response.set_cookie(
        cookie_name(office),
        secret,
        max_age=int(signin.SESSION_FOR.total_seconds()),
        path="/",
        secure=_secure(office),
        httponly=True,
        samesite="lax",  # a link in a mail must find its owner signed in
    )


def drop_cookie(office: Office, response: Response) -> None:
    response.delete_cookie(
        cookie_name(office), path="/", secure=_secure(office), httponly=True, samesite="lax"
    )


# ---- the door ------------------------------------------------------------------------------------


def page(desk: Desk, path: str, handler: Handler, *methods: str) -> Route:
    """A page for somebody who is signed in."""

    async def answered(request: Request) -> Response:
        return await guarded(desk, request, lambda: _visited(desk, request, handler))

    return Route(path, answered, methods=list(methods))


async def guarded(desk: Desk, request: Request, work: Callable[[], Awaitable[Response]]) -> Response:
    """The page, or what went wrong as a page: a sentence, and never a traceback."""
    try:
        return await work()
    except SignedOut:
        if wants_json(request):
            return Answer({"error": "signed out"}, 401)
        if request.method not in ("GET", "HEAD"):
            return go("/signin?undone=yes")
        where = own_path(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
        return go(f"/signin?next={quote(where)}" if where != "/" else "/signin")
    except Refused as refused:
        return told(request, refused.status, refused.sentence, refused.headers)
    except Unavailable as error:
        log.event("web-unavailable", path=logged(request), reason=error)
        return told(
            request, 503, "The office can't do that now. Try again in a moment.", {"Retry-After": "5"}
        )
    except OfficeError as error:
        return told(request, 404 if isinstance(error, NotThere) else 409, str(error), {})
    except Exception as error:
        log.bug("web-failed", error, method=request.method, path=logged(request))
        return told(request, 500, "Something is wrong here. It was written down.", {})


def told(request: Request, status: int, sentence: str, headers: Mapping[str, str]) -> Response:
    """A page that says why something was not done."""
    if wants_json(request):
        return Answer({"error": sentence, "message": sentence}, status, headers)
    answer = html("message.html", status, sentence=sentence[:1].upper() + sentence[1:], account=None)
    answer.headers.update(headers)
    return answer


def wants_json(request: Request) -> bool:
    return request.headers.get("Accept", "").startswith("application/json")


async def _visited(desk: Desk, request: Request, handler: Handler) -> Response:
    office = desk.office()
    secret = request.cookies.get(cookie_name(office), "")
    found = await office.db.read(signin.current, office, secret) if secret else None
    if found is None:
        raise SignedOut
    session, account = found
    spend(desk, limits.REQUESTS, f"session {session.id}")
    if "\0" in request.url.path or b"%00" in request.scope["query_string"]:
        raise Refused(404, "there is no such thing")
    visit = Visit(request, desk, office, account, session)
    if request.method not in ("GET", "HEAD"):
        require_own_page(office, request)
        visit = Visit(request, desk, office, account, session, await form_of(request))
        shown = visit.said("form_token") or request.headers.get("X-Form-Token", "")
        if not hmac.compare_digest(shown.encode(), visit.form_token.encode()):
            raise Refused(403, "This page is too old. Open it anew, and try again.")
    response = await handler(visit)
    if signin.due(session, secret, office.clock()):
        fresh = await office.db.write(signin.keep, office, secret)
        if fresh is not None and "set-cookie" not in response.headers:
            keep_cookie(office, response, fresh)
    return response


def require_own_page(office: Office, request: Request) -> None:
    """Raises `Refused` where the browser says that a page of somebody else's sent this."""
    site = request.headers.get("Sec-Fetch-Site", "")
    origin = request.headers.get("Origin", "")
    ours = {request.headers.get("Host", ""), urlsplit(base_url(office)).netloc}
    if site and site not in ("same-origin", "none"):
        raise Refused(403, "That came from another site, and was not done.")
    if origin and origin != "null" and _host(origin) not in ours:
        raise Refused(403, "That came from another site, and was not done.")
    if origin == "null" and not site:
        raise Refused(403, "That came from nowhere, and was not done.")


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # of a bracket
        return None


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form; several of one name are joined by spaces.  Raises `Refused`."""
    body = await octets(request, _FORM_MOST)
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return {"json": body.decode("utf-8", "replace")}
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=500)
    except ValueError:
        raise Refused(400, "That form can't be read.") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if "\0" in value:
            raise Refused(400, f"{name} holds a control character.")
        found[name] = f"{found[name]} {value}" if found.get(name) else value
    return found
