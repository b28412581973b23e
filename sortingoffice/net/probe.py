"""Looking at our own doors from outside: who listens, what certificate is shown; and the kernel's clock.

Promise: every function returns what it found within `SECONDS`, and raises for no far end.

Sources: RFC 5321 §3.1; RFC 3207 §4; RFC 8461 §3.3 (no redirect is followed); adjtimex(2).
"""

from __future__ import annotations

import asyncio
import ctypes
import ssl
from dataclasses import dataclass

from sortingoffice.values import Endpoint

SECONDS = 5.0
_MOST = 65_536  # octets of a policy, RFC 8461 §3.3
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


@dataclass(frozen=True, slots=True)
class Seen:
    """What a listener showed.

    problem     why there was no conversation; "" where there was
    greeting    its first line
    chain       "" where the certificate is verified for the name, else why not; None without TLS
    certificate PEM of the certificate shown, b"" without TLS
    """

    problem: str
    greeting: str = ""
    chain: str | None = None
    certificate: bytes = b""


async def mail_server(at: Endpoint, hostname: str, *, implicit_tls: bool) -> Seen:
    """Greet, STARTTLS, and look at the certificate."""
    context = ssl.create_default_context()
    first = await _conversation(at, hostname, context, implicit_tls)
    if not first.chain:
        return first
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    second = await _conversation(at, hostname, blind, implicit_tls)
    return Seen(second.problem, second.greeting, first.chain, second.certificate)


async def _conversation(at: Endpoint, hostname: str, context: ssl.SSLContext, implicit_tls: bool) -> Seen:
    greeting = ""
    try:
        async with asyncio.timeout(SECONDS):
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(at.host, at.host)  # noqa: S104 - not to listen
            reader, writer = await asyncio.open_connection(
                host,
                at.port,
                ssl=context if implicit_tls else None,
                server_hostname=hostname if implicit_tls else None,
            )
            try:
                greeting = (await reader.readline()).decode("ascii", "replace").strip()
                if not greeting.startswith("220"):
                    return Seen(f"it says {greeting[:100] or 'nothing'}", greeting)
                writer.write(b"EHLO doctor.invalid\r\n")
                if not implicit_tls:
                    if not any(b"STARTTLS" in line for line in await _reply(reader)):
                        return Seen("", greeting)
                    writer.write(b"STARTTLS\r\n")
                    await _reply(reader)
                    await writer.start_tls(context, server_hostname=hostname)
                shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""
                return Seen("", greeting, "", ssl.DER_cert_to_PEM_cert(shown).encode())
            finally:
                writer.close()
    except ssl.SSLCertVerificationError as error:
        return Seen("", greeting, error.verify_message or "not verified")
    except TimeoutError:
        return Seen(f"no answer within {SECONDS:.0f} s", greeting)
    except (OSError, EOFError, asyncio.LimitOverrunError, ValueError) as error:
        return Seen(str(getattr(error, "strerror", "") or error), greeting)


async def _reply(reader: asyncio.StreamReader) -> list[bytes]:
    lines = [await reader.readline()]
    while lines[-1][3:4] == b"-" and len(lines) < 50:
        lines.append(await reader.readline())
    return lines


async def page(host: str, ip: str, path: str) -> tuple[str | None, str]:
    """A text by HTTPS from this address of a host, and why not."""
    try:
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection(
                ip, 443, ssl=ssl.create_default_context(), server_hostname=host
            )
            try:
                writer.write(
                    f"GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("ascii")
                )
                octets = await reader.read(_MOST)
                while more := await reader.read(_MOST - len(octets)):
                    octets += more
            finally:
                writer.close()
    except TimeoutError:
        return None, f"no answer within {SECONDS:.0f} s"
    except (OSError, EOFError, ValueError) as error:
        return None, str(error)
    head, _, body = octets.partition(b"\r\n\r\n")
    status = head.partition(b"\r\n")[0].decode("ascii", "replace")
    return (body.decode("utf-8", "replace"), "") if " 200" in status else (None, status or "nothing came")


async def open_port(at: Endpoint) -> str:
    """Why nobody can connect; "" where somebody listens."""
    try:
        async with asyncio.timeout(SECONDS):
            _, writer = await asyncio.open_connection({"0.0.0.0": "127.0.0.1"}.get(at.host, at.host), at.port)  # noqa: S104
            writer.close()
    except TimeoutError:
        return f"no answer within {SECONDS:.0f} s"
    except OSError as error:
        return str(error.strerror or error)
    return ""


def clock_synchronised() -> bool | None:
    """Whether the kernel's clock follows a time server; None where it can't be asked."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        state = int(library.adjtimex(ctypes.byref(ctypes.create_string_buffer(512))))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR
