"""Vendor → person: judge one message at one relationship, rewrite it, spool it.

All in the caller's transaction: the message, its delivery, the contacts whom it names, the
binding that it makes and the event stand together or not at all.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sortingoffice.core import binding, decide, inward, naming, remote
from sortingoffice.core import spooled as rows
from sortingoffice.core.binding import Identities, Stranger
from sortingoffice.core.decide import Decision, Dmarc, InwardFacts, Target, Verdict
from sortingoffice.core.model import (
    Account,
    Binding,
    Contact,
    Direction,
    FromForm,
    Mailbox,
    MailboxState,
    Relationship,
    RelationshipState,
    RemoteImages,
    SpooledMessage,
)
from sortingoffice.core.relationship import mailbox_of
from sortingoffice.flows import disclose, issue, notified, strangers, target, unsubscribe
from sortingoffice.flows.arrival import Arrival, write_event
from sortingoffice.flows.office import Office
from sortingoffice.frozen import dataclass
from sortingoffice.mail import arc, classify, headers, token, trace
from sortingoffice.mail.address import Address, parse
from sortingoffice.mail.message import Message, field
from sortingoffice.mail.publicsuffix import organizational
from sortingoffice.store import accounts, contacts, references, relationships, spool
from sortingoffice.store.database import Transaction

REPEAT_WINDOW = timedelta(hours=6)  # in which the same message for the same recipient counts as one
_NAME = 200  # characters of a correspondent's name that are kept


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


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one message at one relationship, read once for whoever decides and acts.

    mailboxes  the account's
    stranger   what the author is to the relationship
    form       how the account wants vendors named
    in_your_name  whether the author is a mailbox of the account's own
    """

    relationship: Relationship
    who: Identities
    bindings: tuple[Binding, ...]
    mailboxes: tuple[Mailbox, ...]
    stranger: Stranger
    fingerprint: bytes | None
    form: FromForm
    in_your_name: bool

    @property
    def bound(self) -> frozenset[str]:
        return _bound(self.bindings)

    @property
    def refused(self) -> frozenset[str]:
        return frozenset(each.identity for each in self.bindings if each.how == "refused")

    @property
    def mailbox(self) -> Mailbox | None:
        """Where the mail goes."""
        return mailbox_of(self.relationship, self.mailboxes)


def known(
    tx: Transaction, office: Office, arrival: Arrival, relationship: Relationship, account: Account | None
) -> Known:
    """Gather; reads only.

    account  whose it is
    """
    who = identities(office, arrival)
    bindings = relationships.bindings(tx, relationship.id)
    mailboxes = accounts.mailboxes(tx, relationship.account_id)
    author = None if who.author is None else who.author.normal
    yours = any(each.address == author and each.state is not MailboxState.PENDING for each in mailboxes)
    stranger = strangers.standing(tx, arrival, relationship, _bound(bindings), who, in_your_name=yours)
    proof = "signed" if arrival.auth.aligned_dkim else "proved" if who.authenticated else ""
    return Known(
        relationship,
        who,
        bindings,
        mailboxes,
        stranger,
        arrival.fingerprint(f"relationship {relationship.id}", stranger, proof),
        FromForm.NAME_AND_ADDRESS if account is None else account.from_form,
        yours,
    )


def _bound(bindings: tuple[Binding, ...]) -> frozenset[str]:
    return frozenset(each.identity for each in bindings if each.how != "refused")


def judge(tx: Transaction, office: Office, arrival: Arrival, known: Known) -> Decision:
    """The fate of the message at this relationship, if the account itself didn't prove to be its author."""
    who, relationship, mailbox = known.who, known.relationship, known.mailbox
    since = arrival.now - REPEAT_WINDOW
    earlier = known.fingerprint is not None and spool.same(tx, known.fingerprint, since) is not None
    mark = token.loop_mark(office.keys.token, relationship.id)
    return decide.inward(
        InwardFacts(
            stranger=known.stranger,
            dmarc=_dmarc(arrival),
            strangers=relationship.strangers,
            state=relationship.state,
            mailbox=None if mailbox is None else mailbox.state,
            list_bound=bool(who.signers & known.bound),
            vouched=vouched(office, arrival),
            refused=_refused(known.refused, who),
            looped=trace.carries(arrival.message, office.config.hostname, mark),
            repeated=earlier,
            author=who.author is not None,
            in_your_name=known.in_your_name,
            temporary=arrival.auth.temporary,
            scan=arrival.scan,
        )
    )


