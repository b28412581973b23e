"""A delivery failed for good, is late, or came back: whoever should know is told.

In the transaction that settles the delivery, or that accepts the bounce: the end and the telling are
committed together.  Who is told is `core.returned`'s decision; the events name its rule.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

from sortingoffice import failpoint
from sortingoffice.core import inward, naming
from sortingoffice.core import returned as words
from sortingoffice.core import spooled as rows
from sortingoffice.core.delivery import End
from sortingoffice.core.model import (
    Delivery,
    DeliveryState,
    Direction,
    Mailbox,
    MailboxState,
    SpooledMessage,
)
from sortingoffice.core.notice import Notice
from sortingoffice.core.returned import Told
from sortingoffice.flows import gate, notices
from sortingoffice.flows.arrival import Arrival
from sortingoffice.flows.office import Office
from sortingoffice.mail import arf, dsn, headers, token
from sortingoffice.mail.address import Address, parse
from sortingoffice.mail.dsn import Action
from sortingoffice.mail.message import Message
from sortingoffice.mail.reply import Reply, heard
from sortingoffice.store import accounts, contacts, domains, events, references, relationships, spool
from sortingoffice.store import bounce as bounces
from sortingoffice.store.database import Transaction

_ACTOR = "queue"


def failed(
    tx: Transaction, office: Office, message: SpooledMessage, delivery: Delivery, reply: Reply, now: datetime
) -> None:
    """A final failure.

    message   with its octets, where they are still there
    delivery  as it has ended: `reason` says how
    """
    telling = words.whom(message)
    if telling.whom is Told.PERSON:
        _tell_person(tx, office, message, delivery, reply, now)
    elif telling.whom is Told.VENDOR:
        _tell_vendor(tx, office, message, delivery, now)
    if message.direction is Direction.INWARD:
        _mailbox_failed(tx, office, message, delivery, reply, now)
    if message.direction is Direction.NOTICE:
        _without_attached(tx, office, message, delivery, reply, now)
    _note(tx, message, delivery, "returned", telling.rule, reply, now)


def delayed(
    tx: Transaction, office: Office, message: SpooledMessage, delivery: Delivery, reply: Reply, now: datetime
) -> None:
    """The person's mail still waits: told once."""
    if message.account_id is None:
        return
    hours = round((delivery.expires - now).total_seconds() / 3600)
    said = words.delay_note(message, to=_written(tx, delivery), reply=reply, hours=hours)
    _send(tx, office, message, said, to=message.sender, rule="delayed", now=now)
    _note(tx, message, delivery, "delayed", "delay_notice", reply, now)


def bounce(tx: Transaction, office: Office, arrival: Arrival, delivery: Delivery) -> bool:
    """Mail came to the return path of this delivery; whether it was a report, and so is dealt with."""
    message = spool.by_id(tx, delivery.message_id)
    assert message is not None, "a delivery has its message"
    complaint = arrival.computed(arf.read, arrival.message)
    if complaint is not None:
        _note(tx, message, delivery, "complained", f"feedback_{complaint.kind}"[:60], None, arrival.now)
        return True
    report = arrival.computed(report_in, arrival.message, arrival.envelope.sender is None, message.subject)
    if report is None:
        return False
    reply = _said(report)
    if not report.final:
        _note(tx, message, delivery, report.action.value, "remote_report", reply, arrival.now)
    elif bounces.bounced(tx, delivery.id, str(reply), arrival.now):
        ended = replace(
            delivery, state=DeliveryState.RETURNED, reason="bounced", last_reply=str(reply), ended=arrival.now
        )
        failed(tx, office, message, ended, reply, arrival.now)
    else:
        _note(tx, message, delivery, "bounced", _why_not(tx, delivery), reply, arrival.now)
    return True


def _why_not(tx: Transaction, delivery: Delivery) -> str:
    """Why a bounce changes nothing."""
    now = spool.delivery_by_id(tx, delivery.id)
    again = now is not None and now.state is DeliveryState.RETURNED
    return "bounced_again" if again else "nobody_waits"  # dropped meanwhile


def report_in(message: Message, null_sender: bool, about: str) -> dsn.Report | None:
    return dsn.read(message, null_sender=null_sender, about=about)


