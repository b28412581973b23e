"""addy.io's dialect: the same done to several addresses at once, as its lists and command-line clients do.

Promise: all of it happens or none; an id that is nobody's, or that is already so, is left out of the answer.

Sources: as `web.compat_addy`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.responses import Response

from sortingoffice.core.access import Scope
from sortingoffice.core.model import RelationshipState
from sortingoffice.core.relationship import Action
from sortingoffice.errors import NotThere
from sortingoffice.flows import relationships, signup
from sortingoffice.flows.relationships import Change
from sortingoffice.flows.signup import Row
from sortingoffice.frozen import dataclass
from sortingoffice.store.database import Transaction
from sortingoffice.web.answers import Answer, Refused, said
from sortingoffice.web.auth import Call, Handler
from sortingoffice.web.compat_addy_account import ALIAS, alias_row, chosen, invalid, row_id, uuid

MOST = 25  # ids in one request, as with them


@dataclass(frozen=True, slots=True)
class _Deed:
    """done is what their sentence says was done; fits tells whom it changes anything for."""

    done: str
    action: Action
    fits: Callable[[Row], bool]


def _gone(row: Row) -> bool:
    return row.state is RelationshipState.REVOKED


_DEEDS: Mapping[str, _Deed] = {
    "activate": _Deed("activated", Action.RESUME, lambda row: not row.enabled and not _gone(row)),
    "deactivate": _Deed("deactivated", Action.PAUSE, lambda row: row.enabled),
    "delete": _Deed("deleted", Action.REVOKE, lambda row: not _gone(row)),
    "restore": _Deed("restored", Action.RESTORE, _gone),
    "forget": _Deed("forgotten", Action.REVOKE, lambda row: not _gone(row)),
}


async def _get(call: Call) -> Response:
    ids = _ids(await said(call.request))
    found = _some(await call.office.db.read(_rows, call, ids))
    return Answer({"data": [alias_row(each, call.account) for each in found]})


def _doing(deed: _Deed) -> Handler:
    async def done(call: Call) -> Response:
        ids = _ids(await said(call.request))
        found = _some(await call.office.db.write(_act, call, ids, deed))
        call.office.wake()
        return _told(found, deed.done)

    return done


async def _deliver_to(call: Call) -> Response:
    given = await said(call.request)
    ids, mailbox = _ids(given), await chosen(call, given)
    wish = Change(mailbox=mailbox.address if mailbox is not None else "")
    found = _some(await call.office.db.write(_change, call, ids, wish))
    return _told(found, "updated")


def _act(tx: Transaction, call: Call, ids: list[int], deed: _Deed) -> list[Row]:
    found = [each for each in _rows(tx, call, ids) if deed.fits(each)]
    for each in found:
        signup.act(tx, call.office, call.account, each.relationship.id, deed.action, actor=call.actor)
    return found


def _change(tx: Transaction, call: Call, ids: list[int], wish: Change) -> list[Row]:
    found = _rows(tx, call, ids)
    for each in found:
        relationships.change(tx, call.office, call.account, each.relationship.slug, wish, actor=call.actor)
    return found


def _rows(tx: Transaction, call: Call, ids: list[int]) -> list[Row]:
    """The account's own among them, in their order."""
    found = []
    for each in ids:
        try:
            found.append(signup.one(tx, call.office, call.account, each))
        except NotThere:
            continue
    return found


def _ids(given: Mapping[str, Any]) -> list[int]:
    """Row numbers, each once.  Raises `Refused`."""
    listed = given.get("ids")
    if not isinstance(listed, list) or not listed:
        raise invalid("ids", "The ids field is required and must be an array.")
    if len(listed) > MOST:
        raise invalid("ids", f"The ids field must not have more than {MOST} items.")
    found: dict[int, None] = {}
    for each in listed:
        try:
            found[row_id(ALIAS, each)] = None
        except (Refused, AttributeError, TypeError):  # nobody's, or no text at all
            continue
    return list(found)


def _some(found: list[Row]) -> list[Row]:
    if not found:
        raise Refused(404, "No aliases found")
    return found


def _told(found: list[Row], done: str) -> Response:
    ids = [uuid(ALIAS, each.relationship.id) for each in found]
    counted = "1 alias" if len(ids) == 1 else f"{len(ids)} aliases"
    return Answer({"message": f"{counted} {done} successfully", "ids": ids})


# Paths below /api/v1: handler, method and scope of each.
TABLE: list[tuple[str, Handler, str, Scope | None]] = [
    ("/aliases/get/bulk", _get, "POST", Scope.RELATIONSHIPS),
    ("/aliases/recipients/bulk", _deliver_to, "POST", Scope.RELATIONSHIPS),
    *((f"/aliases/{name}/bulk", _doing(deed), "POST", Scope.RELATIONSHIPS) for name, deed in _DEEDS.items()),
]
