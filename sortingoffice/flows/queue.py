"""The spool as an operator sees it: what waits, why, and a word about it.

Promise: `retry` and `drop` change only what still waits, and write down who did it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from sortingoffice.core.model import DeliveryState, Event
from sortingoffice.core.progress import Watcher, unwatched
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows.office import Office
from sortingoffice.store import events, spool
from sortingoffice.store.database import Transaction
from sortingoffice.store.spool import Claimed

_PAGE = 1000


def every(
    tx: Transaction,
    *,
    state: DeliveryState | None = None,
    destination: str = "",
    address: str = "",
    most: int | None = None,
    before: int | None = None,
) -> list[dict[str, Any]]:
    """Deliveries, the latest first.  None for `state`: what waits, queued or held."""
    found = spool.queue(
        tx, state=state, destination=destination.lower(), address=address.lower(), most=most, before=before
    )
    return [_row(each) for each in found]


def pages(office: Office, *, most: int | None = None, **filters: Any) -> Iterator[list[dict[str, Any]]]:
    """The same, so many at a time: who reads slowly keeps no transaction open, and 100,000 need no more
    memory than a thousand."""
    before: int | None = None
    while most is None or most > 0:
        wanted = _PAGE if most is None else min(most, _PAGE)
        page = office.db.view(every, most=wanted, before=before, **filters)
        if page:
            yield page
        if len(page) < wanted:
            return
        before = page[-1]["id"]
        most = None if most is None else most - wanted


def one(tx: Transaction, number: int) -> dict[str, Any]:
    """One delivery with its attempts.  Raises `NotThere`."""
    found = _named(tx, number)
    tried = spool.attempts(tx, number)
    return {
        **_row(found),
        "subject": found.message.subject,
        "rule": found.message.rule,
        "size": found.message.size,
        "expires": None if found.delivery.state.final else found.delivery.expires,
        "node": found.delivery.lease_node,
        "tries": [
            {"at": a.at, "host": a.host, "tls": a.tls, "reply": a.reply, "milliseconds": a.milliseconds}
            for a in tried
        ],
    }


def retry(
    tx: Transaction, office: Office, numbers: Sequence[int], *, actor: str, watcher: Watcher = unwatched
) -> list[dict[str, Any]]:
    """Make deliveries due now; returns those that are.  Raises where one that was named can't be."""
    done = []
    for number in numbers:
        found = _named(tx, number)
        if not spool.retry(tx, number, office.clock()):
            raise OfficeError(_why_not(found, number, "tried again"))
        _event(tx, office, found, actor, "retried")
        done.append(_row(_named(tx, number)))
        watcher(len(done), len(numbers))
    return done


def retry_all(
    office: Office,
    destination: str = "",
    *,
    actor: str,
    together: int = 200,
    watcher: Watcher = unwatched,
) -> list[dict[str, Any]]:
    """Make all that waits, or waits for one destination, due now: the oldest first; returns what is.

    together  how many in one transaction, for which everybody else's mail waits
    """
    found = office.db.view(spool.untried, destination.lower())
    if not found and destination:
        raise OfficeError(f"nothing waits for {destination}; `sortingoffice queue list` shows what waits")
    done: list[dict[str, Any]] = []
    for start in range(0, len(found), together):
        batch = found[start : start + together]
        done += office.db.call(_retried, office, batch, actor)
        watcher(start + len(batch), len(found))
    return done


def _retried(tx: Transaction, office: Office, numbers: Collection[int], actor: str) -> list[dict[str, Any]]:
    """Those that still wait: what has ended since, or is being tried, needs no word."""
    due = spool.retry_all(tx, numbers, office.clock())
    found = spool.numbered(tx, due)[::-1]
    events.add_all(tx, [_happened(office, each, actor, "retried") for each in found])
    return [_row(each) for each in found]


def drop(tx: Transaction, office: Office, numbers: Iterable[int], *, actor: str) -> list[dict[str, Any]]:
    """End deliveries without delivering and without telling anybody; returns those that ended so."""
    done = []
    for number in numbers:
        found = _named(tx, number)
        if not spool.drop(tx, number, "dropped by the operator", office.clock()):
            raise OfficeError(_why_not(found, number, "dropped"))
        _event(tx, office, found, actor, "dropped")
        done.append(_row(_named(tx, number)))
    return done


def _why_not(found: Claimed, number: int, what: str) -> str:
    delivery = found.delivery
    if delivery.state is DeliveryState.HELD:
        return f"{number} is held: `sortingoffice held release {number}` lets it go"
    if delivery.state.final:
        return f"{number} can't be {what}: it is {delivery.state.value} already"
    return f"{number} can't be {what} now: it is just being tried"


def _named(tx: Transaction, number: int) -> Claimed:
    delivery = spool.delivery_by_id(tx, number)
    message = None if delivery is None else spool.by_id(tx, delivery.message_id)
    if delivery is None or message is None:
        raise NotThere(
            f"nothing in the queue has the number {number}; `sortingoffice queue list` shows what has"
        )
    return Claimed(message, delivery)


def _row(each: Claimed) -> dict[str, Any]:
    delivery = each.delivery
    return {
        "id": delivery.id,
        "message": each.message.token,
        "direction": each.message.direction.value,
        "from": each.message.sender,
        "to": delivery.recipient,
        "state": delivery.state.value,
        "reason": delivery.reason,
        "attempts": delivery.attempts,
        "next_attempt": delivery.due if delivery.state is DeliveryState.QUEUED else None,
        "last_reply": delivery.last_reply,
        "since": delivery.created,
    }


def _event(tx: Transaction, office: Office, found: Claimed, actor: str, what: str) -> None:
    events.add_all(tx, [_happened(office, found, actor, what)])


def _happened(office: Office, found: Claimed, actor: str, what: str) -> Event:
    delivery = found.delivery
    return Event(
        id=0,
        at=office.clock(),
        actor=actor,
        account_id=delivery.account_id,
        relationship_id=delivery.relationship_id,
        message=found.message.token,
        what=what,
        rule="operator",
        detail="",
    )
