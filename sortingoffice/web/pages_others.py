"""The pages about others than the vendors: who else wrote, what that proves, and slips of the pen.

Promise: what a stranger proved to be stands there as text; each has two buttons, and a report leaves
only as a download of the person's own.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import BaseRoute

from sortingoffice.flows import leaks, rejects, relationships, strangers
from sortingoffice.store.database import Transaction
from sortingoffice.web.auth import Desk
from sortingoffice.web.visit import Visit, download, go, page

_MOST = 500  # of a list on one page


def routes(desk: Desk) -> list[BaseRoute]:
    return [
        page(desk, "/strangers", _strangers, "GET"),
        page(desk, "/strangers/allow", _allow, "POST"),
        page(desk, "/strangers/refuse", _refuse, "POST"),
        page(desk, "/strangers/slip", _slip, "POST"),
        page(desk, "/leaks", _leaks, "GET"),
        page(desk, "/leaks/{relationship}/report.zip", _report, "GET"),
    ]


async def _strangers(visit: Visit) -> Response:
    return await visit.page("strangers.html", **await visit.office.db.read(_others, visit))


def _others(tx: Transaction, visit: Visit) -> dict[str, Any]:
    found = strangers.listed(tx, visit.account)
    slips = [each for each in rejects.listed(tx, visit.account, near=True) if each["accepted"] is None]
    named = names(tx, visit, [*found, *slips])
    return {
        "rows": sorted(found, key=lambda each: each["last"], reverse=True)[:_MOST],
        "slips": slips,
        "names": named,
    }


def names(tx: Transaction, visit: Visit, rows: list[dict[str, Any]]) -> dict[str, str]:
    """What the relationships of these rows are called, by slug."""
    slugs = dict.fromkeys(each["relationship"] for each in rows if each["relationship"])
    return {slug: relationships.find(tx, visit.account, slug).name for slug in slugs}


async def _judge(visit: Visit, *, allow: bool) -> Response:
    await visit.office.db.write(
        relationships.judge,
        visit.office,
        visit.account,
        visit.said("relationship"),
        visit.said("sender"),
        allow=allow,
        actor=visit.actor,
    )
    visit.office.wake()
    return go("/strangers", "allowed" if allow else "refused")


async def _allow(visit: Visit) -> Response:
    return await _judge(visit, allow=True)


async def _refuse(visit: Visit) -> Response:
    return await _judge(visit, allow=False)


async def _slip(visit: Visit) -> Response:
    await visit.office.db.write(
        rejects.accept,
        visit.office,
        visit.account,
        visit.said("address"),
        visit.said("relationship"),
        actor=visit.actor,
    )
    return go("/strangers", "taken")


async def _leaks(visit: Visit) -> Response:
    return await visit.page("leaks.html", leaks=await visit.office.db.read(_evidence, visit))


def _evidence(tx: Transaction, visit: Visit) -> list[dict[str, Any]]:
    """Per relationship: its address, the odds of a guess, and whose mail was kept."""
    found: dict[str, dict[str, Any]] = {}
    rows = leaks.listed(tx, visit.account)
    named = names(tx, visit, rows)
    for each in rows:
        slug = each["relationship"]
        one = found.setdefault(
            slug,
            {
                "slug": slug,
                "name": named[slug],
                "alias": each["alias"],
                "odds": each["odds_one_in"],
                "writers": [],
            },
        )
        one["writers"].append(each)
    return sorted(found.values(), key=lambda one: max(each["last"] for each in one["writers"]), reverse=True)


async def _report(visit: Visit) -> Response:
    slug = str(visit.request.path_params["relationship"])
    files = await visit.office.db.write(leaks.made, visit.office, visit.account, slug, actor=visit.actor)
    return download(archive(files, f"leak-{slug}"), f"leak-{quote(slug, safe='')}.zip", "application/zip")


def archive(files: Mapping[str, bytes], folder: str) -> bytes:
    """The files in one folder of a ZIP archive; of the same files always the same octets."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name in sorted(files):
            made.writestr(zipfile.ZipInfo(f"{folder}/{name}"), files[name], zipfile.ZIP_DEFLATED)
    return out.getvalue()
