"""The pages for cards, the ledger, and mail that waits."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import BaseRoute

from sortingoffice.core.model import Sensitivity
from sortingoffice.errors import OfficeError
from sortingoffice.flows import cards, held, ledger, standing
from sortingoffice.flows.cards import Assignment
from sortingoffice.store.database import Transaction
from sortingoffice.web import inert
from sortingoffice.web.answers import Refused
from sortingoffice.web.auth import Desk
from sortingoffice.web.pages_others import names
from sortingoffice.web.visit import Visit, go, page


def routes(desk: Desk) -> list[BaseRoute]:
    return [
        page(desk, "/cards", _list, "GET"),
        page(desk, "/cards", _set, "POST"),
        page(desk, "/cards/{card}", _show, "GET"),
        page(desk, "/cards/{card}/remove", _remove, "POST"),
        page(desk, "/ledger", _ledger, "GET"),
        page(desk, "/held", _held, "GET"),
        page(desk, "/held/{number:int}", _held_one, "GET"),
        page(desk, "/held/{number:int}/release", _release, "POST"),
        page(desk, "/held/{number:int}/drop", _drop, "POST"),
    ]


# ---- cards ---------------------------------------------------------------------------------------


async def _list(visit: Visit) -> Response:
    found = await visit.office.db.read(cards.listing, visit.account, visit.office.clock())
    return await visit.page("cards.html", cards=found)


async def _set(visit: Visit) -> Response:
    chosen = visit.said("sensitivity")
    if chosen not in ("", "open", "normal", "sensitive"):
        raise OfficeError("choose open, normal or sensitive")
    assignment = Assignment(visit.said("card"), visit.said("field"), visit.said("value"))
    rows = await visit.office.db.write(
        cards.set_fields,
        visit.office,
        visit.account,
        [assignment],
        valid_from=_from(visit.said("from")),
        sensitivity=Sensitivity(chosen) if chosen else None,
        actor=visit.actor,
    )
    return go(f"/cards/{quote(rows[0]['card'])}", "changed")


def _from(text: str) -> datetime | None:
    """The beginning of a day, in UTC."""
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise OfficeError(f'"{text[:40]}" is no date: choose one') from None
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


async def _show(visit: Visit) -> Response:
    return await visit.page("card.html", **await visit.office.db.read(_shown, visit))


def _shown(tx: Transaction, visit: Visit) -> dict[str, Any]:
    name = visit.request.path_params["card"]
    revealed = visit.asked("reveal") == "yes"
    rows = cards.show(tx, visit.office, visit.account, name, reveal=revealed)
    known = next(each for each in cards.listing(tx, visit.account, visit.office.clock()) if _same(each, name))
    return {
        "name": known["card"],
        "is_view": known["kind"] == "view",
        "fields": [{**each, "valid_from": each["from"]} for each in rows],
        "revealed": revealed,
        "given": ledger.who_has(tx, visit.office, visit.account, name),
    }


def _same(row: dict[str, Any], name: str) -> bool:
    from sortingoffice.core import fields

    return bool(row["card"] == fields.name(name))


async def _remove(visit: Visit) -> Response:
    card, field = visit.request.path_params["card"], visit.said("field")
    named = f"{card}.{field}" if field else card
    await visit.office.db.write(cards.remove, visit.office, visit.account, named, actor=visit.actor)
    return go(f"/cards/{quote(card)}" if field else "/cards", "removed")


# ---- the ledger ----------------------------------------------------------------------------------


async def _ledger(visit: Visit) -> Response:
    return await visit.page("ledger.html", **await visit.office.db.read(_lines, visit))


def _lines(tx: Transaction, visit: Visit) -> dict[str, Any]:
    what, problem = visit.asked("what")[:130], ""
    every = ledger.disclosures(tx, visit.office, visit.account, "")
    rows = every[::-1]
    if what:
        try:
            rows = ledger.who_has(tx, visit.office, visit.account, what)[::-1]
        except OfficeError as error:
            rows, problem = [], str(error)[:1].upper() + str(error)[1:]
    listed = cards.listing(tx, visit.account, visit.office.clock())
    columns, vendors = _map([each for each in every if each["state"] not in ("held", "dropped")])
    return {
        "what": what,
        "problem": problem,
        "rows": rows[:500],
        "known": sorted({each["card"] for each in listed} | {f for each in listed for f in each["fields"]}),
        "columns": columns,
        "map": vendors,
        "months": standing.months(tx, visit.account, visit.office.clock()),
    }


def _map(lines: list[dict[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """Vendors against data: who holds the current value, and who an old one."""
    vendors: dict[str, dict[str, Any]] = {}
    columns: set[str] = set()
    for each in lines:
        named = f"{each['card']}.{each['field']}"
        columns.add(named)
        row = vendors.setdefault(
            each["relationship"],
            {"slug": each["relationship"], "name": each["name"], "current": set(), "old": set()},
        )
        row["old" if each["current"] is False else "current"].add(named)
    return sorted(columns)[:40], sorted(vendors.values(), key=lambda row: str(row["name"]).casefold())


# ---- held ----------------------------------------------------------------------------------------


async def _held(visit: Visit) -> Response:
    return await visit.page("held.html", **await visit.office.db.read(_waiting, visit))


def _waiting(tx: Transaction, visit: Visit) -> dict[str, Any]:
    found = held.every(tx, visit.account)
    return {"rows": found, "names": names(tx, visit, found)}


def _number(visit: Visit) -> int:
    return int(visit.request.path_params["number"])


async def _held_one(visit: Visit) -> Response:
    found, named = await visit.office.db.read(_one_waiting, visit)
    text = found["raw"].decode("utf-8", "replace")
    shown = await asyncio.to_thread(inert.parts, found["raw"])
    row = {**found, "text": inert.plain(text[: inert.MOST]), "cut": len(text) > inert.MOST}
    return await visit.page("held_one.html", row=row, parts=shown, names=named)


def _one_waiting(tx: Transaction, visit: Visit) -> tuple[dict[str, Any], dict[str, str]]:
    found = held.one(tx, visit.account, _number(visit))
    return found, names(tx, visit, [found])


async def _release(visit: Visit) -> Response:
    done = await visit.office.db.write(
        held.release, visit.office, visit.account, _number(visit), actor=visit.actor
    )
    visit.office.wake()
    if done.get("refused"):
        raise Refused(409, f"Not sent: {done['refused']}")
    return go("/held", "released")


async def _drop(visit: Visit) -> Response:
    await visit.office.db.write(held.drop, visit.office, visit.account, _number(visit), actor=visit.actor)
    return go("/held", "dropped")
