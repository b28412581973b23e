"""Keys of DKIM and ARC: the private ones that we sign with, the public ones that DNS shows.

Promise: a public key that `public_key` returns may verify mail: everything in its record that forbids it
(revoked, another service, another hash, too short) has been looked at; what forbids it is told.

Sources: RFC 6376 §3.6.1; RFC 8301 (key sizes, no SHA-1); RFC 8463 (Ed25519).
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from typing import cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sortingoffice.frozen import dataclass
from sortingoffice.mail import tags

LEAST_RSA_BITS = 1024  # RFC 8301 §3.2
MOST_RSA_BITS = 8192  # what a stranger may make us compute with
MOST_EXPONENT_BITS = 64  # one as long as the key costs thirty times the work; OpenSSL asks it of larger keys
MAX_RECORD = 16_384  # octets of a key record
_USUAL = 1024  # octets, up to which what was read of a record is kept: RSA-4096 takes 750

_PKCS1 = padding.PKCS1v15()
_SHA256 = hashes.SHA256()


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, parsed once.

    domain     whose signature it makes (d=), lower case A-labels
    selector   s=
    algorithm  "rsa-sha256" or "ed25519-sha256"
    """

    domain: str
    selector: str
    algorithm: str
    private: rsa.RSAPrivateKey | Ed25519PrivateKey

    @classmethod
    def from_pem(cls, domain: str, selector: str, pem: bytes) -> SigningKey:
        """Raises ValueError where the PEM holds no RSA or Ed25519 private key without a password."""
        try:
            private = serialization.load_pem_private_key(pem, password=None)
        except (TypeError, UnsupportedAlgorithm) as error:
            raise ValueError("the key needs a password or is of an unknown kind") from error
        if isinstance(private, rsa.RSAPrivateKey):
            return cls(domain, selector, "rsa-sha256", private)
        if isinstance(private, Ed25519PrivateKey):
            return cls(domain, selector, "ed25519-sha256", private)
        raise ValueError("only RSA and Ed25519 keys sign mail")

    def signature(self, octets: bytes) -> bytes:
        """Over the SHA-256 of `octets` (RFC 8463 §3: Ed25519 signs the hash)."""
        if self.algorithm == "rsa-sha256":  # isinstance of an abstract class would cost a tenth of the RSA
            return cast(rsa.RSAPrivateKey, self.private).sign(octets, _PKCS1, _SHA256)
        return cast(Ed25519PrivateKey, self.private).sign(hashlib.sha256(octets).digest())

    @property
    def record(self) -> str:
        """The TXT record to publish at <selector>._domainkey.<domain>."""
        kind = "rsa" if isinstance(self.private, rsa.RSAPrivateKey) else "ed25519"
        return f"v=DKIM1; k={kind}; p={self.public}"

    @property
    def public(self) -> str:
        """The p= of that record."""
        return _public_base64(self.private)


def generate_rsa(bits: int = 2048) -> tuple[bytes, str]:
    """A new key: its PEM (PKCS #8, no password) and the p= of its record."""
    return _written(rsa.generate_private_key(public_exponent=65537, key_size=bits))


def generate_ed25519() -> tuple[bytes, str]:
    return _written(Ed25519PrivateKey.generate())


def _written(private: rsa.RSAPrivateKey | Ed25519PrivateKey) -> tuple[bytes, str]:
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, _public_base64(private)


def _public_base64(private: rsa.RSAPrivateKey | Ed25519PrivateKey) -> str:
    if isinstance(private, rsa.RSAPrivateKey):
        octets = private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    else:
        octets = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return base64.b64encode(octets).decode("ascii")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key of DNS that may verify.

    bits     of an RSA modulus; 256 for Ed25519
    testing  t=y: the domain is only trying (RFC 6376 §3.6.1); told, never treated otherwise
    exact    t=s: i= must have d= as its very domain
    """

    public: rsa.RSAPublicKey | Ed25519PublicKey
    bits: int
    testing: bool
    exact: bool

    def verifies(self, signature: bytes, octets: bytes) -> bool:
        try:
            if isinstance(self.public, rsa.RSAPublicKey):
                self.public.verify(signature, octets, _PKCS1, _SHA256)
            else:
                self.public.verify(signature, hashlib.sha256(octets).digest())
        except InvalidSignature:
            return False
        return True


class Unusable(Exception):
    """Why a key record verifies nothing; str() is ASCII without a peer's octets."""


def public_key(record: bytes, algorithm: str) -> PublicKey:
    """The key in a record, for a signature of this algorithm.

    Raises Unusable with the reason.
    """
    return (_usual if len(record) <= _USUAL else _public_key)(record, algorithm)


def _public_key(record: bytes, algorithm: str) -> PublicKey:
    if len(record) > MAX_RECORD:
        raise Unusable("key record too long")
    found = tags.parse(record)
    if found is None or "p" not in found:
        raise Unusable("key record malformed")
    if "v" in found and (found["v"] != "DKIM1" or next(iter(found)) != "v"):
        raise Unusable("not a DKIM1 key record")
    kind = found.get("k", "rsa")
    if f"{kind}-sha256" != algorithm:
        raise Unusable("key of another algorithm")
    if "h" in found and "sha256" not in tags.words(found["h"]):
        raise Unusable("key not for sha256")
    if not {"*", "email"} & set(tags.words(found.get("s", "*"))):
        raise Unusable("key not for email")
    if not found["p"]:
        raise Unusable("key revoked")
    flags = tags.words(found.get("t", ""))
    public, bits = _load(kind, tags.octets(found["p"]))
    return PublicKey(public, bits, testing="y" in flags, exact="s" in flags)


_usual = lru_cache(256)(_public_key)  # a sender has one key for all its messages


def _load(kind: str, octets: bytes | None) -> tuple[rsa.RSAPublicKey | Ed25519PublicKey, int]:
    try:
        if octets is None:
            raise ValueError
        if kind == "ed25519":
            return Ed25519PublicKey.from_public_bytes(octets), 256
        public = serialization.load_der_public_key(octets)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Unusable("key malformed") from error
    if not isinstance(public, rsa.RSAPublicKey):
        raise Unusable("key of another algorithm")
    if not LEAST_RSA_BITS <= public.key_size <= MOST_RSA_BITS:
        raise Unusable(f"key of {public.key_size} bits")
    if public.public_numbers().e.bit_length() > MOST_EXPONENT_BITS:
        raise Unusable("key with a large exponent")
    return public, public.key_size
