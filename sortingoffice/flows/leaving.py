"""What the rewriting of an outward message needs: who is who, and which ids of messages the vendor knows.

Promise: an id of the person's side leaves as the one that this vendor knows, and one that was made here and
that it does not know leaves nowhere but in the person's own words.
"""

from __future__ import annotations

import re

from sortingoffice.core import naming, outward
from sortingoffice.core.addressing import Plan
from sortingoffice.core.identifiers import Ids
from sortingoffice.core.inward import written_as
from sortingoffice.core.model import Account, Contact, Relationship
from sortingoffice.core.turned import Correspondent
from sortingoffice.flows.arrival import Arrival
from sortingoffice.flows.office import Office
from sortingoffice.mail import headers
from sortingoffice.mail.address import Address, parse
from sortingoffice.mail.message import Message
from sortingoffice.store import accounts, contacts, domains, references, relationships
from sortingoffice.store.database import Transaction

_LOOKED_FOR = 200  # ids that this relationship never carried, in fields: each is looked for in all others
# As we make them; older ones go on with the number of a row.
_OURS = re.compile(r"<[a-z2-7]{16}(?:\.\d{1,19})?@")


def facts(
    tx: Transaction,
    office: Office,
    arrival: Arrival,
    account: Account,
    made: Plan,
    message: Message,
    alias: Address,
    name: str,
) -> outward.OutwardFacts:
    own_id = message_id(message)
    named = arrival.computed(outward.ids, message)
    known = _known(tx, office, made.relationship, named)
    correspondents = {
        each.reverse_canonical: _correspondent(each) for each in contacts.every(tx, made.relationship.id)
    }
    for each in made.named:  # a contact may stand there by another address than its reverse alias
        if each.contact is not None:
            correspondents[naming.canonical(each.address.normal)] = _correspondent(each.contact)
    return outward.OutwardFacts(
        alias=alias,
        display_name=made.relationship.display_name,
        contacts=correspondents,
        mailboxes=frozenset(each.address for each in accounts.mailboxes(tx, account.id)),
        message_id=known.get(own_id) or f"<{name}@{alias.domain}>",
        references=known,
        now=arrival.now,
        aliases=frozenset(each.canonical for each in relationships.aliases(tx, made.relationship.id)),
    )


def _correspondent(contact: Contact) -> Correspondent:
    written = _parsed(contact.written)
    return Correspondent(written, contact.name, written_as(contact.name, written))


def _parsed(written: str) -> Address:
    found = parse(written)
    assert found is not None, "it was one when it was stored"
    return found


def message_id(message: Message) -> str:
    found = headers.message_ids(message.value("Message-ID") or b"")
    return found[0] if found else ""


def _known(tx: Transaction, office: Office, relationship: Relationship, named: Ids) -> dict[str, str]:
    """Inside → outside ids; "" for what must not leave, nothing for what may stay as it is."""
    sought = dict.fromkeys((*named.top, *named.fields, *named.texts))
    found = references.outside_of(tx, relationship.id, sought)
    fields = [each for each in named.fields if each not in found]
    texts = [each for each in named.texts if each not in found]
    private = set(fields[_LOOKED_FOR:])
    private |= references.only_inside(tx, relationship.account_id, fields[:_LOOKED_FOR])
    return found | dict.fromkeys(private | _ours(tx, office, relationship, fields, texts), "")


def _ours(
    tx: Transaction, office: Office, relationship: Relationship, fields: list[str], texts: list[str]
) -> set[str]:
    """Of these what was made here and this vendor never saw: another relationship's, or a forgotten one.

    texts  may be addresses: of them only what looks as we make ids
    """
    if not fields and not texts:
        return set()
    homes = {office.config.hostname, *(each.name for each in domains.every(tx))}
    made = {each for each in fields if _domain(each) in homes}
    made |= {each for each in texts if _OURS.match(each.lower()) and _domain(each) in homes}
    aliases = {each.canonical for each in relationships.aliases(tx, relationship.id)} if made else set()
    made = {each for each in made if naming.canonical(each.strip("<>").lower()) not in aliases}
    return made - references.inside_of(tx, relationship.id, made).keys()


def _domain(each: str) -> str:
    return each.strip("<>").rpartition("@")[2].lower()
