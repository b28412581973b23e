"""The far ends of SMTP: sinks on loopback, certificates for them.

`sink` is one running sink in its own thread; `sinks(...)` makes further ones.  See
`sortingoffice.net.sink.Sink` for what can be programmed.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sortingoffice.net.sink import DROP, HANG, Late, Received, Sink

__all__ = ["DROP", "HANG", "Certificate", "Late", "Received", "Sink", "certificate", "sink", "sinks"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate of its own authority, as files."""

    certificate: Path
    key: Path

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def trusting(self) -> ssl.SSLContext:
        """A client's context that trusts it, and nothing else."""
        return ssl.create_default_context(cafile=str(self.certificate))


def make_certificate(folder: Path, *names: str) -> Certificate:
    """A self-signed certificate for host names and IP addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    alternatives: list[x509.GeneralName] = []
    for alternative in names:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(alternative)))
        except ValueError:
            alternatives.append(x509.DNSName(alternative))
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Certificate(folder / f"{names[0]}.crt", folder / f"{names[0]}.key")
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    made.key.chmod(0o600)
    return made


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """For localhost, 127.0.0.1, ::1, mx.sort.example, mail.vendor.example and mx.home.example."""
    folder = tmp_path_factory.mktemp("certificate")
    names = ("localhost", "127.0.0.1", "::1", "mx.sort.example", "mail.vendor.example", "mx.home.example")
    return make_certificate(folder, *names)


@pytest.fixture
def sinks() -> Iterator[Callable[..., Sink]]:
    """Make running sinks: `sinks(answers={"RCPT": "550 5.1.1 no"}, host="::1")`; stopped at the end."""
    with ExitStack() as stack:

        def make(*, host: str = "127.0.0.1", port: int = 0, **how: Any) -> Sink:
            started = Sink(**how).start_in_thread(host, port)
            stack.callback(started.stop)
            return started

        yield make


@pytest.fixture
def sink(sinks: Callable[..., Sink]) -> Sink:
    """One running sink with the usual manners."""
    return sinks()