_REPLY = re.compile(r"([245])[0-9]{2}(?=[ -])")
_SAID = {Action.FAILED: 550, Action.DELAYED: 450}


def _said(report: dsn.Report) -> Reply:
    """The remote's words as a reply; its text is a stranger's, so it is made safe.

    Where its Status says no more than the class (Exim's always is 5.0.0), the words may know better.
    """
    code = {"4": 450, "5": 550}.get(report.status[:1]) or _SAID.get(report.action, 250)
    known = report.status if report.status[:1] == str(code)[0] else ""
    own = _REPLY.match(report.diagnostic)
    if own is not None and own[1] == str(code)[0]:
        reply = heard(int(own[0]), report.diagnostic[4:])
        # Of several lines each began with the code: Google's are five.
        again = re.compile(rf"(?<= ){own[0]}[ -]{re.escape(reply.status)} ?")
        text = again.sub("", reply.spoken or reply.text)
        if reply.status in ("", known):
            return heard(reply.code, f"{known} {text}".strip())
        if known[1:] in ("", ".0.0"):
            return heard(reply.code, f"{reply.status} {text}".strip())
    return heard(code, f"{known} {report.diagnostic}".strip())


# ---- who is told -----------------------------------------------------------------------------------


def _tell_person(
    tx: Transaction, office: Office, message: SpooledMessage, delivery: Delivery, reply: Reply, now: datetime
) -> None:
    said = words.failure_note(message, to=_written(tx, delivery), reply=reply, reason=delivery.reason)
    _send(tx, office, message, said, to=message.sender, rule="returned", now=now)


def _without_attached(
    tx: Transaction, office: Office, message: SpooledMessage, delivery: Delivery, reply: Reply, now: datetime
) -> None:
    """A note was refused, and the mail in it may be why: its words are said alone, once."""
    said = words.without_attached(message, reply)
    if said is None:
        return
    authors = headers.addresses(Message.head(message.raw).value("From") or b"")
    by = authors[0].address if authors else None
    _send(tx, office, message, said, to=delivery.recipient, by=by, rule=message.rule, now=now)


def _send(
    tx: Transaction,
    office: Office,
    of: SpooledMessage,
    said: Notice,
    *,
    to: str,
    by: Address | None = None,
    rule: str,
    now: datetime,
) -> None:
    """A note about that message, to the account that it is of."""
    if of.account_id is not None:
        notices.send(
            tx,
            office,
            said,
            account_id=of.account_id,
            relationship_id=of.relationship_id,
            to=to,
            by=by,
            rule=rule,
            now=now,
        )


def _written(tx: Transaction, delivery: Delivery) -> str:
    """Whom the person wrote to, as they know them."""
    contact = contacts.by_id(tx, delivery.contact_id) if delivery.contact_id is not None else None
    return contact.written if contact is not None else delivery.recipient


def _tell_vendor(
    tx: Transaction, office: Office, message: SpooledMessage, delivery: Delivery, now: datetime
) -> None:
    to = parse(message.sender)
    if to is None or message.account_id is None:
        return
    recipient = _accepted_for(tx, message, delivery)
    if recipient is None:
        _note(tx, message, delivery, "not told", "alias_unknown", None, now)
        return
    name = token.fresh(office.random(10))
    failure = words.vendor_failure(message, recipient, delivery.reason, _outside_id(tx, office, message))
    author = _postmaster(tx, office, recipient)
    raw, own = (
        dsn.build(said, to=to, author=author, token=name, now=now)
        for said in (failure, replace(failure, fields=()))
    )
    checked = gate.composed(tx, message.account_id, Message.parse(raw), own=Message.parse(own))
    if checked.found:
        _note(tx, message, delivery, "not told", gate.RULE, None, now)
        return
    failpoint.at("in-return")
    spooled = rows.message(
        raw,
        token=name,
        direction=Direction.RETURN,
        account_id=message.account_id,
        relationship_id=message.relationship_id,
        rule="returned",
        subject="Undelivered mail returned to its sender",
        now=now,
    )
    give_up_after = office.config.delivery.give_up_after
    returned = rows.delivery(
        spooled, str(to), destination=to.domain, give_up_after=give_up_after, contact_id=delivery.contact_id
    )
    gate.put(tx, spooled, (returned,), checked)


