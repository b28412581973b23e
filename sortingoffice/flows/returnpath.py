"""Mail to a return path of ours: what it is, and whether it is taken.

A report of what was sent is heard whatever has ended since, and an automatic answer of the vendor's when no
more messages may come.  All else is judged as if it had been written to the address beside the return path:
the mailbox's own mail as at a reverse alias, what answers the person's mail as at the alias that it was
written as.

Promise: no stranger who has seen a return path reaches by it whom the alias would not let them reach.

Sources: RFC 3834 §4 (automatic answers go to the return path); RFC 5321 §4.5.5.
"""

from __future__ import annotations

from dataclasses import replace

from sortingoffice.core import decide
from sortingoffice.core.binding import Stranger
from sortingoffice.core.decide import Decision, Target, Verdict
from sortingoffice.core.model import AliasState, Delivery, Direction, Relationship, SpooledMessage
from sortingoffice.flows import inward, outward, returned
from sortingoffice.flows.arrival import Arrival
from sortingoffice.flows.judged import Judged
from sortingoffice.flows.office import Office
from sortingoffice.flows.target import Found
from sortingoffice.mail import arf, classify
from sortingoffice.store import relationships, spool
from sortingoffice.store.database import Transaction

REPORT = Decision(Verdict.ACCEPT, "return_path", decide.ACCEPTED)


def judge(tx: Transaction, office: Office, arrival: Arrival, found: Found, delivery: Delivery) -> Judged:
    """One recipient's decision; reads only."""
    carried = spool.by_id(tx, delivery.message_id)
    assert carried is not None, "a delivery has its message"
    if _reports(arrival, carried.subject):
        return Judged(found, REPORT)
    facts = found.rcpt_facts(submission=False, now=arrival.now)
    refusal = decide.NOT_A_BOUNCE
    if found.account is not None and outward.claims_to_be(tx, arrival, found.account):
        decision = outward.author(tx, office, arrival, found.account, found.address)
        if decision.verdict is Verdict.ACCEPT:
            again = decide.rcpt(replace(facts, target=Target.REVERSE))
            own = again.verdict is Verdict.ACCEPT
            return Judged(found, decision if own else again, own=own)
        refusal = decision if decision.verdict is Verdict.DEFER else refusal
    if found.relationship is None or carried.direction is not Direction.OUTWARD:
        return Judged(found, refusal)
    known = inward.known(tx, office, arrival, found.relationship, found.account)
    spent = facts.spent and not _answers(arrival, known)
    state = AliasState.REVOKED if _alias_gone(tx, found.relationship, carried) else None
    again = decide.rcpt(replace(facts, target=Target.ALIAS, alias_state=state, spent=spent))
    if again.verdict is not Verdict.ACCEPT:
        return Judged(found, again)
    return Judged(found, inward.judge(tx, office, arrival, known), known)


def _alias_gone(tx: Transaction, of: Relationship, carried: SpooledMessage) -> bool:
    """Whether the alias that this was written as is revoked: every one that there was by then is."""
    then = [each for each in relationships.aliases(tx, of.id) if each.created <= carried.accepted]
    return bool(then) and all(each.state is AliasState.REVOKED for each in then)


def _reports(arrival: Arrival, about: str) -> bool:
    """Whether it is one to `returned.bounce`, too, which works it out from the same facts."""
    if arrival.computed(arf.read, arrival.message) is not None:
        return True
    null_sender = arrival.envelope.sender is None
    return arrival.computed(returned.report_in, arrival.message, null_sender, about) is not None


def _answers(arrival: Arrival, known: inward.Known) -> bool:
    """A machine of the vendor's answers what the person sent: heard like a report, if no more may come."""
    vendor = known.stranger in (Stranger.VENDOR, Stranger.PROCESSOR)
    return bool(known.bound) and vendor and classify.automatic(arrival.message)