def put(
    tx: Transaction,
    office: Office,
    arrival: Arrival,
    known: Known,
    alias: Address,
    decision: Decision,
    name: str,
) -> None:
    """Rewrite and spool; HOLD and, in a mix of recipients, REFUSE wait for the person's word.

    name  the token of this copy: one arrival becomes one message per relationship
    """
    if decision.rule == "repeated_message":
        _repeated(tx, arrival, known, decision.rule)
        return
    arrival = replace(arrival, token=name)  # what is told of it is told of this copy
    relationship = _opened(tx, arrival, known, alias)
    facts, author = _facts(tx, office, arrival, known, alias)
    raw, loaded = arrival.computed(
        _rewritten, arrival.message, facts, office.config.hostname, arrival.scan, relationship.remote_images
    )
    held = decision.rule if decision.verdict is not Verdict.ACCEPT else ""
    spooled = _spooled(office, arrival, known, raw, decision, name)
    delivery = rows.delivery(
        spooled,
        "" if known.mailbox is None else known.mailbox.address,
        destination="" if known.mailbox is None else known.mailbox.address.rpartition("@")[2],
        give_up_after=office.config.delivery.give_up_after,
        return_domain=alias.domain,
        contact_id=None if author is None else author.id,
        held=held,
        accepted_for=str(_accepted_for(arrival, alias)),
    )
    spool.put(tx, spooled, (delivery,))
    relationships.count(tx, relationship.id, pixels=loaded.pixels)
    unsubscribe.note(tx, relationship, arrival.message)
    disclose.remember_inbound(tx, office, relationship, arrival.message, arrival.now, arrival.computed)
    if arrival.envelope.sender is not None:  # a report of a failure is no answer
        notified.acknowledge(tx, relationship, arrival.message, arrival.now)
    count(tx, office, arrival, replace(known, relationship=relationship), alias, decision)
    seen = f"{_from(arrival)}; {loaded}" if loaded else _from(arrival)
    write_event(tx, arrival, relationship, "held" if held else "accepted", decision.rule, seen)


def _accepted_for(arrival: Arrival, alias: Address) -> Address:
    """The address as the sender wrote it: it may be another spelling of the alias."""
    wanted = naming.canonical(alias.normal)
    written = (each for each in arrival.envelope.recipients if naming.canonical(each.normal) == wanted)
    return next(written, alias)


def _spooled(
    office: Office, arrival: Arrival, known: Known, raw: bytes, decision: Decision, name: str
) -> SpooledMessage:
    return rows.message(
        raw,
        token=name,
        direction=Direction.INWARD,
        account_id=known.relationship.account_id,
        relationship_id=known.relationship.id,
        sender=arrival.sender,
        origin=trace.origin(arrival.peer),
        results=arrival.auth.text(office.config.hostname),
        fingerprint=known.fingerprint,
        rule=decision.rule,
        subject=headers.decode(arrival.message.value("Subject") or b""),
        now=arrival.now,
        bulk=classify.bulk(arrival.message),
        authenticated=arrival.auth.spf.result == "pass",
        utf8=arrival.envelope.utf8,
    )


def count(
    tx: Transaction,
    office: Office,
    arrival: Arrival,
    known: Known,
    alias: Address,
    decision: Decision,
) -> None:
    """Note who wrote; for accepted, held and refused mail alike.

    The person is no stranger, proved or nearly; and nobody is one at an address that the standards name.
    """
    if naming.reserved(alias.local) or (known.in_your_name and binding.proven(known.who)):
        return
    strangers.note(tx, office, arrival, known.relationship, alias, decision, known.stranger, known.who)


def _rewritten(
    message: Message, facts: inward.InwardFacts, hostname: str, scan: decide.Scan, images: RemoteImages
) -> tuple[bytes, remote.Found]:
    """The message for the mailbox, and what it would have loaded."""
    new = inward.rewrite(trace.without_forged(message, hostname), facts)
    new, loaded = remote.without(new, images)
    if loaded:
        new = new.appended(field("X-Remote-Content", str(loaded)))
    if scan is decide.Scan.SPAM:
        new = replace(new, fields=(field("X-Spam", "Yes"), *new.fields))
    return bytes(new), loaded


