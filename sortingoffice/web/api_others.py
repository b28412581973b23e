"""The office's own API: who else wrote, the evidence of it, and recipients that were a slip of the pen."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from sortingoffice.core.access import Scope
from sortingoffice.flows import leaks, rejects, strangers
from sortingoffice.web.auth import Call
from sortingoffice.web.operations import In, Operation, Out, Query
from sortingoffice.web.pages_others import archive

ZIP = "application/zip"


class OfRelationship(Query):
    relationship: Annotated[str, Field(max_length=200)] = ""


class Slip(In):
    """relationship: which one takes mail for the misspelt address, too."""

    address: Annotated[str, Field(min_length=3, max_length=320)]
    relationship: Annotated[str, Field(min_length=1, max_length=200)]


class StrangerRow(Out):
    """identity: "" where nothing was proved; word: "yes", "no" or "" for none yet."""

    relationship: str
    identity: str
    standing: Annotated[str, Field(alias="class")]
    messages: int
    first: datetime
    last: datetime
    seen_with: list[str]
    word: str


class LeakRow(Out):
    """odds_one_in: null where the address was chosen."""

    relationship: str
    alias: str
    standing: Annotated[str, Field(alias="class")]
    identity: str
    kept: int
    first: datetime
    last: datetime
    odds_one_in: int | None


class RejectRow(Out):
    """near: the address of yours that is one slip away."""

    address: str
    times: int
    first: datetime
    last: datetime
    near: str
    relationship: str
    accepted: datetime | None


class Taken(Out):
    relationship: str
    alias: str


async def _strangers(call: Call, query: OfRelationship) -> Any:
    return await call.office.db.read(strangers.listed, call.account, query.relationship)


async def _leaks(call: Call) -> Any:
    return await call.office.db.read(leaks.listed, call.account)


async def _report(call: Call, relationship: str) -> bytes:
    files = await call.office.db.write(leaks.made, call.office, call.account, relationship, actor=call.actor)
    return archive(files, "leak")


async def _rejects(call: Call) -> Any:
    return await call.office.db.read(lambda tx: rejects.listed(tx, call.account, near=True))


async def _accept(call: Call, body: Slip) -> Any:
    return await call.office.db.write(
        rejects.accept, call.office, call.account, body.address, body.relationship, actor=call.actor
    )


_SCOPE = Scope.RELATIONSHIPS

OPERATIONS = (
    Operation(
        "GET",
        "/strangers",
        "listStrangers",
        "Who wrote and is not the vendor",
        _SCOPE,
        _strangers,
        list[StrangerRow],
        query=OfRelationship,
    ),
    Operation("GET", "/leaks", "listLeaks", "Addresses that leaked", Scope.MAIL, _leaks, list[LeakRow]),
    Operation(
        "GET",
        "/leaks/{relationship}/report.zip",
        "leakReport",
        "A folder that proves who wrote to it",
        Scope.MAIL,
        _report,
        file=ZIP,
    ),
    Operation(
        "GET",
        "/rejects",
        "listRejects",
        "Recipients that never existed, one slip away from an address of yours",
        _SCOPE,
        _rejects,
        list[RejectRow],
    ),
    Operation(
        "POST",
        "/rejects/accept",
        "acceptReject",
        "Take a misspelt address, too",
        _SCOPE,
        _accept,
        Taken,
        Slip,
        status=201,
    ),
)
