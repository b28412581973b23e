"""What is added to a message at each attempt: our trace, the results found at receipt, DKIM, ARC.

The spool holds the unsigned message, so that the role that faces port 25 needs no signing key.
The time in what is added is the time of acceptance, so every attempt sends the same octets.

Promise: inward mail gets where it came from and what was proved; outward mail gets neither, only
`by` and a date in UTC, for a vendor must not learn where the person sits.

Sources: RFC 5321 §4.4 (trace), RFC 8601 (Authentication-Results), RFC 6376, RFC 8463, RFC 8617.
"""

from __future__ import annotations

from collections.abc import Sequence

from sortingoffice.core.model import Delivery, Direction, SpooledMessage
from sortingoffice.flows.office import Office
from sortingoffice.mail import arc, dkim, headers, seven, token, trace
from sortingoffice.mail.dkim import SigningKey
from sortingoffice.mail.message import Field, Message


def signed(office: Office, message: SpooledMessage, delivery: Delivery) -> bytes:
    """The octets that leave: trace and signatures on top, the rest as it was spooled."""
    return of_parsed(office, Message.parse(message.raw), message, delivery)


def of_parsed(office: Office, parsed: Message, message: SpooledMessage, delivery: Delivery) -> bytes:
    """The same of one whose octets are not kept beside."""
    return outgoing(parsed, message, _traces(office, message), signing_keys(office, parsed, delivery))


def in_seven_bits(office: Office, message: SpooledMessage, delivery: Delivery) -> bytes:
    """The same for a next hop that takes no eight bits: converted first, then signed."""
    parsed = seven.downgraded(Message.parse(message.raw))
    return outgoing(parsed, message, _traces(office, message), signing_keys(office, parsed, delivery))


def outgoing(
    parsed: Message, message: SpooledMessage, traces: Sequence[Field], keys: Sequence[SigningKey]
) -> bytes:
    """Pure: the same message, fields and keys give the same octets.

    parsed   what leaves, as it was spooled
    message  what is known of it; its octets are not looked at
    """
    parsed = parsed.prepended(*traces)
    if not keys:
        return bytes(parsed)
    covered = dkim.cover(parsed)
    parsed = parsed.prepended(*dkim.sign(parsed, keys, message.accepted, covered))
    sealer = next((key for key in keys if key.algorithm == "rsa-sha256"), None)  # RFC 8617 §4.1.3: no other
    if sealer is not None and message.direction is Direction.INWARD and message.results:
        signatures = tuple(parsed.all("DKIM-Signature"))
        sealed = arc.seal(
            parsed, sealer, message.results, message.accepted, covered=covered.and_fields(signatures)
        )
        parsed = parsed.prepended(*sealed)
    return bytes(parsed)


def _traces(office: Office, message: SpooledMessage) -> list[Field]:
    hostname = office.config.hostname
    if message.direction is not Direction.INWARD:
        return [trace.received(hostname, message.token, message.accepted)]
    mark = ""
    if message.relationship_id is not None:
        mark = token.loop_mark(office.keys.token, message.relationship_id)
    way = trace.received(hostname, message.token, message.accepted, origin=message.origin, mark=mark)
    return [trace.recorded_results(message.results), way] if message.results else [way]


def signing_keys(office: Office, message: Message, delivery: Delivery) -> tuple[SigningKey, ...]:
    """Keys of the From's domain, which DMARC aligns with; else of the return path's; or none."""
    for domain in (from_domain(message), delivery.return_domain):
        try:
            return office.keys.signing[domain]
        except KeyError:
            continue
    return ()


def from_domain(message: Message) -> str:
    """The domain of the first address in From; "" if there is none."""
    value = message.value("From")
    mentions = headers.addresses(value) if value is not None else ()
    author = mentions[0].address if mentions else None
    return "" if author is None else author.domain
