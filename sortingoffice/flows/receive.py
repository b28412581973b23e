"""Mail arrives: the answer to a message.  `flows.rcpt` answers for its recipients before.

    gather (I/O) → decide (pure) → act (one transaction) → answer

Promise: `data` answers 250 only after the commit that holds the message, its recipients, the
rule's name and the disclosures; a refusal only when every recipient refuses, or when a person's own mail
can't even come back to them.

`explain` runs the same rules for a person who asks.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from sortingoffice import failpoint, log, metrics, transaction
from sortingoffice.core import decide
from sortingoffice.core.decide import Decision, MessageFacts, Scan, Target, Verdict
from sortingoffice.core.limits import network
from sortingoffice.core.model import Account, Envelope, Peer
from sortingoffice.flows import (
    bymail,
    consent,
    disclose,
    inward,
    outward,
    proof,
    rcpt,
    reserved,
    returned,
    returnpath,
    target,
    verify,
)
from sortingoffice.flows.arrival import Arrival, digested
from sortingoffice.flows.computed import LARGE, Computed, Elsewhere
from sortingoffice.flows.judged import Judged
from sortingoffice.flows.office import Office
from sortingoffice.flows.target import Found
from sortingoffice.mail import dmarc, token, trace
from sortingoffice.mail.address import Address, parse
from sortingoffice.mail.authentication import Authentication
from sortingoffice.mail.dmarc import Discovery
from sortingoffice.mail.message import Field, Message
from sortingoffice.mail.reply import Reply
from sortingoffice.net import scanner
from sortingoffice.net.authenticate import authenticate
from sortingoffice.store import accounts, events
from sortingoffice.store.database import Transaction

_TOO_FAST = Reply(450, "4.7.0", "too many messages from your network, try again later")
_NOT_NOW = Reply(451, "4.3.0", "too much is going on at this address, try again later")
_RUNS = 50  # of one accepting transaction; each but the last asked for one answer more

# ---- DATA --------------------------------------------------------------------------------------------


async def data(office: Office, peer: Peer, envelope: Envelope, raw: bytes) -> Reply:
    """The answer to a message; 250 means committed."""
    name = transaction.message() or token.fresh(office.random(10))
    if peer.account_id is None:
        most = office.config.limits.peer_messages_per_hour
        if not office.peers.sent(peer.ip, asyncio.get_running_loop().time(), most=most):
            log.event("refused", message=name, peer=peer.ip, rule="peer_messages_per_hour")
            return _TOO_FAST
    message = split(raw := trace.with_mailbox_line(raw), office.config.limits.header_bytes)
    early = decide.message(_message_facts(office, message))
    if early is not None:
        log.event("refused", message=name, peer=peer.ip, rule=early.rule)
        metrics.refused("data", early.verdict.value, early.rule)
        return early.reply
    if peer.account_id is None:
        auth, scan = await _looked_up(office, peer, envelope, raw, message)
    else:
        auth, scan = Authentication(), Scan.CLEAN
    size = len(raw)
    del raw  # the message has it all: of a large one nothing is kept twice
    computed = Computed(size=size)
    arrival = Arrival(peer, envelope, message, size, auth, name, office.clock(), scan, computed=computed)
    failpoint.at("before-accept")
    decision = await accepted(office, arrival)
    log.event(
        decision.verdict.value,
        message=name,
        peer=peer.ip,
        rule=decision.rule,
        size=size,
        recipients=len(envelope.recipients),
    )
    if decision.verdict in (Verdict.ACCEPT, Verdict.HOLD):
        metrics.accepted(decision.rule)
        if peer.account_id is None:
            office.peers.asked(peer.ip, asyncio.get_running_loop().time(), unknown=False)
        return Reply(250, "2.0.0", f"queued as {name}")
    metrics.refused("data", decision.verdict.value, decision.rule)
    return decision.reply


async def accepted(office: Office, arrival: Arrival) -> Decision:
    """What `accept` answers; whatever takes long is worked out before and between its runs."""
    if arrival.size > LARGE:
        await office.aside(lambda: _read(arrival))
    else:
        _read(arrival)
    for _ in range(_RUNS):
        try:
            async with office.accepting:
                return await office.db.write(accept, office, arrival)
        except Elsewhere as wanted:
            wanted.with_traceback(None)  # else what it went through would hold the message, in a circle
            await office.aside(partial(wanted.work, office.apart) if wanted.apart else wanted.work)
        except _Later as later:
            return later.decision
    return Decision(Verdict.DEFER, "facts_kept_changing", _NOT_NOW)


class _Later(Exception):
    """One account's part can't be taken now: nothing else may stand, since all of it comes again."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.rule)
        self.decision = decision


