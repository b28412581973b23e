"""The office → person: a notice put into the spool, in the caller's transaction."""

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
from sortingoffice.store.database import Transaction


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
    """Tell the person; None where the account has no verified mailbox to tell.

    to    normal address of the mailbox to tell, where it is one of the account's verified ones;
          otherwise the preferred one is told
    by    an address of ours that takes the answer; None: `author`, whose mail reaches the admin
    rule  why; stands in `trace` and `log`
    fingerprint  of the mail that it answers, so that the same mail is answered once
    """
    mailbox = _mailbox(tx, account_id, to)
    recipient = parse(mailbox.address) if mailbox is not None else None
    if recipient is None:
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
) -> SpooledMessage:
    """Tell this very address, verified or not, as `author`."""
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
    delivery = rows.delivery(spooled, str(to), destination=to.domain, give_up_after=give_up_after)
    return spool.put(tx, spooled, (delivery,))


def author(tx: Transaction, office: Office) -> Address:
    """Whom notices come from: postmaster at the first hosted domain, whose DKIM key signs them."""
    hosted = domains.every(tx)
    return notice.sender(hosted[0].name if hosted else office.config.hostname)


def _mailbox(tx: Transaction, account_id: int, wanted: str) -> Mailbox | None:
    usable = [
        each
        for each in accounts.mailboxes(tx, account_id)
        if each.delivers and each.state is MailboxState.VERIFIED
    ]
    for each in usable:
        if each.address == wanted:
            return each
    return next((each for each in usable if each.preferred), usable[0] if usable else None)
