"""Person → vendor: prove the author, plan the recipients, rewrite, disclose, guard, spool.

All in the caller's transaction.  Whatever can't be sent safely goes back to the person whole,
with the reason; nothing is dropped in silence and nothing is half sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from sortingoffice.core import addressing, decide, naming, outward
from sortingoffice.core import spooled as rows
from sortingoffice.core.addressing import Plan, Problem
from sortingoffice.core.checked import Checked
from sortingoffice.core.decide import ACCEPTED, AuthorFacts, Decision, Verdict
from sortingoffice.core.model import (
    Account,
    AliasState,
    Direction,
    Mailbox,
    MailboxState,
    Relationship,
    SpooledMessage,
)
from sortingoffice.core.notice import Notice
from sortingoffice.flows import (
    answering,
    bymail,
    disclose,
    gate,
    leaving,
    notices,
    proof,
    recipients,
    repeated,
)
from sortingoffice.flows.arrival import Arrival, write_event
from sortingoffice.flows.office import Office
from sortingoffice.flows.target import Found
from sortingoffice.frozen import dataclass
from sortingoffice.mail import headers, mime
from sortingoffice.mail.address import Address, parse
from sortingoffice.mail.message import Message
from sortingoffice.mail.reply import Reply, heard
from sortingoffice.store import accounts, events, references, relationships, spool
from sortingoffice.store.database import Transaction

_HOUR = timedelta(hours=1)
_TOO_MANY = Reply(450, "4.7.1", "too many messages in an hour, try again later")
_TOO_MUCH_WAITS = Reply(
    452,
    "4.2.1",
    "your mailbox takes no mail, and too much waits for it: verify it again, or drop what is held",
)
_NOT_YOURS = Reply(550, "5.7.1", "the From address is neither a mailbox nor an alias of this account")

# Told once per signature: whoever plays it again is answered and that is all.
_STALE = Problem(
    "stale_signature",
    "Not sent: your mail was signed more than a week ago",
    (
        "Nothing went out. Your provider signed this mail more than a week before it came here; one so old",
        "may have been sent again by somebody else.",
        "If you want it to go, send it once more.",
    ),
)


@dataclass(frozen=True, slots=True)
class _Author:
    """Who wrote it.

    address       the From address, normal; "" if it can't be read
    relationship  set where the From is an alias of the account (submission only)
    """

    address: str
    relationship: Relationship | None


def author(
    tx: Transaction, office: Office, arrival: Arrival, account: Account, recipient: Address
) -> Decision:
    """Whether this account itself wrote the message (to this reverse alias, alias or return path)."""
    if arrival.peer.account_id is not None:
        submission = arrival.peer.account_id == account.id
        return decide.author(AuthorFacts(submission, False, False, False, False, False, False))
    mailbox = _own_mailbox(tx, arrival, account)
    return decide.author(
        AuthorFacts(
            submission=False,
            own_address=mailbox is not None,
            dkim=arrival.auth.aligned_dkim,
            dkim_covers_recipient=proof.covered(arrival, recipient),
            spf=arrival.auth.aligned_spf,
            dkim_seen=mailbox is not None and mailbox.dkim_seen is not None,
            temporary=arrival.auth.temporary,
        )
    )


def claims_to_be(tx: Transaction, arrival: Arrival, account: Account) -> bool:
    """Whether the From is a mailbox of this account: then it is the account's mail, or nobody's."""
    return _own_mailbox(tx, arrival, account) is not None


def written_by(arrival: Arrival, mailboxes: Iterable[Mailbox]) -> Mailbox | None:
    """The verified mailbox or identity among these that the From is exactly; None if it is none."""
    written = _from(arrival.message)
    return next(
        (each for each in mailboxes if each.address == written and each.state is not MailboxState.PENDING),
        None,
    )


def learn_proof(tx: Transaction, arrival: Arrival, account: Account) -> None:
    """From the first aligned signature on, SPF alone no longer counts for this mailbox."""
    mailbox = _own_mailbox(tx, arrival, account)
    if mailbox is None or arrival.peer.account_id is not None:
        return
    proof = "dkim" if arrival.auth.aligned_dkim else "spf"
    seen = mailbox.dkim_seen or (arrival.now if proof == "dkim" else None)
    if (proof, seen) != (mailbox.proof, mailbox.dkim_seen):
        accounts.set_mailbox(tx, replace(mailbox, proof=proof, dkim_seen=seen))


def accept(
    tx: Transaction,
    office: Office,
    arrival: Arrival,
    account: Account,
    found: tuple[Found, ...],
    name: str,
    unseen: tuple[Address, ...] = (),
) -> Decision:
    """Send the message on, or back to the person with the reason.

    found   this transaction's recipients; the author is proved already
    name    the token of the spooled message
    unseen  its other recipients of this account, for whom nothing proves that the person wrote to them
    """
    who = _written_by(tx, arrival, account)
    if who is None:
        return Decision(Verdict.REFUSE, "from_is_not_yours", _NOT_YOURS)
    limit = office.config.limits.account_messages_per_hour
    if spool.outward_since(tx, account.id, arrival.now - _HOUR) >= limit:
        return Decision(Verdict.DEFER, "account_messages_per_hour", _TOO_MANY)
    if notices.full(tx, account.id):
        return Decision(Verdict.DEFER, "too_much_waits", _TOO_MUCH_WAITS)
    left = proof.unused(tx, arrival, account, found)
    if found and not left:
        _noted(tx, arrival, account, "repeated", "signature_used", f"to {found[0].address}")
        return Decision(Verdict.ACCEPT, "signature_used", ACCEPTED)
    found = left
    learn_proof(tx, arrival, account)
    decision = _carry(tx, office, arrival, account, who, found, name, unseen)
    if decision.verdict is Verdict.ACCEPT:  # what was refused may be sent again
        proof.use(tx, arrival, account, found)
    return decision


def _carry(
    tx: Transaction,
    office: Office,
    arrival: Arrival,
    account: Account,
    who: _Author,
    found: tuple[Found, ...],
    name: str,
    unseen: tuple[Address, ...],
) -> Decision:
    """What is new, and the account's: to its contacts, or back."""
    if proof.stale(arrival):
        return _back(tx, office, arrival, account, who, None, _STALE)
    if unseen:
        return _back(tx, office, arrival, account, who, None, addressing.blind(unseen))
    made = addressing.plan(recipients.everyone(tx, office, arrival, account, who.relationship, found))
    if isinstance(made, Problem):
        return _back(tx, office, arrival, account, who, None, made)
    if not made.contacts:  # Reply-all: the copies for the contacts come in transactions of their own
        write_event(tx, arrival, made.relationship, "taken off", "own_copy")
        return Decision(Verdict.ACCEPT, "own_copy", ACCEPTED)
    fingerprint = arrival.fingerprint(f"account {account.id}")
    made = repeated.left(tx, arrival, made, fingerprint)
    if not made.contacts:
        return Decision(Verdict.ACCEPT, repeated.RULE, ACCEPTED)
    try:
        alias = answering.alias(tx, arrival, made, found)
    except mime.TooComplex as error:
        alias = _too_complex(error)
    if isinstance(alias, Problem):
        return _back(tx, office, arrival, account, who, made.relationship, alias)
    return _send(tx, office, arrival, account, who, made, alias, name, fingerprint)


def _send(
    tx: Transaction,
    office: Office,
    arrival: Arrival,
    account: Account,
    who: _Author,
    made: Plan,
    alias: Address,
    name: str,
    fingerprint: bytes | None,
) -> Decision:
    try:
        asked = disclose.disclose(
            tx,
            office,
            account,
            made.relationship,
            made.contacts,
            arrival.message,
            arrival.now,
            made.cards,
            arrival.watch,
            arrival.computed,
            automatic=answering.automatic(arrival),
        )
        if isinstance(asked, Problem):
            return _back(tx, office, arrival, account, who, made.relationship, asked)
        facts = leaving.facts(tx, office, arrival, account, made, asked.message, alias, name)
        checked = gate.written(
            tx,
            account,
            asked.message,
            facts,
            (*asked.withheld, *bymail.secrets(tx, office, account)),
            displayed=_displayed(arrival.message),
            known=asked.known,
            computed=arrival.computed,
        )
    except mime.TooComplex as error:
        return _back(tx, office, arrival, account, who, made.relationship, _too_complex(error))
    held = asked.waiting.rule if asked.waiting is not None else ""
    spooled = _spooled(tx, office, arrival, account, made, facts, checked, name, fingerprint, held)
    references.remember(
        tx,
        made.relationship.id,
        leaving.message_id(arrival.message) or facts.message_id,
        facts.message_id,
        arrival.now,
    )
    disclose.record(tx, office, asked, spooled.id, arrival.now, checked.found)
    write_event(tx, arrival, made.relationship, "accepted", "sent_as_alias", message=name)
    return Decision(Verdict.ACCEPT, "sent_as_alias", ACCEPTED)


# ---- facts -------------------------------------------------------------------------------------------


def _own_mailbox(tx: Transaction, arrival: Arrival, account: Account) -> Mailbox | None:
    return written_by(arrival, accounts.mailboxes(tx, account.id))


def _from(message: Message) -> str:
    """The one From address, normal; "" where there is none or more than one."""
    fields = list(message.all("From"))
    mentions = headers.addresses(fields[0].value) if len(fields) == 1 else ()
    if len(mentions) != 1 or mentions[0].address is None:
        return ""
    return mentions[0].address.normal


def _displayed(message: Message) -> str:
    """What the mail client writes beside the mailbox."""
    mentions = headers.addresses(message.value("From") or b"")
    return mentions[0].display if mentions else ""


def _written_by(tx: Transaction, arrival: Arrival, account: Account) -> _Author | None:
    """None where the From is neither a mailbox nor (at submission) an alias of the account."""
    if _own_mailbox(tx, arrival, account) is not None:
        return _Author(_from(arrival.message), None)
    address = parse(_from(arrival.message))
    alias = relationships.alias_by_canonical(tx, naming.canonical(address.normal)) if address else None
    if alias is None or arrival.peer.account_id is None or alias.state is AliasState.REVOKED:
        return None
    relationship = relationships.by_id(tx, alias.relationship_id)
    if relationship is None or relationship.account_id != account.id:
        return None
    return _Author("", relationship)


# ---- acts --------------------------------------------------------------------------------------------


def _spooled(
    tx: Transaction,
    office: Office,
    arrival: Arrival,
    account: Account,
    made: Plan,
    facts: outward.OutwardFacts,
    checked: Checked,
    name: str,
    fingerprint: bytes | None,
    held: str,
) -> SpooledMessage:
    """held: the rule that makes it wait for the person's yes from the first moment on; "" if none does."""
    subject = Message.head(checked.octets).value("Subject") or b""
    automatic = answering.automatic(arrival)  # nothing may answer it
    spooled = rows.message(
        checked.octets,
        token=name,
        direction=Direction.OUTWARD,
        account_id=account.id,
        relationship_id=made.relationship.id,
        rule="sent_as_alias",
        subject=headers.decode(subject),
        now=arrival.now,
        sender=arrival.sender,
        fingerprint=fingerprint,
        bulk=automatic,
        authenticated=True,
    )
    deliveries = tuple(
        rows.delivery(
            spooled,
            each.written,
            destination=each.address.rpartition("@")[2],
            give_up_after=office.config.delivery.give_up_after,
            return_domain="" if automatic else facts.alias.domain,
            contact_id=each.id,
            held=held,
        )
        for each in made.contacts
    )
    return gate.put(tx, spooled, deliveries, checked)


def _back(
    tx: Transaction,
    office: Office,
    arrival: Arrival,
    account: Account,
    who: _Author,
    relationship: Relationship | None,
    problem: Problem,
) -> Decision:
    """The whole message to the person, with the reason; refused where there is no mailbox to take it."""
    said = Notice(problem.subject, problem.lines, bytes(arrival.message))
    told = notices.send(
        tx,
        office,
        said,
        account_id=account.id,
        relationship_id=None if relationship is None else relationship.id,
        to=who.address,
        rule=problem.rule,
        now=arrival.now,
    )
    what = "refused" if told is None else "returned"
    _noted(tx, arrival, account, what, problem.rule, problem.subject, relationship)
    if told is None:
        return Decision(Verdict.REFUSE, problem.rule, _unsent(arrival, problem))
    return Decision(Verdict.ACCEPT, problem.rule, ACCEPTED)


def _unsent(arrival: Arrival, problem: Problem) -> Reply:
    """The reason itself only to the person's own program: a provider's server would keep it."""
    own = arrival.peer.account_id is not None
    reason = problem.subject[:300] if own else "Not sent"
    return heard(550, f"5.7.1 {reason}; it can't come back to you either, for you have no verified mailbox")


def _too_complex(error: mime.TooComplex) -> Problem:
    return Problem(
        "too_complex",
        "Not sent: your mail could not be checked",
        (
            f"Nothing went out: your mail has {error}, more than is looked through for your address.",
            "Quote less of what it answers; send its attachments in fewer parts, or as one archive.",
        ),
    )


def _noted(
    tx: Transaction,
    arrival: Arrival,
    account: Account,
    what: str,
    rule: str,
    detail: str,
    relationship: Relationship | None = None,
    *,
    message: str = "",
) -> None:
    """An event of the account's, whether or not it is about a relationship; `message`: the id of another
    one than what arrived."""
    events.add(
        tx,
        at=arrival.now,
        actor=arrival.actor(),
        account_id=account.id,
        relationship_id=None if relationship is None else relationship.id,
        message=message or arrival.token,
        what=what,
        rule=rule,
        detail=detail,
    )
