"""The spool as an operator sees it: what waits, why, and a word about it.

Promise: `retry` and `drop` change only what still waits, and write down who did it.  Of many, some are in one
transaction, for which everybody else's mail waits; whoever stops it half-way has done so far as it came.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sortingoffice.core.model import Delivery, DeliveryState, Event
from sortingoffice.core.progress import Watcher, unwatched
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows.office import Office
from sortingoffice.mail import address as addresses
from sortingoffice.store import events, queued, spool
from sortingoffice.store.database import Transaction
from sortingoffice.store.spool import Claimed

_PAGE = 1000
_TOGETHER = 200  # deliveries in one transaction
_OCTETS = 32 << 20  # of their messages: SQLite writes zeros over what a drop erases
_DROPPED = "dropped by the operator"


_Say = Callable[[Transaction, Collection[int], datetime], Collection[int]]


@dataclass(frozen=True, slots=True)
class _Word:
    """What an operator says of deliveries.

    what     as the log has it
    verb     as a sentence has it
    fits     whether it can be said of this one
    many     says it; those of whom it is true now
    waiting  the same, and waits for who is at one of them
    """

    what: str
    verb: str
    fits: Callable[[Delivery], bool]
    many: _Say
    waiting: _Say


def _idle(of: Delivery) -> bool:
    return of.state is DeliveryState.QUEUED and not of.lease_node


def _retry_each(tx: Transaction, numbers: Collection[int], now: datetime) -> Collection[int]:
    return [number for number in numbers if spool.retry(tx, number, now)]


def _drop_all(tx: Transaction, numbers: Collection[int], now: datetime) -> Collection[int]:
    return spool.drop_all(tx, numbers, _DROPPED, now)


def _drop_each(tx: Transaction, numbers: Collection[int], now: datetime) -> Collection[int]:
    return [number for number in numbers if spool.drop(tx, number, _DROPPED, now)]


_RETRY = _Word("retried", "tried again", _idle, spool.retry_all, _retry_each)
_DROP = _Word("dropped", "dropped", lambda of: not of.state.final, _drop_all, _drop_each)


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
        tx,
        state=state,
        destination=_domain(destination),
        address=_address(address),
        most=most,
        before=before,
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


# ---- a word about many ---------------------------------------------------------------------------


def retry(
    office: Office,
    numbers: Sequence[int],
    *,
    actor: str,
    together: int = _TOGETHER,
    watcher: Watcher = unwatched,
) -> list[dict[str, Any]]:
    """Make deliveries due now; a row for each, with `done`, and `why` where it wasn't.

    together  how many in one transaction

    Raises where the only one that was named can't be.
    """
    return _named_ones(office, numbers, _RETRY, actor, together, watcher)


def retry_all(
    office: Office,
    destination: str = "",
    address: str = "",
    *,
    actor: str,
    together: int = _TOGETHER,
    watcher: Watcher = unwatched,
) -> list[dict[str, Any]]:
    """The same for all that waits, or waits for one destination, or concerns one address: the oldest first.
    Rows of those that are due now: what has ended since, or is being tried, needs no word."""
    found = office.db.view(queued.untried, _domain(destination), _address(address))
    _something(found, destination, address)
    return _done(_said(office, found, _RETRY, actor, together, watcher))


def drop(
    office: Office,
    numbers: Sequence[int],
    *,
    actor: str,
    together: int = _TOGETHER,
    watcher: Watcher = unwatched,
) -> list[dict[str, Any]]:
    """End deliveries without delivering and without telling anybody; otherwise as `retry`."""
    return _named_ones(office, numbers, _DROP, actor, together, watcher)


def waiting(
    office: Office, state: DeliveryState | None = None, destination: str = "", address: str = ""
) -> dict[int, DeliveryState]:
    """What `drop_all` could be about, the oldest first: queued or held, being tried or not."""
    found = office.db.view(queued.waiting, state, _domain(destination), _address(address))
    _something(found, destination, address)
    return found


def drop_all(
    office: Office,
    chosen: Mapping[int, DeliveryState],
    *,
    actor: str,
    together: int = _TOGETHER,
    watcher: Watcher = unwatched,
) -> list[dict[str, Any]]:
    """Drop what was chosen and still waits as it did; rows of those that ended so.  What has ended since, or
    was let go, needs no word."""
    word = replace(_DROP, fits=lambda of: of.state is chosen[of.id])
    return _done(_said(office, list(chosen), word, actor, together, watcher))


def _something(found: Collection[int], destination: str, address: str) -> None:
    if not found and (destination or address):
        what = " and ".join(
            [
                *([f"for {destination}"] if destination else []),
                *([f"from or to {address}"] if address else []),
            ]
        )
        raise OfficeError(f"nothing waits {what}; `sortingoffice queue list` shows what waits")


def _done(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["done"]]


def _named_ones(
    office: Office, numbers: Sequence[int], word: _Word, actor: str, together: int, watcher: Watcher
) -> list[dict[str, Any]]:
    rows = _said(office, list(dict.fromkeys(numbers)), word, actor, together, watcher)
    if len(rows) == 1 and not rows[0]["done"]:
        raise _refusal(rows[0], word)
    return rows


def _refusal(row: Mapping[str, Any], word: _Word) -> OfficeError:
    number, state = row["id"], row["state"]
    if state is None:
        return _nothing(number)
    if state == DeliveryState.HELD.value:
        return OfficeError(f"{number} is held: `sortingoffice held release {number}` lets it go")
    now = "" if DeliveryState(state).final else " now"
    return OfficeError(f"{number} can't be {word.verb}{now}: {row['why']}")


def _said(
    office: Office, numbers: Sequence[int], word: _Word, actor: str, together: int, watcher: Watcher
) -> list[dict[str, Any]]:
    """Rows of all of them, in their order, of some at a time."""
    rows: list[dict[str, Any]] = []
    for start in range(0, len(numbers), together):
        batch = numbers[start : start + together]
        rows += _said_of(office, batch, word, actor)
        watcher(start + len(batch), len(numbers))
    return rows


def _said_of(office: Office, numbers: Sequence[int], word: _Word, actor: str) -> list[dict[str, Any]]:
    there = _found(office, numbers)
    ready = [there[number] for number in numbers if number in there and word.fits(there[number].delivery)]
    done: dict[int, dict[str, Any]] = {}
    for part in _parts(ready):
        done |= office.db.call(_write, office, part, word.many, word.what, actor)
    for each in ready:
        number = each.delivery.id
        if number not in done:  # somebody was at its row: wait for them, and hold up nobody else meanwhile
            done |= office.db.call(_write, office, [number], word.waiting, word.what, actor)
    passed = [number for number in numbers if number not in done]
    after = _found(office, passed)
    return [done[n] if n in done else _passed_over(n, after.get(n)) for n in numbers]


def _parts(ready: Iterable[Claimed]) -> Iterator[list[int]]:
    """Numbers whose messages are not too large together."""
    part: list[int] = []
    octets = 0
    for each in ready:
        octets += each.message.size
        if part and octets > _OCTETS:
            yield part
            part, octets = [], each.message.size
        part.append(each.delivery.id)
    if part:
        yield part


def _write(
    tx: Transaction, office: Office, numbers: Collection[int], say: _Say, what: str, actor: str
) -> dict[int, dict[str, Any]]:
    """Rows of those of whom it is true now, by their numbers."""
    found = spool.numbered(tx, say(tx, numbers, office.clock()))[::-1]
    events.add_all(tx, [_happened(office, each, actor, what) for each in found])
    return {each.delivery.id: {**_row(each), "done": True, "why": ""} for each in found}


def _found(office: Office, numbers: Collection[int]) -> dict[int, Claimed]:
    found = office.db.view(spool.numbered, numbers) if numbers else ()
    return {each.delivery.id: each for each in found}


def _passed_over(number: int, found: Claimed | None) -> dict[str, Any]:
    """A row with the same keys, whatever is known of it."""
    if found is None:
        nothing: dict[str, Any] = dict.fromkeys(_KEYS)
        return {**nothing, "id": number, "done": False, "why": "nothing in the queue has this number"}
    state = found.delivery.state
    if state is DeliveryState.HELD:
        why = "it is held (`sortingoffice held release` lets it go)"
    else:
        why = f"it is {state.value} already" if state.final else "it is just being tried"
    return {**_row(found), "done": False, "why": why}


# ---- what is said of one -------------------------------------------------------------------------


def _domain(text: str) -> str:
    """As it stands in the spool; what is no domain is in no row, either."""
    text = text.strip().removesuffix(".")
    return addresses.domain(text) or text.lower()


def _address(text: str) -> str:
    """In the same way."""
    text = text.strip().removesuffix(".")
    found = addresses.parse(text)
    return text.lower() if found is None else found.normal


def _named(tx: Transaction, number: int) -> Claimed:
    delivery = spool.delivery_by_id(tx, number)
    message = None if delivery is None else spool.by_id(tx, delivery.message_id)
    if delivery is None or message is None:
        raise _nothing(number)
    return Claimed(message, delivery)


def _nothing(number: int) -> NotThere:
    return NotThere(
        f"nothing in the queue has the number {number}; `sortingoffice queue list` shows what has"
    )


_KEYS = (
    *("id", "message", "direction", "from", "to", "state", "reason", "attempts", "next_attempt"),
    *("last_reply", "since"),
)


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
