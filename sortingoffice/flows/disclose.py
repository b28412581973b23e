"""Person → vendor: put the asked cards into a message, or say why not; and write down what left.

Two calls inside the transaction that accepts an outward message: `disclose` before the gate
rewrites it, `record` after it was spooled.

Promise: a `Resolved` message and its ledger lines are committed together; otherwise the
message as it came goes back to the person, whole.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sortingoffice.core import attach, body, cards, exchange, planted, render, typed
from sortingoffice.core.addressing import Problem
from sortingoffice.core.attach import File
from sortingoffice.core.body import Reading
from sortingoffice.core.cards import Filled, Refused, Waiting, Watch
from sortingoffice.core.checked import Found
from sortingoffice.core.directive import EVERYTHING, Vocabulary
from sortingoffice.core.model import (
    Account,
    Contact,
    Relationship,
    Via,
)
from sortingoffice.core.secrets import Kind, Secret
from sortingoffice.core.wallet import Facts, Value, Wallet
from sortingoffice.flows import consent, entry, wallets
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.computed import Computed
from sortingoffice.flows.office import Office
from sortingoffice.flows.vault import Vault
from sortingoffice.frozen import dataclass
from sortingoffice.mail import mime
from sortingoffice.mail.message import Message
from sortingoffice.store import accounts, ledger, spool
from sortingoffice.store import cards as rows
from sortingoffice.store.database import Transaction


@dataclass(frozen=True, slots=True)
class Resolved:
    """The message with values where it asked for them; as it came where it asked for none.

    filled   what stands in it now; empty where nothing was asked
    waiting  it may go only after the person's yes: `record` holds it and asks
    wallet   what the account has; None where it has no cards
    original the message as it came
    typed    values that the person typed by hand; they leave, and are written down
    withheld what the leak guard must not let pass: sensitive and denied values
    known    values that this vendor holds, or is given here: no secrets to it
    """

    message: Message
    original: Message
    filled: tuple[Filled, ...]
    account: Account
    relationship: Relationship
    contacts: tuple[Contact, ...]
    waiting: Waiting | None = None
    wallet: Wallet | None = None
    typed: tuple[Value, ...] = ()
    withheld: tuple[Secret, ...] = ()
    known: frozenset[str] = frozenset()


def disclose(
    tx: Transaction,
    office: Office,
    account: Account,
    relationship: Relationship,
    contacts: tuple[Contact, ...],
    message: Message,
    now: datetime,
    contacts_of_cards: tuple[str, ...] = (),
    watch: Watch = cards.unwatched,
    computed: Computed | None = None,
    *,
    automatic: bool = False,
) -> Resolved | Problem:
    """Resolve what an outward message asks for; nothing leaves where it is a `Problem`.

    The caller has proved that the account's own mailbox wrote it, and that all recipients are
    contacts of this one relationship.

    contacts_of_cards  cards whose contacts stand in To or Cc
    watch              told of each rule, for `explain`
    automatic          a machine wrote it: it asks for nothing, whatever it quotes

    Raises mime.TooComplex.
    """
    computed = computed or Computed()
    untouched = Resolved(message, message, (), account, relationship, contacts)
    vocabulary = _vocabulary(tx, account)
    root, reading = computed(_unread if automatic else _read, message, vocabulary, contacts_of_cards)
    if not reading.places and not reading.subject and (not vocabulary.names or account.wrapped_key is None):
        return untouched
    keys = vaults.open_for(office, account)
    facts = _facts(tx, office, keys, account, relationship, contacts, reading, now)
    if automatic:
        return _by_hand(untouched, facts, root, computed)
    if not cards.asked(facts):
        return _by_hand(
            replace(untouched, message=computed(_written, root, reading, {})), facts, root, computed
        )
    outcome = cards.resolve(facts, watch=watch)
    if isinstance(outcome, Refused):
        return _problem(outcome)
    by_line = {each.ask.line: each for each in outcome.filled}
    # Rule 11: write, read again, and only then let it go.
    draft = computed(_written, root, body.without_escapes(reading), by_line)
    again = computed(_read_again, draft, vocabulary)
    remaining = cards.nothing_remains(facts.vendor, again.sights)
    watch(cards.nothing_remains.__name__, remaining)
    if remaining is not None:
        return _problem(remaining)
    resolved = replace(
        untouched,
        message=_attached(
            computed(_written, root, reading, by_line), keys, facts, relationship, outcome.filled
        ),
        filled=outcome.filled,
        waiting=outcome if isinstance(outcome, Waiting) else None,
    )
    return _by_hand(resolved, facts, root, computed)


def _unread(message: Message, _vocabulary: Vocabulary, _of: tuple[str, ...]) -> tuple[mime.Entity, Reading]:
    """As `_read`, where nothing is asked for."""
    return mime.parse(message), Reading((), frozenset(), ())


def _read(
    message: Message, vocabulary: Vocabulary, contacts_of_cards: tuple[str, ...]
) -> tuple[mime.Entity, Reading]:
    root = mime.parse(message)
    reading = body.with_subject(message, body.read(root, vocabulary), vocabulary)
    return root, body.with_contacts(root, reading, contacts_of_cards)


def _read_again(message: Message, vocabulary: Vocabulary) -> Reading:
    return body.read(mime.parse(message), vocabulary)


def _by_hand(resolved: Resolved, facts: Facts, root: mime.Entity, computed: Computed) -> Resolved:
    """With what the person typed beside what they asked for."""
    given = frozenset(i.value.text for each in resolved.filled for i in each.items if i.value.text)
    return replace(
        resolved,
        wallet=facts.wallet,
        typed=computed(_typed, facts, root, given),
        withheld=typed.withheld(facts, given),
        known=given | typed.held_by(facts),
    )


def _typed(facts: Facts, root: mime.Entity, given: frozenset[str]) -> tuple[Value, ...]:
    return typed.by_hand(facts, body.written(root), given)


def record(
    tx: Transaction,
    office: Office,
    resolved: Resolved,
    message_id: int,
    now: datetime,
    found: tuple[Found, ...] = (),
) -> None:
    """The ledger lines of a message that was just spooled, and the uses of its grants.

    One that needs the person's yes is held here and they are asked; its lines are written when it goes.

    found  what the leak guard found in it
    """
    values = entry.leaving(resolved.filled)
    values += tuple(entry.Leaving(value, "text", Via.TYPED) for value in resolved.typed)
    if resolved.waiting is not None or found:
        message = spool.by_id(tx, message_id)
        assert message is not None, "it was just spooled"
        consent.ask(
            tx,
            office,
            resolved.relationship,
            resolved.contacts,
            message,
            waiting=resolved.waiting,
            found=found,
            values=values,
            shown=_shown(found, resolved.wallet),
            left_out=_left_out(resolved.filled, resolved.wallet),
            original=bytes(resolved.original),
            now=now,
        )
        return
    if not values:
        return
    entry.write(
        tx,
        vaults.open_for(office, resolved.account),
        resolved.relationship,
        values,
        contacts=[contact.id for contact in resolved.contacts],
        message_id=message_id,
        now=now,
    )


def _shown(found: tuple[Found, ...], wallet: Wallet | None) -> tuple[entry.Leaving, ...]:
    """The values of cards among what the leak guard found."""
    named = (each.what for each in found if each.secret is not None and each.secret.kind is Kind.VALUE)
    values = [wallet.member(each) for each in dict.fromkeys(named)] if wallet is not None else []
    return tuple(entry.Leaving(value, "text", Via.TYPED) for value in values)


def _left_out(filled: tuple[Filled, ...], wallet: Wallet | None) -> tuple[str, ...]:
    """The fields of the asked cards that stay, as "card.field"."""
    if wallet is None:
        return ()
    leaving = {item.value.named for each in filled for item in each.items}
    members = [value for each in filled for value in wallet.members(each.ask.name)]
    return tuple(dict.fromkeys(v.named for v in members if v.text is not None and v.named not in leaving))


def heard(message: Message) -> tuple[str, ...] | None:
    """The texts of a vendor's mail that could hold a directive; None for one too complex to read."""
    try:
        return planted.heard(message, mime.parse(message))
    except mime.TooComplex:
        return None