def _read(arrival: Arrival) -> None:
    """What every accepted message is asked for, whatever else is known of it."""
    arrival.computed.beforehand(digested, arrival.sender, arrival.message)
    if arrival.peer.account_id is None:
        arrival.computed.beforehand(disclose.heard, arrival.message)


def split(raw: bytes, most: int) -> Message:
    """The message; of a header block far beyond the limit only so much that it is refused for it."""
    head = Message.parse(raw[: 2 * most])
    if len(raw) <= 2 * most:
        return head
    if head.separator or b"\n" in head.body:  # where the body begins was seen
        return replace(head, body=raw[2 * most - len(head.body) :])
    return replace(head, fields=(*head.fields, Field(b"", raw[: most + 1])))


async def _looked_up(
    office: Office, peer: Peer, envelope: Envelope, raw: bytes, message: Message
) -> tuple[Authentication, Scan]:
    authenticated = _authenticated(office, peer, envelope.sender, raw, message)
    if not office.config.scanner.rspamd_url:  # two tasks less, for each message
        return await authenticated, Scan.CLEAN
    return await asyncio.gather(authenticated, _scanned(office, peer, envelope, raw))


async def _authenticated(
    office: Office, peer: Peer, sender: Address | None, raw: bytes, message: Message
) -> Authentication:
    discovery = Discovery(office.config.authentication.dmarc_discovery)
    return await authenticate(office.resolver, peer, sender, raw, message, discovery=discovery)


async def _scanned(office: Office, peer: Peer, envelope: Envelope, raw: bytes) -> Scan:
    """The spam filter's word; what is greylisted is taken when it comes again some minutes later."""
    found = await scanner.scan(office.config.scanner.rspamd_url, peer, envelope, raw)
    if found is not Scan.GREYLIST:
        return found
    who = (network(peer.ip), str(envelope.sender or ""), *(each.normal for each in envelope.recipients))
    patient = office.peers.patient(who, asyncio.get_running_loop().time())
    return Scan.CLEAN if patient else Scan.GREYLIST


def _message_facts(office: Office, message: Message) -> MessageFacts:
    limits = office.config.limits
    return MessageFacts(
        header_octets=sum(len(field.raw) for field in message.fields),
        most_header_octets=limits.header_bytes,
        fields=len(message.fields),
        froms=sum(1 for _ in message.all("From")),
        authors=dmarc.authors(message),
        hops=trace.hops(message),
        most_hops=limits.hops,
    )


# Addresses that only their own account may write to.
_WRITTEN_TO = frozenset({Target.REVERSE, Target.CARD, Target.BY_MAIL})
_PERSONAL = _WRITTEN_TO | {Target.CONFIRMATION}
# Refusals of a stranger's mail to a live alias: they count, and evidence of them is kept.
_EVIDENT = frozenset({"locked", "dmarc_reject", "refused_sender"})
# Of what became of the person's own mail, which comes back where it can: a refusal means that it can't.
_WORST = (Verdict.DEFER, Verdict.REFUSE, Verdict.HOLD, Verdict.ACCEPT)


