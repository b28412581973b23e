"""Strangers: who wrote is counted, what they wrote is evidence, and the person hears of it once a day.

Called in the transaction that decides about the message, so that counts, evidence and the decision stand
together.  Nothing here changes a decision.

Sources: the design, "Authentication, strangers, evidence".
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sortingoffice.core import binding, evidence
from sortingoffice.core import writers as core
from sortingoffice.core.binding import Identities, Stranger
from sortingoffice.core.decide import Decision, Verdict
from sortingoffice.core.evidence import Evidence
from sortingoffice.core.model import Account, Relationship
from sortingoffice.core.notice import Notice
from sortingoffice.core.rejects import Reject
from sortingoffice.core.writers import Writer
from sortingoffice.flows import notices
from sortingoffice.flows import relationships as relationships_flow
from sortingoffice.flows.arrival import Arrival, write_event
from sortingoffice.flows.office import Office
from sortingoffice.mail import dkim, trace
from sortingoffice.mail.address import Address
from sortingoffice.mail.authentication import Result
from sortingoffice.mail.publicsuffix import organizational
from sortingoffice.store import rejects, relationships
from sortingoffice.store import writers as rows
from sortingoffice.store.database import Transaction

DIGEST_EVERY = timedelta(days=1)
MOST_WRITERS = 500  # of one relationship; who comes later is counted among the unnamed
MOST_PROCESSORS = 30  # that one vendor's mail can teach; a large shop uses a handful
_KNOWN = (Stranger.VENDOR, Stranger.PROCESSOR)
_LINES = 40  # of a digest


# ---- classes ---------------------------------------------------------------------------------------------


def standing(
    tx: Transaction,
    arrival: Arrival,
    relationship: Relationship,
    bound: frozenset[str],
    who: Identities,
    *,
    in_your_name: bool,
) -> Stranger:
    """What the author is to the relationship, learnt processors among them.

    in_your_name  the author is a mailbox of the person's own, and so nobody's vendor
    """
    found = binding.classify(bound, who)
    if not bound and binding.proven(who) and not in_your_name:
        return Stranger.VENDOR  # the first to prove itself is the vendor, and will be bound
    if found in _KNOWN or not who.signers:
        return found
    learnt = rows.of_relationship(tx, relationship.id, Stranger.PROCESSOR)
    if learnt:
        refused = {
            each.identity for each in relationships.bindings(tx, relationship.id) if each.how == "refused"
        }
        known = {each.identity: core.marks(each.marks) for each in learnt if each.identity not in refused}
        if core.recognised(known, who.signers, _list_id(arrival, who.signers)):
            return Stranger.PROCESSOR
    return found


def _list_id(arrival: Arrival, signers: frozenset[str]) -> str:
    """The List-Id that a passing signature of one of these covers; "" if none."""
    for each in arrival.auth.dkim:
        if each.passed and (organizational(each.domain) or each.domain) in signers:
            fields = dkim.covered(arrival.message, each, "List-Id")
            if len(fields) == 1 and len(list(arrival.message.all("List-Id"))) == 1:
                return core.list_id(fields[0].value)
    return ""


def note(
    tx: Transaction,
    office: Office,
    arrival: Arrival,
    relationship: Relationship,
    alias: Address,
    decision: Decision,
    stranger: Stranger,
    who: Identities,
) -> None:
    """Count the message; of a stranger's, keep evidence.  Not for what is deferred: it comes again.

    Nor is anybody called a forger because DNS didn't answer.
    """
    known = stranger in _KNOWN
    if stranger is Stranger.FORGED and _unclear(arrival):
        return
    identity = core.who(stranger, who)
    if stranger is Stranger.PROCESSOR:
        identity = _processor(tx, relationship, who)
    elif stranger is Stranger.VENDOR:
        _learn(tx, arrival, relationship, who)
    if known and rows.again(tx, relationship.id, stranger, identity, now=arrival.now, token=arrival.token):
        return
    if not known and identity and rows.number(tx, relationship.id) >= MOST_WRITERS:
        identity = ""
    writer = rows.note(
        tx,
        relationship.id,
        stranger,
        identity,
        now=arrival.now,
        token=arrival.token,
        pending=not known and decision.verdict is Verdict.HOLD,
        pending_first=not known,
    )
    if not known and writer.number <= evidence.KEEP:
        _keep(tx, office, arrival, relationship, alias, decision, writer)


def _unclear(arrival: Arrival) -> bool:
    """Whether what would have proved the author, by its own domain, could not be looked up."""
    auth, author = arrival.auth, organizational(arrival.auth.from_domain) or arrival.auth.from_domain
    silent = [each.domain for each in auth.dkim if each.result is Result.TEMPERROR]
    if auth.spf.result is Result.TEMPERROR:
        silent.append(auth.spf.domain)
    return any((organizational(domain) or domain) == author for domain in silent)


def _processor(tx: Transaction, relationship: Relationship, who: Identities) -> str:
    """Under which of its signers a processor's mail counts."""
    known = {each.identity for each in relationships.bindings(tx, relationship.id)}
    known |= {each.identity for each in rows.of_relationship(tx, relationship.id, Stranger.PROCESSOR)}
    return min(who.signers & known, default="")


def _learn(tx: Transaction, arrival: Arrival, relationship: Relationship, who: Identities) -> None:
    """Who else had a hand in what the vendor itself signed."""
    if not arrival.auth.aligned_dkim:
        return
    spf = arrival.auth.spf
    path = organizational(spf.domain) or spf.domain if spf.result == "pass" and arrival.sender else ""
    found = core.processors(who, path, _list_id(arrival, who.authenticated))
    if not found:
        return
    decided = {each.identity for each in relationships.bindings(tx, relationship.id)}
    learnt = {each.identity for each in rows.of_relationship(tx, relationship.id, Stranger.PROCESSOR)}
    for identity, marks in found.items():
        if identity not in learnt and len(learnt) >= MOST_PROCESSORS:
            _not_learnt(tx, arrival, relationship, identity)
            continue
        learnt.add(identity)
        rows.note(
            tx,
            relationship.id,
            Stranger.PROCESSOR,
            identity,
            marks=marks,
            now=arrival.now,
            token=arrival.token,
            pending_first=identity not in decided,
        )


def _not_learnt(tx: Transaction, arrival: Arrival, relationship: Relationship, identity: str) -> None:
    """A vendor that names ever more of them would open its address to everybody: the first ones stay, and
    the person's own word (`allow`) needs no learning."""
    write_event(tx, arrival, relationship, "processor not learnt", "most_processors", identity)


# ---- evidence --------------------------------------------------------------------------------------------


def _keep(
    tx: Transaction,
    office: Office,
    arrival: Arrival,
    relationship: Relationship,
    alias: Address,
    decision: Decision,
    writer: Writer,
) -> None:
    issued = issuing(tx, office, relationship)
    previous = rows.last_hash(tx, relationship.id) or evidence.start(issued)
    made = Evidence(
        id=0,
        account_id=relationship.account_id,
        relationship_id=relationship.id,
        message=arrival.token,
        at=arrival.now,
        standing=writer.standing,
        identity=writer.identity,
        rule=decision.rule,
        peer=trace.origin(arrival.peer),
        sender=arrival.sender,
        recipient=alias.normal,
        results=arrival.auth.text(office.config.hostname),
        records=evidence.records(arrival.auth),
        guesses=rejects.guessed(tx, alias.domain, relationship.created),
        live=relationships.live_aliases(tx),
        size=arrival.size,
        sha256=evidence.digest(arrival.message),
        raw=evidence.kept(arrival.message, arrival.size),
        previous=previous,
        hash="",
    )
    made = rows.keep(tx, evidence.chained(made))
    told = f"{made.standing}; chain {made.hash}"
    write_event(tx, arrival, relationship, "evidence kept", decision.rule, told)


def issuing(tx: Transaction, office: Office, relationship: Relationship) -> dict[str, Any]:
    """The beginning of a relationship's chain: its first alias, as it was issued."""
    first = relationships.aliases(tx, relationship.id)[0]
    return evidence.issuing(first.address, office.config.hostname, first.created)


# ---- showing ---------------------------------------------------------------------------------------------


