"""TLS towards the next hop: which contexts there are, and the ladder of what is tried.

Promise: `required` never sends a message over a connection whose certificate was not
verified for the host's name; `opportunistic` never fails for want of TLS.

Opportunistic TLS does not verify: an unverified connection keeps out whoever only listens, and the
alternative would be plain text (RFC 7435 §3).

Sources: RFC 3207 (STARTTLS), RFC 7435 (opportunistic security), RFC 8314 §3.3 (port 465).
"""

from __future__ import annotations

import ssl
from enum import StrEnum
from functools import cached_property

SUBMISSIONS = 465  # TLS from the first octet, RFC 8314 §3.3


class Policy(StrEnum):
    """The values of `smarthost_tls`; straight to an MX it is opportunistic."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"


class Rung(StrEnum):
    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    PLAIN = "plain"


# From the best to what is still acceptable.  UNVERIFIED goes on in plain text by itself where the
# host doesn't offer STARTTLS; the next rung is for a handshake that failed.
LADDER: dict[Policy, tuple[Rung, ...]] = {
    Policy.NONE: (Rung.PLAIN,),
    Policy.OPPORTUNISTIC: (Rung.UNVERIFIED, Rung.PLAIN),
    Policy.REQUIRED: (Rung.VERIFIED,),
}


class Contexts:
    """The two client contexts, each made when it is first wanted: loading the authorities takes a tenth
    of a second, and mail that goes straight to an MX needs none.

    authorities  a PEM file of trusted ones; None for the system's
    """

    def __init__(self, authorities: str | None = None) -> None:
        self._authorities = authorities

    @cached_property
    def verified(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._authorities)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    @cached_property
    def unverified(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context


def described(transport_info: ssl.SSLObject | ssl.SSLSocket | None) -> str:
    """ "TLSv1.3 TLS_AES_256_GCM_SHA384", "" for plain text."""
    if transport_info is None:
        return ""
    cipher = transport_info.cipher()
    return f"{transport_info.version()} {cipher[0] if cipher else ''}".strip()
