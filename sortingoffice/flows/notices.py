"""The office → person: a notice put into the spool, in the caller's transaction.

Promise: what is said reaches the person, or waits where they can see it (`held`); a mailbox that keeps
failing is sent nothing.  It doesn't pile up: who has so many waiting is taken no more mail from
(`full`), and what holds no words of the person's own is beyond that said on the pages alone.
"""

from __future__ import annotations

from datetime import datetime

from sortingoffice import failpoint
from sortingoffice.core import notice
from sortingoffice.core import spooled as rows
from sortingoffice.core.model import Direction, Mailbox, MailboxState, SpooledMessage
from sortingoffice.core.notice import Notice
from sortingoffice.flows.office import Office
from sortingoffice.mail import token
from sortingoffice.mail.address import Address, parse
from sortingoffice.store import accounts, domains, spool
from sortingoffice.store import held as waiting
from sortingoffice.store.database import Transaction

UNUSABLE = "mailbox_unusable"  # why it waits: by the name of the rule that holds inward mail
MOST_WAITING = 100  # of one account, until a mailbox takes mail again


def send(
    tx: Transaction,
    office: Office,
    said: Notice,
    *,
    account_id: int,
    relationship_id: int | None = None,
    to: str = "",
    by: Address | None = None,
    rule: str,
    now: datetime,
    fingerprint: bytes | None = None,
) -> SpooledMessage | None:
    """Tell the person; None where the account has no mailbox to tell.

    Where the only mailboxes are failing ones, it waits until one works again.

    to    normal address of the mailbox to tell, where it is one of the account's that take mail;
          otherwise the preferred one is told
    by    an address of ours that takes the answer; None: `author`, whose mail reaches the admin
    rule  why; stands in `trace` and `log`
    fingerprint  of the mail that it answers, so that the same mail is answered once
    """
    chosen = mailbox(tx, account_id, to)
    recipient = parse(chosen.address) if chosen is not None else None
    if chosen is None or recipient is None:
        return None
    waits = chosen.state is not MailboxState.VERIFIED
    if waits and said.original is None and waiting.notices(tx, account_id) >= MOST_WAITING:
        return None
    return put(
        tx,
        office,
        said,
        to=recipient,
        author=by or author(tx, office),
        account_id=account_id,
        relationship_id=relationship_id,
        rule=rule,
        now=now,
        fingerprint=fingerprint,
        held=UNUSABLE if waits else "",
    )


def put(
    tx: Transaction,
    office: Office,
    said: Notice,
    *,
    to: Address,
    author: Address,
    account_id: int,
    relationship_id: int | None = None,
    rule: str,
    now: datetime,
    fingerprint: bytes | None = None,
    held: str = "",
) -> SpooledMessage:
    """Tell this very address, verified or not, as `author`.

    held  why it waits; "" if it doesn't
    """
    name = token.fresh(office.random(10))
    raw = notice.compose(said, to=to, author=author, token=name, now=now)
    failpoint.at("in-note")
    spooled = rows.message(
        raw,
        token=name,
        direction=Direction.NOTICE,
        account_id=account_id,
        relationship_id=relationship_id,
        rule=rule,
        subject=said.subject,
        now=now,
        fingerprint=fingerprint,
        bulk=True,
        utf8=not to.ascii,
    )
    give_up_after = office.config.delivery.give_up_after
    delivery = rows.delivery(spooled, str(to), destination=to.domain, give_up_after=give_up_after, held=held)
    return spool.put(tx, spooled, (delivery,))


def author(tx: Transaction, office: Office) -> Address:
    """Whom notices come from: postmaster at the first hosted domain, whose DKIM key signs them."""
    hosted = domains.every(tx)
    return notice.sender(hosted[0].name if hosted else office.config.hostname)


def mailbox(tx: Transaction, account_id: int, wanted: str = "") -> Mailbox | None:
    """Which one is told: first of all one that takes mail, a failing one only where there is no other."""
    told = [
        each
        for each in accounts.mailboxes(tx, account_id)
        if each.delivers and each.state is not MailboxState.PENDING
    ]
    told.sort(
        key=lambda each: (
            each.state is not MailboxState.VERIFIED,
            each.address != wanted,
            not each.preferred,
        )
    )
    return next(iter(told), None)


def full(tx: Transaction, account_id: int) -> bool:
    """Whether no mailbox takes what the account is told, and as much as may wait for one does."""
    chosen = mailbox(tx, account_id)
    if chosen is None or chosen.state is MailboxState.VERIFIED:
        return False
    return waiting.notices(tx, account_id) >= MOST_WAITING
