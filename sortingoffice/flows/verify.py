"""The answer to a verification mail: whose mailbox it is, and what proof its mail carries."""

from __future__ import annotations

from sortingoffice import log
from sortingoffice.core.inward import author
from sortingoffice.core.notice import Notice
from sortingoffice.flows import accounts, notices
from sortingoffice.flows.arrival import Arrival
from sortingoffice.flows.office import Office
from sortingoffice.mail import classify
from sortingoffice.mail.address import Address
from sortingoffice.store.database import Transaction


def answered(tx: Transaction, office: Office, arrival: Arrival, address: Address) -> None:
    """Verify the mailbox whose owner answered; anything else is logged and comes to nothing."""
    who = author(arrival.message)
    automatic = arrival.envelope.sender is None or classify.automatic(arrival.message)
    if who is None or automatic:
        log.event("verification-ignored", message=arrival.token)
        return
    proof = "dkim" if arrival.auth.aligned_dkim else "spf" if arrival.auth.aligned_spf else "none"
    done = accounts.confirm(
        tx,
        office,
        accounts.token_of(address.local),
        proof=proof,
        author=who.address.normal,
        actor=arrival.actor(),
    )
    if done is None:
        log.event("verification-ignored", message=arrival.token)
        return
    notices.send(
        tx,
        office,
        Notice("Your mailbox is verified", (accounts.proof_sentence(proof),)),
        account_id=done.account_id,
        to=done.address,
        rule="mailbox_verified",
        now=arrival.now,
    )
