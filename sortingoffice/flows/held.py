"""Mail that waits for the person's word, or for a mailbox: look at it, let it go, or drop it.

Promise: a word is carried out once, and written down in the same transaction; what belongs to
another account isn't there.
"""

from __future__ import annotations

from typing import Any

from sortingoffice.core.model import Account, DeliveryState, Direction, Mailbox
from sortingoffice.core.word import Word
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows import consent, released
from sortingoffice.flows.office import Office
from sortingoffice.store import confirmations, events, relationships, spool
from sortingoffice.store.database import Transaction
from sortingoffice.store.spool import Claimed


def every(tx: Transaction, account: Account) -> list[dict[str, Any]]:
    """The account's held mail, the latest first."""
    return [_view(tx, each) for each in _held(tx, account)]


def one(tx: Transaction, account: Account, number: int) -> dict[str, Any]:
    """One held mail with the beginning of what it says.  Raises `NotThere`.

    `findings` are what the leak guard found in it.
    """
    found = _named(tx, account, number)
    message = spool.by_id(tx, found.message.id)
    assert message is not None, "a foreign key holds it"
    asked = confirmations.of_message(tx, message.id)
    return {
        **_view(tx, found),
        "message": message.token,
        "size": message.size,
        "findings": consent.findings_of(asked).rows if asked is not None else [],
        "raw": message.raw,
    }


def release(tx: Transaction, office: Office, account: Account, number: int, *, actor: str) -> dict[str, Any]:
    """Deliver it after all.  Raises `NotThere`; `OfficeError` where there is no mailbox that would take it.

    `refused` says why what it would disclose may not go any more; then it is dropped.
    """
    found = _named(tx, account, number)
    asked = confirmations.of_message(tx, found.message.id)
    if asked is not None:  # the same as a yes by mail: the rules look again
        view = _view(tx, found)
        why = consent.say(tx, office, asked, Word.YES, actor=actor, now=office.clock())
        return {**view, "refused": why} if why else view
    if not released.let_go(tx, found, office.clock()):
        raise OfficeError(_nowhere(released.mailbox(tx, found)))
    _event(tx, office, found, actor, "released")
    return _view(tx, found)


def drop(tx: Transaction, office: Office, account: Account, number: int, *, actor: str) -> dict[str, Any]:
    """Never deliver it.  Raises `NotThere`."""
    found = _named(tx, account, number)
    asked = confirmations.of_message(tx, found.message.id)
    if asked is not None:
        view = _view(tx, found)
        consent.say(tx, office, asked, Word.NO, actor=actor, now=office.clock())
        return view
    spool.drop(tx, number, "dropped by the person", office.clock())
    _event(tx, office, found, actor, "dropped")
    return _view(tx, found)


def _held(tx: Transaction, account: Account) -> tuple[Claimed, ...]:
    return spool.queue(tx, state=DeliveryState.HELD, account_id=account.id)


def _named(tx: Transaction, account: Account, number: int) -> Claimed:
    found = next((each for each in _held(tx, account) if each.delivery.id == number), None)
    if found is None:
        raise NotThere(f"no held mail has the number {number}; `sortingoffice held list` shows what there is")
    return found


def _nowhere(to: Mailbox | None) -> str:
    if to is None:
        return (
            "you have no verified mailbox that it could go to: "
            "`sortingoffice admin mailbox add ADDRESS` adds one; then release it"
        )
    return (
        f"it would go to {to.address}, which takes no mail: verify that mailbox again "
        f"(`sortingoffice admin mailbox verify {to.address}`), or choose another one, and then release it"
    )


def _view(tx: Transaction, each: Claimed) -> dict[str, Any]:
    of = relationships.by_id(tx, each.delivery.relationship_id) if each.delivery.relationship_id else None
    outward = each.message.direction is Direction.OUTWARD
    author = "the office" if each.message.direction is Direction.NOTICE else each.message.sender
    return {
        "id": each.delivery.id,
        "relationship": of.slug if of is not None else "",
        "reason": each.delivery.reason,
        "subject": each.message.subject,
        "direction": each.message.direction.value,
        "from": "" if outward else author,
        "to": each.delivery.recipient if outward else "",
        "since": each.delivery.created,
    }


def _event(tx: Transaction, office: Office, found: Claimed, actor: str, what: str) -> None:
    events.add(
        tx,
        at=office.clock(),
        actor=actor,
        what=what,
        rule=found.delivery.reason,
        account_id=found.delivery.account_id,
        relationship_id=found.delivery.relationship_id,
        message=found.message.token,
    )
