"""Person → vendor: put the asked cards into a message, or say why not; and write down what left.

Two calls inside the transaction that accepts an outward message: `disclose` before the gate
rewrites it, `record` after it was spooled.

Promise: a `Resolved` message and its ledger lines are committed together; otherwise the
message as it came goes back to the person, whole.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime

from sortingoffice.core import body, cards
from sortingoffice.core.addressing import Problem
from sortingoffice.core.body import EVERYTHING, Reading
from sortingoffice.core.cards import Facts, Filled, Granted, Item, Refused, Value, Waiting, Wallet
from sortingoffice.core.directive import Vocabulary
from sortingoffice.core.model import (
    Account,
    Contact,
    Disclosure,
    DisclosureItem,
    FieldType,
    Relationship,
    Sensitivity,
    Via,
)
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.office import Office
from sortingoffice.flows.vault import Vault
from sortingoffice.mail import mime
from sortingoffice.mail.message import Message
from sortingoffice.store import accounts, ledger
from sortingoffice.store import cards as rows
from sortingoffice.store import relationships as relationship_rows
from sortingoffice.store.database import Transaction


@dataclass(frozen=True, slots=True)
class Resolved:
    """The message with values where it asked for them; as it came where it asked for none.

    filled  what stands in it now; empty where nothing was asked
    """

    message: Message
    filled: tuple[Filled, ...]
    account: Account
    relationship: Relationship
    contacts: tuple[Contact, ...]

    @property
    def values(self) -> frozenset[str]:
        """The values that the person chose to send: no find for the leak guard."""
        return frozenset(item.value.text for each in self.filled for item in each.items if item.value.text)


def disclose(
    tx: Transaction,
    office: Office,
    account: Account,
    relationship: Relationship,
    contacts: tuple[Contact, ...],
    message: Message,
    now: datetime,
) -> Resolved | Problem:
    """Resolve what an outward message asks for; nothing leaves where it is a `Problem`.

    The caller has proved that the account's own mailbox wrote it, and that all recipients are
    contacts of this one relationship.

    Raises mime.TooComplex.
    """
    untouched = Resolved(message, (), account, relationship, contacts)
    names = {card.name for card in rows.every(tx, account.id)}
    names |= {view.name for view in rows.views(tx, account.id)}
    vocabulary = Vocabulary(account.trigger, frozenset(names))
    root = mime.parse(message)
    reading = body.read(root, vocabulary)
    if not reading.places:
        return untouched
    keys = vaults.open_for(office, account)
    facts = _facts(tx, keys, account, relationship, reading, now)
    if not cards.asked(facts):
        return replace(untouched, message=_written(root, reading, {}))
    outcome = cards.resolve(facts)
    if not isinstance(outcome, Granted):
        return _problem(outcome)
    by_line = {each.ask.line: each for each in outcome.filled}
    # Rule 11: write, read again, and only then let it go.
    draft = _written(root, body.without_escapes(reading), by_line)
    again = body.read(mime.parse(draft), vocabulary)
    if (remaining := cards.nothing_remains(facts.vendor, again.sights)) is not None:
        return _problem(remaining)
    return replace(untouched, message=_written(root, reading, by_line), filled=outcome.filled)


def record(tx: Transaction, office: Office, resolved: Resolved, message_id: int, now: datetime) -> None:
    """The ledger lines of a message that was just spooled, and the uses of its grants."""
    if not resolved.filled:
        return
    account, relationship = resolved.account, resolved.relationship
    keys = vaults.open_for(office, account)
    purposes = {grant.id: grant.purpose for grant in rows.grants(tx, relationship.id)}
    lines: dict[tuple[str, Via, int | None], dict[str, Item]] = {}
    for each in resolved.filled:
        for item in each.items:
            key = (each.ask.form, each.ask.via, item.grant_id)
            lines.setdefault(key, {})[item.value.named] = item
    for (form, via, grant_id), items in lines.items():
        for contact in resolved.contacts:
            line = Disclosure(
                id=0,
                account_id=account.id,
                relationship_id=relationship.id,
                contact_id=contact.id,
                grant_id=grant_id,
                message_id=message_id,
                at=now,
                form=form,
                via=via,
                purpose=purposes.get(grant_id, "") if grant_id is not None else "",
            )
            written = ledger.add(tx, line)
            for item in items.values():
                add_item(tx, keys, written.id, item.value)
    for used in {grant_id for _, _, grant_id in lines if grant_id is not None}:
        rows.use_grant(tx, used)


def add_item(tx: Transaction, keys: Vault, disclosure_id: int, value: Value) -> None:
    """One value in a ledger line, sealed for this line alone."""
    if value.text is None:
        raise ValueError(f"{value.named} has no value")
    place = keys.item(disclosure_id, value.card, value.key)
    sealed = keys.seal(place, value.text)
    ledger.add_item(
        tx, DisclosureItem(0, disclosure_id, value.card, value.key, value.version_id, sealed, value.mac)
    )


def remember_inbound(
    tx: Transaction, office: Office, relationship: Relationship, message: Message, now: datetime
) -> None:
    """Keep MACs of what a vendor's mail says that could be taken for a directive (rule 4).

    Never refuses a message: one too complex to read counts as having said everything.
    """
    try:
        said = body.said(message, mime.parse(message))
    except mime.TooComplex:
        said = frozenset({EVERYTHING})
    account = accounts.by_id(tx, relationship.account_id) if said else None
    if account is None or account.wrapped_key is None:
        return
    keys = vaults.open_for(office, account)
    rows.remember_inbound(tx, relationship.id, frozenset(keys.line_mac(line) for line in said), now)


# ---- facts ----------------------------------------------------------------------------------------


def wallet(
    tx: Transaction, keys: Vault, account: Account, now: datetime, relationship: Relationship | None = None
) -> Wallet:
    """Everything the account has at `now`; sealed values stay closed."""
    found: dict[str, list[Value]] = {card.name: [] for card in rows.every(tx, account.id)}
    for each in rows.current(tx, account.id, now):
        sealed = each.card.sensitivity is Sensitivity.SEALED
        version = each.version
        text = None
        if version is not None and not sealed:
            text = keys.open(keys.version(each.field.id, version.number), version.sealed)
        found[each.card.name].append(
            Value(
                card=each.card.name,
                key=each.field.key,
                type=each.field.type,
                sensitivity=each.card.sensitivity,
                text=text,
                version_id=version.id if version else None,
                number=version.number if version else 0,
                mac=version.mac if version else b"",
            )
        )
    views = {view.name: tuple(json.loads(view.members)) for view in rows.views(tx, account.id)}
    email = _alias(tx, keys, relationship) if relationship is not None else None
    return Wallet({name: tuple(values) for name, values in found.items()}, views, email)


def _alias(tx: Transaction, keys: Vault, relationship: Relationship) -> Value | None:
    live = [alias for alias in relationship_rows.aliases(tx, relationship.id) if alias.state == "live"]
    if not live:
        return None
    address = live[-1].address
    mac = keys.mac(FieldType.EMAIL, "email", address)
    return Value("", "email", FieldType.EMAIL, Sensitivity.OPEN, address, mac=mac, own=True)


def _facts(
    tx: Transaction,
    keys: Vault,
    account: Account,
    relationship: Relationship,
    reading: Reading,
    now: datetime,
) -> Facts:
    lines = {sight.mark.line for sight in reading.sights} | {EVERYTHING}
    macs = {keys.line_mac(line): line for line in lines}
    planted = rows.inbound(tx, relationship.id, frozenset(macs))
    return Facts(
        authenticated=True,
        sights=reading.sights,
        unread=tuple(str(path) for path in reading.unread),
        planted=frozenset(macs[mac] for mac in planted),
        vendors=(relationship.name,),
        slug=relationship.slug,
        outsiders=(),
        state=relationship.state,
        wallet=wallet(tx, keys, account, now, relationship),
        grants=rows.grants(tx, relationship.id),
        held=ledger.held(tx, relationship.id),
        tls_verified=False,
        now=now,
        kinds=reading.kinds,
        trigger=account.trigger,
    )


# ---- the outcome ----------------------------------------------------------------------------------


def _written(root: mime.Entity, reading: Reading, by_line: dict[str, Filled]) -> Message:
    return Message.parse(bytes(body.write(root, reading, by_line)))


def _problem(outcome: Refused | Waiting) -> Problem:
    return Problem(outcome.rule, f"Not sent: {outcome.what}", (outcome.hint,))