def remember_inbound(
    tx: Transaction,
    office: Office,
    relationship: Relationship,
    message: Message,
    now: datetime,
    computed: Computed | None = None,
) -> None:
    """Keep MACs of what a vendor's mail says that could be taken for a directive (rule 4).

    Never refuses a message: one too complex to read counts as having said everything.
    """
    computed = computed or Computed()
    texts = computed(heard, message)
    if texts == ():
        return
    account = accounts.by_id(tx, relationship.account_id)
    if account is None or account.wrapped_key is None:
        return
    said = (
        frozenset({EVERYTHING}) if texts is None else computed(planted.said, texts, _vocabulary(tx, account))
    )
    keys = vaults.open_for(office, account)
    rows.remember_inbound(tx, relationship.id, frozenset(keys.line_macs(said)), now)


def _vocabulary(tx: Transaction, account: Account) -> Vocabulary:
    names = {card.name for card in rows.every(tx, account.id)}
    names |= {view.name for view in rows.views(tx, account.id)}
    return Vocabulary(account.trigger, frozenset(names))


# ---- facts ----------------------------------------------------------------------------------------


def _facts(
    tx: Transaction,
    office: Office,
    keys: Vault,
    account: Account,
    relationship: Relationship,
    contacts: tuple[Contact, ...],
    reading: Reading,
    now: datetime,
) -> Facts:
    lines = {sight.mark.line for sight in reading.sights} | {EVERYTHING}
    macs = keys.line_macs(lines)
    planted = frozenset(macs[mac] for mac in rows.inbound(tx, relationship.id, frozenset(macs)))
    # A subject that is the vendor's own is answered as it is: it must not trap the person.
    sights = tuple(s for s in reading.sights if s.kind != body.SUBJECT or s.mark.line not in planted)
    return Facts(
        authenticated=True,
        sights=sights,
        unread=tuple(str(path) for path in reading.unread),
        planted=planted,
        vendors=(relationship.name,),
        slug=relationship.slug,
        outsiders=(),
        state=relationship.state,
        wallet=wallets.of(tx, keys, account, now, relationship),
        grants=rows.grants(tx, relationship.id),
        held=ledger.held(tx, relationship.id),
        tls_verified=wallets.verified_route(tx, office, contacts, now),
        now=now,
        kinds=reading.kinds,
        trigger=account.trigger,
    )


# ---- the outcome ----------------------------------------------------------------------------------


def _written(root: mime.Entity, reading: Reading, by_line: dict[str, Filled]) -> Message:
    return Message.parse(bytes(body.write(root, reading, by_line)))


def _attached(
    message: Message, keys: Vault, facts: Facts, relationship: Relationship, filled: tuple[Filled, ...]
) -> Message:
    """With a file for each ask that wanted one."""
    alias = facts.wallet.email.text if facts.wallet.email is not None else ""
    files = tuple(
        File(
            render.file_name(each.ask),
            exchange.CONTENT_TYPE[each.ask.form],
            exchange.write(
                each.ask.form,
                tuple(item.value for item in each.items),
                uid=keys.uid(relationship.id),
                otherwise=alias or relationship.name,
            ),
        )
        for each in filled
        if each.ask.form != "text"
    )
    return attach.attached(mime.parse(message), files) if files else message


def _problem(outcome: Refused) -> Problem:
    return Problem(outcome.rule, f"Not sent: {outcome.what}", (outcome.hint,))
