"""Who has what: the ledger as a person asks for it, and what they gave elsewhere.

Promise: nothing here changes a line; a value that a person gave in a web form or on paper gets
a line of its own, so that `who-has` tells the truth.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sortingoffice.core import derive, fields
from sortingoffice.core.directive import Ask
from sortingoffice.core.model import Account, Relationship, Sensitivity, Via
from sortingoffice.core.wallet import Value, selection
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows import cards as card_flows
from sortingoffice.flows import entry, wallets
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.entry import Leaving
from sortingoffice.flows.office import Office
from sortingoffice.store import cards as rows
from sortingoffice.store import events, ledger, relationships
from sortingoffice.store.database import Transaction
from sortingoffice.store.ledger import Line

_NEVER_LEFT = ("dropped", "held")


def who_has(tx: Transaction, office: Office, account: Account, named: str) -> list[dict[str, Any]]:
    """Every line about a card, a view, a card's field, or a field of that name on any card."""
    now = office.clock()
    card, dot, key = named.partition(".")
    card = fields.name(card)
    key = fields.key(key) if dot else ""
    lines: Sequence[Line]
    views = {view.name: view for view in rows.views(tx, account.id)}
    if card in views and not dot:
        members = json.loads(views[card].members)
        lines = [each for each in ledger.lines(tx, account.id, now) if _selects(members, each)]
    else:
        lines = ledger.lines(tx, account.id, now, card=card, field=key)
        if not lines and not dot and rows.by_name(tx, account.id, card) is None:
            lines = ledger.lines(tx, account.id, now, field=card)
            if not lines and derive.known(card):
                every = ledger.lines(tx, account.id, now)
                lines = [each for each in every if derive.split(each.field)[1] == card]
            elif not lines:
                _known(tx, account, card)
        elif not lines and dot:
            _known_field(tx, account, card, key)
    return [row(each) for each in lines if each.state not in _NEVER_LEFT]


def _selects(members: Sequence[str], line: Line) -> bool:
    """Whether a view has what this line gave, or the value that it was derived of."""
    named = f"{line.card}.{line.field}"
    return named in members or derive.split(named)[0] in members


def disclosures(tx: Transaction, office: Office, account: Account, relationship: str) -> list[dict[str, Any]]:
    """The ledger of one relationship, or with "" of all."""
    of = relationships.find(tx, account.id, relationship).id if relationship else None
    return [row(each) for each in ledger.lines(tx, account.id, office.clock(), relationship_id=of)]


def disclosed(
    tx: Transaction,
    office: Office,
    account: Account,
    relationship: str,
    card: str,
    only: Sequence[str],
    *,
    via: Via,
    purpose: str = "",
    actor: str,
) -> list[dict[str, Any]]:
    """Write down that the person gave a card's values outside of mail."""
    to = relationships.find(tx, account.id, relationship)
    given = _values(tx, office, account, to, fields.name(card), tuple(only))
    return write(tx, office, account, to, given, via=via, purpose=purpose, actor=actor)


def write(
    tx: Transaction,
    office: Office,
    account: Account,
    to: Relationship,
    given: Sequence[Value],
    *,
    via: Via,
    purpose: str = "",
    actor: str,
) -> list[dict[str, Any]]:
    """One ledger line for values that no message of ours carried."""
    now = office.clock()
    keys = vaults.open_for(office, account)
    leaving = [Leaving(value, "text", via) for value in given]
    lines = entry.write(tx, keys, to, leaving, contacts=(None,), message_id=None, purpose=purpose, now=now)
    names = ", ".join(value.named for value in given)
    events.add(
        tx,
        at=now,
        actor=actor,
        what="disclosed",
        account_id=account.id,
        relationship_id=to.id,
        detail=f"{names} via {via}"[:500],
    )
    return [
        row(each)
        for each in ledger.lines(tx, account.id, now, relationship_id=to.id)
        if each.disclosure_id in [line.id for line in lines]
    ]


def row(line: Line) -> dict[str, Any]:
    """What may be relied on: the interface's keys first.

    A derived value's field is `birthday:over-18`; whether it is current, time tells as well as the version:
    `card notify --dry-run` works it out.
    """
    told = line.number is not None and not derive.split(line.field)[1]
    return {
        "relationship": line.slug,
        "card": line.card,
        "field": line.field,
        "version": line.number,
        "at": line.at,
        "via": str(line.via),
        "state": line.state,
        "name": line.vendor,
        "contact": line.contact,
        "form": line.form,
        "purpose": line.purpose,
        "terms": line.terms,
        "current": line.number == line.latest if told else None,
    }


def _values(
    tx: Transaction,
    office: Office,
    account: Account,
    to: Relationship,
    card: str,
    only: tuple[str, ...],
) -> tuple[Value, ...]:
    """The current values of a card, or of some of its fields; raises OfficeError where one is missing."""
    keys = vaults.open_for(office, account)
    wallet = wallets.of(tx, keys, account, office.clock(), to)
    if card not in wallet.names:
        raise card_flows.unknown(tx, account, card)
    wanted = tuple(fields.key(key) for key in only)
    found = selection(wallet, Ask(card, wanted, (), "text", Via.CLI, ""))
    missing = [key for key in wanted if key not in [word for value in found for word in value.words]]
    closed = [value for value in found if value.sensitivity is Sensitivity.SEALED and value.version_id]
    if any(value.like is None for value in closed):
        raise OfficeError(
            f"card {card} was sealed by an older version: give its passphrase once, at a terminal "
            f"(sortingoffice card show {card} --reveal), and write it down then"
        )
    missing += [value.key for value in found if value.text is None and value not in closed]
    if missing:
        raise NotThere(f'card {card} has no value for "{missing[0]}"')
    if not found:
        raise OfficeError(f"card {card} is empty: there is nothing to write down")
    return found


def _known(tx: Transaction, account: Account, name: str) -> None:
    """Raises NotThere where no card has a field of that name either."""
    now_any = any(
        field.key == name for card in rows.every(tx, account.id) for field in rows.fields(tx, card.id)
    )
    if not now_any:
        raise card_flows.unknown(tx, account, name)


def _known_field(tx: Transaction, account: Account, card: str, key: str) -> None:
    found = rows.by_name(tx, account.id, card)
    if found is None:
        raise card_flows.unknown(tx, account, card)
    mine = [field.key for field in rows.fields(tx, found.id)]
    key = derive.split(key)[0]
    if key not in mine and key != "email":
        close = fields.near(key, tuple(mine))
        hint = f"; did you mean {close}?" if close else f"; it has {', '.join(mine)}" if mine else ""
        raise NotThere(f"card {card} has no field {fields.shown(key)}{hint}")
