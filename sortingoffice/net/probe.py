"""Looking at our own doors from outside: who listens, what certificate is shown, which ports systemd holds
for the office; and the kernel's clock.

Promise: every function returns what it found within `SECONDS`, and raises for no far end.

Sources: RFC 5321 §3.1; RFC 3207 §4; RFC 8461 §3.3 (no redirect is followed); the PROXY protocol §2.1
(haproxy.org); systemctl(1), systemd.socket(5); adjtimex(2).
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import re
import ssl
import subprocess
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from pathlib import Path

from sortingoffice.frozen import dataclass
from sortingoffice.values import Endpoint, Network, endpoint

SECONDS = 5.0
_MOST = 65_536  # octets of a policy, RFC 8461 §3.3
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
# PROXY protocol §2.1: the sender's address is unknown, so that of the connection counts.
_UNKNOWN_CLIENT = b"PROXY UNKNOWN\r\n"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a listener showed.

    problem     why there was no conversation; "" where there was
    greeting    its first line
    chain       "" where the certificate is verified for the name, else why not; None without TLS
    certificate PEM of the certificate shown, b"" without TLS
    no_ipv6     it is an IPv6 address, and this machine has none to call it from
    """

    problem: str
    greeting: str = ""
    chain: str | None = None
    certificate: bytes = b""
    no_ipv6: bool = False


async def mail_server(
    at: Endpoint, hostname: str, *, implicit_tls: bool, proxies: Collection[Network] = ()
) -> Seen:
    """Greet, STARTTLS, and look at the certificate.

    proxies  networks from which the server wants a PROXY header; where we call from one, it gets it
    """
    context = ssl.create_default_context()
    first = await _conversation(at, hostname, context, implicit_tls, proxies)
    if not first.chain:
        return first
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    second = await _conversation(at, hostname, blind, implicit_tls, proxies)
    return Seen(second.problem, second.greeting, first.chain, second.certificate)


async def _conversation(
    at: Endpoint, hostname: str, context: ssl.SSLContext, implicit_tls: bool, proxies: Collection[Network]
) -> Seen:
    greeting = ""
    try:
        async with asyncio.timeout(SECONDS):
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(at.host, at.host)  # noqa: S104 - not to listen
            reader, writer = await asyncio.open_connection(host, at.port)
            try:
                if _within(writer.get_extra_info("sockname")[0], proxies):
                    writer.write(_UNKNOWN_CLIENT)  # before TLS, as proxies send it
                if implicit_tls:
                    await writer.start_tls(context, server_hostname=hostname)
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
        no_ipv6 = ":" in at.host and getattr(error, "errno", None) == errno.EADDRNOTAVAIL
        return Seen(_why(error), greeting, no_ipv6=no_ipv6)


def _why(error: Exception) -> str:
    """In the system's words; asyncio's own repeat the address instead."""
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.errno:
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    return str(getattr(error, "strerror", "") or error)


def _within(ip: str, networks: Iterable[Network]) -> bool:
    own = ip_address(ip.partition("%")[0])
    return any(own in each for each in networks)


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
        return _why(error)
    return ""


# ---- what systemd holds ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Passed:
    """A socket unit that holds ports, and hands them to the office's service when that starts.

    kind     "smtp" or "submission"
    listen   its TCP addresses
    unit     its name
    service  the name of the service's unit
    state    of the service, in systemd's words: "active", "failed"
    """

    kind: str
    listen: tuple[Endpoint, ...]
    unit: str
    service: str
    state: str

    @property
    def served(self) -> bool:
        return self.state not in ("inactive", "failed", "deactivating")


_ASKED = ("Id", "ActiveState", "Listen", "FileDescriptorName", "Triggers", "ExecStart")
_CONFIG = re.compile(r" --config[= ](\S+)")
_Unit = dict[str, list[str]]


def passed(config: Path) -> tuple[Passed, ...]:
    """What systemd holds for the office of this config file; nothing where there is no systemd to ask.

    Another office on this machine has another config file, which the command line of its service names.
    It blocks.
    """
    properties = f"--property={','.join(_ASKED)}"
    command = ["systemctl", "show", "--all", "--no-pager", properties, "sortingoffice*"]  # all: inactive, too
    try:
        said = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):
        return ()
    units = _units(said.stdout.decode("utf-8", "replace"))
    found = []
    for name, unit in units.items():
        service = next(iter(_one(unit, "Triggers").split()), "")
        if not name.endswith(".socket") or _one(unit, "ActiveState") != "active" or service not in units:
            continue
        named = _CONFIG.search(_one(units[service], "ExecStart"))
        listen = tuple(at for each in unit.get("Listen", ()) if (at := _tcp(each)) is not None)
        if listen and (named is None or Path(named[1]).resolve() == config.resolve()):
            kind = "submission" if "submission" in _one(unit, "FileDescriptorName") else "smtp"
            found.append(Passed(kind, listen, name, service, _one(units[service], "ActiveState")))
    return tuple(found)


def _units(said: str) -> dict[str, _Unit]:
    """What `systemctl show` said of each unit: lines of NAME=VALUE, an empty one between units."""
    found: dict[str, _Unit] = {}
    for block in said.split("\n\n"):
        unit: _Unit = {}
        for line in block.splitlines():
            name, _, value = line.partition("=")
            unit.setdefault(name, []).append(value)
        found[_one(unit, "Id")] = unit
    return found


def _one(unit: _Unit, name: str) -> str:
    return unit.get(name, [""])[0]


def _tcp(listen: str) -> Endpoint | None:
    """ "0.0.0.0:25 (Stream)"; None for what is no TCP port."""
    where, _, kind = listen.rpartition(" ")
    return endpoint(where) if kind == "(Stream)" else None


# ---- the clock -------------------------------------------------------------------------------------------


def clock_synchronised() -> bool | None:
    """Whether the kernel's clock follows a time server; None where it can't be asked."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        state = int(library.adjtimex(ctypes.byref(ctypes.create_string_buffer(512))))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR
