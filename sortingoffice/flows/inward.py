"""Vendor → person: judge one message at one relationship, rewrite it, spool it.

All in the caller's transaction: the message, its delivery, the contacts whom it names, the
binding that it makes and the event stand together or not at all.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sortingoffice.core import binding, decide, inward, naming
from sortingoffice.core.binding import Identities
from sortingoffice.core.decide import Decision, Dmarc, InwardFacts, Target, Verdict
from sortingoffice.core.model import (
    Binding,
    Contact,
    Delivery,
    DeliveryState,
    Direction,
    Mailbox,
    Relationship,
    RelationshipState,
    SpooledMessage,
)
from sortingoffice.flows import disclose, issue, strangers, target
from sortingoffice.flows.arrival import Arrival
from sortingoffice.flows.office import Office
from sortingoffice.mail import arc, classify, headers, token, trace
from sortingoffice.mail.address import Address, parse
from sortingoffice.mail.message import Message, field
from sortingoffice.mail.publicsuffix import organizational
from sortingoffice.store import accounts, contacts, events, references, relationships, spool
from sortingoffice.store.database import Transaction

REPEAT_WINDOW = timedelta(hours=6)  # in which the same message for the same recipient counts as one
_SUBJECT = 200


def vouched(office: Office, arrival: Arrival) -> bool:
    """Whether forwarders whom the config trusts say that they saw the author proved."""
    trusted = {organizational(each) or each for each in office.config.authentication.trusted_sealers}
    return arc.vouched(arrival.auth.arc, trusted, arrival.auth.from_domain)


def identities(office: Office, arrival: Arrival) -> Identities:
    """Who wrote the message, as far as it is proved; a trusted forwarder's word counts, for inward mail."""
    who = inward.author(arrival.message)
    signers = frozenset(
        organizational(each.domain) or each.domain for each in arrival.auth.dkim if each.result == "pass"
    )
    authenticated: frozenset[str] = frozenset()
    if who is not None and (arrival.auth.passed or vouched(office, arrival)):
        authenticated = frozenset({organizational(who.address.domain) or who.address.domain})
    return Identities(None if who is None else who.address, authenticated, signers)


def judge(tx: Transaction, office: Office, arrival: Arrival, relationship: Relationship) -> Decision:
    """The fate of the message at this relationship; reads only."""
    who = identities(office, arrival)
    known = relationships.bindings(tx, relationship.id)
    bound = frozenset(each.identity for each in known if each.how != "refused")
    refused = frozenset(each.identity for each in known if each.how == "refused")
    stranger = strangers.standing(tx, arrival, relationship, bound, who)
    mailbox = accounts.mailbox_for(tx, relationship)
    fingerprint = _fingerprint(arrival, relationship)
    earlier = spool.same(tx, fingerprint, arrival.now - REPEAT_WINDOW) if fingerprint else None
    mark = token.loop_mark(office.keys.token, relationship.id)
    return decide.inward(
        InwardFacts(
            stranger=stranger,
            dmarc=_dmarc(arrival),
            strangers=relationship.strangers,
            state=relationship.state,
            mailbox=None if mailbox is None else mailbox.state,
            list_bound=bool(who.signers & bound),
            vouched=vouched(office, arrival),
            refused=_refused(refused, who),
            looped=trace.carries(arrival.message, office.config.hostname, mark),
            repeated=earlier is not None,
            author=who.author is not None,
            scan=arrival.scan,
        )
    )


def put(
    tx: Transaction,
    office: Office,
    arrival: Arrival,
    relationship: Relationship,
    alias: Address,
    decision: Decision,
    name: str,
) -> None:
    """Rewrite and spool; HOLD and, in a mix of recipients, REFUSE wait for the person's word.

    name  the token of this copy: one arrival becomes one message per relationship
    """
    if decision.rule == "repeated_message":
        _event(tx, arrival, relationship, "repeated", decision.rule, _from(arrival))
        return
    mailbox = accounts.mailbox_for(tx, relationship)
    relationship = _opened(tx, office, arrival, relationship)
    message, author = _rewritten(tx, office, arrival, relationship, alias, mailbox)
    if arrival.scan is decide.Scan.SPAM:
        message = replace(message, fields=(field("X-Spam", "Yes"), *message.fields))
    raw = bytes(message)
    held = decision.verdict is not Verdict.ACCEPT
    spool.put(
        tx,
        SpooledMessage(
            id=0,
            token=name,
            direction=Direction.INWARD,
            account_id=relationship.account_id,
            relationship_id=relationship.id,
            sender=arrival.sender,
            origin=trace.origin(arrival.peer),
            results=arrival.auth.text(office.config.hostname),
            fingerprint=_fingerprint(arrival, relationship),
            rule=decision.rule,
            subject=headers.decode(arrival.message.value("Subject") or b"")[:_SUBJECT],
            bulk=classify.bulk(arrival.message),
            authenticated=arrival.auth.spf.result == "pass",
            utf8=arrival.envelope.utf8,
            size=len(raw),
            accepted=arrival.now,
            raw=raw,
        ),
        (
            Delivery(
                id=0,
                message_id=0,
                account_id=relationship.account_id,
                relationship_id=relationship.id,
                contact_id=None if author is None else author.id,
                recipient="" if mailbox is None else mailbox.address,
                destination="" if mailbox is None else mailbox.address.rpartition("@")[2],
                return_domain=alias.domain,
                state=DeliveryState.HELD if held else DeliveryState.QUEUED,
                reason=decision.rule if held else "",
                attempts=0,
                due=arrival.now,
                expires=arrival.now + office.config.delivery.give_up_after,
                delay_told=False,
                lease_node="",
                lease_until=None,
                last_reply="",
                created=arrival.now,
                ended=None,
            ),
        ),
    )
    relationships.update(tx, replace(relationship, received=relationship.received + 1))
    disclose.remember_inbound(tx, office, relationship, arrival.message, arrival.now)
    count(tx, office, arrival, relationship, alias, decision)
    _event(tx, arrival, relationship, "held" if held else "accepted", decision.rule, _from(arrival))


def count(
    tx: Transaction,
    office: Office,
    arrival: Arrival,
    relationship: Relationship,
    alias: Address,
    decision: Decision,
) -> None:
    """Note who wrote; for accepted, held and refused mail alike."""
    who = identities(office, arrival)
    known = relationships.bindings(tx, relationship.id)
    bound = frozenset(each.identity for each in known if each.how != "refused")
    stranger = strangers.standing(tx, arrival, relationship, bound, who)
    strangers.note(tx, office, arrival, relationship, alias, decision, stranger, who)


def _rewritten(
    tx: Transaction,
    office: Office,
    arrival: Arrival,
    relationship: Relationship,
    alias: Address,
    mailbox: Mailbox | None,
) -> tuple[Message, Contact | None]:
    """The message for the mailbox, and the contact who wrote it."""
    message = trace.without_forged(arrival.message, office.config.hostname)
    own = {alias.normal, *(each.address for each in accounts.mailboxes(tx, relationship.account_id))}
    known: dict[str, Contact] = {}
    for person in inward.people(message, frozenset(own)):
        if _is_own(tx, office, relationship, person.address):
            own.add(person.address.normal)
        else:
            known[person.address.normal] = contact(tx, office, relationship, person, arrival)
    outside = inward.message_id(message)
    inside = _inside_id(tx, arrival, relationship, alias, outside)
    if outside:
        references.remember(tx, relationship.id, inside or outside, outside, arrival.now)
    facts = inward.InwardFacts(
        reverse={normal: _address(each.reverse_alias) for normal, each in known.items()},
        own=frozenset(own),
        inside=references.inside_of(tx, relationship.id, inward.ids(message)),
        alias=alias,
        mailbox=None if mailbox is None else parse(mailbox.address),
        message_id=inside,
    )
    who = inward.author(message)
    return inward.rewrite(message, facts), None if who is None else known.get(who.address.normal)


def _is_own(tx: Transaction, office: Office, relationship: Relationship, address: Address) -> bool:
    """Whether it is another alias of the same account, or the return path of its mail, to which ticket
    systems write (RFC 3834): no vendor's address, whoever wrote it there."""
    found = target.find(tx, office, address)
    return (
        found.target in (Target.ALIAS, Target.REVERSE, Target.RETURN_PATH)
        and found.account is not None
        and found.account.id == relationship.account_id
    )


def contact(
    tx: Transaction,
    office: Office,
    relationship: Relationship,
    person: inward.Person,
    arrival: Arrival,
) -> Contact:
    """The contact of a relationship for an address, with its reverse alias; made where there is none."""
    found = contacts.by_address(tx, relationship.id, person.address.normal)
    if found is not None:
        return found
    reverse = issue.fresh_reverse(tx, office, relationship, person.address.normal)
    return contacts.get_or_add(
        tx,
        relationship.id,
        Contact(
            id=0,
            relationship_id=relationship.id,
            address=person.address.normal,
            written=str(person.address),
            name=person.display[:_SUBJECT],
            reverse_alias=reverse,
            reverse_canonical=naming.canonical(reverse),
            created=arrival.now,
        ),
    )


def _inside_id(
    tx: Transaction, arrival: Arrival, relationship: Relationship, alias: Address, outside: str
) -> str:
    """Gmail and Exchange drop a second copy with one Message-ID: further copies for an account get an
    id of ours, always the same for the same relationship.  "" where the original is kept."""
    if not outside:
        return ""
    mapped = references.inside_of(tx, relationship.id, (outside,)).get(outside, "")
    if mapped and mapped != outside:
        return mapped
    if references.carried(tx, relationship.account_id, outside):
        return f"<{arrival.token}.{relationship.id}@{alias.domain}>"
    return ""


def _opened(tx: Transaction, office: Office, arrival: Arrival, relationship: Relationship) -> Relationship:
    """The first proof binds: the relationship to its vendor, and a pocket alias to both."""
    who = binding.proven(identities(office, arrival))
    known = relationships.bindings(tx, relationship.id)
    if who and not any(each.how != "refused" or each.identity == who for each in known):
        relationships.bind(tx, Binding(0, relationship.id, who, "learned", arrival.now))
        _event(tx, arrival, relationship, "bound", "first_proof", who)
    if relationship.state is RelationshipState.UNBOUND:
        return replace(relationship, state=RelationshipState.ACTIVE, name=who or relationship.name)
    return relationship


def _dmarc(arrival: Arrival) -> Dmarc:
    dmarc = arrival.auth.dmarc
    if dmarc.result == "temperror" and not arrival.auth.passed:
        return Dmarc.TEMPORARY
    if dmarc.result == "fail":
        return {"reject": Dmarc.REJECT, "quarantine": Dmarc.QUARANTINE}.get(dmarc.policy, Dmarc.NONE)
    return Dmarc.NONE


def _refused(refused: frozenset[str], who: Identities) -> bool:
    """A refused sender is meant as written, proven or not: who forges them is no better."""
    if who.author is None:
        return False
    return bool({who.author.normal, who.author.domain, binding.identity(who.author)} & refused)


def _fingerprint(arrival: Arrival, relationship: Relationship) -> bytes | None:
    return arrival.fingerprint(f"relationship {relationship.id}")


def _from(arrival: Arrival) -> str:
    return f"from {arrival.sender or '<>'}"


def _address(text: str) -> Address:
    found = parse(text)
    assert found is not None, "we wrote it"
    return found


def _event(
    tx: Transaction, arrival: Arrival, relationship: Relationship, what: str, rule: str, detail: str
) -> None:
    events.add(
        tx,
        at=arrival.now,
        actor=arrival.actor(),
        account_id=relationship.account_id,
        relationship_id=relationship.id,
        message=arrival.token,
        what=what,
        rule=rule,
        detail=detail,
    )
