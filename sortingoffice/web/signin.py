"""The pages in front of the door: ask for a link, follow it, use a passkey, sign out.

Promise: what a stranger is told is the same for everybody, in words and in time; a link is used up by a
button and not by a look, since mail scanners look at links.

Sources: OWASP's authentication and user enumeration advice; W3C Web Authentication Level 3.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sortingoffice.flows import passkeys, signin
from sortingoffice.flows.office import Office
from sortingoffice.flows.passkeys import Party
from sortingoffice.store.database import Transaction
from sortingoffice.web import limits
from sortingoffice.web.answers import Answer, Refused
from sortingoffice.web.auth import Desk, peer, spend
from sortingoffice.web.visit import (
    Visit,
    base_url,
    cookie_name,
    drop_cookie,
    form_of,
    go,
    guarded,
    html,
    keep_cookie,
    own_path,
    page,
    require_own_page,
)

_NEXT = "next"  # the cookie with the page that somebody wanted before they signed in
_NEXT_FOR = 3600
_SAFE = "/?&=%#+:@!$'()*,;~"  # what a path and a query of ours may hold as it is
_Open = Callable[[Desk, Request], Awaitable[Response]]


def routes(desk: Desk) -> list[BaseRoute]:
    def open_to_all(path: str, handler: _Open, *methods: str) -> Route:
        async def answered(request: Request) -> Response:
            return await guarded(desk, request, lambda: handler(desk, request))

        return Route(path, answered, methods=list(methods))

    return [
        open_to_all("/signin", _ask, "GET"),
        open_to_all("/signin", _send, "POST"),
        open_to_all("/signin/passkey", _challenge, "GET"),
        open_to_all("/signin/passkey", _with_passkey, "POST"),
        open_to_all("/signin/{secret}", _link, "GET"),
        open_to_all("/signin/{secret}", _follow, "POST"),
        page(desk, "/signout", _sign_out, "POST"),
        page(desk, "/passkeys/new", _offer, "POST"),
        page(desk, "/passkeys", _register, "POST"),
    ]


# ---- a link --------------------------------------------------------------------------------------


async def _ask(desk: Desk, request: Request) -> Response:
    office = desk.office()
    secret = request.cookies.get(cookie_name(office), "")
    if secret and await office.db.read(signin.current, office, secret) is not None:
        return go(own_path(request.query_params.get("next", "/")))
    answer = html(
        "signin.html",
        account=None,
        sent=False,
        undone=request.query_params.get("undone") == "yes",
        passkeys=passkeys.party(base_url(office)) is not None,
    )
    wanted = own_path(request.query_params.get("next", ""))
    if wanted != "/":
        secure = base_url(office).startswith("https://")
        kept = quote(wanted, safe=_SAFE)  # a vendor's name of any script is in a path; a cookie is ASCII
        answer.set_cookie(_NEXT, kept, _NEXT_FOR, httponly=True, samesite="lax", secure=secure)
    return answer


async def _send(desk: Desk, request: Request) -> Response:
    """The answer is there before anything was looked up, so that it takes as long for everybody."""
    office = desk.office()
    require_own_page(office, request)
    form = await form_of(request)
    typed = form.get("mailbox", "").strip()[:320]
    spend(desk, limits.LINKS, f"link from {peer(request)}")
    spend(desk, limits.LINKS, f"link to {typed.lower()}")
    if "@" not in typed:
        raise Refused(400, "Write your mailbox like anna@home.example.")
    office.later("signin-link", _mailed(office, typed))
    return html("signin.html", account=None, sent=True, undone=False, passkeys=False)


async def _mailed(office: Office, typed: str) -> None:
    if await office.db.write(signin.mail_link, office, typed, base_url(office)):
        office.wake()


async def _link(desk: Desk, request: Request) -> Response:
    office = desk.office()
    account = await office.db.read(signin.whose_link, office, request.path_params["secret"])
    if account is None:
        raise _no_good()
    return html("signin_link.html", account=None, name=account.name)


async def _follow(desk: Desk, request: Request) -> Response:
    office = desk.office()
    require_own_page(office, request)
    spend(desk, limits.GUESSES, f"link {peer(request)}")
    secret = await office.db.write(signin.follow_link, office, request.path_params["secret"], device(request))
    if secret is None:
        raise _no_good()
    return _signed_in(office, request, go(own_path(request.cookies.get(_NEXT, "/"))), secret)


def _no_good() -> Refused:
    return Refused(404, "This link is used up or too old. Ask for a new one.")


def _signed_in(office: Office, request: Request, answer: Response, secret: str) -> Response:
    keep_cookie(office, answer, secret)
    if _NEXT in request.cookies:
        answer.delete_cookie(_NEXT)
    return answer


async def _sign_out(visit: Visit) -> Response:
    office = visit.office
    await office.db.write(signin.end, office, visit.account, visit.session.id, actor=visit.actor)
    answer = go("/signin")
    drop_cookie(office, answer)
    answer.headers["Clear-Site-Data"] = '"cache", "storage"'
    return answer


def device(request: Request) -> str:
    """What a browser says of itself, in two words: enough to know one's own devices again."""
    said = request.headers.get("User-Agent", "")
    browsers = (
        ("Edg", "Edge"),
        ("OPR", "Opera"),
        ("Firefox", "Firefox"),
        ("Chrome", "Chrome"),
        ("Safari", "Safari"),
    )
    systems = (
        ("Android", "Android"),
        ("iPhone", "an iPhone"),
        ("iPad", "an iPad"),
        ("Windows", "Windows"),
        ("Mac OS", "a Mac"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    )
    browser = next((name for mark, name in browsers if mark in said), "A browser")
    system = next((name for mark, name in systems if mark in said), "")
    return f"{browser} on {system}" if system else browser


# ---- a passkey -----------------------------------------------------------------------------------


def _party(office: Office) -> Party:
    found = passkeys.party(base_url(office))
    if found is None:
        raise Refused(404, "Passkeys need this office to have a name and TLS: set http.base_url.")
    return found


async def _challenge(desk: Desk, request: Request) -> Response:
    office = desk.office()
    spend(desk, limits.GUESSES, f"passkey {peer(request)}")
    return Answer(await office.db.write(passkeys.challenge, office, _party(office)))


async def _with_passkey(desk: Desk, request: Request) -> Response:
    office = desk.office()
    require_own_page(office, request)
    spend(desk, limits.GUESSES, f"passkey {peer(request)}")
    answer = (await form_of(request)).get("json", "")
    secret = await office.db.write(passkeys.sign_in, office, _party(office), answer, device=device(request))
    if secret is None:
        raise Refused(400, "That passkey opens nothing here.")
    told = Answer({"next": own_path(request.cookies.get(_NEXT, "/"))})
    return _signed_in(office, request, told, secret)


async def _offer(visit: Visit) -> Response:
    office = visit.office
    return Answer(await office.db.write(passkeys.offer, office, visit.account, _party(office)))


async def _register(visit: Visit) -> Response:
    def register(tx: Transaction) -> int:
        label = device(visit.request)
        made = passkeys.register(
            tx,
            visit.office,
            visit.account,
            _party(visit.office),
            visit.said("json"),
            label=label,
            actor=visit.actor,
        )
        return made.id

    return Answer({"id": await visit.office.db.write(register)}, 201)
