"""I have moved: one mail to each vendor that holds the old value; and: I take it back.

Promise: a vendor is told only of fields that they hold; what they are told stands in the ledger
in the same transaction; a denial is kept, and the plan says so.

Sources: the cards document of the design, "Change, withdraw, ask".
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sortingoffice.core import cards, derive, fields, letter
from sortingoffice.core.letter import Changed, Letter
from sortingoffice.core.model import (
    Account,
    Contact,
    Grant,
    GrantMode,
    Relationship,
    RelationshipState,
    Sensitivity,
    Via,
)
from sortingoffice.core.notification import Notification
from sortingoffice.core.wallet import Value, Wallet
from sortingoffice.flows import cards as card_flows
from sortingoffice.flows import entry, grants, letters, wallets
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.entry import Leaving
from sortingoffice.flows.office import Office
from sortingoffice.flows.vault import Vault
from sortingoffice.frozen import dataclass
from sortingoffice.store import cards as rows
from sortingoffice.store import contacts, events, ledger, notifications, relationships
from sortingoffice.store.database import Transaction
from sortingoffice.store.ledger import Line

MAIL = "mail"
LETTER = "letter"  # no address is known: on paper, or in their web form
NOT_ACTIVE = "not active"
DENIED = "denied"
SENSITIVE = (
    "sensitive"  # goes by no mail that nobody looks at: on paper, or by a reply that asks for the card
)
SEALED = "sealed"  # only the person can read what they would be told
_GONE = ("dropped", "returned")  # what is held may still leave: who waits for it is not told twice


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


@dataclass(frozen=True, slots=True)
class _Book:
    """A card's values as they are or will be, and every line about them, in the order in which they hold."""

    keys: Vault
    wallet: Wallet
    members: dict[str, Value]
    lines: dict[int, dict[str, list[Line]]]
    now: datetime


def plan(
    tx: Transaction, office: Office, account: Account, name: str, *, only: int | None = None
) -> tuple[Step, ...]:
    """Who holds an old value of this card or view, and what they would be told.

    only  of this relationship; None: of all
    """
    book = _book(tx, office, account, name, only)
    steps = []
    for relationship_id, held in book.lines.items():
        stale = [of[-1] for named, of in held.items() if _stale(of[-1], book.members[named])]
        if stale:
            steps.append(_step(tx, book, relationship_id, stale))
    return tuple(steps)


def _stale(line: Line, now: Value) -> bool:
    """Whether a vendor's value is another than the one of now; of a sealed one only the version tells."""
    if now.sensitivity is Sensitivity.SEALED:
        return line.version_id != now.version_id
    return line.mac != now.mac


def told(
    tx: Transaction, office: Office, account: Account, name: str, of: int, *, by: int | None = None
) -> Step | None:
    """What a vendor was told and still holds good, with what they held before; None where nothing is.

    by  the message that told them; None: any
    """
    book = _book(tx, office, account, name, of)
    before = []
    for named, lines in book.lines.get(of, {}).items():
        last = lines[-1]
        earlier = [line for line in lines if line.mac != last.mac]
        if last.mac != book.members[named].mac or last.via is not Via.NOTICE or not earlier:
            continue
        if by is None or last.message_id == by:
            before.append(earlier[-1])
    return _step(tx, book, of, before) if before else None


def _book(tx: Transaction, office: Office, account: Account, name: str, only: int | None) -> _Book:
    now = office.clock()
    keys = vaults.open_for(office, account)
    lines = [
        line
        for line in ledger.lines(tx, account.id, now, relationship_id=only)
        if line.state not in _GONE and line.state != ledger.WITHDRAWN
    ]
    derived = {f"{line.card}.{line.field}" for line in lines if derive.split(line.field)[1]}
    # Ages are of today; the rest is as it will be once nothing changes any more.
    wallet = wallets.of(tx, keys, account, _latest(tx, account, now), None, also=derived, today=now.date())
    wanted = fields.name(name)
    if wanted not in wallet.names:
        raise card_flows.unknown(tx, account, wanted)
    chosen = [*wallet.members(wanted)]
    # Who holds the year of a date holds an old value when the year is another now.
    whole = {each.named for each in chosen}
    chosen += [value for value in wallet.derived.values() if value.whole in whole]
    members = {value.named: value for value in chosen if value.version_id is not None and value.mac}
    held: dict[int, dict[str, list[Line]]] = {}
    for line in sorted(lines, key=lambda each: each.order):
        named = f"{line.card}.{line.field}"
        if named in members:
            held.setdefault(line.relationship_id, {}).setdefault(named, []).append(line)
    return _Book(keys, wallet, members, held, now)


