"""The pages for a change of a card: who holds an old value, tell them, and what became of it.

Promise: nothing is sent before the plan was shown, and a press sends no more than the plan of that moment.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import BaseRoute

from sortingoffice.core.model import Account
from sortingoffice.flows import notified, notify, receipts, relationships
from sortingoffice.flows.office import Office
from sortingoffice.store.database import Transaction
from sortingoffice.web.auth import Desk
from sortingoffice.web.visit import Visit, download, go, page

_PATH = "/cards/{card}/tell"


def routes(desk: Desk) -> list[BaseRoute]:
    return [
        page(desk, _PATH, _plan, "GET"),
        page(desk, _PATH, _tell, "POST"),
        page(desk, f"{_PATH}/again", _again, "POST"),
        page(desk, f"{_PATH}/letters.zip", _letters, "GET"),
        page(desk, "/r/{relationship}/receipt.json", _receipt, "GET"),
    ]


def _card(visit: Visit) -> str:
    return str(visit.request.path_params["card"])


async def _plan(visit: Visit) -> Response:
    return await visit.page("tell.html", **await visit.office.db.read(_planned, visit))


def _planned(tx: Transaction, visit: Visit) -> dict[str, Any]:
    name = _card(visit)
    steps = [notify.row(each) for each in notify.plan(tx, visit.office, visit.account, name)]
    told = notified.status(tx, visit.office, visit.account, name)
    return {
        "name": name,
        "steps": steps,
        "mails": sum(each["how"] == notify.MAIL for each in steps),
        "told": [each for each in told if each["at"] is not None],
        "silent": any(each["state"] == "silent" for each in told),
    }


async def _tell(visit: Visit) -> Response:
    """Each vendor in a transaction of their own, as at the command line."""
    name, office = _card(visit), visit.office
    for step in await office.db.read(notify.plan, office, visit.account, name):
        if step.how == notify.MAIL:
            await office.db.write(
                notify.send, office, visit.account, name, only=step.to.id, actor=visit.actor
            )
    office.wake()
    return go(f"/cards/{quote(name)}/tell", "told")


async def _again(visit: Visit) -> Response:
    await visit.office.db.write(notified.again, visit.office, visit.account, _card(visit), actor=visit.actor)
    visit.office.wake()
    return go(f"/cards/{quote(_card(visit))}/tell", "told")


async def _letters(visit: Visit) -> Response:
    """Letters to print, for those who can't be told by mail."""
    return download(
        await visit.office.db.read(letters, visit.office, visit.account, _card(visit)),
        "letters.zip",
        "application/zip",
    )


def letters(tx: Transaction, office: Office, account: Account, name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for slug, text in notified.papers(tx, office, account, name, "all"):
            made.writestr(zipfile.ZipInfo(f"letters/{slug}.html"), text, zipfile.ZIP_DEFLATED)
    return out.getvalue()


async def _receipt(visit: Visit) -> Response:
    """What the vendor was given and on what terms, as a consent receipt; without the values."""
    slug = str(visit.request.path_params["relationship"])

    def made(tx: Transaction) -> tuple[str, dict[str, Any]]:
        of = relationships.find(tx, visit.account, slug)
        return of.slug, receipts.receipt(tx, visit.office, visit.account, of.slug, values=False)

    named, receipt = await visit.office.db.read(made)
    text = json.dumps(receipt, ensure_ascii=False, indent=1, default=str)
    return download(text.encode(), f"receipt-{quote(named, safe='')}.json", "application/json")
