"""Permit and forbid: which relationship may receive which card.

Each function is one transaction and writes its event there.

Promise: a grant never lifts a denial; what a grant's end stops comes back to the person whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sortingoffice.core import derive, fields
from sortingoffice.core.model import Account, Grant, GrantMode, Relationship
from sortingoffice.core.text import one_line
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows import cards, recall
from sortingoffice.flows.office import Office
from sortingoffice.frozen import dataclass
from sortingoffice.store import cards as rows
from sortingoffice.store import events, relationships
from sortingoffice.store.database import Transaction


@dataclass(frozen=True, slots=True)
class Permission:
    """What `grant` says; fields () means all of the card, also later ones.

    terms  on which they have it: what they are called, or where they stand
    since  when it begins; None: at once
    """

    card: str
    fields: tuple[str, ...] = ()
    mode: GrantMode = GrantMode.AUTO
    purpose: str = ""
    until: datetime | None = None
    uses: int | None = None
    terms: str = ""
    since: datetime | None = None


def grant(
    tx: Transaction,
    office: Office,
    account: Account,
    relationship: str,
    permission: Permission,
    *,
    actor: str,
) -> dict[str, Any]:
    """Permit or forbid; a grant of the same card and fields takes the place of the one before.

    What still waits to leave against a denial is dropped, and the person told.
    """
    now = office.clock()
    to = relationships.find(tx, account.id, relationship)
    name = fields.name(permission.card)
    chosen = _chosen(tx, account, name, permission.fields, now)
    if permission.until is not None and permission.until <= now:
        raise OfficeError("the end of this grant lies in the past: give a later date")
    if permission.since is not None and permission.until is not None and permission.until <= permission.since:
        raise OfficeError("this grant would end before it begins: give a later end")
    if permission.uses is not None and permission.uses < 1:
        raise OfficeError("a grant has at least one use")
    written = json.dumps(sorted(chosen), ensure_ascii=False) if chosen else ""
    for earlier in rows.grants(tx, to.id):
        if (earlier.card, earlier.fields) != (name, written):
            continue
        if earlier.mode is GrantMode.NEVER and permission.mode is not GrantMode.NEVER:
            raise OfficeError(
                f"{to.name} is never given {name}: `sortingoffice ungrant {to.slug} {name}` lifts that first"
            )
        rows.end_grant(tx, earlier.id, now)
    made = rows.add_grant(
        tx,
        Grant(
            id=0,
            account_id=account.id,
            relationship_id=to.id,
            card=name,
            fields=written,
            mode=permission.mode,
            purpose=one_line(permission.purpose, "the purpose"),
            terms=one_line(permission.terms, "the terms", most=500),
            not_before=permission.since,
            expires=permission.until,
            uses_left=permission.uses,
            created=now,
            ended=None,
        ),
    )
    detail = f"{name}{' (' + ', '.join(chosen) + ')' if chosen else ''}, {permission.mode}"
    _event(tx, now, actor, account, "granted", detail, to)
    if made.mode is GrantMode.NEVER:
        recall.denied(tx, office, account, to, made, now)
    return grant_row(made, to)


def _chosen(
    tx: Transaction, account: Account, name: str, asked: Sequence[str], now: datetime
) -> tuple[str, ...]:
    """The keys of these fields of a card or view; `NotThere` for one that it hasn't."""
    members = [each.field.key for each in cards.members(tx, account, name, now)]
    by_word = {derive.split(key)[1]: key for key in members if derive.split(key)[1]}
    keys = (by_word.get(key, key) for key in asked)
    chosen = tuple(dict.fromkeys(fields.key(key) for key in keys))
    for key in chosen:
        if key in members or derive.split(key)[0] in (*members, "email"):
            continue
        close = fields.near(key, tuple(members))
        hint = f"; did you mean {close}?" if close else f"; it has {', '.join(members)}" if members else ""
        raise NotThere(f"card {name} has no field {fields.shown(key)}{hint}")
    return chosen


def ungrant(
    tx: Transaction, office: Office, account: Account, relationship: str, card: str, *, actor: str
) -> list[dict[str, Any]]:
    """`end_grants`, as rows."""
    to, ended = end_grants(tx, office, account, relationship, card, actor=actor)
    return [grant_row(each, to) for each in ended]


def end_grants(
    tx: Transaction, office: Office, account: Account, relationship: str, card: str, *, actor: str
) -> tuple[Relationship, list[Grant]]:
    """End every grant and denial of a card, for the future; what was given stays in the ledger.

    What still waits to leave under them is dropped, and the person told.
    """
    now = office.clock()
    to = relationships.find(tx, account.id, relationship)
    name = fields.name(card)
    ended = [each for each in rows.grants(tx, to.id) if each.card == name]
    if not ended:
        granted = sorted({each.card for each in rows.grants(tx, to.id)})
        hint = f"; it has grants of {', '.join(granted)}" if granted else ""
        raise NotThere(f"{to.name} has no grant of {fields.shown(name)}{hint}")
    for each in ended:
        rows.end_grant(tx, each.id, now)
    _event(tx, now, actor, account, "ungranted", name, to)
    recall.ungranted(tx, office, account, to, ended, now)
    return to, [replace(each, ended=now) for each in ended]


def grant_row(made: Grant, to: Relationship) -> dict[str, Any]:
    return {
        "relationship": to.slug,
        "card": made.card,
        "fields": json.loads(made.fields) if made.fields else [],
        "mode": str(made.mode),
        "purpose": made.purpose,
        "terms": made.terms,
        "from": made.not_before,
        "expires": made.expires,
        "uses_left": made.uses_left,
        "at": made.created,
        "ended": made.ended,
    }


def _event(
    tx: Transaction,
    now: datetime,
    actor: str,
    account: Account,
    what: str,
    detail: str,
    to: Relationship,
) -> None:
    events.add(
        tx,
        at=now,
        actor=actor,
        what=what,
        account_id=account.id,
        relationship_id=to.id,
        detail=detail[:500],
    )
