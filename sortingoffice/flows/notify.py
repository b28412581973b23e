"""I have moved: one mail to each vendor that holds the old value; and: I take it back.

Promise: a vendor is told only of fields that they hold; what they are told stands in the ledger
in the same transaction; a denial is kept, and the plan says so.

Sources: the cards document of the design, "Change, withdraw, ask".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sortingoffice.core import cards, derive, fields, letter
from sortingoffice.core.letter import Changed
from sortingoffice.core.model import (
    Account,
    Contact,
    Disclosure,
    Grant,
    GrantMode,
    Relationship,
    RelationshipState,
    Sensitivity,
    Via,
)
from sortingoffice.core.wallet import Value, Wallet
from sortingoffice.flows import cards as card_flows
from sortingoffice.flows import entry, grants, letters, wallets
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.entry import Leaving
from sortingoffice.flows.office import Office
from sortingoffice.flows.vault import Vault
from sortingoffice.store import cards as rows
from sortingoffice.store import contacts, events, ledger, relationships
from sortingoffice.store.database import Transaction
from sortingoffice.store.ledger import Line

MAIL = "mail"
LETTER = "letter"  # no address is known: on paper, or in their web form
NOT_ACTIVE = "not active"
DENIED = "denied"
_GONE = ("dropped", "returned", "held")


@dataclass(frozen=True, slots=True)
class Step:
    """One vendor of the plan.

    contact  None where no address is known
    changed  what the mail says, and the values that it gives
    how      MAIL, or why not
    """

    to: Relationship
    contact: Contact | None
    changed: tuple[tuple[Changed, Value], ...]
    how: str


def plan(tx: Transaction, office: Office, account: Account, name: str) -> tuple[Step, ...]:
    """Who holds an old value of this card or view, and what they would be told."""
    now = office.clock()
    keys = vaults.open_for(office, account)
    lines = ledger.lines(tx, account.id)
    derived = {f"{line.card}.{line.field}" for line in lines if derive.split(line.field)[1]}
    latest = _latest(tx, account, now)
    wallet = wallets.of(tx, keys, account, latest, None, also=derived, today=now.date())
    wanted = fields.name(name)
    if wanted not in wallet.names:
        raise card_flows.unknown(tx, account, wanted)
    chosen = [*wallet.members(wanted)]
    # Who holds the year of a date holds an old value when the year is another now.
    chosen += [v for v in wallet.derived.values() if v.whole in {each.named for each in chosen}]
    members = {value.named: value for value in chosen if value.text is not None}
    old: dict[int, dict[str, Line]] = {}
    for line in lines:
        named = f"{line.card}.{line.field}"
        if named in members and line.state not in _GONE:
            old.setdefault(line.relationship_id, {})[named] = line
    steps = []
    for relationship_id, held in old.items():
        to = relationships.by_id(tx, relationship_id)
        assert to is not None, "a foreign key holds it"
        stale = [line for named, line in held.items() if line.mac != members[named].mac]
        if stale:
            steps.append(_step(tx, keys, account, to, stale, members, wallet, now))
    return tuple(steps)


def _latest(tx: Transaction, account: Account, now: datetime) -> datetime:
    """The moment from which on nothing changes any more: a move is announced before it happens."""
    moments = [
        version.valid_from
        for card in rows.every(tx, account.id)
        for field in rows.fields(tx, card.id)
        for version in rows.versions(tx, field.id)
    ]
    return max([now, *moments])


def _step(
    tx: Transaction,
    keys: Vault,
    account: Account,
    to: Relationship,
    stale: list[Line],
    members: dict[str, Value],
    wallet: Wallet,
    now: datetime,
) -> Step:
    changed = []
    how = MAIL if to.state is RelationshipState.ACTIVE else NOT_ACTIVE
    grants = rows.grants(tx, to.id)
    for line in stale:
        value = members[f"{line.card}.{line.field}"]
        if _denied(grants, value, wallet, now) or value.sensitivity is Sensitivity.SENSITIVE:
            continue
        before = keys.open(keys.item(line.disclosure_id, line.card, line.field), line.sealed)
        version = rows.version(tx, value.version_id) if value.version_id is not None else None
        since = version.valid_from if version is not None and version.valid_from > now else None
        changed.append((Changed(fields.label(value.key), before, value.text or "", since), value))
    if not changed:
        return Step(to, None, (), DENIED)
    contact = _contact(tx, to, stale)
    if contact is None and how == MAIL:
        how = LETTER
    return Step(to, contact, tuple(changed), how)


def _denied(grants: tuple[Grant, ...], value: Value, wallet: Wallet, now: datetime) -> bool:
    return any(
        grant.mode is GrantMode.NEVER and cards.live(grant, now) and cards.covers(grant, value, wallet)
        for grant in grants
    )


def _contact(tx: Transaction, to: Relationship, lines: list[Line]) -> Contact | None:
    """Whom the old value went to last, else whoever wrote first."""
    known = contacts.every(tx, to.id)
    for line in reversed(lines):
        for contact in known:
            if contact.address == line.contact:
                return contact
    return known[0] if known else None


def send(tx: Transaction, office: Office, account: Account, name: str, *, actor: str) -> tuple[Step, ...]:
    """Carry the plan out, as it is now."""
    now = office.clock()
    keys = vaults.open_for(office, account)
    steps = plan(tx, office, account, name)
    for step in steps:
        if step.how != MAIL or step.contact is None:
            continue
        written = letter.change(fields.name(name), [changed for changed, _ in step.changed])
        message = letters.send(tx, office, step.to, step.contact, written, rule="card_notify", now=now)
        entry.write(
            tx,
            keys,
            account,
            step.to,
            [Leaving(value, "text", Via.NOTICE) for _, value in step.changed],
            contacts=(step.contact.id,),
            message_id=message.id,
            now=now,
        )
        told = ", ".join(value.named for _, value in step.changed)
        _event(tx, account, step.to, "notified", told, message.token, now, actor)
    office.wake()
    return steps


def ungrant(
    tx: Transaction, office: Office, account: Account, relationship: str, card: str, *, actor: str
) -> tuple[list[dict[str, Any]], bool]:
    """End the grants, and ask the vendor to forget what they got under them; whether there was what."""
    to, ended = grants.end_grants(tx, office, account, relationship, card, actor=actor)
    allowed = [each for each in ended if each.mode is not GrantMode.NEVER]
    told = bool(allowed) and withdraw(tx, office, account, to, allowed, actor=actor)
    return [grants.grant_row(each, to) for each in ended], told


def withdraw(
    tx: Transaction,
    office: Office,
    account: Account,
    to: Relationship,
    ended: list[Grant],
    *,
    actor: str,
) -> bool:
    """Ask the vendor to forget what they got under these grants' cards; whether there was what and whom."""
    now = office.clock()
    wallet = wallets.of(tx, vaults.open_for(office, account), account, now, to)
    lines = [
        line
        for line in ledger.lines(tx, account.id, relationship_id=to.id)
        if line.state not in _GONE
        and any(cards.covers(grant, wallet.member(f"{line.card}.{line.field}"), wallet) for grant in ended)
    ]
    contact = _contact(tx, to, lines)
    if not lines or contact is None:
        return False
    received = {f"{line.card}.{line.field}": (fields.label(line.field), line.at) for line in lines}
    written = letter.withdrawal(ended[0].card, list(received.values()))
    message = letters.send(tx, office, to, contact, written, rule="ungrant_notify", now=now)
    ledger.add(
        tx,
        Disclosure(
            id=0,
            account_id=account.id,
            relationship_id=to.id,
            contact_id=contact.id,
            grant_id=None,
            message_id=message.id,
            at=now,
            form=ledger.WITHDRAWAL,
            via=Via.NOTICE,
            purpose=" ".join(received),
        ),
    )
    _event(tx, account, to, "withdrawn", ", ".join(received), message.token, now, actor)
    office.wake()
    return True


def row(step: Step) -> dict[str, Any]:
    return {
        "relationship": step.to.slug,
        "name": step.to.name,
        "to": step.contact.written if step.contact is not None else "",
        "how": step.how,
        "fields": [
            {
                "card": value.card,
                "field": value.key,
                "old": changed.old,
                "new": changed.new,
                "from": changed.since,
            }
            for changed, value in step.changed
        ],
    }


def _event(
    tx: Transaction,
    account: Account,
    to: Relationship,
    what: str,
    detail: str,
    message: str,
    now: datetime,
    actor: str,
) -> None:
    events.add(
        tx,
        at=now,
        actor=actor,
        what=what,
        account_id=account.id,
        relationship_id=to.id,
        message=message,
        detail=detail[:500],
    )
