"""postmaster, abuse and mailer-daemon: mail to them reaches the admin, as a relationship like any other.

The relationship comes into being with the first such mail to a domain, so that the admin can
answer as that address; nothing closes it.

Sources: RFC 5321 §4.5.1; RFC 2142 (abuse).
"""

from __future__ import annotations

from dataclasses import replace

from sortingoffice.core import naming
from sortingoffice.core.model import (
    Alias,
    AliasState,
    Relationship,
    RelationshipState,
    Strangers,
    VendorKind,
)
from sortingoffice.flows import notices
from sortingoffice.flows.office import Office
from sortingoffice.mail.address import Address
from sortingoffice.store import accounts, events, relationships
from sortingoffice.store.database import Transaction


def relationship(tx: Transaction, office: Office, address: Address) -> Relationship:
    """The admin's relationship for a reserved address; made where there is none.

    Raises LookupError where the office has no account to be an admin: it was never set up.
    """
    hosted = _hosted(tx, office, address)
    canonical = naming.canonical(hosted.normal)
    alias = relationships.alias_by_canonical(tx, canonical)
    if alias is not None:
        found = relationships.by_id(tx, alias.relationship_id)
        assert found is not None, "a foreign key holds it"
        return _open(found)
    admin = accounts.admin(tx)
    if admin is None:
        raise LookupError("no admin account")
    now = office.clock()
    made = relationships.add(
        tx,
        Relationship(
            id=0,
            account_id=admin.id,
            slug=relationships.free_slug(tx, admin.id, naming.slug(hosted.local)),
            name=str(hosted),
            kind=VendorKind.ORG,
            state=RelationshipState.ACTIVE,
            site="",
            mailbox_id=None,
            strangers=Strangers.LEARN,
            display_name="",
            note="",
            created=now,
            received=0,
            max_messages=None,
            until=None,
            muted_until=None,
            closing_until=None,
        ),
    )
    relationships.add_alias(tx, Alias(0, made.id, hosted.normal, canonical, AliasState.LIVE, now))
    events.add(
        tx,
        at=now,
        actor="smtp",
        account_id=admin.id,
        relationship_id=made.id,
        what="issued",
        rule="reserved",
        detail=hosted.normal,
    )
    return made


def _open(of: Relationship) -> Relationship:
    """The relationship as it counts for mail: a revoke or an end doesn't close what RFC 5321 keeps open."""
    if of.state in (RelationshipState.REVOKED, RelationshipState.EXPIRED, RelationshipState.CLOSING):
        of = replace(of, state=RelationshipState.ACTIVE)
    return replace(of, until=None, max_messages=None)


def _hosted(tx: Transaction, office: Office, address: Address) -> Address:
    """The address on a domain of aliases: postmaster@hostname is answered from the first one, whose
    keys can sign."""
    if address.domain != office.config.hostname:
        return Address(address.local.lower(), address.domain)
    return Address(address.local.lower(), notices.author(tx, office).domain)