def accept(tx: Transaction, office: Office, arrival: Arrival) -> Decision:
    """The transaction: decide for every recipient, then act; nothing is stored on DEFER or REFUSE.

    Raises `_Later` where that takes what has been done already back.
    """
    found = tuple(_reserved(tx, office, each) for each in arrival.envelope.recipients)
    if arrival.peer.account_id is not None:
        account = accounts.by_id(tx, arrival.peer.account_id)
        assert account is not None, "it authenticated"
        words = [each for each in found if each.target is Target.CONFIRMATION and each.account == account]
        if len(words) == len(found):
            answer = Decision(Verdict.ACCEPT, "word_on_a_held_message", decide.ACCEPTED)
        elif all(each.target is Target.BY_MAIL and each.account == account for each in found):
            answer = _answered_by_mail(tx, office, arrival, account, found)
        else:
            answer = outward.accept(tx, office, arrival, account, found, arrival.token)
        for asked in words if answer.verdict is not Verdict.DEFER else ():
            consent.answered(tx, office, arrival, asked.address)
        return answer
    judged = tuple(_judge(tx, office, arrival, each) for each in found)
    answer = decide.answer(tuple(each.decision for each in judged))
    if answer.verdict in (Verdict.REFUSE, Verdict.DEFER):
        for each in judged:
            _note(tx, arrival, each, answer)
            if each.decision.rule in _EVIDENT and each.known is not None:
                alias = _addressed(each.found)
                inward.count(tx, office, arrival, each.known, alias, each.decision)
        return answer
    return _act(tx, office, arrival, judged, answer)


def _reserved(tx: Transaction, office: Office, address: Address) -> Found:
    """What the recipient leads to; the reserved names lead to a relationship of the admin's."""
    found = target.find(tx, office, address)
    if found.target is not Target.RESERVED:
        return found
    relationship = reserved.relationship(tx, office, address)
    owner = accounts.by_id(tx, relationship.account_id)
    return replace(found, relationship=relationship, account=owner)


def _judge(tx: Transaction, office: Office, arrival: Arrival, found: Found) -> Judged:
    """One recipient's decision; reads only."""
    if found.target in _PERSONAL:
        assert found.account is not None
        return Judged(found, outward.author(tx, office, arrival, found.account, found.address))
    if found.target is Target.VERIFICATION:
        return Judged(found, Decision(Verdict.ACCEPT, "verification", decide.ACCEPTED))
    facts = found.rcpt_facts(submission=False, now=arrival.now)
    again = decide.rcpt(facts)  # a revoke between RCPT and now holds
    if found.delivery is not None and again.verdict is Verdict.ACCEPT:
        return returnpath.judge(tx, office, arrival, found, found.delivery)
    if again.verdict is not Verdict.ACCEPT or found.relationship is None or found.account is None:
        return Judged(found, again)
    known = inward.known(tx, office, arrival, found.relationship, found.account)
    if outward.written_by(arrival, known.mailboxes) is not None:
        decision = outward.author(tx, office, arrival, found.account, found.address)
        if decision.verdict is Verdict.ACCEPT:
            return Judged(found, decision, known, own=found.target is Target.ALIAS)
    return Judged(found, inward.judge(tx, office, arrival, known), known)


def _act(
    tx: Transaction, office: Office, arrival: Arrival, judged: tuple[Judged, ...], answer: Decision
) -> Decision:
    names = _Names(arrival.token)
    reached: set[int] = set()
    own: dict[tuple[int, int], tuple[Account, list[Found]]] = {}
    blind: list[Found] = []
    for each in judged:
        found, decision = each.found, each.decision
        if found.account is not None and _outward(each):
            path = 0 if found.delivery is None else found.delivery.id  # an answer to this one alone
            own.setdefault((found.account.id, path), (found.account, []))[1].append(found)
        elif found.delivery is not None and decision is returnpath.REPORT:
            returned.bounce(tx, office, arrival, found.delivery)
        elif found.target is Target.VERIFICATION:
            verify.answered(tx, office, arrival, found.address)
        elif found.target is Target.CONFIRMATION and decision.verdict is Verdict.ACCEPT:
            consent.answered(tx, office, arrival, found.address)
        elif found.target in _PERSONAL or (decision.verdict is Verdict.REFUSE and _gone(decision)):
            _note(tx, arrival, each, decision)  # a stranger at a reverse alias, or an alias that has ended
            blind += [found] if decision.rule == "unproven" and found.target in _WRITTEN_TO else []
        elif found.relationship is not None and found.relationship.id not in reached:
            reached.add(found.relationship.id)  # one copy, though its old alias stands beside the new one
            alias = _addressed(found)
            known = each.known or inward.known(tx, office, arrival, found.relationship, found.account)
            inward.put(tx, office, arrival, known, alias, decision, next(names))
    answers: list[Decision] = []
    for (_, path), (account, recipients) in own.items():
        if all(each.target is Target.BY_MAIL for each in recipients):
            answers.append(_answered_by_mail(tx, office, arrival, account, tuple(recipients)))
        else:
            unseen = () if path else tuple(each.address for each in blind if each.account == account)
            answers.append(
                outward.accept(tx, office, arrival, account, tuple(recipients), next(names), unseen)
            )
        if answers[-1].verdict is Verdict.DEFER and len(judged) > 1:
            raise _Later(answers[-1])
    return min(answers, key=lambda each: _WORST.index(each.verdict), default=answer)


