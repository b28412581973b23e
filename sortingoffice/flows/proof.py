"""What proves that a mailbox wrote a message: aligned signatures that cover the recipient, each used once.

Promise: whoever sends a signed mail again, by whatever envelope and however much later, sends nothing.
A client that tries again is answered as before; a provider that splits a reply to all into a transaction
for each recipient loses none.

Sources: `core.proof`; the design, "Outward: person → vendor".
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sortingoffice.core import naming, proof
from sortingoffice.core.model import Account
from sortingoffice.core.proof import Used
from sortingoffice.flows.arrival import Arrival
from sortingoffice.flows.target import Found
from sortingoffice.mail import dkim, headers
from sortingoffice.mail.address import Address
from sortingoffice.mail.authentication import DkimResult
from sortingoffice.mail.publicsuffix import organizational
from sortingoffice.store import proofs
from sortingoffice.store.database import Transaction


def covered(arrival: Arrival, recipient: Address) -> bool:
    """Whether the recipient stands in a To or Cc that an aligned signature covers: against replay."""
    wanted = naming.canonical(recipient.normal)
    return any(
        mention.address is not None and naming.canonical(mention.address.normal) == wanted
        for signature in _aligned(arrival)
        for name in ("To", "Cc")
        for field in dkim.covered(arrival.message, signature, name)
        for mention in headers.addresses(field.value)
    )


def unused(
    tx: Transaction, arrival: Arrival, account: Account, found: tuple[Found, ...]
) -> tuple[Found, ...]:
    """The recipients to whom none of its signatures has carried the message; all, where it has none."""
    digests = {each.address: tuple(_digests(arrival, each.address)) for each in found}
    known = proofs.known(tx, account.id, [one for each in digests.values() for one in each])
    return tuple(each for each in found if not known.intersection(digests[each.address]))


def use(tx: Transaction, arrival: Arrival, account: Account, found: tuple[Found, ...]) -> None:
    """Write down that its signatures have carried the message to these recipients."""
    for signature in _aligned(arrival):
        until = proof.until(_made(arrival, signature), arrival.now)
        for each in found:
            digest = proof.digest(signature.signature, naming.canonical(each.address.normal))
            proofs.add(tx, Used(0, account.id, digest, until))


def stale(arrival: Arrival) -> bool:
    """Whether all that proves the author was signed too long ago."""
    found = [proof.stale(_made(arrival, each), arrival.now) for each in _aligned(arrival)]
    return bool(found) and all(found)


def _aligned(arrival: Arrival) -> Iterator[DkimResult]:
    own = organizational(arrival.auth.from_domain)
    return (each for each in arrival.auth.dkim if each.passed and organizational(each.domain) == own)


def _digests(arrival: Arrival, recipient: Address) -> Iterator[bytes]:
    canonical = naming.canonical(recipient.normal)
    return (proof.digest(each.signature, canonical) for each in _aligned(arrival))


def _made(arrival: Arrival, signature: DkimResult) -> datetime | None:
    dates = dkim.covered(arrival.message, signature, "Date")
    return proof.made(signature.stamp, headers.date(dates[0].value) if dates else None)
