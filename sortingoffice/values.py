"""What the value of a config key may be: one reader per kind.

A reader takes the TOML value and the config file's folder, and returns the value the
program uses, or raises `Unfit` with what it must be instead.

Sources: the design's interface document; RFC 3986 §3.2.2 for hosts and ports.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from sortingoffice.frozen import dataclass

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to listen or to connect; port 0 lets the system choose (for listening only)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Unfit(Exception):
    """A value that its key can't take; str() says what it must be."""


Reader = Callable[[Any, Path], Any]  # (TOML value, the config file's folder) -> the value


# ---- readers: one per kind of value --------------------------------------------------------------


def text(value: Any, folder: Path) -> str:
    if not isinstance(value, str) or any(ord(c) < 0x20 or ord(c) == 0x7F for c in value):
        raise Unfit('must be a text in quotes, such as "name"')
    return value


def flag(value: Any, folder: Path) -> bool:
    if not isinstance(value, bool):
        raise Unfit("must be true or false, without quotes")
    return value


def count(least: int = 1, most: int = 2**53) -> Reader:
    def read(value: Any, folder: Path) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            upper = f" and at most {most}" if most < 2**53 else ""
            raise Unfit(f"must be a whole number without quotes, at least {least}{upper}")
        return value

    return read


def seconds(value: Any, folder: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 300:
        raise Unfit("must be a number of seconds above 0 and at most 300, such as 5.0")
    return float(value)


_DURATION = re.compile(r"(\d{1,6})(s|m|h|d|w)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta | None:
    """ "90s", "15m", "4h", "14d" or "2w"; None if it is none of these."""
    match = _DURATION.fullmatch(text.strip())
    return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None


def span(value: Any, folder: Path) -> timedelta:
    found = duration(value) if isinstance(value, str) else None
    if not found or found > timedelta(days=366):
        raise Unfit('must be a time such as "90s", "15m", "4h" or "5d", above zero and at most a year')
    return found


def several(read: Reader, what: str) -> Reader:
    def read_all(value: Any, folder: Path) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise Unfit(f"must be a list of {what}")
        return tuple(read(each, folder) for each in value)

    return read_all


def steps(value: Any, folder: Path) -> tuple[timedelta, ...]:
    found: tuple[timedelta, ...] = several(span, 'times such as ["1m", "5m", "1h"]')(value, folder)
    if not found:
        raise Unfit("must hold at least one time; the last one repeats")
    return found


def endpoint(text: str, *, port: int | None = None) -> Endpoint | None:
    """ "host:port" or "[2001:db8::1]:25"; None if it is neither.

    port  what stands in where the text names none; None: it must name one
    """
    host, colon, number = text.rpartition(":")
    bare = text.endswith("]") or not colon or (":" in host and not host.startswith("["))
    if bare:
        host, number = text, ""
    if number:
        if not (number.isascii() and number.isdigit() and int(number) < 65536):
            return None
        port = int(number)
    if port is None or not (number or bare):
        return None
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            return None
    if ":" in host:
        return Endpoint(host, port) if _is_ip(host) else None
    return Endpoint(host, port) if _HOST.fullmatch(host) else None


_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9_-]{1,63})*\.?"
)


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def one_endpoint(value: Any, folder: Path) -> Endpoint:
    found = endpoint(value) if isinstance(value, str) else None
    if found is None:
        raise Unfit('must be "host:port", such as "127.0.0.1:2525" or "[::1]:2525"')
    return found


def endpoint_or_none(value: Any, folder: Path) -> Endpoint | None:
    return None if value == "" else one_endpoint(value, folder)


def smarthost(value: Any, folder: Path) -> Endpoint | None:
    found = endpoint_or_none(value, folder)
    if found is not None and found.port == 0:
        raise Unfit('needs a port, such as "smtp.provider.example:587"')
    return found


def nameserver(value: Any, folder: Path) -> Endpoint:
    found = endpoint(value, port=53) if isinstance(value, str) else None
    if found is None or not _is_ip(found.host) or found.port == 0:
        raise Unfit('must be an IP address, with a port or without: "192.0.2.53" or "127.0.0.1:5353"')
    return found


def network(value: Any, folder: Path) -> Network:
    try:
        if isinstance(value, str):
            return ip_network(value)
    except ValueError:
        pass
    raise Unfit('must be a network such as "10.0.0.0/8", "192.0.2.7" or "2001:db8::/32"')


def path(value: Any, folder: Path) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise Unfit('must be a path in quotes, such as "office" or "/var/lib/sortingoffice"')
    try:
        return (folder / Path(value).expanduser()).absolute()
    except RuntimeError:  # "~nobody"
        raise Unfit("names the home of an account that this machine doesn't have") from None


def path_or_none(value: Any, folder: Path) -> Path | None:
    return None if value == "" else path(value, folder)


def hostname(value: Any, folder: Path) -> str:
    if value == "":
        value = socket.gethostname()
    if not isinstance(value, str) or not _HOST.fullmatch(value):
        raise Unfit('must be a host name, such as "mx.sort.example"')
    return value.rstrip(".").lower()


def url(value: Any, folder: Path) -> str:
    if value == "":
        return ""
    if _web(value) is None:
        raise Unfit('must be empty or a URL such as "http://127.0.0.1:11333"')
    return str(value).rstrip("/")


def site(value: Any, folder: Path) -> str:
    """Where the pages are: the beginning of each link, so nothing may follow the host."""
    if value == "":
        return ""
    parts = _web(value)
    if parts is None or "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment:
        raise Unfit('must be empty or a URL that ends with its host, such as "https://sort.example"')
    return f"{parts.scheme}://{_origin_host(parts)}"


def _origin_host(parts: SplitResult) -> str:
    """Host and port as a browser tells them in an Origin, by which a passkey and a form are known."""
    host = parts.hostname or ""
    try:
        name = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
    except UnicodeError:
        raise Unfit("must name a host that the DNS can have") from None
    usual = {"http": 80, "https": 443}[parts.scheme]
    return name if parts.port in (None, usual) else f"{name}:{parts.port}"


def _web(value: Any) -> SplitResult | None:
    """The parts of a URL of the web; None for what is none."""
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        return None
    try:
        parts = urlsplit(value)
        return parts if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 else None
    except ValueError:  # of a port or a bracket
        return None


# A URL's own driver is ours to choose; both spellings of the scheme are in use.
_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
    "sqlite": "sqlite",
}


def database(value: Any, folder: Path) -> str:
    if value == "":
        return ""
    scheme, colon, rest = value.partition("://") if isinstance(value, str) else ("", "", "")
    if not colon or scheme not in _DRIVERS or not rest:
        raise Unfit(
            'must be empty (SQLite in data_dir) or a URL: "postgresql://host/name", "sqlite:////path"'
        )
    if scheme == "sqlite" and not rest.startswith("//"):
        rest = f"/{quote(str(folder.absolute()))}/{rest.lstrip('/')}"
    return f"{_DRIVERS[scheme]}://{rest}"


def one_of(*words: str) -> Reader:
    def read(value: Any, folder: Path) -> str:
        if value not in words:
            raise Unfit("must be " + ", ".join(f'"{w}"' for w in words[:-1]) + f' or "{words[-1]}"')
        return str(value)

    return read


def domain(value: Any, folder: Path) -> str:
    name = text(value, folder).lower().rstrip(".")
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+", name):
        raise Unfit('must be a domain in ASCII, such as "lists.example"')
    return name


endpoints = several(one_endpoint, '"host:port" texts, such as ["127.0.0.1:2525"]')
domains = several(domain, 'domains, such as ["lists.example"]')
networks = several(network, 'networks, such as ["10.0.0.0/8"]')
nameservers = several(nameserver, 'IP addresses, such as ["127.0.0.1:5353"]')
tls_policy = one_of("none", "opportunistic", "required")
dmarc_discovery = one_of("suffix list", "tree walk")
