"""Names of ours: signed local parts (VERP return paths, by-mail contacts), loop marks, a message's public id.

Promise: delivery_of(key, return_path(key, n)) == n, whatever the case, and for a local part
that we did not make it is None (but for one chance in 2**80).  The delivery's number is masked, so that
a vendor who collects return paths can't count our mail.

Layout of a return path: "rp" and 26 base32 characters of 16 octets: 6 masked octets of the
number, 10 of the MAC.  28 octets in all, of the 64 that RFC 5321 §4.5.3.1.1 allows.

The MAC is keyed BLAKE2b, which costs a thirtieth of OpenSSL's HMAC on octets this few.

Sources: RFC 7693 §2.9 (keyed BLAKE2); RFC 5321 §4.5.3.1.1; RFC 4648 §6 (base32); VERP as D. J. Bernstein
described it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_PREFIX = "rp"
_NUMBER = 6
_MAC = 10
_LENGTH = len(_PREFIX) + 26


def return_path(key: bytes, delivery_id: int) -> str:
    """The local part of the envelope sender of one delivery."""
    return _PREFIX + _signed(key, b"return path", delivery_id)


def delivery_of(key: bytes, local: str) -> int | None:
    """Which delivery a return path belongs to; None where it is not one of ours."""
    if len(local) != _LENGTH or local[:2].lower() != _PREFIX:
        return None
    return _read(key, b"return path", local[2:])


def leaving(key: bytes, relationship_id: int) -> str:
    """What stands in the link that ends a relationship's subscription."""
    return _signed(key, b"leaving", relationship_id)


def left_by(key: bytes, secret: str) -> int | None:
    """The relationship of such a link; None where it is not one of ours."""
    return _read(key, b"leaving", secret)


def contact_secret(key: bytes, account_id: int, renewed: int) -> str:
    """The secret part of an account's by-mail contacts: 26 characters, other ones each time it is renewed."""
    number = account_id.to_bytes(_NUMBER, "big")
    mac = _mac(key, b"by mail", number + renewed.to_bytes(4, "big"))
    return _text(_masked(key, mac, number) + mac)


def account_of(key: bytes, secret: str) -> int | None:
    """The account that a by-mail contact's secret can only belong to, if it is one: the caller compares it
    with that account's `contact_secret`.  None where it can't be one."""
    try:
        octets = base64.b32decode(secret.upper() + "======")
    except (binascii.Error, ValueError):
        return None
    if len(octets) != _NUMBER + _MAC:
        return None
    return int.from_bytes(_masked(key, octets[_NUMBER:], octets[:_NUMBER]), "big")


def loop_mark(key: bytes, relationship_id: int) -> str:
    """What a message of this relationship carries, so that it never passes it twice; opaque to others."""
    return _text(_mac(key, b"loop", relationship_id.to_bytes(8, "big")))


def fresh(octets: bytes) -> str:
    """A message's public id from random octets; 10 of them make 16 characters."""
    return _text(octets)


def _signed(key: bytes, purpose: bytes, number: int) -> str:
    """26 characters that only we can make, and that tell others nothing of the number."""
    octets = number.to_bytes(_NUMBER, "big")
    mac = _mac(key, purpose, octets)
    return _text(_masked(key, mac, octets) + mac)


def _read(key: bytes, purpose: bytes, text: str) -> int | None:
    if len(text) != _LENGTH - len(_PREFIX) or not text.isascii():
        return None
    try:
        octets = base64.b32decode(text.upper() + "======")
    except (binascii.Error, ValueError):
        return None
    mac = octets[_NUMBER:]
    number = _masked(key, mac, octets[:_NUMBER])
    if not hmac.compare_digest(mac, _mac(key, purpose, number)):
        return None
    return int.from_bytes(number, "big")


def _mac(key: bytes, purpose: bytes, octets: bytes) -> bytes:
    return hashlib.blake2b(octets, key=key, digest_size=_MAC, person=purpose).digest()


def _masked(key: bytes, mac: bytes, number: bytes) -> bytes:
    """The number under a mask that its own MAC determines; its own inverse."""
    mask = hashlib.blake2b(mac, key=key, digest_size=_NUMBER, person=b"mask").digest()
    return bytes(a ^ b for a, b in zip(number, mask, strict=True))


def _text(octets: bytes) -> str:
    return base64.b32encode(octets).decode("ascii").rstrip("=").lower()