def _latest(tx: Transaction, account: Account, now: datetime) -> datetime:
    """The moment from which on nothing changes any more: a move is announced before it happens."""
    moments = [
        version.valid_from
        for card in rows.every(tx, account.id)
        for field in rows.fields(tx, card.id)
        for version in rows.versions(tx, field.id)
    ]
    return max([now, *moments])


def _step(tx: Transaction, book: _Book, relationship_id: int, before: list[Line]) -> Step:
    """before: the lines whose values are old."""
    to = relationships.by_id(tx, relationship_id)
    assert to is not None, "a foreign key holds it"
    changed = []
    sensitive = closed = False
    denials = rows.grants(tx, to.id)
    for line in before:
        value = book.members[f"{line.card}.{line.field}"]
        if _denied(denials, value, book.wallet, book.now):
            continue
        if value.sensitivity is Sensitivity.SEALED:
            closed = True
            continue
        sensitive = sensitive or value.sensitivity is Sensitivity.SENSITIVE
        old = book.keys.open(book.keys.item(line.disclosure_id, line.card, line.field), line.sealed)
        version = rows.version(tx, value.version_id) if value.version_id is not None else None
        coming = version is not None and version.valid_from > max(book.now, version.created)
        since = version.valid_from if version is not None and coming else None
        changed.append((Changed(fields.label(value.key), old, value.text or "", since), value))
    if not changed:
        return Step(to, None, (), SEALED if closed else DENIED)
    contact = _contact(tx, to, before)
    how = MAIL if contact is not None else LETTER
    if sensitive:
        how = SENSITIVE
    if to.state is not RelationshipState.ACTIVE:
        how = NOT_ACTIVE
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


def send(
    tx: Transaction,
    office: Office,
    account: Account,
    name: str,
    *,
    only: int | None = None,
    patience: timedelta | None = None,
    actor: str,
) -> tuple[Step, ...]:
    """Carry the plan out, as it is now: who was told meanwhile is in no plan any more.

    only      this relationship, locked against another who tells it: a transaction for each, so that
              one that is interrupted goes on where it was
    patience  how long their silence is no matter; None: what the config says
    """
    if only is not None:
        relationships.by_id(tx, only)  # FOR NO KEY UPDATE, before the plan is made
    steps = plan(tx, office, account, name, only=only)
    for step in steps:
        if step.how == MAIL and step.contact is not None:
            written = letter.change(fields.name(name), [changed for changed, _ in step.changed])
            write(tx, office, account, step, written, card=fields.name(name), patience=patience, actor=actor)
    office.wake()
    return steps


def write(
    tx: Transaction,
    office: Office,
    account: Account,
    step: Step,
    written: Letter,
    *,
    card: str,
    patience: timedelta | None,
    actor: str,
    again: int | None = None,
) -> None:
    """One notice: the mail, its ledger lines, and that an answer is waited for.

    again  the notice that this one repeats
    """
    assert step.contact is not None, "a step by mail has a contact"
    now = office.clock()
    rule = "card_notify" if again is None else "card_notify_again"
    message = letters.send(tx, office, step.to, step.contact, written, rule=rule, now=now)
    entry.write(
        tx,
        vaults.open_for(office, account),
        step.to,
        [Leaving(value, "text", Via.NOTICE) for _, value in step.changed],
        contacts=(step.contact.id,),
        message_id=message.id,
        now=now,
    )
    silent_from = now + (patience or office.config.cards.silent_after)
    notifications.add(
        tx, Notification(0, account.id, step.to.id, message.id, card, now, silent_from, None, again)
    )
    said = ", ".join(value.named for _, value in step.changed)
    what = "notified" if again is None else "notified again"
    _event(tx, account, step.to, what, said, message.token, now, actor)


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
        for line in ledger.lines(tx, account.id, now, relationship_id=to.id)
        if line.state not in (*_GONE, "held")
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
        entry.line(
            to,
            contact.id,
            message.id,
            form=ledger.WITHDRAWAL,
            via=Via.NOTICE,
            purpose=" ".join(received),
            now=now,
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
