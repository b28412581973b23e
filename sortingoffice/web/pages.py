"""The pages for addresses: all of them, a new one, one relationship and its buttons."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from sortingoffice.core.model import (
    GrantMode,
    MailboxState,
    RelationshipState,
    RemoteImages,
    Strangers,
    Unsubscribe,
    Via,
)
from sortingoffice.core.relationship import Action
from sortingoffice.errors import OfficeError
from sortingoffice.flows import (
    cards,
    grants,
    history,
    issue,
    ledger,
    overview,
    relationships,
    signup,
    standing,
    strangers,
)
from sortingoffice.flows.grants import Permission
from sortingoffice.flows.issue import Wish
from sortingoffice.flows.relationships import Change
from sortingoffice.store import accounts, domains, traffic
from sortingoffice.store import cards as card_rows
from sortingoffice.store.database import Transaction
from sortingoffice.web import limits
from sortingoffice.web.answers import Refused
from sortingoffice.web.auth import Desk, spend
from sortingoffice.web.visit import Visit, base_url, go, page

PAGE = 50
_STATES = (
    ("", "all but revoked"),
    ("active", "active"),
    ("muted", "paused"),
    ("closing", "closing"),
    ("unbound", "waiting"),
    ("expired", "ended"),
    ("revoked", "revoked"),
)
_ONE = "/r/{relationship}"


def routes(desk: Desk) -> list[BaseRoute]:
    acts = {
        "pause": (Action.PAUSE, "paused"),
        "resume": (Action.RESUME, "resumed"),
        "revoke": (Action.REVOKE, "revoked"),
        "close": (Action.CLOSE, "closing"),
        "restore": (Action.RESTORE, "restored"),
    }
    return [
        page(desk, "/", _list, "GET"),
        page(desk, "/new", _new, "GET"),
        page(desk, "/new", _make, "POST"),
        page(desk, _ONE, _show, "GET"),
        page(desk, f"{_ONE}/qr.svg", _qr, "GET"),
        *(page(desk, f"{_ONE}/{path}", _acting(*what), "POST") for path, what in acts.items()),
        page(desk, f"{_ONE}/rotate", _rotate, "POST"),
        page(desk, f"{_ONE}/allow", _allow, "POST"),
        page(desk, f"{_ONE}/refuse", _refuse, "POST"),
        page(desk, f"{_ONE}/contacts", _contact, "POST"),
        page(desk, f"{_ONE}/change", _change, "POST"),
        page(desk, f"{_ONE}/grant", _grant, "POST"),
        page(desk, f"{_ONE}/ungrant", _ungrant, "POST"),
        page(desk, f"{_ONE}/disclosed", _disclosed, "POST"),
    ]


# ---- all of them ---------------------------------------------------------------------------------


async def _list(visit: Visit) -> Response:
    search, chosen = visit.asked("search")[:200], visit.asked("state")
    if chosen not in dict(_STATES):
        chosen = ""
    number = int(visit.asked("page")[:7]) if visit.asked("page").isdecimal() else 1
    number = min(max(number, 1), 10**6)

    def keep(state: RelationshipState) -> bool:
        return state.value == chosen if chosen else state is not RelationshipState.REVOKED

    found, total = await visit.office.db.read(
        signup.listed,
        visit.office,
        visit.account,
        search=search,
        keep=keep,
        offset=(number - 1) * PAGE,
        most=PAGE,
    )
    rows = [
        {
            "slug": each.relationship.slug,
            "name": each.relationship.name,
            "site": each.relationship.site,
            "alias": each.alias.address,
            "state": each.state.value,
            "standing": standing.of(each.state, each.counts).value,
            "counts": each.counts,
            "pinned": each.relationship.pinned,
        }
        for each in found
    ]
    return await visit.page(
        "list.html",
        rows=rows,
        search=search,
        chosen=chosen,
        states=_STATES,
        page=number,
        total=total,
        more=number * PAGE < total,
        page_link=lambda to: "/?" + urlencode({"search": search, "state": chosen, "page": to}),
    )


# ---- a new one -----------------------------------------------------------------------------------

_EMPTY = dict.fromkeys(("name", "site", "label", "domain", "mailbox", "until", "max", "note"), "")


async def _new(visit: Visit) -> Response:
    """Empty, or with the site of the tab (bookmarklet) or of what was shared (a phone's app); or the address
    that was made a moment ago, so that loading the page once more makes no second one."""
    if visit.asked("made"):
        slug = visit.asked("made")
        made = await visit.office.db.read(overview.named, visit.office, visit.account, slug)
        return await _new_page(visit, _EMPTY, made=made)
    told = [visit.asked(name) for name in ("site", "url", "text")]
    site = next((found for each in told if (found := _site_in(each))), "")
    given = {**_EMPTY, "site": site, "name": visit.asked("name")[:200] or visit.asked("title")[:200]}
    known = await visit.office.db.read(signup.of_site, visit.office, visit.account, site) if site else None
    return await _new_page(visit, given, known={"alias": known.alias.address} if known is not None else None)


def _site_in(text: str) -> str:
    """The host name in a URL or a text that holds one; "" where there is none."""
    for word in text.split()[:50]:
        host = word.partition("://")[2] or word
        host = host.partition("/")[0].partition("?")[0].rpartition("@")[2].partition(":")[0].lower()
        if "." in host.strip(".") and all(c.isalnum() or c in "-._" for c in host):
            return host.removeprefix("www.")[:255]
    return ""


async def _new_page(visit: Visit, given: dict[str, str], *, status: int = 200, **values: Any) -> Response:
    def choices(tx: Transaction) -> tuple[list[str], list[str]]:
        return [each.name for each in domains.every(tx)], _mailboxes(tx, visit)

    hosted, mailboxes = await visit.office.db.read(choices)
    target = f"{base_url(visit.office)}/new?site="
    shown: dict[str, Any] = {"made": None, "known": None, "problem": "", **values}
    return await visit.page(
        "new.html",
        status,
        given=given,
        domains=hosted,
        mailboxes=mailboxes,
        bookmarklet=f"javascript:location.href='{target}'+encodeURIComponent(location.hostname)",
        **shown,
    )


def _mailboxes(tx: Transaction, visit: Visit) -> list[str]:
    every = accounts.mailboxes(tx, visit.account.id)
    return [each.address for each in every if each.delivers and each.state is not MailboxState.PENDING]


async def _make(visit: Visit) -> Response:
    given = {name: visit.said(name) for name in _EMPTY}
    spend(visit.desk, limits.ADDRESSES, f"account {visit.account.id}")
    try:
        wish = Wish(
            name=given["name"] or _site_in(given["site"]),
            site=given["site"],
            label=given["label"],
            domain=given["domain"],
            mailbox=given["mailbox"],
            until=end_of_day(given["until"]),
            max_messages=_count(given["max"]),
            note=given["note"],
        )
        made = await visit.office.db.write(issue.issue, visit.office, visit.account, wish, actor=visit.actor)
    except OfficeError as problem:
        sentence = str(problem)
        return await _new_page(visit, given, status=409, problem=sentence[:1].upper() + sentence[1:])
    return go(f"/new?made={quote(made['relationship'])}")


def end_of_day(text: str) -> datetime | None:
    """The last second of a date as a form sends it, in UTC."""
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
        return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1, seconds=-1)
    except (ValueError, OverflowError):
        raise OfficeError(f'"{text[:40]}" is no date: choose one') from None


def _count(text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or not text.isascii() or len(text) > 9 or int(text) < 1:
        raise OfficeError("the number of messages must be 1 or more")
    return int(text)


# ---- one of them ---------------------------------------------------------------------------------


async def _show(visit: Visit) -> Response:
    shown = await visit.office.db.read(_shown, visit)
    was = json.dumps(_settings(shown["row"], shown["own_mailbox"]))
    return await visit.page("relationship.html", state=shown["row"]["state"], was=was, **shown)


def _settings(row: dict[str, Any], own_mailbox: str) -> dict[str, str]:
    """What the form of its settings shows: saved as it was, it changes nothing."""
    until, most = row["until"], row["max"]
    return {
        **{name: row[name] for name in ("name", "site", "display_name", "note")},
        **{name: row[name] for name in ("strangers", "remote_images", "unsubscribe")},
        "mailbox": own_mailbox,
        "until": "" if until is None else f"{until:%Y-%m-%d}",
        "max": "" if most is None else str(most),
        "pinned": "on" if row["pinned"] else "",
    }


def _shown(tx: Transaction, visit: Visit) -> dict[str, Any]:
    of = relationships.find(tx, visit.account, _slug(visit.request))
    row = overview.of(tx, visit.office, of)
    counts = traffic.counts(tx, [of.id]).get(of.id, traffic.Counts())
    now = visit.office.clock()
    own = accounts.mailbox_by_id(tx, of.mailbox_id) if of.mailbox_id is not None else None
    mailboxes = _mailboxes(tx, visit)
    return {
        "row": row,
        "leaves": bool(visit.office.config.http.base_url),
        "standing_of": standing.of(RelationshipState(row["state"]), counts).value,
        "contacts": standing.correspondents(tx, of),
        "others": strangers.listed(tx, visit.account, of.slug),
        "months": standing.months(tx, visit.account, now, of.id),
        "passed": [
            {
                "at": e.at,
                "direction": e.direction.value,
                "address": e.address,
                "subject": e.subject,
                "state": e.state.value,
            }
            for e in traffic.passed(tx, of.id, 20)
        ],
        "turned": traffic.turned_away(tx, of.id, 20),
        "held": ledger.disclosures(tx, visit.office, visit.account, of.slug),
        "grants": [grants.grant_row(each, of) for each in card_rows.grants(tx, of.id)],
        "cards": [each["card"] for each in cards.listing(tx, visit.account, now)],
        "log": history.log(tx, visit.account, of.slug, 50)[::-1],
        "mailboxes": mailboxes,
        "own_mailbox": own.address if own is not None and own.address in mailboxes else "",
    }


def _slug(request: Request) -> str:
    return str(request.path_params["relationship"])


def _here(visit: Visit, done: str) -> Response:
    return go(f"/r/{quote(_slug(visit.request))}", done)


async def _qr(visit: Visit) -> Response:
    """The address as a QR code, for a desk: black on white, whatever the page looks like."""
    row = await visit.office.db.read(overview.named, visit.office, visit.account, _slug(visit.request))
    return Response(qr(row["alias"]), media_type="image/svg+xml", headers={"Cache-Control": "no-store"})


def qr(address: str) -> bytes:
    """An address as an SVG to be scanned."""
    import segno

    out = io.BytesIO()
    segno.make(f"mailto:{address}", micro=False).save(out, kind="svg", scale=6, border=2, light="#fff")
    return out.getvalue()


# ---- its buttons ---------------------------------------------------------------------------------


def _acting(action: Action, done: str) -> Any:
    async def act(visit: Visit) -> Response:
        await visit.office.db.write(
            relationships.act,
            visit.office,
            visit.account,
            _slug(visit.request),
            action,
            actor=visit.actor,
        )
        visit.office.wake()
        return _here(visit, done)

    return act


async def _rotate(visit: Visit) -> Response:
    spend(visit.desk, limits.ADDRESSES, f"account {visit.account.id}")
    slug = _slug(visit.request)
    await visit.office.db.write(issue.rotate, visit.office, visit.account, slug, actor=visit.actor)
    return _here(visit, "rotated")


async def _allow(visit: Visit) -> Response:
    await _write(visit, relationships.judge, visit.said("sender"), allow=True)
    visit.office.wake()
    return _here(visit, "allowed")


async def _refuse(visit: Visit) -> Response:
    await _write(visit, relationships.judge, visit.said("sender"), allow=False)
    return _here(visit, "refused")


async def _contact(visit: Visit) -> Response:
    await _write(visit, issue.contact, visit.said("address"))
    return _here(visit, "changed")


async def _change(visit: Visit) -> Response:
    """What the person changed in the form, and nothing else: meanwhile the rest may have become another."""
    was = _was(visit)

    def news(name: str) -> str | None:
        said = visit.said(name)
        return None if said == was.get(name) else said

    until, most, leaves, pinned = news("until"), news("max"), news("unsubscribe"), news("pinned")
    strangers, images = news("strangers"), news("remote_images")
    if strangers is not None and strangers not in [each.value for each in Strangers]:
        raise Refused(400, "Choose what happens to mail from others.")
    if images is not None and images not in [each.value for each in RemoteImages]:
        raise Refused(400, "Choose what happens to images loaded from the net.")
    # The last one is not asked where the office has no address on the web.
    if leaves and leaves not in [each.value for each in Unsubscribe]:
        raise Refused(400, "Choose where “unsubscribe” leads.")
    wish = Change(
        name=news("name"),
        site=news("site"),
        strangers=None if strangers is None else Strangers(strangers),
        remote_images=None if images is None else RemoteImages(images),
        unsubscribe=Unsubscribe(leaves) if leaves else None,
        mailbox=news("mailbox"),
        display_name=news("display_name"),
        until=until and end_of_day(until),
        max_messages=most and _count(most),
        note=news("note"),
        pinned=None if pinned is None else pinned == "on",
    )
    await _write(visit, relationships.change, wish)
    return _here(visit, "changed")


def _was(visit: Visit) -> dict[str, Any]:
    """What the form showed when it was sent to the browser; nothing where it doesn't say."""
    try:
        found = json.loads(visit.said("was") or "{}")
    except (ValueError, RecursionError):
        raise Refused(400, "That form can't be read.") from None
    return found if isinstance(found, dict) else {}


async def _grant(visit: Visit) -> Response:
    if visit.said("mode") not in [each.value for each in GrantMode]:
        raise Refused(400, "Choose how they may have it.")
    permission = Permission(
        visit.said("card"),
        mode=GrantMode(visit.said("mode")),
        purpose=visit.said("purpose"),
        terms=visit.said("terms"),
        until=end_of_day(visit.said("until")),
    )
    await _write(visit, grants.grant, permission)
    return _here(visit, "granted")


async def _ungrant(visit: Visit) -> Response:
    await _write(visit, grants.ungrant, visit.said("card"))
    return _here(visit, "ungranted")


async def _disclosed(visit: Visit) -> Response:
    via = Via.PAPER if visit.said("via") == "paper" else Via.WEB_FORM
    await _write(visit, ledger.disclosed, visit.said("card"), (), via=via)
    return _here(visit, "written")


async def _write(visit: Visit, deed: Callable[..., Any], *given: Any, **named: Any) -> None:
    """Do something to the relationship of this page, as whoever looks at it."""
    slug = _slug(visit.request)
    await visit.office.db.write(deed, visit.office, visit.account, slug, *given, actor=visit.actor, **named)
