"""What a person takes back while it still waits to leave: it is dropped, and their words come back.

Promise: once a grant is taken back, or a denial made, nothing that is queued gives what it was about, but
for what the vendor has already and what the person said yes to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime

from sortingoffice.core import cards
from sortingoffice.core.model import Account, Grant, GrantMode, Relationship, Via
from sortingoffice.core.notice import Notice
from sortingoffice.core.wallet import Value, Wallet
from sortingoffice.flows import notices, wallets
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.office import Office
from sortingoffice.store import cards as rows
from sortingoffice.store import confirmations, ledger, spool
from sortingoffice.store.database import Transaction
from sortingoffice.store.ledger import Queued

_ASKED = (Via.DIRECTIVE, Via.CARD_CONTACT, Via.INLINE)


def ungranted(
    tx: Transaction, office: Office, account: Account, to: Relationship, ended: Sequence[Grant], now: datetime
) -> None:
    """Drop what leaves under these grants, or under none since another such message was to leave.

    A denial among them stopped what it was about when it was made.
    """
    ended = [each for each in ended if each.mode is not GrantMode.NEVER]
    queued = ledger.queued(tx, to.id) if ended else ()
    if not queued:
        return
    wallet = _wallet(tx, office, account, to, queued, now)
    left = rows.grants(tx, to.id)
    under, others = {each.id for each in ended}, {each.id for each in left}

    def doubtful(item: Queued, value: Value) -> bool:
        if item.grant_id in under:
            return True
        spoken_of = any(cards.covers(grant, value, wallet) for grant in ended)
        if item.via not in _ASKED or item.grant_id in others or not spoken_of:
            return False
        return item.grant_id is not None or not confirmations.agreed(tx, item.message_id)

    held = ledger.held(tx, to.id, but=_of(queued, wallet, doubtful))

    def goes_no_more(item: Queued, value: Value) -> bool:
        kept = any(
            grant.mode is GrantMode.AUTO and cards.live(grant, now) and cards.covers(grant, value, wallet)
            for grant in left
        )
        known = kept or cards.holds(held, value)
        return item.grant_id in under or (doubtful(item, value) and not known)

    _drop(tx, office, to, queued, _of(queued, wallet, goes_no_more), ended[0].card, now)


def denied(
    tx: Transaction, office: Office, account: Account, to: Relationship, denial: Grant, now: datetime
) -> None:
    """Drop what gives a value that is never given any more, however it came to be there."""
    queued = ledger.queued(tx, to.id) if cards.live(denial, now) else ()
    if not queued:
        return
    wallet = _wallet(tx, office, account, to, queued, now)
    found = _of(queued, wallet, lambda _, value: cards.covers(denial, value, wallet))
    _drop(tx, office, to, queued, found, denial.card, now)


def _wallet(
    tx: Transaction,
    office: Office,
    account: Account,
    to: Relationship,
    queued: Sequence[Queued],
    now: datetime,
) -> Wallet:
    keys = vaults.open_for(office, account)
    return wallets.of(tx, keys, account, now, to, also={each.named for each in queued})


def _of(queued: Sequence[Queued], wallet: Wallet, says: Callable[[Queued, Value], bool]) -> frozenset[int]:
    """The messages with an item of which that is so."""
    return frozenset(each.message_id for each in queued if says(each, _value(each, wallet)))


def _value(item: Queued, wallet: Wallet) -> Value:
    """What it gives, as it was when it was written: the card may say something else by now."""
    return replace(wallet.member(item.named), mac=item.mac)


def _drop(
    tx: Transaction,
    office: Office,
    to: Relationship,
    queued: Sequence[Queued],
    messages: Collection[int],
    name: str,
    now: datetime,
) -> None:
    for number in sorted(messages):
        message = spool.by_id(tx, number)
        deliveries = {each.delivery_id for each in queued if each.message_id == number}
        dropped = [each for each in sorted(deliveries) if spool.drop(tx, each, "ungranted", now)]
        if message is None or not dropped:
            continue
        said = Notice(
            f"Not sent: {to.name} may not have {name} any more",
            (f"Nothing went to {to.name}. Your message is attached, as it would have been sent.",),
            message.raw or None,
        )
        notices.send(
            tx,
            office,
            said,
            account_id=to.account_id,
            relationship_id=to.id,
            rule="ungranted",
            now=now,
        )
