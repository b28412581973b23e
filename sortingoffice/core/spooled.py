"""What is put into the spool: a message as it goes in, and its deliveries, of which nothing is tried yet.

One room for everybody who makes such rows, so that a column more is written down once.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sortingoffice.core.model import Delivery, DeliveryState, Direction, SpooledMessage

SUBJECT = 200  # characters of a subject that are kept for `held` and `queue`


def message(
    raw: bytes,
    *,
    token: str,
    direction: Direction,
    account_id: int | None,
    relationship_id: int | None,
    rule: str,
    subject: str,
    now: datetime,
    sender: str = "",
    origin: str = "",
    results: str = "",
    fingerprint: bytes | None = None,
    bulk: bool = False,
    authenticated: bool = False,
    utf8: bool = False,
) -> SpooledMessage:
    """The message with these octets, promised at `now`; for the rest see `SpooledMessage`."""
    return SpooledMessage(
        id=0,
        token=token,
        direction=direction,
        account_id=account_id,
        relationship_id=relationship_id,
        sender=sender,
        origin=origin,
        results=results,
        fingerprint=fingerprint,
        rule=rule,
        subject=subject[:SUBJECT],
        bulk=bulk,
        authenticated=authenticated,
        utf8=utf8,
        size=len(raw),
        accepted=now,
        raw=raw,
    )


def delivery(
    of: SpooledMessage,
    recipient: str,
    *,
    destination: str,
    give_up_after: timedelta,
    return_domain: str = "",
    contact_id: int | None = None,
    held: str = "",
    accepted_for: str = "",
) -> Delivery:
    """A delivery of `of`, due at once.

    held          the rule that makes it wait for the person's word; "" if none does
    accepted_for  see `Delivery`
    """
    return Delivery(
        id=0,
        message_id=0,
        account_id=of.account_id,
        relationship_id=of.relationship_id,
        contact_id=contact_id,
        recipient=recipient,
        destination=destination,
        return_domain=return_domain,
        state=DeliveryState.HELD if held else DeliveryState.QUEUED,
        reason=held,
        attempts=0,
        due=of.accepted,
        expires=of.accepted + give_up_after,
        delay_told=False,
        lease_node="",
        lease_until=None,
        last_reply="",
        created=of.accepted,
        ended=None,
        accepted_for=accepted_for,
    )
