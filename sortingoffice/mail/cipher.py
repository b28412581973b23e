"""Encryption of single values at rest, and MACs that recognise a value without reading it.

Pure functions over given keys and given nonces: the office's key comes from a file, the
nonce from the caller's randomness.  A sealed value is bound to its `Place`, so a row
copied over another row does not open.

    open_(key, place, seal(key, place, value, nonce)) == value, and raises for any other place

Layout of sealed octets: version 0x01 · key id (8) · nonce (12) · ciphertext · tag (16).

Sources: NIST SP 800-38D (AES-GCM), RFC 5869 (HKDF), RFC 2104 (HMAC), RFC 7914 (scrypt).
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from sortingoffice.frozen import dataclass

KEY = 32  # octets of every key
NONCE = 12  # octets, SP 800-38D §8.2.2: random, so never more than 2**32 values under one key
SALT = 16

_VERSION = b"\x01"
_KEY_ID = 8
_HEAD = 1 + _KEY_ID + NONCE
_SCRYPT_COST = 2**15


class Unreadable(ValueError):
    """Octets that do not open: another key, another place, or changed."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value lives; authenticated with it (the AAD).

    row  what identifies the row before it is stored: "field id.version number" for a field
         version, "disclosure id.card.field" for a ledger item; never reused
    """

    table: str
    column: str
    row: str
    account_id: int

    def aad(self, key_id: bytes) -> bytes:
        """Each part with its length, so that no two places have the same octets."""
        parts = [part.encode() for part in (self.table, self.column, self.row, str(self.account_id))]
        return b"".join(len(part).to_bytes(4, "big") + part for part in [*parts, key_id])


def derive(key: bytes, purpose: str) -> bytes:
    """A key for one purpose only (RFC 5869); the purpose is a fixed word of ours."""
    return HKDF(SHA256(), KEY, salt=None, info=b"sortingoffice 1 " + purpose.encode()).derive(_checked(key))


def seal(key: bytes, place: Place, value: bytes, nonce: bytes) -> bytes:
    if len(nonce) != NONCE:
        raise ValueError("an AES-GCM nonce has 12 octets")
    name = _key_id(key)
    return _VERSION + name + nonce + AESGCM(_checked(key)).encrypt(nonce, value, place.aad(name))


def open_(key: bytes, place: Place, sealed: bytes) -> bytes:
    """Raises Unreadable."""
    if len(sealed) < _HEAD or sealed[:1] != _VERSION:
        raise Unreadable("not a sealed value")
    name, nonce = sealed[1 : 1 + _KEY_ID], sealed[1 + _KEY_ID : _HEAD]
    if not hmac.compare_digest(name, _key_id(key)):
        raise Unreadable("sealed under another key")
    try:
        return AESGCM(_checked(key)).decrypt(nonce, sealed[_HEAD:], place.aad(name))
    except InvalidTag:
        raise Unreadable("the value was changed or moved") from None


# ---- an account's data keys, under the office's -----------------------------------------------------
#
# One record after another, each a data key sealed under an office's key.  Those under one office key are
# the account's generations, oldest first: the first is what MACs are made with, the last seals what is new.
# While the office's key is changed there are records under both, so that a process with either opens them.

_RECORD = _HEAD + KEY + 16


def wrap(office_key: bytes, data_key: bytes, account_id: int, nonce: bytes, generation: int = 1) -> bytes:
    """An account's data key under the office's key: one record."""
    return seal(office_key, _wrapped(account_id, generation), _checked(data_key), nonce)


def unwrap(office_key: bytes, wrapped: bytes, account_id: int) -> tuple[bytes, ...]:
    """The data keys, oldest first.  Raises Unreadable where there is none under this office's key."""
    found = [each for each in records(wrapped) if key_id(each) == _key_id(office_key)]
    if not found:
        raise Unreadable("sealed under another key")
    return tuple(
        open_(office_key, _wrapped(account_id, number), each) for number, each in enumerate(found, 1)
    )


def wrapped_under(office_key: bytes, wrapped: bytes) -> bytes:
    """The records that this office's key opens; empty where it opens none."""
    return b"".join(each for each in records(wrapped) if key_id(each) == _key_id(office_key))


def records(wrapped: bytes) -> tuple[bytes, ...]:
    """Raises Unreadable."""
    if not wrapped or len(wrapped) % _RECORD:
        raise Unreadable("not a wrapped key")
    return tuple(wrapped[at : at + _RECORD] for at in range(0, len(wrapped), _RECORD))


def key_id(sealed: bytes) -> bytes:
    """The name of the key that something is sealed under; tells nothing of the key."""
    return sealed[1 : 1 + _KEY_ID]


def name_of(key: bytes) -> bytes:
    """What `key_id` says of whatever is sealed under this key."""
    return _key_id(key)


def mac_key(data_key: bytes) -> bytes:
    return derive(data_key, "mac")


def mac(key: bytes, normalised: str) -> bytes:
    """16 octets that are equal where the normalised text is equal; nothing of it can be read."""
    return hmac.digest(key, normalised.encode("utf-8", "surrogatepass"), hashlib.sha256)[:16]


def passphrase_key(passphrase: str, salt: bytes) -> bytes:
    """The key of a person's own passphrase (RFC 7914); about 0.1 s and 32 MB on purpose."""
    if len(salt) != SALT:
        raise ValueError("a salt has 16 octets")
    return Scrypt(salt=salt, length=KEY, n=_SCRYPT_COST, r=8, p=1).derive(passphrase.encode())


def _wrapped(account_id: int, generation: int) -> Place:
    row = str(account_id) if generation == 1 else f"{account_id}.{generation}"
    return Place("account", "wrapped_key", row, account_id)


def _key_id(key: bytes) -> bytes:
    return derive(key, "key id")[:_KEY_ID]


def _checked(key: bytes) -> bytes:
    if len(key) != KEY:
        raise ValueError("a key has 32 octets")
    return key