def listed(tx: Transaction, account: Account, text: str = "") -> list[dict[str, Any]]:
    """Everybody who wrote but the vendors themselves, and processors that wait for a word."""
    if text:
        of = relationships_flow.find(tx, account, text)
        return [each for each in of_relationship(tx, of) if each["class"] != Stranger.VENDOR]
    found: list[dict[str, Any]] = []
    for relationship_id in dict.fromkeys(each.relationship_id for each in rows.of_account(tx, account.id)):
        named = relationships.by_id(tx, relationship_id)
        assert named is not None, "a foreign key holds it"
        found += [each for each in of_relationship(tx, named) if each["class"] != Stranger.VENDOR]
    return found


def of_relationship(tx: Transaction, of: Relationship) -> list[dict[str, Any]]:
    """Everybody who wrote to one relationship."""
    words = {"accepted": "yes", "site": "yes", "learned": "yes", "refused": "no"}
    bound = {each.identity: words.get(each.how, "") for each in relationships.bindings(tx, of.id)}
    return [
        {
            "relationship": of.slug,
            "identity": each.identity,
            "class": each.standing,
            "messages": each.number,
            "first": each.first,
            "last": each.last,
            "last_message": each.last_message,
            "seen_with": list(core.marks(each.marks)),
            "word": bound.get(each.identity, ""),
        }
        for each in rows.of_relationship(tx, of.id)
    ]


# ---- the digest ------------------------------------------------------------------------------------------


def digests(tx: Transaction, office: Office, most: int = 100) -> int:
    """Tell each account at most once a day; how many were told.  Housekeeping asks now and then."""
    now = office.clock()
    number = 0
    for account_id in rows.waiting(tx, now - DIGEST_EVERY, most):
        found = [each for each in rows.of_account(tx, account_id) if each.pending]
        slips = rejects.pending(tx, account_id, _LINES)
        notices.send(tx, office, _digest(tx, found, slips), account_id=account_id, rule="digest", now=now)
        rows.tell(tx, [each.id for each in found], now)
        rejects.tell(tx, [each.id for each in slips], now)
        number += 1
    return number


def _digest(tx: Transaction, found: list[Writer], slips: tuple[Reject, ...]) -> Notice:
    strangers = [each for each in found if each.standing not in _KNOWN]
    processors = [each for each in found if each.standing == Stranger.PROCESSOR]
    lines: list[str] = []
    for each in strangers[:_LINES]:
        lines += ["", *_told(tx, each)]
    if len(strangers) > _LINES:
        lines += ["", f"… and {len(strangers) - _LINES} more: `sortingoffice strangers`."]
    for each in processors[:_LINES]:
        of = relationships.by_id(tx, each.relationship_id)
        assert of is not None, "a foreign key holds it"
        lines += [
            "",
            f"{each.identity} sends mail for {of.name}: it signs beside {of.name}'s own signature.",
            f"  yes: sortingoffice allow {of.slug} {each.identity}",
            f"  no:  sortingoffice refuse {of.slug} {each.identity}",
        ]
    for slip in slips:
        lines += [
            "",
            f"{slip.number} mails were refused for {slip.address}, one slip away from an address of yours.",
            f"  take it, too: sortingoffice rejects accept {slip.address} RELATIONSHIP",
        ]
    what = f"{len(strangers)} stranger{'s' * (len(strangers) != 1)} wrote to your addresses"
    subject = what if strangers else "Who may write to your addresses?"
    opening = (
        "This is the day's one mail about who wrote to addresses that you gave to one party only.",
        "Nothing needs doing; what follows each line is what you may do.",
    )
    return Notice(subject, (*opening, *lines))


def _told(tx: Transaction, each: Writer) -> list[str]:
    of = relationships.by_id(tx, each.relationship_id)
    assert of is not None, "a foreign key holds it"
    alias = rows.reached(tx, each) or relationships_flow.current_alias(tx, of).address
    mails = f"{each.number} message{'s' * (each.number != 1)}"
    if each.standing == Stranger.FORGED:
        return [f"Somebody who pretends to be {of.name} wrote to {alias}: {mails}."]
    if not each.identity:
        return [f"Somebody who proves nothing wrote to {alias} ({of.name}): {mails}."]
    return [
        f"{each.identity} wrote to {alias}, which only {of.name} was given: {mails}.",
        f"  it is {of.name}, too: sortingoffice allow {of.slug} {each.identity}",
        f"  no more of it:  sortingoffice refuse {of.slug} {each.identity}",
        f"  evidence: sortingoffice leaks report {of.slug}",
    ]