def _accepted_for(tx: Transaction, message: SpooledMessage, delivery: Delivery) -> Address | None:
    """The address that the vendor wrote to, as it wrote it.

    None where an older version accepted the mail and did not keep it, and it can't be told from another one
    that the vendor may never have seen: after a `rotate` that would be the new one.
    """
    if delivery.accepted_for:
        return parse(delivery.accepted_for)
    if message.relationship_id is None:
        return None
    known = relationships.aliases(tx, message.relationship_id)
    if len(known) > 1:
        named = _named(Message.parse(message.raw))
        known = tuple(each for each in known if each.canonical in named)
    return parse(known[0].address) if known else None


def _named(message: Message) -> frozenset[str]:
    """Who stands in To and Cc, in the form in which aliases are compared."""
    mentions = (
        each for name in ("To", "Cc") for f in message.all(name) for each in headers.addresses(f.value)
    )
    return frozenset(naming.canonical(each.address.normal) for each in mentions if each.address is not None)


def _postmaster(tx: Transaction, office: Office, recipient: Address) -> Address:
    """Whom the DSN is from: at the domain that the vendor wrote to, if that one's keys can sign."""
    if domains.by_name(tx, recipient.domain) is None:
        return notices.author(tx, office)
    return Address("postmaster", recipient.domain)


def _outside_id(tx: Transaction, office: Office, message: SpooledMessage) -> str:
    """The Message-ID as the vendor wrote it; "" where there is none, or only one of ours."""
    inside = inward.message_id(Message.parse(message.raw))
    if not inside or message.relationship_id is None:
        return inside
    outside = references.outside_of(tx, message.relationship_id, (inside,)).get(inside)
    if outside is not None:
        return outside
    domain = inside.rpartition("@")[2].rstrip(">").lower()
    ours = domain == office.config.hostname or domains.by_name(tx, domain) is not None
    return "" if ours else inside


# ---- the mailbox ---------------------------------------------------------------------------------------


def _mailbox_failed(
    tx: Transaction, office: Office, message: SpooledMessage, delivery: Delivery, reply: Reply, now: datetime
) -> None:
    """The person is told at another mailbox; one that keeps failing is marked, and its mail held."""
    if message.account_id is None:
        return
    every = accounts.mailboxes(tx, message.account_id)
    mailbox = next((each for each in every if each.address == delivery.recipient), None)
    if mailbox is None:
        return
    failing = mailbox.state is MailboxState.FAILING
    ended = End(delivery.state, delivery.reason, str(reply), now)
    if not failing and words.speaks_of_mailbox(ended):
        ends = bounces.latest_ends(tx, message.account_id, delivery.recipient, words.LOOKED_AT)
        failing = words.keeps_failing(ends)
        if failing:
            accounts.set_mailbox(tx, replace(mailbox, state=MailboxState.FAILING))
            _note(tx, message, delivery, "mailbox-failing", "keeps_failing", None, now)
    other = _another(every, mailbox)
    if other is not None:
        said = words.mailbox_note(message, mailbox=mailbox.address, reply=reply, failing=failing)
        _send(tx, office, message, said, to=other.address, rule="mailbox_failed", now=now)


def _another(every: tuple[Mailbox, ...], failed: Mailbox) -> Mailbox | None:
    usable = [
        each
        for each in every
        if each.id != failed.id and each.delivers and each.state is MailboxState.VERIFIED
    ]
    return next((each for each in usable if each.preferred), usable[0] if usable else None)


def _note(
    tx: Transaction,
    message: SpooledMessage,
    delivery: Delivery,
    what: str,
    rule: str,
    reply: Reply | None,
    now: datetime,
) -> None:
    """The event.  The words of a mailbox's server would name the mailbox: of them only the codes stay."""
    detail = ""
    if reply is not None:
        outward = message.direction is Direction.OUTWARD
        detail = str(reply) if outward else f"{reply.code} {reply.status}".strip()
    events.add(
        tx,
        at=now,
        actor=_ACTOR,
        account_id=message.account_id,
        relationship_id=message.relationship_id,
        message=message.token,
        what=what,
        rule=rule if what != "returned" else f"{delivery.reason}, {rule}",
        detail=detail,
    )
