"""What happened: the log, and the way of one message across processes.

Reads only.  What it returns is for the person or the operator, never for a peer.
"""

from __future__ import annotations

from typing import Any

from sortingoffice.core import naming
from sortingoffice.core.model import Account, Attempt, Delivery, Event, SpooledMessage
from sortingoffice.core.progress import Watcher, unwatched
from sortingoffice.errors import NotThere
from sortingoffice.mail import address as addresses
from sortingoffice.store import chain, contacts, events, relationships, spool
from sortingoffice.store.database import Transaction


def log(
    tx: Transaction, account: Account | None, relationship: str = "", most: int = 100
) -> list[dict[str, Any]]:
    """Events, oldest first: of one relationship, of one account, or of the whole office.

    Raises NotThere where no relationship fits.
    """
    if relationship:
        assert account is not None, "a relationship is an account's"
        of = relationships.find(tx, account.id, relationship)
        found = events.of_relationship(tx, of.id)[-most:]
    else:
        found = events.every(tx, None if account is None else account.id, most)
    slugs: dict[int, str] = {}
    return [_event(tx, each, slugs) for each in found]


def verify(tx: Transaction, watcher: Watcher = unwatched) -> dict[str, Any]:
    """Whether every line of log and ledger is as it was linked, and the last hash, to note elsewhere."""
    chain.extend(tx, 100_000)
    count, wrong = chain.verify(tx, watcher)
    return {"lines": count, "holds": not wrong, "wrong": wrong, "hash": chain.head(tx)}


def trace(tx: Transaction, account: Account | None, text: str, most: int = 20) -> list[dict[str, Any]]:
    """Messages with all that is known of them, the latest last.

    text     a message's public id (it stands in our answer, our Received field and every log line), an
             alias, a reverse alias, or another address: its mail, the latest `most`
    account  whose messages; None for all

    Raises NotThere where nothing is known; an alias or a reverse alias that had no mail yet is known.
    """
    text = text.strip()
    found = _by_address(tx, account, text, most) if "@" in text else _by_token(tx, account, text.lower())
    if not found and not _issued(tx, account, text):
        raise NotThere(f"nothing is known of {text!r}; name a message's id or an address, as in the log")
    return found


def _issued(tx: Transaction, account: Account | None, text: str) -> bool:
    """Whether it is an address that was given to a relationship, of the account if one is named."""
    address = addresses.parse(text)
    if address is None:
        return False
    canonical = naming.canonical(address.normal)
    owner = relationships.alias_by_canonical(tx, canonical) or contacts.by_reverse(tx, canonical)
    of = None if owner is None else relationships.by_id(tx, owner.relationship_id)
    return of is not None and (account is None or of.account_id == account.id)


def _by_token(tx: Transaction, account: Account | None, token: str) -> list[dict[str, Any]]:
    message = spool.by_token(tx, token)
    if message is not None and account is not None and message.account_id != account.id:
        message = None
    told = _told(tx, account, token)
    if message is None and not told:
        return []
    return [_message(tx, token, message, told)]


def _by_address(tx: Transaction, account: Account | None, text: str, most: int) -> list[dict[str, Any]]:
    address = addresses.parse(text)
    if address is None:
        return []
    account_id = None if account is None else account.id
    canonical = naming.canonical(address.normal)
    alias = relationships.alias_by_canonical(tx, canonical)
    contact = contacts.by_reverse(tx, canonical)
    owner = alias or contact
    if owner is not None:
        found = spool.messages(tx, account_id=account_id, relationship_id=owner.relationship_id, most=most)
    else:
        found = spool.messages(tx, account_id=account_id, address=address.normal, most=most)
    return [_message(tx, m.token, m, _told(tx, account, m.token)) for m in reversed(found)]


def _told(tx: Transaction, account: Account | None, token: str) -> list[Event]:
    """What happened to it, as far as it is the account's: one SMTP transaction may name several accounts."""
    return [e for e in events.of_message(tx, token) if account is None or e.account_id in (None, account.id)]


def _message(
    tx: Transaction, token: str, message: SpooledMessage | None, told: list[Event]
) -> dict[str, Any]:
    """One message; one that was refused has events and nothing else."""
    slugs: dict[int, str] = {}
    row: dict[str, Any] = {"message": token}
    if message is not None:
        row |= {
            "direction": message.direction,
            "relationship": _slug(tx, message.relationship_id, slugs),
            "from": message.sender,
            "subject": message.subject,
            "size": message.size,
            "accepted": message.accepted,
            "rule": message.rule,
            "results": message.results,
            "deliveries": [_delivery(tx, each) for each in spool.deliveries(tx, message.id)],
        }
    row["events"] = [_event(tx, each, slugs) for each in told]
    return row


def _delivery(tx: Transaction, of: Delivery) -> dict[str, Any]:
    return {
        "id": of.id,
        "to": of.recipient,
        "state": of.state,
        "reason": of.reason,
        "next_attempt": None if of.state.final else of.due,
        "ended": of.ended,
        "attempts": [_attempt(each) for each in spool.attempts(tx, of.id)],
    }


def _attempt(of: Attempt) -> dict[str, Any]:
    return {"at": of.at, "host": of.host, "tls": of.tls, "reply": of.reply, "milliseconds": of.milliseconds}


def _event(tx: Transaction, of: Event, slugs: dict[int, str]) -> dict[str, Any]:
    return {
        "at": of.at,
        "what": of.what,
        "rule": of.rule,
        "actor": of.actor,
        "relationship": _slug(tx, of.relationship_id, slugs),
        "message": of.message,
        "detail": of.detail,
    }


def _slug(tx: Transaction, relationship_id: int | None, slugs: dict[int, str]) -> str:
    """A relationship's slug, looked up once."""
    if relationship_id is None:
        return ""
    if relationship_id not in slugs:
        found = relationships.by_id(tx, relationship_id)
        slugs[relationship_id] = "" if found is None else found.slug
    return slugs[relationship_id]
