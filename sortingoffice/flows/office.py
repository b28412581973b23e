"""The office: everything a flow needs, in one value, made once per process.

`Office` is passed to every flow; nothing of ours is a module global.  `open` reads the keys
that a role needs and no others: the role that faces port 25 holds no signing key, the role
that delivers holds no card key.

Keys are files: data_dir/keys/office.key and token.key (32 octets), and
data_dir/keys/dkim/<domain>/<selector>.pem; or, in front of them, systemd's credentials of
the same names (`dkim_<domain>_<selector>.pem`).  A key file that others can read is refused.

Sources: systemd.exec(5), LoadCredential=.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sortingoffice import log, processors
from sortingoffice.config import Config
from sortingoffice.core.limits import Peers
from sortingoffice.errors import OfficeError
from sortingoffice.flows.apart import Apart
from sortingoffice.frozen import dataclass
from sortingoffice.store.database import Database, Unavailable

if TYPE_CHECKING:
    from sortingoffice.mail.keys import SigningKey
    from sortingoffice.net.resolver import Resolver

OFFICE_KEY = "office.key"
TOKEN_KEY = "token.key"  # noqa: S105 - the name of a file
KEY_OCTETS = 32

_SQLITE = b"SQLite format 3\0"  # sqlite.org/fileformat2.html §1.3.1

# Which secrets a role is given.  The CLI runs as whoever may read them, and does without where it can.
_CARD_ROLES = ("all", "smtp", "web", "cli")
_SIGNING_ROLES = ("all", "queue")
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Keys:
    """The office's secrets, as far as the role holds them.

    card     the office's encryption key, 32 octets; None where the role may not open cards
    token    what return paths and other tokens are signed with, 32 octets
    signing  DKIM keys by domain
    """

    card: bytes | None
    token: bytes
    signing: Mapping[str, tuple[SigningKey, ...]]


# Seconds for which a thread that works on a large message keeps the interpreter while others want it.
# A small message's threads ask for it some thirty times; CPython's own 5 ms would make that 150 ms.
_TURN = 0.0005


# Messages that are put into the spool at once.  More would be answered sooner and leave later: who sends
# without a pause gets ahead of the deliveries, which want the same processor.  Whatever waits with its
# sender costs nothing.
_ACCEPTING = 10


def _stands_back() -> None:
    sys.setswitchinterval(_TURN)
    processors.anywhere()


def _nobody() -> None:
    """Nobody in this process delivers."""


@dataclass(frozen=True, slots=True)
class Office:
    """clock() is an aware UTC datetime; random(n) is n octets fit for secrets; wake() tells whoever
    delivers in this process that something new is due; peers: what each network tried; apart: the process
    beside this one; accepting: how many messages are put into the spool at once."""

    config: Config
    db: Database
    keys: Keys
    resolver: Resolver
    clock: Callable[[], datetime]
    random: Callable[[int], bytes]
    wake: Callable[[], None] = _nobody
    peers: Peers = field(default_factory=Peers)
    apart: Apart = field(default_factory=Apart, repr=False, compare=False)
    accepting: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(_ACCEPTING), repr=False, compare=False
    )
    _background: set[asyncio.Task[None]] = field(default_factory=set)
    _aside: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, "large-message", _stands_back)
    )

    async def aside(self, work: Callable[[], object]) -> None:
        """Do this in a thread, one such work at a time: two would take the processor from one another."""
        await asyncio.get_running_loop().run_in_executor(self._aside, work)

    def later(self, name: str, work: Coroutine[Any, Any, object], *, seconds: float = 0.0) -> None:
        """Do this without making anybody wait for it; its failure is logged.

        seconds  after so many of them, where it must not show in the time of the next answer either
        """

        async def run() -> None:
            try:
                await asyncio.sleep(seconds)
                await work
            except Unavailable as error:
                log.event(name, failed=error)
            except Exception as error:
                log.bug(name, error)

        task = asyncio.create_task(run())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def settled(self) -> None:
        """Everything that was left for later is done."""
        while self._background:
            await asyncio.gather(*self._background)


def now() -> datetime:
    return datetime.now(UTC)


def open(config: Config, role: str) -> Office:
    """The office for one role: "all", "smtp", "queue", "web" or "cli".  Raises `OfficeError`.

    The database is checked, not upgraded.
    """
    keys = read_keys(config, role)
    resolver = cast("Resolver", _Later(config)) if role == "cli" else make_resolver(config)
    return Office(config, open_database(config), keys, resolver, now, os.urandom)


def make_resolver(config: Config) -> Resolver:
    from sortingoffice.net.resolver import Resolver

    return Resolver(config.dns.nameservers, config.dns.timeout)


class _Later:
    """A resolver that is made when it is asked: most commands never ask, and dnspython is slow to import."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def __getattr__(self, name: str) -> Any:
        made = make_resolver(self._config)
        for each in ("ask", "run"):
            setattr(self, each, getattr(made, each))
        return getattr(made, name)


def open_database(config: Config) -> Database:
    """The database, its schema checked; `OfficeError` where there is none yet."""
    if config.database_file is not None:
        look_at(config.database_file)
    db = Database(config.database)
    try:
        db.check()
    except BaseException:
        db.close()
        raise
    return db


def look_at(file: Path) -> None:
    """`OfficeError` where it is missing or none: SQLite makes the one, and stumbles late over the other."""
    try:
        with file.open("rb") as opened:
            beginning = opened.read(len(_SQLITE))
    except FileNotFoundError:
        raise OfficeError(f"there is no database at {file} yet: run `sortingoffice init`") from None
    except OSError as error:
        raise OfficeError(f"the database {file} can't be read ({error.strerror}): run as its owner") from None
    if beginning not in (b"", _SQLITE):
        raise OfficeError(f"{file} is no SQLite database: mend data_dir or database, or restore a backup")


# ---- keys ----------------------------------------------------------------------------------------


def key_folder(config: Config) -> Path:
    return config.data_dir / "keys"


def read_keys(config: Config, role: str) -> Keys:
    """The secrets of a role; raises `OfficeError` where one is missing or lies open."""
    needed = role != "cli"
    card = _secret(config, OFFICE_KEY, needed=needed) if role in _CARD_ROLES else None
    token = _secret(config, TOKEN_KEY, needed=needed)
    signing: Mapping[str, tuple[SigningKey, ...]] = _signing(config) if role in _SIGNING_ROLES else {}
    return Keys(card, token or b"", signing)


def _credentials() -> Path | None:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(folder) if folder else None


def _secret(config: Config, name: str, *, needed: bool) -> bytes | None:
    """32 octets from a credential or a file; None where it isn't there and needn't be."""
    credentials = _credentials()
    if credentials is not None and (credentials / name).exists():
        octets = (credentials / name).read_bytes()
        path = credentials / name
    else:
        path = key_folder(config) / name
        try:
            octets = read_private(path)
        except FileNotFoundError:
            if not needed:
                return None
            raise OfficeError(
                f"the key {path} is missing: run `sortingoffice init`, or put it back"
            ) from None
        except PermissionError:
            if not needed:
                return None
            raise OfficeError(f"the key {path} can't be read by this account: run as its owner") from None
        except OSError as error:
            raise OfficeError(f"the key {path} can't be read ({error.strerror}): put the file back") from None
    if len(octets) != KEY_OCTETS:
        raise OfficeError(
            f"the key {path} has {len(octets)} octets instead of {KEY_OCTETS}: put the right file back"
        )
    return octets


def read_private(path: Path) -> bytes:
    """A secret file's octets; `OfficeError` if its mode lets anybody but the owner read it."""
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise OfficeError(
                f"the key {path} can be read by others (mode {mode:04o}): run `chmod 600 {path}`"
            )
        return file.read()


def write_private(path: Path, octets: bytes) -> None:
    """Create a secret file with mode 0600, on disk before this returns; an existing one is never replaced."""
    for folder in (path.parent.parent, path.parent):  # each by itself: `parents` would forget the mode
        folder.mkdir(mode=0o700, exist_ok=True)
    fresh = path.with_name(path.name + ".new")  # whole first: a running office reads what has its name
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, path)
    finally:
        fresh.unlink()


@dataclass(slots=True)
class SigningKeys(Mapping[str, "tuple[SigningKey, ...]"]):
    """DKIM keys by domain, read again within a second of a change in the folder: a new domain or key
    needs no restart.

    Credentials win: where systemd passes DKIM keys, the folder isn't looked at.
    """

    folder: Path
    credentials: Path | None
    _read: dict[str, tuple[SigningKey, ...]] = field(default_factory=dict)
    _seen: tuple[object, ...] = ()
    _looked: float = 0.0  # time.monotonic()

    def __getitem__(self, domain: str) -> tuple[SigningKey, ...]:
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS or domain not in self._read:
            self._looked = now
            self._look()
        return self._read[domain]

    def _look(self) -> None:
        stamp, before = self._stamp(), self._read
        if stamp == self._seen:
            return
        try:
            self.read()
            if gone := before.keys() - self._read.keys():  # a rotation never leaves a domain without any
                self._read = before | self._read
                raise OfficeError(f"{', '.join(sorted(gone))} had keys in {self.folder}, and has none now")
        except OfficeError as error:  # the keys that were read go on signing
            self._seen = stamp  # of before: what changed meanwhile is looked at
            log.event("signing-keys-unreadable", reason=error)

    def __iter__(self) -> Iterator[str]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)

    def read(self) -> None:
        """Parse every key file; raises `OfficeError` for one that is broken or open to others."""
        seen = self._stamp()
        found: dict[str, list[SigningKey]] = {}
        for domain, selector, path in self._files():
            found.setdefault(domain, []).append(
                parse_key(path, domain, selector, ours=self.credentials is None)
            )
        self._read = {domain: tuple(keys) for domain, keys in found.items()}
        self._seen = seen

    def _files(self) -> Iterator[tuple[str, str, Path]]:
        if self.credentials is not None:
            for path in sorted(self.credentials.glob("dkim_*.pem")):
                domain, _, selector = path.stem.removeprefix("dkim_").rpartition("_")
                yield domain, selector, path
            return
        for path in sorted(self.folder.glob("*/*.pem")):
            yield path.parent.name, path.stem, path

    def _stamp(self) -> tuple[object, ...]:
        """Changes when a key comes or goes: each folder's names, and its own time of change, which moves in
        steps of milliseconds and would hide one of two changes."""
        if self.credentials is not None:
            return ("credentials",)
        try:
            folders = [str(self.folder), *(each.path for each in os.scandir(self.folder) if each.is_dir())]
            return tuple((each, os.stat(each).st_mtime_ns, *sorted(os.listdir(each))) for each in folders)
        except OSError:
            return ("none",)


def _signing(config: Config) -> SigningKeys:
    credentials = _credentials()
    passed = credentials is not None and any(credentials.glob("dkim_*.pem"))
    found = SigningKeys(key_folder(config) / "dkim", credentials if passed else None)
    found.read()
    return found


def parse_key(path: Path, domain: str, selector: str, *, ours: bool = True) -> SigningKey:
    """A DKIM key's file, or with ours=False a credential; `OfficeError` where it can't sign."""
    from sortingoffice.mail.keys import SigningKey

    try:
        pem = read_private(path) if ours else path.read_bytes()
    except OSError as error:
        raise OfficeError(f"the DKIM key {path} can't be read ({error.strerror}): run as its owner") from None
    try:
        return SigningKey.from_pem(domain, selector, pem)
    except ValueError as error:
        raise OfficeError(f"the DKIM key {path} is no private key that can sign ({error})") from None
