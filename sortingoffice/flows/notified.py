"""After `card notify`: who has answered, who is silent and asked again, and letters for those who insist.

Promise: an answer is a mail in the notice's own thread that no machine wrote; a silent vendor is asked
again once, and only about what still holds.

Sources: the cards document of the design, "Change, withdraw, ask"; RFC 5322 §3.6.4 (References).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sortingoffice.core import fields, letter, notification, paper
from sortingoffice.core.model import Account, Relationship, RelationshipState
from sortingoffice.core.notification import Fate
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows import cards, notify
from sortingoffice.flows import relationships as relationship_flows
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.notify import MAIL, Step
from sortingoffice.flows.office import Office
from sortingoffice.mail import classify, headers
from sortingoffice.mail.message import Message
from sortingoffice.store import accounts, events, ledger, notifications, relationships
from sortingoffice.store.database import Transaction
from sortingoffice.store.notifications import Told

_THREAD = ("In-Reply-To", "References")
_MOST_IDS = 50  # of one message: a thread is no longer, a flood is
_NAMES = ("full", "name", "full-name")


def acknowledge(tx: Transaction, of: Relationship, message: Message, now: datetime) -> bool:
    """A vendor's mail: whether it answers a notice that waited for an answer."""
    if classify.automatic(message):
        return False
    ids = [each for name in _THREAD for each in headers.message_ids(message.value(name) or b"")]
    tokens = {each.strip("<>").partition("@")[0] for each in ids[-_MOST_IDS:]}
    cards = notifications.acknowledge(tx, of.id, tokens, now) if tokens else ()
    for card in cards:
        events.add(
            tx,
            at=now,
            actor="vendor",
            what="acknowledged",
            account_id=of.account_id,
            relationship_id=of.id,
            detail=card,
        )
    return bool(cards)


def status(tx: Transaction, office: Office, account: Account, name: str) -> list[dict[str, Any]]:
    """A row for each vendor that was told of this card, or is still to be: the last word to each."""
    now = office.clock()
    wanted = fields.name(name)
    last = {each.notification.relationship_id: each for each in notifications.told(tx, account.id, wanted)}
    rows = []
    for step in notify.plan(tx, office, account, wanted):
        before = last.get(step.to.id)
        if before is not None and _fate(before, now) in (Fate.BOUNCED, Fate.DROPPED):
            continue  # its row says so; it is in the plan again
        last.pop(step.to.id, None)
        rows.append(_row(step.to, Fate.PLANNED, step.how))
    for told in last.values():
        to = relationships.by_id(tx, told.notification.relationship_id)
        assert to is not None, "a foreign key holds it"
        rows.append(_row(to, _fate(told, now), MAIL, told))
    return sorted(rows, key=lambda row: str(row["relationship"]))


def _fate(told: Told, now: datetime) -> Fate:
    return notification.fate(told.notification, told.state, now)


def _row(to: Relationship, fate: Fate, how: str, told: Told | None = None) -> dict[str, Any]:
    """at: when it was written; the others are null where they have not happened."""
    ended = told.ended if told is not None else None
    return {
        "relationship": to.slug,
        "name": to.name,
        "state": str(fate),
        "how": how,
        "at": told.notification.at if told else None,
        "sent": ended if told and told.state == "delivered" else None,
        "acknowledged": told.notification.acknowledged if told else None,
        "bounced": ended if told and told.state == "returned" else None,
        "silent_from": told.notification.silent_from if told else None,
        "again": bool(told and told.notification.notification_id is not None),
    }


# ---- asked again -----------------------------------------------------------------------------------


