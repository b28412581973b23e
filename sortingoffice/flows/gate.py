"""The one gate: everything that a vendor gets goes into the spool here, and nowhere else.

Replies, submitted mail, autoreplies, receipts, answers to invitations, the office's own letters and the
returns to vendors: the leak guard has looked through each, for whatever the account keeps to itself.
What it found is held with the message, in the same call; asking the person is for `flows.consent`.

Promise: `spool.put` takes nothing for a vendor that was not checked, and nothing with a finding
that does not wait (it raises); a test holds that nobody else calls it for them.
"""

from __future__ import annotations

from dataclasses import replace

from sortingoffice.core import guard, secrets
from sortingoffice.core.checked import Checked
from sortingoffice.core.model import Account, Delivery, DeliveryState, SpooledMessage
from sortingoffice.core.outward import OutwardFacts
from sortingoffice.core.secrets import Secret
from sortingoffice.flows.computed import Computed
from sortingoffice.mail.message import Message
from sortingoffice.store import accounts, names, spool
from sortingoffice.store.database import Transaction

RULE = "leak_guard"


def written(
    tx: Transaction,
    account: Account,
    message: Message,
    facts: OutwardFacts,
    withheld: tuple[Secret, ...],
    *,
    displayed: str,
    known: frozenset[str],
    computed: Computed,
) -> Checked:
    """What the person wrote, rewritten for the vendor, and safe places cleansed.

    withheld   card values that must not leave
    displayed  what stood beside the mailbox in the From
    known      values that the vendor holds, or is given on request

    Raises mime.TooComplex.
    """
    private = _names(tx, account.id, displayed, known | {facts.display_name})
    return computed.apart(guard.leaving, message, facts, (*private, *withheld))


def composed(
    tx: Transaction,
    account_id: int,
    message: Message,
    withheld: tuple[Secret, ...] = (),
    known: frozenset[str] = frozenset(),
    *,
    own: Message | None = None,
) -> Checked:
    """What stays as it is: the office's own words, or what waits already; otherwise as `written`.

    own  as in `guard.as_written`

    Raises mime.TooComplex.
    """
    mailboxes = secrets.addresses(each.address for each in accounts.mailboxes(tx, account_id))
    return guard.as_written(message, (*mailboxes, *_names(tx, account_id, "", known), *withheld), own=own)


def put(
    tx: Transaction, message: SpooledMessage, deliveries: tuple[Delivery, ...], checked: Checked
) -> SpooledMessage:
    """Spool what was checked; with findings it waits for the person's word.

    message  its raw, size and utf8 are taken from `checked`
    """
    if checked.found:
        deliveries = tuple(replace(each, state=DeliveryState.HELD, reason=RULE) for each in deliveries)
    raw = checked.octets
    utf8 = not Message.head(raw).header.isascii()
    whole = replace(message, raw=raw, size=len(raw), utf8=utf8)
    return spool.put(tx, whole, deliveries, checked)


def _names(tx: Transaction, account_id: int, displayed: str, known: frozenset[str]) -> tuple[Secret, ...]:
    marked = names.every(tx, account_id)
    if not marked:
        return ()
    account = accounts.by_id(tx, account_id)
    assert account is not None, "a foreign key holds it"
    return secrets.names(marked, login=account.name, displayed=displayed, known=known)
