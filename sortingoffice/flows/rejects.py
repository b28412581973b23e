"""Recipients that were never issued: noted behind the peer's back, listed, and accepted if they were slips.

Promise: nothing here changes what a peer is told, or when.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sortingoffice.core import limits, naming
from sortingoffice.core import rejects as core
from sortingoffice.core.model import Account, Alias, AliasState, Peer
from sortingoffice.core.rejects import Reject
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows import relationships as relationships_flow
from sortingoffice.flows.office import Office
from sortingoffice.mail import address as addresses
from sortingoffice.mail.address import Address
from sortingoffice.store import rejects as rows
from sortingoffice.store import relationships
from sortingoffice.store.database import Transaction

_LONGEST = 254


async def note(office: Office, peer: Peer, recipient: Address) -> None:
    """One more try at an address that never was."""
    canonical = naming.canonical(recipient.normal)
    near = await office.db.read(rows.near_alias, core.near(canonical))
    await office.db.write(_note, office, peer, recipient, canonical, near)


def _note(
    tx: Transaction, office: Office, peer: Peer, recipient: Address, canonical: str, near: Alias | None
) -> None:
    now = office.clock()
    rows.count(tx, recipient.domain, now.replace(hour=0, minute=0, second=0, microsecond=0))
    who = limits.network(peer.ip)
    if len(canonical) > _LONGEST or rows.again(tx, canonical, who, now):
        return
    close = None if near is None else near.id
    new = Reject(0, recipient.normal, canonical, close, who, 1, now, now, None, near is not None)
    rows.add(tx, new)


def listed(tx: Transaction, account: Account, *, near: bool, most: int = 100) -> list[dict[str, Any]]:
    """The latest rejects, of the office; or those one slip away from an alias of this account."""
    found = rows.near(tx, account.id, most) if near else rows.latest(tx, most)
    return [_row(tx, account, each) for each in found]


def _row(tx: Transaction, account: Account, of: Reject) -> dict[str, Any]:
    alias = None if of.alias_id is None else relationships.alias_by_id(tx, of.alias_id)
    owner = None if alias is None else relationships.by_id(tx, alias.relationship_id)
    mine = alias is not None and owner is not None and owner.account_id == account.id
    return {
        "address": of.address,
        "times": of.number,
        "first": of.first,
        "last": of.last,
        "peer": of.peer,
        "near": alias.address if mine and alias is not None else "",
        "relationship": owner.slug if mine and owner is not None else "",
        "accepted": of.accepted,
    }


def accept(
    tx: Transaction, office: Office, account: Account, address: str, relationship: str, *, actor: str
) -> dict[str, Any]:
    """Take the misspelt address, too, as one more alias of a relationship.  Raises `OfficeError`."""
    of = relationships_flow.find(tx, account, relationship)
    parsed = addresses.parse(address.strip())
    canonical = "" if parsed is None else naming.canonical(parsed.normal)
    found = rows.by_canonical(tx, canonical)
    if parsed is None or found is None:
        raise NotThere(f"{address} was not refused here; `sortingoffice rejects` lists what was")
    own = naming.reserved(parsed.local) or naming.prefixed(parsed.local)
    if own or relationships.canonical_taken(tx, canonical):
        raise OfficeError(f"{parsed.normal} is an address of this office already")
    now = office.clock()
    made = relationships.add_alias(tx, Alias(0, of.id, parsed.normal, canonical, AliasState.ROTATED, now))
    rows.update(tx, replace(found, accepted=now, pending=False))
    relationships_flow.write_event(tx, office, of, actor, "reject accepted", detail=made.address)
    return {"relationship": of.slug, "alias": made.address}
