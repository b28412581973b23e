"""A self-signed certificate, for an office that has none yet.

Opportunistic TLS asks for no more (RFC 3207 §4.1, RFC 7435): senders on port 25 encrypt without
verifying.  A person's mail program does verify, so `doctor` and the README ask for a real one.

Pure: the clock and the key's randomness are the caller's (`cryptography` draws the key itself).

Sources: RFC 5280; RFC 6125 (the name is a subjectAltName); RFC 8446 §9.1 (secp256r1 is universal).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE = timedelta(days=365)
_SKEW = timedelta(hours=1)  # a sender's clock may be behind ours
_LONGEST_NAME = 64  # characters of a common name, RFC 5280 appendix A


def self_signed(hostname: str, now: datetime) -> tuple[bytes, bytes]:
    """The certificate and its key, both PEM.

    hostname  A-labels; raises ValueError where it is empty or not ASCII
    now       aware; valid from an hour before, for a year
    """
    if not hostname or not hostname.isascii():
        raise ValueError("a certificate is made for a host name of A-labels")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:_LONGEST_NAME])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def expires(pem: bytes) -> datetime:
    """When the first certificate in `pem` ends; aware.  Raises ValueError where there is none."""
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc


def names(pem: bytes) -> tuple[str, ...]:
    """The host names of the first certificate in `pem`; none where it has none."""
    certificate = x509.load_pem_x509_certificate(pem)
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(found.value.get_values_for_type(x509.DNSName))
