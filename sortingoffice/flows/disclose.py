"""Person → vendor: put the asked cards into a message, or say why not; and write down what left.

Two calls inside the transaction that accepts an outward message:

    outcome = disclose(tx, office, …)          before the gate rewrites the message
    record(tx, office, outcome, …)             after it was spooled; `Resolved` only

Promise: a `Resolved` message and its ledger lines are committed together; otherwise the
message as it came goes back to the person, whole.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from sortingoffice.core import body, cards
from sortingoffice.core.body import EVERYTHING, Reading
from sortingoffice.core.cards import Facts, Filled, Granted, Item, Value, Waiting, Wallet
from sortingoffice.core.directive import Ask, Vocabulary
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
    """The message with values where it asked for them.

    filled  what stands in it now; empty where only an escape was undone
    """

    message: Message
    filled: tuple[Filled, ...]

    @property
    def values(self) -> frozenset[str]:
        """The values that the person chose to send: no find for the leak guard."""
        return frozenset(item.value.text for each in self.filled for item in each.items if item.value.text)


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing leaves; the mail goes back to the person with these words.

    rule     of `core.cards`
    subject  "Not sent: …"
    lines    what to do
    """

    rule: str
    subject: str
    lines: tuple[str, ...]


def disclose(
    tx: Transaction,
    office: Office,
    *,
    account: Account,
    relationships: tuple[Relationship, ...],
    contacts: tuple[Contact, ...],
    outsiders: tuple[str, ...] = (),
    message: Message,
    authenticated: bool,
    now: datetime,
) -> Resolved | Refused | None:
    """Resolve what an outward message asks for; None where it asks for nothing.

    relationships  those that the recipients belong to, each once
    contacts       the recipients
    outsiders      recipients that are nobody's contact, as they may be shown to the person
    authenticated  the sender is the account's own mailbox, proved
    """
    if not authenticated:
        return None  # rule 1: a stranger's text isn't even parsed
    found = _read(tx, account, message)
    if found is None:
        return None
    root, reading = found
    asked = any(not sight.quoted for sight in reading.sights)
    if isinstance(root, mime.TooComplex):
        return _returned("readable", f"{root}", "Nothing went out. Send it with fewer parts.")
    if not asked and not reading.escapes and not reading.sights:
        return None
    keys = vaults.open_for(office, account)
    facts = _facts(tx, keys, account, relationships, reading, outsiders, authenticated, now)
    if not asked:
        echoes = all(s.mark.line in facts.planted for s in reading.sights if isinstance(s.mark, Ask))
        if EVERYTHING in facts.planted or echoes:
            return _undone(root, reading, message)
        # A line in quoted text that no vendor wrote is the person's own, misplaced.
        verdict = cards.exactly_once(facts)
    else:
        verdict = None
    outcome = verdict or cards.resolve(facts)
    if isinstance(outcome, Granted):
        return _rendered(root, reading, outcome, facts, account)
    return _returned(outcome.rule, outcome.what, outcome.hint)


def record(
    tx: Transaction,
    office: Office,
    resolved: Resolved,
    *,
    account: Account,
    relationship: Relationship,
    contacts: tuple[Contact, ...],
    message_id: int,
    now: datetime,
) -> None:
    """The ledger lines of a message that was just spooled, and the uses of its grants."""
    keys = vaults.open_for(office, account)
    purposes = {grant.id: grant.purpose for grant in rows.grants(tx, relationship.id)}
    lines: dict[tuple[str, Via, int | None], dict[str, Item]] = {}
    for each in resolved.filled:
        for item in each.items:
            key = (each.ask.form, each.ask.via, item.grant_id)
            lines.setdefault(key, {})[item.value.named] = item
    for (form, via, grant_id), items in lines.items():
        for contact in contacts:
            written = ledger.add(
                tx,
                Disclosure(
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
                ),
            )
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


def _read(
    tx: Transaction, account: Account, message: Message
) -> tuple[mime.Entity | mime.TooComplex, Reading] | None:
    """The tree and its marks; None where the octets can't hold any."""
    names = {card.name for card in rows.every(tx, account.id)}
    names |= {view.name for view in rows.views(tx, account.id)}
    try:
        root = mime.parse(message)
    except mime.TooComplex as error:
        return error, Reading((), frozenset(), ())
    return root, body.read(root, Vocabulary(account.trigger, frozenset(names)))


def _facts(
    tx: Transaction,
    keys: Vault,
    account: Account,
    recipients: tuple[Relationship, ...],
    reading: Reading,
    outsiders: tuple[str, ...],
    authenticated: bool,
    now: datetime,
) -> Facts:
    first = recipients[0]
    lines = {sight.mark.line for sight in reading.sights} | {EVERYTHING}
    macs = {keys.line_mac(line): line for line in lines}
    planted = {macs[mac] for each in recipients for mac in rows.inbound(tx, each.id, frozenset(macs))}
    return Facts(
        authenticated=authenticated,
        sights=reading.sights,
        unread=tuple(str(path) for path in reading.unread),
        planted=frozenset(planted),
        vendors=tuple(each.name for each in recipients),
        slug=first.slug,
        outsiders=outsiders,
        state=first.state,
        wallet=wallet(tx, keys, account, now, first),
        grants=rows.grants(tx, first.id),
        held=ledger.held(tx, first.id),
        tls_verified=False,
        now=now,
        kinds=reading.kinds,
        trigger=account.trigger,
    )


# ---- the outcome ----------------------------------------------------------------------------------


def _rendered(
    root: mime.Entity, reading: Reading, granted: Granted, facts: Facts, account: Account
) -> Resolved | Refused:
    """Rule 11: write, read again, and only then let it go."""
    by_line = {each.ask.line: each for each in granted.filled}
    vocabulary = Vocabulary(account.trigger, frozenset(facts.wallet.names))
    kept = body.without_escapes(reading)
    again = body.read(mime.parse(Message.parse(bytes(body.write(root, kept, by_line)))), vocabulary)
    remaining = cards.nothing_remains(facts.vendor, again.sights)
    if remaining is not None:
        return _returned(remaining.rule, remaining.what, remaining.hint)
    return Resolved(Message.parse(bytes(body.write(root, reading, by_line))), granted.filled)


def _undone(root: mime.Entity, reading: Reading, message: Message) -> Resolved | None:
    """Nothing is asked; an escape is still undone."""
    if not reading.escapes:
        return None
    return Resolved(Message.parse(bytes(body.write(root, reading, {}))), ())


def _returned(rule: str, what: str, hint: str) -> Refused:
    return Refused(rule, f"Not sent: {what}", (hint,))


__all__ = ["Refused", "Resolved", "Waiting", "disclose", "record", "remember_inbound", "wallet"]
