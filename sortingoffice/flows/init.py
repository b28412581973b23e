"""`init`: set an office up, step by step, each only if it is missing.

Promise: running it twice changes nothing and says so; a run that was stopped half-way is
finished by the next one; nothing that exists is ever replaced.

Sources: the design's interface document; RFC 5321 §4.5.1 (the admin gets what postmaster gets).
"""

from __future__ import annotations

import os
from pathlib import Path

from sortingoffice import config
from sortingoffice.alone import alone
from sortingoffice.config import Config
from sortingoffice.core.model import Account, Domain
from sortingoffice.errors import OfficeError
from sortingoffice.flows import accounts, domains
from sortingoffice.flows.office import KEY_OCTETS, OFFICE_KEY, TOKEN_KEY, Office, key_folder, write_private
from sortingoffice.flows.office import open as open_office
from sortingoffice.frozen import dataclass
from sortingoffice.mail import address as addresses
from sortingoffice.mail.address import Address
from sortingoffice.store import accounts as account_rows
from sortingoffice.store.database import Database, Transaction

_ACTOR = "init"


@dataclass(frozen=True, slots=True)
class Wish:
    """hostname: "" means the config's, or mx.<domain> where there is no config yet."""

    domain: str
    mailbox: str
    account: str = ""
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that init looked after: what it is, and whether it was made now."""

    what: str
    made: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    office: Office
    domain: Domain
    steps: tuple[Step, ...]


def run(path: Path, wish: Wish) -> Outcome:
    """Set up the office whose config is at `path`, written where there is none.

    Its database is open, and the caller closes it.  Raises `OfficeError`.
    """
    domain = domains.parse(wish.domain)
    mailbox = addresses.parse(wish.mailbox.strip())
    if mailbox is None:
        raise OfficeError(f'"{wish.mailbox}" is no mail address: write it like anna@home.example')
    if mailbox.domain == domain:
        raise OfficeError(f"the mailbox can't be on {domain} itself: name the one where you read your mail")
    name = wish.account or mailbox.local.partition("+")[0]
    if not path.exists():
        _nameable(name)
    steps: list[Step] = []
    read = _config(path, wish, domain, steps)
    if wish.hostname and read.hostname != wish.hostname.lower().rstrip("."):
        raise OfficeError(f"{path} says hostname = {read.hostname}: change it there, or leave --hostname out")
    _data(read, steps)
    office = open_office(read, "all")
    try:
        return _people(office, wish, name, domain, mailbox, steps)
    except BaseException:
        office.db.close()
        raise


def _people(
    office: Office, wish: Wish, name: str, domain: str, mailbox: Address, steps: list[Step]
) -> Outcome:
    """The first account, its mailbox and its domain."""
    account = _account(office, name, named=bool(wish.account), steps=steps)
    steps.append(Step(f"mailbox {mailbox.normal}", office.db.call(_mailbox, office, account, str(mailbox))))
    hosted, fresh = domains.add(office, domain, actor=_ACTOR)
    steps.append(Step(f"domain {domain} with its DKIM keys", fresh))
    return Outcome(office, hosted, tuple(steps))


def _nameable(name: str) -> None:
    if not accounts.nameable(name):
        raise OfficeError(f'an account can\'t be called "{name}": name it with --account, such as anna')


def _config(path: Path, wish: Wish, domain: str, steps: list[Step]) -> Config:
    if not path.exists():
        hostname = addresses.domain(wish.hostname.strip() or f"mx.{domain}")
        if not hostname:
            raise OfficeError(f'"{wish.hostname}" is no host name: write it like mx.{domain}')
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            made = _written(path, _TEMPLATE.format(hostname=hostname))
        except OSError as error:
            raise OfficeError(
                f"{path}: the config file can't be written ({error.strerror}): name another with --config"
            ) from None
    else:
        made = False
    steps.append(Step(f"config {path}", made))
    return config.load(path)


def _written(path: Path, text: str) -> bool:
    """The file is there, whole; whether it was written now, since another may run `init`, too."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        fresh.write_text(text, encoding="utf-8")
        os.link(fresh, path)
    except FileExistsError:
        return False
    finally:
        fresh.unlink(missing_ok=True)
    return True


_TEMPLATE = """\
# Sorting Office.  Every other key, with its default and its reason, is in config.example.toml.
data_dir = "office"           # database and keys; relative to this file
hostname = "{hostname}"

[smtp]
listen = ["127.0.0.1:2525"]   # "0.0.0.0:25" and "[::]:25" for the world

[submission]
listen = ["127.0.0.1:2587"]   # "0.0.0.0:587" and "[::]:587" for your devices
"""


def _data(read: Config, steps: list[Step]) -> None:
    """Folder, database and keys."""
    try:
        steps.append(Step(f"folder {read.data_dir}", _made(read.data_dir)))
        with alone(read.data_dir):
            for name in (OFFICE_KEY, TOKEN_KEY):
                path = key_folder(read) / name
                if not path.exists():
                    _refuse_lost_key(read, path)
                steps.append(Step(f"key {path}", _key(path)))
            made = _database(read)
    except OSError as error:
        raise OfficeError(
            f"{error.filename or read.data_dir} can't be written ({error.strerror}): "
            f"mend data_dir in {read.path}, or run this as its owner"
        ) from None
    steps.append(Step(f"database {_shown(read)}", made))


def _made(folder: Path) -> bool:
    if folder.is_dir():
        return False
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return True


def _key(path: Path) -> bool:
    if path.exists():
        return False
    write_private(path, os.urandom(KEY_OCTETS))
    return True


def _refuse_lost_key(read: Config, path: Path) -> None:
    """A new key beside an old database would leave every card and every bounce unreadable."""
    file = read.database_file
    if (file is None or file.exists()) and _populated(read):
        raise OfficeError(
            f"there is no key {path} but the database has accounts: put the key back from a backup, or "
            "copy the folder of keys from another node of this office"
        )


def _populated(read: Config) -> bool:
    """Raises `OfficeError` where that can't be told: of another version, or out of reach."""
    db = Database(read.database)
    try:
        if not db.revision():
            return False
        db.check()
        return bool(db.view(account_rows.every))
    finally:
        db.close()


def _shown(read: Config) -> str:
    """The database without a password that its URL may hold."""
    file = read.database_file
    return str(file) if file is not None else read.database.rpartition("@")[2].partition("?")[0]


def _database(read: Config) -> bool:
    """Upgrade to this version's schema; whether that changed anything."""
    file = read.database_file
    fresh = file is not None and not file.exists()
    if file is not None and fresh:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600))  # addresses lie in it
    db = Database(read.database)
    try:
        if not fresh and _current(db):
            return False
        db.upgrade()
    finally:
        db.close()
    return True


def _current(db: Database) -> bool:
    try:
        db.check()
    except OfficeError:
        return False
    return True


def _account(office: Office, name: str, *, named: bool, steps: list[Step]) -> Account:
    """The account of that name; where none was named, the one there is."""
    account, made = office.db.call(_one_account, office, name, named)
    steps.append(Step(f"account {account.name}", made))
    return account


def _one_account(tx: Transaction, office: Office, name: str, named: bool) -> tuple[Account, bool]:
    """Whether it was made, too; in one transaction, since two may run `init` at a time."""
    every = account_rows.every(tx)
    found = next((each for each in every if each.name == name.lower()), None)
    if found is None and not named and len(every) == 1:
        found = every[0]
    if found is not None:
        return found, False
    _nameable(name)
    return accounts.add(tx, office, name, admin=not every, actor=_ACTOR), True


def _mailbox(tx: Transaction, office: Office, account: Account, text: str) -> bool:
    normal = accounts.parse_mailbox(tx, office, text)
    if any(each.address == normal for each in account_rows.mailboxes(tx, account.id)):
        return False
    accounts.add_mailbox(tx, office, account, text, verified=True, actor=_ACTOR)
    return True
