"""The work: messages that vendors have signed, to aliases of the office.

They are made before the clock runs.  Each is unlike every other, for a relay may rightly drop the
same message sent twice.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime

from sortingoffice.mail import dkim, keys
from sortingoffice.net.zone import ZoneServer

VENDORS = 20
OFFICE = "sort.example"
HOME = "home.example"
HOSTNAME = f"mx.{OFFICE}"
_LINE = b"All work and no play makes a dull letter, and this one is as long as it was asked to be.\r\n"


@dataclass(frozen=True, slots=True)
class Letter:
    """One message on the wire: `wire` is dot-stuffed and ends with the dot's line."""

    name: str
    sender: str
    recipient: str
    wire: bytes


@dataclass(frozen=True, slots=True)
class Vendor:
    """A sending domain: SPF, an RSA-2048 key and a DMARC policy stand in the zone."""

    domain: str
    key: keys.SigningKey

    @property
    def address(self) -> str:
        return f"orders@{self.domain}"


def vendors(zone: ZoneServer, count: int = VENDORS) -> list[Vendor]:
    """Domains whose mail comes from 127.0.0.1, published in the zone."""
    found = []
    for number in range(count):
        domain = f"shop{number}.example"
        pem, public = keys.generate_rsa()
        zone.set(domain, "MX", f"10 mx.{domain}.")
        zone.set(f"mx.{domain}", "A", "127.0.0.1")
        zone.set(domain, "TXT", "v=spf1 ip4:127.0.0.1 -all")
        zone.set(f"mail._domainkey.{domain}", "TXT", f"v=DKIM1; k=rsa; p={public}")
        zone.set(f"_dmarc.{domain}", "TXT", "v=DMARC1; p=reject")
        found.append(Vendor(domain, keys.SigningKey.from_pem(domain, "mail", pem)))
    return found


def written(writers: list[Vendor], aliases: list[str], size: int, count: int) -> list[Letter]:
    """`count` letters of `size` octets, to the aliases in turn; a relationship hears from one vendor."""
    body = (_LINE * (size // len(_LINE) + 1))[: max(size - 800, 200)] + b"\r\n"  # the header takes the rest
    return [
        _letter(writers[n % len(aliases) % len(writers)], aliases[n % len(aliases)], body)
        for n in range(count)
    ]


def _letter(vendor: Vendor, recipient: str, body: bytes) -> Letter:
    name = os.urandom(8).hex()
    now = datetime.now(UTC)
    head = (
        f'From: "The Shop" <{vendor.address}>\r\nTo: <{recipient}>\r\nSubject: Your order has left us\r\n'
        f"Message-ID: <{name}@{vendor.domain}>\r\nDate: {now:%a, %d %b %Y %H:%M:%S +0000}\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    )
    raw = head.encode() + body
    raw = b"".join(each.raw for each in dkim.sign(raw, [vendor.key], now)) + raw
    wire = raw.replace(b"\r\n.", b"\r\n..") + b".\r\n"
    return Letter(f"{name}@{vendor.domain}", vendor.address, recipient, wire)