def _facts(
    tx: Transaction, office: Office, arrival: Arrival, known: Known, alias: Address
) -> tuple[inward.InwardFacts, Contact | None]:
    """What the rewriting needs, and the contact who wrote the message; contacts that are new are made."""
    relationship, mailbox, message = known.relationship, known.mailbox, arrival.message
    own = {alias.normal, *(each.address for each in known.mailboxes)}
    written: dict[str, Contact] = {}
    for person in arrival.computed(inward.people, message, frozenset(own)):
        if _is_own(tx, office, relationship, person.address):
            own.add(person.address.normal)
        else:
            written[person.address.normal] = contact(tx, office, relationship, person, arrival)
    outside = inward.message_id(message)
    inside = _inside_id(tx, office, arrival, relationship, alias, outside)
    if outside:
        references.remember(tx, relationship.id, inside or outside, outside, arrival.now)
    facts = inward.InwardFacts(
        reverse={normal: _address(each.reverse_alias) for normal, each in written.items()},
        own=frozenset(own),
        inside=references.inside_of(tx, relationship.id, inward.ids(message)),
        alias=alias,
        mailbox=None if mailbox is None else parse(mailbox.address),
        message_id=inside,
        unsubscribe=unsubscribe.link(office, relationship),
        form=known.form,
    )
    return facts, None if known.who.author is None else written.get(known.who.author.normal)


def _is_own(tx: Transaction, office: Office, relationship: Relationship, address: Address) -> bool:
    """Whether it is an address of this relationship's own: an alias, a reverse alias, or the return path of
    its mail, to which ticket systems write (RFC 3834).

    Those of another relationship are whoever's: what is left as it is would be answered from there, and tell
    who wrote it here that both are one person's.
    """
    found = target.find(tx, office, address)
    return (
        found.target in (Target.ALIAS, Target.REVERSE, Target.RETURN_PATH)
        and found.relationship is not None
        and found.relationship.id == relationship.id
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
    normal = person.address.normal
    reverse = arrival.computed.once(
        issue.fresh_reverse, tx, office, relationship, normal, of=(relationship.id, normal)
    )
    return contacts.get_or_add(
        tx,
        relationship.id,
        Contact(
            id=0,
            relationship_id=relationship.id,
            address=person.address.normal,
            written=str(person.address),
            name=person.display[:_NAME],
            reverse_alias=reverse,
            reverse_canonical=naming.canonical(reverse),
            created=arrival.now,
        ),
    )


def _inside_id(
    tx: Transaction,
    office: Office,
    arrival: Arrival,
    relationship: Relationship,
    alias: Address,
    outside: str,
) -> str:
    """Gmail and Exchange drop a second copy with one Message-ID: further copies for an account get an
    id of ours, always the same for the same relationship, which tells nobody anything.  "" where the
    original is kept."""
    if not outside:
        return ""
    carried = references.carried(tx, relationship, outside)
    if carried is None:
        return ""
    of, inside = carried
    if of == relationship.id and inside != outside:
        return inside
    name = arrival.computed.once(_fresh_id, office, of=(relationship.id,))
    return f"<{name}@{alias.domain}>"


def _fresh_id(office: Office) -> str:
    return token.fresh(office.random(10))


def _opened(tx: Transaction, arrival: Arrival, known: Known, alias: Address) -> Relationship:
    """The first proof binds: the relationship to its vendor, and a pocket alias to both.  Not the person's
    own; nor at an address that the standards name, to which everybody writes."""
    if known.in_your_name or naming.reserved(alias.local):
        return known.relationship
    relationship, who = known.relationship, binding.proven(known.who)
    first = who and not any(each.how != "refused" or each.identity == who for each in known.bindings)
    if first and relationships.bind(tx, Binding(0, relationship.id, who, "learned", arrival.now)):
        write_event(tx, arrival, relationship, "bound", "first_proof", who)
    if relationship.state is RelationshipState.UNBOUND:
        relationship = replace(relationship, state=RelationshipState.ACTIVE, name=who or relationship.name)
        relationships.update(tx, relationship)
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


def _from(arrival: Arrival) -> str:
    return f"from {arrival.sender or '<>'}"


def _address(text: str) -> Address:
    found = parse(text)
    assert found is not None, "we wrote it"
    return found


def _repeated(tx: Transaction, arrival: Arrival, known: Known, rule: str) -> None:
    """Told of both, so that `trace` of either says why nothing was delivered a second time."""
    came = _from(arrival)
    since = arrival.now - REPEAT_WINDOW
    first = None if known.fingerprint is None else spool.same(tx, known.fingerprint, since)
    if first is not None:
        again = f"sent again, as {arrival.token}"
        write_event(tx, arrival, known.relationship, "repeated", rule, again, message=first.token)
        came += f", it first came as {first.token}"
    write_event(tx, arrival, known.relationship, "repeated", rule, came)