def again(
    tx: Transaction,
    office: Office,
    account: Account,
    name: str,
    *,
    patience: timedelta | None = None,
    actor: str,
) -> list[Step]:
    """Ask every silent vendor again, whether or not they were before; who was."""
    now = office.clock()
    wanted = fields.name(name)
    cards.members(tx, account, wanted, now)  # raises where there is no such card
    last = {each.notification.relationship_id: each for each in notifications.told(tx, account.id, wanted)}
    silent = [each for each in last.values() if _fate(each, now) is Fate.SILENT]
    asked = [_ask(tx, office, account, each, patience, actor) for each in silent]
    office.wake()
    return [step for step in asked if step is not None]


def ask_again(tx: Transaction, office: Office, most: int = 20) -> int:
    """The clock's turn: each silent vendor once; how many were asked."""
    if office.keys.card is None or not office.config.cards.ask_again:
        return 0
    number = 0
    for told in notifications.silent(tx, office.clock(), most):
        account = accounts.by_id(tx, told.notification.account_id)
        if account is not None and account.wrapped_key is not None:
            number += _ask(tx, office, account, told, None, "clock") is not None
    if number:
        office.wake()
    return number


def _ask(
    tx: Transaction,
    office: Office,
    account: Account,
    told: Told,
    patience: timedelta | None,
    actor: str,
) -> Step | None:
    """None where nothing of what they were told still holds, or they can't be written to."""
    of = told.notification
    to = relationships.by_id(tx, of.relationship_id)
    if to is None or to.state is not RelationshipState.ACTIVE:
        return None
    try:
        step = notify.told(tx, office, account, of.card, to.id, by=of.message_id)
    except NotThere:  # the card is gone
        return None
    if step is None or step.how != MAIL:
        return None
    changed = [each for each, _ in step.changed]
    written = letter.reminder(of.card, changed, of.at)
    notify.write(
        tx, office, account, step, written, card=of.card, patience=patience, actor=actor, again=of.id
    )
    return step


# ---- on paper --------------------------------------------------------------------------------------


def papers(
    tx: Transaction, office: Office, account: Account, name: str, relationship: str
) -> list[tuple[str, str]]:
    """(slug, HTML page) of each vendor that holds an old value, or of one also when it was told by mail."""
    wanted = fields.name(name)
    if relationship == "all":
        steps = list(notify.plan(tx, office, account, wanted))
    else:
        to = relationships.find(tx, account.id, relationship)
        steps = list(notify.plan(tx, office, account, wanted, only=to.id))
        if not steps and (step := notify.told(tx, office, account, wanted, to.id)) is not None:
            steps = [step]
        if not steps:
            raise NotThere(f"{to.name} holds no old value of {wanted}: there is nothing to write to them")
    written = [step for step in steps if step.changed]
    if relationship != "all" and not written and steps[0].how == notify.SEALED:
        raise OfficeError(
            f"{wanted} is sealed: only you can tell {steps[0].to.name} what it says now "
            f"(sortingoffice card show {wanted} --reveal)"
        )
    if relationship != "all" and not written:
        raise OfficeError(f"{steps[0].to.name} is never given {wanted}: you denied it")
    return [(step.to.slug, _paper(tx, office, account, wanted, step)) for step in written]


def _paper(tx: Transaction, office: Office, account: Account, card: str, step: Step) -> str:
    return paper.page(
        letter.change(card, [changed for changed, _ in step.changed]).subject,
        vendor=step.to.name,
        alias=relationship_flows.current_alias(tx, step.to).address,
        person=_name_that_they_know(tx, office, account, step.to),
        changed=[changed for changed, _ in step.changed],
        day=office.clock().date(),
    )


def _name_that_they_know(tx: Transaction, office: Office, account: Account, to: Relationship) -> str:
    """The person's name as this vendor holds it; "" where it has none."""
    keys = vaults.open_for(office, account)
    found = [
        line
        for line in ledger.lines(tx, account.id, office.clock(), relationship_id=to.id)
        if line.field in _NAMES and line.state in ("delivered", ledger.GIVEN)
    ]
    if not found:
        return ""
    line = max(found, key=lambda each: each.order)
    return keys.open(keys.item(line.disclosure_id, line.card, line.field), line.sealed)
