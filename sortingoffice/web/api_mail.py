"""The office's own API: held mail, the log, a message's way."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from sortingoffice.core.access import Scope
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows import held, history, receive, target
from sortingoffice.mail.address import parse
from sortingoffice.web.answers import Refused
from sortingoffice.web.api_relationships import EventRow, Part
from sortingoffice.web.api_relationships import log as relationship_log
from sortingoffice.web.auth import Call
from sortingoffice.web.operations import Operation, Out, Query

_SHOWN = 100_000  # characters of a held mail


class HeldRow(Out):
    id: int
    relationship: str
    reason: str
    subject: str
    direction: str
    sender: Annotated[str, Field(alias="from")]
    to: str
    since: datetime


class Finding(Out):
    """What the leak guard found; around: the words about it, the finding in [[ ]]."""

    where: str
    what: str
    around: str


class HeldMail(HeldRow):
    """text: the mail as it waits, its fields and its body; cut where it is long."""

    findings: list[Finding]
    message: str
    size: int
    text: str
    cut: bool


class AttemptRow(Out):
    at: datetime
    host: str
    tls: str
    reply: str
    milliseconds: int


class DeliveryRow(Out):
    id: int
    to: str
    state: str
    reason: str
    next_attempt: datetime | None
    ended: datetime | None
    attempts: list[AttemptRow]


class Way(Out):
    """A message that was refused has events and nothing else."""

    message: str
    direction: str | None = None
    relationship: str | None = None
    sender: Annotated[str | None, Field(alias="from")] = None
    subject: str | None = None
    size: int | None = None
    accepted: datetime | None = None
    rule: str | None = None
    results: str | None = None
    deliveries: list[DeliveryRow] = Field(default_factory=list)
    events: list[EventRow]


class Supposed(Query):
    """from: a sender, taken as proved; "" for none."""

    sender: Annotated[str, Field(alias="from", max_length=320)] = ""
    to: Annotated[str, Field(max_length=320)] = ""


class Explained(Out):
    """rule: the name of what decides; reply: what the sender's server is told."""

    decision: str
    rule: str
    reply: str


async def _list(call: Call) -> Any:
    return await call.office.db.read(held.every, call.account)


async def _show(call: Call, number: int) -> Any:
    found = await call.office.db.read(held.one, call.account, number)
    text = found["raw"].decode("utf-8", "replace")
    return {**found, "text": text[:_SHOWN], "cut": len(text) > _SHOWN}


async def _release(call: Call, number: int) -> Any:
    done = await call.office.db.write(held.release, call.office, call.account, number, actor=call.actor)
    call.office.wake()
    if done.get("refused"):
        raise Refused(409, f"not sent: {done['refused']}")
    return done


async def _drop(call: Call, number: int) -> Any:
    return await call.office.db.write(held.drop, call.office, call.account, number, actor=call.actor)


async def _log(call: Call, query: Part) -> Any:
    return await relationship_log(call, query, "")


async def _trace(call: Call, what: str) -> Any:
    return await call.office.db.read(history.trace, call.account, what)


async def _explain(call: Call, query: Supposed) -> Any:
    sender, to = parse(query.sender), parse(query.to)
    found = None if to is None else await call.office.db.read(target.find, call.office, to)
    if found is None or found.account != call.account or to is None:
        raise NotThere("that is no address of yours")
    if query.sender and sender is None:
        raise OfficeError(f'"{query.sender}" is no mail address')
    decision = await receive.explain(call.office, sender, to)
    reply = f"{decision.reply.code} {decision.reply.status} {decision.reply.text}"
    return {"decision": decision.verdict.value, "rule": decision.rule, "reply": reply}


_SCOPE = Scope.MAIL

OPERATIONS = (
    Operation("GET", "/held", "listHeld", "Mail that waits for your word", _SCOPE, _list, list[HeldRow]),
    Operation("GET", "/held/{number:int}", "showHeld", "One held mail, as it waits", _SCOPE, _show, HeldMail),
    Operation("POST", "/held/{number:int}/release", "release", "Let it go", _SCOPE, _release, HeldRow),
    Operation("POST", "/held/{number:int}/drop", "drop", "Never deliver it", _SCOPE, _drop, HeldRow),
    Operation(
        "GET", "/log", "log", "What happened, the latest first", _SCOPE, _log, list[EventRow], query=Part
    ),
    Operation(
        "GET",
        "/explain",
        "explain",
        "What would become of a mail to an address of yours",
        _SCOPE,
        _explain,
        Explained,
        query=Supposed,
    ),
    Operation("GET", "/trace/{what}", "trace", "A message's way, or an address's", _SCOPE, _trace, list[Way]),
)
