"""The office's own API: papers, in and out: consent receipts, letters, cards as files of others' formats."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field

from sortingoffice.core.access import Scope
from sortingoffice.flows import exchange, notified, notify, receipts
from sortingoffice.web.api_cards import NoticeRow, SetRow
from sortingoffice.web.auth import Call
from sortingoffice.web.operations import In, Operation, Out, Query
from sortingoffice.web.pages_notify import letters


class Values(Query):
    """values: with what they were given, not only what it was."""

    values: bool = False


class Vcard(In):
    """text: one vCard, 3.0 or 4.0."""

    text: Annotated[str, Field(min_length=1)]  # the bound of a body is its bound


class TakenOver(Out):
    """left_out: what has no place on a card here, and why."""

    taken: list[SetRow]
    left_out: list[str]


async def _receipt(call: Call, query: Values, relationship: str) -> bytes:
    document = await call.office.db.read(
        receipts.receipt, call.office, call.account, relationship, values=query.values
    )
    return json.dumps(document, ensure_ascii=False, default=str).encode()


async def _letters(call: Call, card: str) -> bytes:
    return await call.office.db.read(letters, call.office, call.account, card)


async def _again(call: Call, card: str) -> Any:
    steps = await call.office.db.write(notified.again, call.office, call.account, card, actor=call.actor)
    call.office.wake()
    return [notify.row(each) for each in steps]


async def _vcard(call: Call, card: str) -> bytes:
    return await call.office.db.read(exchange.export, call.office, call.account, card, "vcard")


async def _vcard4(call: Call, card: str) -> bytes:
    return await call.office.db.read(exchange.export, call.office, call.account, card, "vcard4")


async def _jscontact(call: Call, card: str) -> bytes:
    return await call.office.db.read(exchange.export, call.office, call.account, card, "jscontact")


async def _take_over(call: Call, body: Vcard) -> Any:
    taken, left_out = await call.office.db.write(
        exchange.import_vcard, call.office, call.account, body.text.encode(), actor=call.actor
    )
    return {"taken": taken, "left_out": left_out}


_SCOPE = Scope.CARDS

OPERATIONS = (
    Operation(
        "GET",
        "/relationships/{relationship}/receipt.json",
        "consentReceipt",
        "What they were permitted and given, in the fields of ISO/IEC TS 27560",
        _SCOPE,
        _receipt,
        query=Values,
        file="application/json",
    ),
    Operation(
        "GET",
        "/cards/{card}/letters.zip",
        "letters",
        "A letter to print for each vendor that holds an old value",
        _SCOPE,
        _letters,
        file="application/zip",
    ),
    Operation(
        "POST",
        "/cards/{card}/notify/again",
        "notifyAgain",
        "Ask those who were told and are silent once more",
        _SCOPE,
        _again,
        list[NoticeRow],
    ),
    Operation(
        "GET",
        "/cards/{card}/card.vcf",
        "exportVcard",
        "A card or view as vCard 3.0",
        _SCOPE,
        _vcard,
        file="text/vcard",
    ),
    Operation(
        "GET",
        "/cards/{card}/card4.vcf",
        "exportVcard4",
        "A card or view as vCard 4.0",
        _SCOPE,
        _vcard4,
        file="text/vcard",
    ),
    Operation(
        "GET",
        "/cards/{card}/card.json",
        "exportJscontact",
        "A card or view as JSContact 2.0",
        _SCOPE,
        _jscontact,
        file="application/jscontact+json",
    ),
    Operation(
        "POST",
        "/vcards",
        "importVcard",
        "Take a vCard's values over into cards",
        _SCOPE,
        _take_over,
        TakenOver,
        Vcard,
    ),
)
