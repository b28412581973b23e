"""What an address of ours leads to, at this moment: the facts of a recipient.

One read, used at RCPT, again after DATA (a revoke in between holds) and by `explain`.
"""

from __future__ import annotations

from datetime import datetime

from sortingoffice.core import naming
from sortingoffice.core.decide import RcptFacts, Target
from sortingoffice.core.model import Account, AccountState, Alias, Contact, Delivery, Relationship
from sortingoffice.flows import accounts as accounts_flow
from sortingoffice.flows import bymail, cardcontacts, consent
from sortingoffice.flows.office import Office
from sortingoffice.frozen import dataclass
from sortingoffice.mail import token
from sortingoffice.mail.address import Address, parse
from sortingoffice.store import accounts, contacts, domains, relationships, spool
from sortingoffice.store.database import Transaction


@dataclass(frozen=True, slots=True)
class Found:
    """A recipient and the rows it leads to; each None where there is none.

    address       as the peer wrote it
    account       owner of whatever was found
    alias         for an alias
    contact       for a reverse alias
    whom          for one that an addy.io client made up: the contact's real address, which stands in it
    delivery      for a return path
    card          name of the card, for a card contact
    """

    address: Address
    target: Target
    account: Account | None = None
    relationship: Relationship | None = None
    alias: Alias | None = None
    contact: Contact | None = None
    delivery: Delivery | None = None
    card: str = ""
    whom: Address | None = None

    def rcpt_facts(self, *, submission: bool, now: datetime) -> RcptFacts:
        of = self.relationship
        return RcptFacts(
            target=self.target,
            submission=submission,
            now=now,
            active=self.account is None or self.account.state is AccountState.ACTIVE,
            state=None if of is None else of.state,
            alias_state=None if self.alias is None else self.alias.state,
            until=None if of is None else of.until,
            spent=of is not None and of.max_messages is not None and of.received >= of.max_messages,
        )


def find(tx: Transaction, office: Office, address: Address) -> Found:
    """Look the recipient up.  The same number of look-ups for every address that was never issued and
    every one that was revoked: timing tells nothing."""
    ours = address.domain == office.config.hostname or domains.by_name(tx, address.domain) is not None
    if not ours:
        return Found(address, Target.ELSEWHERE)
    if naming.reserved(address.local):
        return Found(address, Target.RESERVED)
    if accounts_flow.token_of(address.local):
        return Found(address, Target.VERIFICATION)
    if (asked := consent.find(tx, address.local)) is not None:
        return Found(address, Target.CONFIRMATION, account=accounts.by_id(tx, asked.account_id))
    canonical = naming.canonical(address.normal)
    behind = relationships.behind(tx, canonical)
    contact = contacts.by_reverse(tx, canonical)
    if behind is not None:
        alias, relationship, account = behind
        return Found(address, Target.ALIAS, account=account, relationship=relationship, alias=alias)
    if contact is not None:
        return _owned(tx, Found(address, Target.REVERSE, contact=contact), contact.relationship_id)
    return (
        _return_path(tx, office, address)
        or _by_mail(tx, office, address)
        or _card(tx, office, address)
        or _made_up(tx, address)
        or Found(address, Target.NOTHING)
    )


def _by_mail(tx: Transaction, office: Office, address: Address) -> Found | None:
    owner = bymail.find(tx, office, address)
    return None if owner is None else Found(address, Target.BY_MAIL, account=owner)


def _card(tx: Transaction, office: Office, address: Address) -> Found | None:
    found = cardcontacts.find(tx, office, address)
    return None if found is None else Found(address, Target.CARD, account=found[0], card=found[1])


def _made_up(tx: Transaction, address: Address) -> Found | None:
    """ "lunar.otter4821+bob=shop.example@…": so addy.io's clients write to bob@shop.example as the alias."""
    local, plus, rest = address.local.partition("+")
    name, sign, domain = rest.rpartition("=")
    whom = parse(f"{name}@{domain}") if plus and sign else None
    behind = relationships.behind(tx, naming.canonical(f"{local}@{address.domain}")) if whom else None
    if whom is None or behind is None:
        return None
    alias, relationship, account = behind
    return Found(address, Target.REVERSE, account, relationship, alias, whom=whom)


def _return_path(tx: Transaction, office: Office, address: Address) -> Found | None:
    number = token.delivery_of(office.keys.token, address.local)
    delivery = spool.delivery_by_id(tx, number) if number is not None else None
    if delivery is None:
        return None
    found = Found(address, Target.RETURN_PATH, delivery=delivery)
    if delivery.relationship_id is not None:
        return _owned(tx, found, delivery.relationship_id)
    owner = accounts.by_id(tx, delivery.account_id) if delivery.account_id is not None else None
    return Found(address, Target.RETURN_PATH, account=owner, delivery=delivery)


def _owned(tx: Transaction, found: Found, relationship_id: int) -> Found:
    relationship = relationships.by_id(tx, relationship_id)
    assert relationship is not None, "a foreign key holds it"
    return Found(
        found.address,
        found.target,
        account=accounts.by_id(tx, relationship.account_id),
        relationship=relationship,
        alias=found.alias,
        contact=found.contact,
        delivery=found.delivery,
    )
