"""A consent receipt of one relationship, from its grants, its ledger and its withdrawals.

Promise: it says what the database says, and nothing else; values only where they are asked for.

Sources: `core.consented`.
"""

from __future__ import annotations

import json
import uuid
from typing import Any

from sortingoffice.core import consented, derive
from sortingoffice.core.consented import Facts, Given, Party
from sortingoffice.core.model import Account, Relationship
from sortingoffice.flows import relationships as relationship_flows
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.office import Office
from sortingoffice.flows.vault import Vault
from sortingoffice.store import cards as rows
from sortingoffice.store import contacts, ledger, relationships
from sortingoffice.store.database import Transaction
from sortingoffice.store.ledger import Line


def receipt(
    tx: Transaction, office: Office, account: Account, relationship: str, *, values: bool
) -> dict[str, Any]:
    to = relationships.find(tx, account.id, relationship)
    keys = vaults.open_for(office, account)
    now = office.clock()
    lines = ledger.lines(tx, account.id, now, relationship_id=to.id)
    cards = rows.every(tx, account.id)
    members = {
        card.name: tuple(f"{card.name}.{each.key}" for each in rows.fields(tx, card.id)) for card in cards
    }
    members |= {view.name: tuple(json.loads(view.members)) for view in rows.views(tx, account.id)}
    principal = keys.uid(to.id)
    facts = Facts(
        record_id=f"urn:uuid:{uuid.uuid5(uuid.UUID(principal), 'consent record')}",
        receipt_id=f"urn:uuid:{uuid.UUID(bytes=office.random(16), version=4)}",
        principal=principal,
        vendor=_vendor(tx, to, principal),
        alias=relationship_flows.current_alias(tx, to).address,
        grants=rows.every_grant(tx, to.id),
        given=tuple(_given(keys, line, values=values) for line in lines if line.state not in _NEVER_LEFT),
        withdrawn=tuple((each.at, tuple(each.purpose.split())) for each in ledger.withdrawals(tx, to.id)),
        sensitivity={card.name: card.sensitivity for card in cards},
        members=members,
        now=now,
    )
    return consented.receipt(facts)


_NEVER_LEFT = ("dropped", "held", "queued", "returned")


def _vendor(tx: Transaction, to: Relationship, principal: str) -> Party:
    number = uuid.uuid5(uuid.UUID(principal), "vendor")
    addresses = tuple(each.written for each in contacts.every(tx, to.id))
    return Party(f"urn:uuid:{number}", to.name, to.kind.value, to.site, addresses)


def _given(keys: Vault, line: Line, *, values: bool) -> Given:
    value = keys.open(keys.item(line.disclosure_id, line.card, line.field), line.sealed) if values else None
    value = value or None  # of a sealed card only the version is known
    return Given(
        at=line.at,
        card=line.card,
        field=line.field,
        version=None if derive.split(line.field)[1] else line.number,
        via=line.via,
        form=line.form,
        purpose=line.purpose,
        state=line.state,
        grant_id=line.grant_id,
        value=value,
    )
