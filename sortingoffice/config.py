"""The configuration: one TOML file, read once into frozen values.

Promise: what `load` returns is complete and sound; anything else is an `OfficeError` that
names the file, the key and the remedy.  The dataclasses below are the whole list of keys
with their defaults, and a test holds config.example.toml to it.

Secrets are never in this file: it names files that hold them.  Whether those files can be
read is asked by `check_files`, when the daemon starts: a person's `list` needs no TLS key.

Sources: the design's interface document; TOML 1.0.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints
from urllib.parse import quote, unquote

from sortingoffice import values
from sortingoffice.errors import OfficeError
from sortingoffice.frozen import dataclass
from sortingoffice.values import Endpoint, Network, duration, endpoint

__all__ = [
    "Config",
    "Endpoint",
    "check_files",
    "defaults",
    "duration",
    "endpoint",
    "find",
    "load",
    "reloaded",
    "smarthost_password",
]

FILE_NAME = "sortingoffice.toml"
ENVIRONMENT = "SORTINGOFFICE_CONFIG"
_MOST = 1 << 20  # octets of a config file


class Key(NamedTuple):
    """What stands in the TOML file when nobody wrote anything, and what reads it."""

    default: Any
    read: values.Reader


# ---- the keys ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Smtp:
    listen: Annotated[tuple[Endpoint, ...], Key(["127.0.0.1:2525"], values.endpoints)]
    tls_certificate: Annotated[Path | None, Key("", values.path_or_none)]
    tls_key: Annotated[Path | None, Key("", values.path_or_none)]
    max_message_bytes: Annotated[int, Key(36700160, values.count(1024, 2**31))]
    proxy_protocol_from: Annotated[tuple[Network, ...], Key([], values.networks)]
    xclient_from: Annotated[tuple[Network, ...], Key([], values.networks)]


@dataclass(frozen=True, slots=True)
class Submission:
    listen: Annotated[tuple[Endpoint, ...], Key(["127.0.0.1:2587"], values.endpoints)]
    tls: Annotated[bool, Key(False, values.flag)]


@dataclass(frozen=True, slots=True)
class Http:
    listen: Annotated[Endpoint | None, Key("127.0.0.1:8080", values.endpoint_or_none)]
    base_url: Annotated[str, Key("", values.site)]


@dataclass(frozen=True, slots=True)
class Metrics:
    listen: Annotated[Endpoint | None, Key("", values.endpoint_or_none)]


@dataclass(frozen=True, slots=True)
class Processes:
    """count: 0 means one for each core that the office may use."""

    count: Annotated[int, Key(0, values.count(0, 256))]


@dataclass(frozen=True, slots=True)
class Delivery:
    """retry's last step repeats until give_up_after; port is where a vendor's MX is called."""

    smarthost: Annotated[Endpoint | None, Key("", values.smarthost)]
    smarthost_username: Annotated[str, Key("", values.text)]
    smarthost_password_file: Annotated[Path | None, Key("", values.path_or_none)]
    smarthost_tls: Annotated[str, Key("opportunistic", values.tls_policy)]
    port: Annotated[int, Key(25, values.count(1, 65535))]
    retry: Annotated[tuple[timedelta, ...], Key(["1m", "5m", "15m", "1h", "4h"], values.steps)]
    give_up_after: Annotated[timedelta, Key("5d", values.span)]
    delay_notice_after: Annotated[timedelta, Key("4h", values.span)]
    concurrency_per_destination: Annotated[int, Key(20, values.count(1, 1000))]


@dataclass(frozen=True, slots=True)
class Dns:
    """nameservers: empty means the system's; timeout in seconds, for one question in all."""

    nameservers: Annotated[tuple[Endpoint, ...], Key([], values.nameservers)]
    timeout: Annotated[float, Key(5.0, values.seconds)]


@dataclass(frozen=True, slots=True)
class Authentication:
    """trusted_sealers: forwarders whose word on a message's author counts where they had to change it."""

    dmarc_discovery: Annotated[str, Key("suffix list", values.dmarc_discovery)]
    trusted_sealers: Annotated[tuple[str, ...], Key([], values.domains)]


@dataclass(frozen=True, slots=True)
class Scanner:
    rspamd_url: Annotated[str, Key("", values.url)]


@dataclass(frozen=True, slots=True)
class Cards:
    """Of a change that vendors were told of by `card notify`."""

    silent_after: Annotated[timedelta, Key("14d", values.span)]
    ask_again: Annotated[bool, Key(True, values.flag)]


@dataclass(frozen=True, slots=True)
class Limits:
    account_messages_per_hour: Annotated[int, Key(500, values.count())]
    connections: Annotated[int, Key(500, values.count())]
    connections_per_peer: Annotated[int, Key(100, values.count())]
    recipients: Annotated[int, Key(100, values.count())]
    unknown_recipients: Annotated[int, Key(100, values.count(2))]
    peer_messages_per_hour: Annotated[int, Key(0, values.count(0))]
    peer_connections_per_minute: Annotated[int, Key(300, values.count(0))]
    peer_bytes_per_hour: Annotated[int, Key(4294967296, values.count(0, 2**50))]
    commands_per_session: Annotated[int, Key(1000, values.count(10))]
    errors_per_session: Annotated[int, Key(10, values.count())]
    command_seconds: Annotated[int, Key(300, values.count())]
    data_chunk_seconds: Annotated[int, Key(180, values.count())]
    session_seconds: Annotated[int, Key(3600, values.count())]
    least_bytes_per_second: Annotated[int, Key(64, values.count(0))]
    line_bytes: Annotated[int, Key(100000, values.count(1000))]
    header_bytes: Annotated[int, Key(131072, values.count(4096))]
    hops: Annotated[int, Key(50, values.count())]


@dataclass(frozen=True, slots=True)
class Top:
    """The keys above the first section.

    data_dir  absolute; a relative one starts at the config file's folder
    database  a SQLAlchemy URL
    hostname  HELO and authserv-id, lower case
    """

    data_dir: Annotated[Path, Key("office", values.path)]
    database: Annotated[str, Key("", values.database)]
    hostname: Annotated[str, Key("", values.hostname)]


@dataclass(frozen=True, slots=True)
class Config(Top):
    """path is the file itself."""

    path: Path
    smtp: Smtp
    submission: Submission
    http: Http
    metrics: Metrics
    processes: Processes
    delivery: Delivery
    dns: Dns
    authentication: Authentication
    scanner: Scanner
    cards: Cards
    limits: Limits

    @property
    def database_file(self) -> Path | None:
        """SQLite's; None with PostgreSQL."""
        scheme, _, rest = self.database.partition(":///")
        return Path(unquote(rest.partition("?")[0])) if scheme == "sqlite" else None


_SECTIONS: Mapping[str, type[Any]] = {
    "smtp": Smtp,
    "submission": Submission,
    "http": Http,
    "metrics": Metrics,
    "processes": Processes,
    "delivery": Delivery,
    "dns": Dns,
    "authentication": Authentication,
    "scanner": Scanner,
    "cards": Cards,
    "limits": Limits,
}


def _keys(section: type[Any]) -> dict[str, Key]:
    return {name: hint.__metadata__[0] for name, hint in get_type_hints(section, include_extras=True).items()}


def defaults() -> dict[str, Any]:
    """Every key with its default, shaped as the TOML file is."""
    shaped: dict[str, Any] = {name: key.default for name, key in _keys(Top).items()}
    for name, section in _SECTIONS.items():
        shaped[name] = {key: made.default for key, made in _keys(section).items()}
    return shaped


# ---- finding and loading -------------------------------------------------------------------------


def find(explicit: Path | None) -> Path | None:
    """The config file to use; None where nobody named one and none lies in a usual place,
    as far as this account may look.

    One that was named, by --config or the environment, is returned even if it isn't there.
    """
    named = os.environ.get(ENVIRONMENT, "")
    if explicit is not None or named:
        return explicit if explicit is not None else Path(named)
    user = Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"))
    usual = (Path(FILE_NAME), user / "sortingoffice" / "config.toml", Path("/etc/sortingoffice/config.toml"))
    return next((path for path in usual if os.path.exists(path)), None)


def load(path: Path) -> Config:
    """Read and check the file; raises `OfficeError`."""
    tables = _parse(path)
    return from_tables(tables, path)


def from_tables(tables: Mapping[str, Any], path: Path) -> Config:
    """A config from parsed TOML; `path` is named in errors, and relative paths start at its folder."""
    for name, value in tables.items():
        if name in _SECTIONS and not isinstance(value, dict):
            raise OfficeError(f"{path}: {name} is a section: write [{name}] on a line and its keys below it")
    own = {name: value for name, value in tables.items() if name not in _SECTIONS}
    top = _read(path, "", Top, own)
    sections = {
        name: kind(**_read(path, name, kind, tables.get(name, {}))) for name, kind in _SECTIONS.items()
    }
    top["database"] = top["database"] or f"sqlite:///{quote(str(top['data_dir'] / 'office.db'))}"
    made = Config(path=path.absolute(), **top, **sections)
    _agree(made, path)
    return made


# What was opened at the start, and what others were told there.
_AT_THE_START = (
    "data_dir",
    "database",
    "hostname",
    "smtp.listen",
    "submission.listen",
    "submission.tls",
    "http.listen",
    "metrics.listen",
    "processes.count",
)


def reloaded(running: Config, fresh: Config) -> tuple[Config, tuple[str, ...]]:
    """What a running office takes of a fresh config, and the keys whose change waits for the next start."""
    waiting = []
    for name in _AT_THE_START:
        section, _, key = name.rpartition(".")
        now: Any = getattr(running, section) if section else running
        new: Any = getattr(fresh, section) if section else fresh
        if getattr(now, key) == getattr(new, key):
            continue
        waiting.append(name)
        kept: Any = replace(new, **{key: getattr(now, key)})
        changed: dict[str, Any] = {section: kept}
        fresh = replace(fresh, **changed) if section else kept
    return fresh, tuple(waiting)


def check_files(config: Config) -> None:
    """Raise `OfficeError` if a file that the config names can't be read, or holds what can't be used."""
    named = {
        "smtp.tls_certificate": config.smtp.tls_certificate,
        "smtp.tls_key": config.smtp.tls_key,
    }
    for key, file in named.items():
        if file is not None:
            _octets(config, key, file)
    smarthost_password(config)


def smarthost_password(config: Config) -> str:
    """What its file holds, without the end of the line; "" where none is named.  Raises `OfficeError`."""
    key, file = "delivery.smarthost_password_file", config.delivery.smarthost_password_file
    if file is None:
        return ""
    try:
        return _octets(config, key, file).decode("utf-8").strip("\r\n")
    except UnicodeDecodeError:  # which holds the password
        raise OfficeError(
            f"{config.path}: {key}: {file} is not UTF-8 text: save it as UTF-8, with the password alone in it"
        ) from None


def _octets(config: Config, key: str, file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        why = error.strerror or "it can't be opened"
        raise OfficeError(
            f"{config.path}: {key}: {file} can't be read ({why}): mend the path or its mode"
        ) from None


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            octets = file.read(_MOST + 1)
        if len(octets) > _MOST:
            raise OfficeError(f"{path} is no config file: it is larger than {_MOST >> 10} KiB")
        return tomllib.loads(octets.decode("utf-8").replace("\r\n", "\n"))
    except FileNotFoundError:
        raise OfficeError(f"{path}: there is no such config file; `sortingoffice init` writes one") from None
    except OSError as error:
        raise OfficeError(
            f"{path}: the config file can't be read ({error.strerror}): let this account read it, "
            "or name another with --config"
        ) from None
    except UnicodeDecodeError:
        raise OfficeError(f"{path}: the config file is not UTF-8 text: save it as UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise OfficeError(f"{path}: this is not TOML: {error}; texts stand in quotes, lists in [ ]") from None


def _read(path: Path, section: str, kind: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """One section's values by name."""
    prefix = f"{section}." if section else ""
    keys = _keys(kind)
    for name, value in given.items():
        if name not in keys:
            raise OfficeError(_unknown(path, f"{prefix}{name}", value))
    read: dict[str, Any] = {}
    for name, key in keys.items():
        try:
            read[name] = key.read(given.get(name, key.default), path.absolute().parent)
        except values.Unfit as unfit:
            raise OfficeError(f"{path}: {prefix}{name} {unfit}") from None
    return read


def _agree(config: Config, path: Path) -> None:
    """What no single key can say."""
    if (config.smtp.tls_certificate is None) != (config.smtp.tls_key is None):
        raise OfficeError(
            f"{path}: smtp.tls_certificate and smtp.tls_key belong together: set both or neither"
        )
    if config.delivery.smarthost_username and config.delivery.smarthost_password_file is None:
        raise OfficeError(
            f"{path}: delivery.smarthost_username needs delivery.smarthost_password_file, "
            "a file that holds the password alone"
        )


def _unknown(path: Path, name: str, value: Any) -> str:
    """The sentence for a key that doesn't exist, with the nearest one that does."""
    inside = (f"{name}.{key}" for name, section in _SECTIONS.items() for key in _keys(section))
    known = [*_keys(Top), *_SECTIONS, *inside]
    last = name.rpartition(".")[2]
    elsewhere = [key for key in known if key.rpartition(".")[2] == last]
    near = elsewhere or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    what = "section" if isinstance(value, dict) else "key"
    hint = f"did you mean {near[0]}?" if near else "config.example.toml lists them all"
    return f"{path}: unknown {what} {name}; {hint}"