def _answered_by_mail(
    tx: Transaction, office: Office, arrival: Arrival, account: Account, found: tuple[Found, ...]
) -> Decision:
    """To by-mail contacts and to nobody else: together with a vendor they are outsiders, and it goes back."""
    outward.learn_proof(tx, arrival, account)
    left = proof.unused(tx, arrival, account, found)
    if proof.stale(arrival) or not left:  # the same signed mail, sent again by whoever has it
        return Decision(Verdict.ACCEPT, "signature_used", decide.ACCEPTED)
    proof.use(tx, arrival, account, left)
    return [bymail.answered(tx, office, arrival, account, each.address) for each in left][-1]


def _gone(decision: Decision) -> bool:
    return decision.reply is decide.NO_SUCH


def _outward(judged: Judged) -> bool:
    """Whether the account itself wrote to this recipient, as `_judge` found."""
    if judged.decision.verdict is not Verdict.ACCEPT:
        return False
    return judged.own or judged.found.target in _WRITTEN_TO


def _addressed(found: Found) -> Address:
    """What the message was written to, as evidence names it: never an alias that its sender was not given."""
    address = found.address if found.alias is None else parse(found.alias.address)
    assert address is not None, "we issued it"
    return address


class _Names:
    """Tokens for the copies of one arrival: the one in our answer, then numbered."""

    def __init__(self, first: str) -> None:
        self._first = first
        self._count = 0

    def __next__(self) -> str:
        self._count += 1
        return self._first if self._count == 1 else f"{self._first}-{self._count}"


def _note(tx: Transaction, arrival: Arrival, judged: Judged, decision: Decision) -> None:
    found = judged.found
    if found.account is None:
        return
    events.add(
        tx,
        at=arrival.now,
        actor=arrival.actor(),
        account_id=found.account.id,
        relationship_id=None if found.relationship is None else found.relationship.id,
        message=arrival.token,
        what="deferred" if decision.verdict is Verdict.DEFER else "refused",
        rule=judged.decision.rule,
        detail=f"from {arrival.sender or '<>'}",
    )


# ---- explain -----------------------------------------------------------------------------------------


_NOBODY = "mailer-daemon@null.invalid"  # a null sender's mail has an author, too, whom nothing proves


async def explain(office: Office, sender: Address | None, recipient: Address, ip: str = "") -> Decision:
    """What would become of a mail from `sender` to `recipient`, by the rules that run on real mail.

    ip  where given, SPF is looked up for it; otherwise the sender is taken as proved
    """
    peer = Peer(ip or "192.0.2.1")
    decision, found = await office.db.read(rcpt.judge, office, peer, recipient)
    if decision.verdict is not Verdict.ACCEPT or found.target is not Target.ALIAS:
        return decision
    raw = f"From: <{sender or _NOBODY}>\r\n\r\n".encode()
    message = Message.parse(raw)
    auth = await _authenticated(office, peer, sender, raw, message) if ip else proved(sender)
    envelope = Envelope(sender, (recipient,))
    arrival = Arrival(peer, envelope, message, len(raw), auth, "explain", office.clock())
    return (await office.db.read(_judge, office, arrival, found)).decision


def proved(sender: Address | None) -> Authentication:
    """The results of mail whose author proves to be who it says."""
    from sortingoffice.mail.authentication import DmarcResult, Result

    if sender is None:
        return Authentication()
    return Authentication(
        dmarc=DmarcResult(Result.PASS, aligned_spf=True, aligned_dkim=True), from_domain=sender.domain
    )
