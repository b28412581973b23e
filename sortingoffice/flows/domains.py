"""Hosted domains and their signing keys.

A domain has an RSA and an Ed25519 key.  The private halves are files of mode 0600, the
public halves rows; the file is on disk before the row is committed, so what `admin domain
dns` tells people to publish can sign.

A rotation has two parts, because DNS needs time: `make_keys` makes the next pair beside the
one that signs, `rotate` lets it sign and retires the old one.

Promise: a rotation that is cut short and run again ends as one that wasn't; meanwhile each algorithm has
a key that signs, and no key signs whose row says "retired".

Sources: RFC 6376 §3.1, §3.6.2; RFC 8463; M3AAWG's DKIM key rotation practices.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from sortingoffice import failpoint
from sortingoffice.alone import alone
from sortingoffice.core.model import DkimKey, Domain, MailboxState
from sortingoffice.core.records import Record, records
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows import accounts
from sortingoffice.flows.office import Office, key_folder, parse_key, write_private
from sortingoffice.frozen import dataclass
from sortingoffice.mail import address as addresses
from sortingoffice.mail.keys import generate_ed25519, generate_rsa
from sortingoffice.store import accounts as account_rows
from sortingoffice.store import domains as rows
from sortingoffice.store import events
from sortingoffice.store.database import Transaction

# (algorithm, beginning of its selectors, how a key is made)
_KINDS: tuple[tuple[str, str, Callable[[], tuple[bytes, str]]], ...] = (
    ("rsa-sha256", "rsa", generate_rsa),
    ("ed25519-sha256", "ed", generate_ed25519),
)
_LONGEST = 254 - len("@") - 64  # RFC 5321 §4.5.3.1: of a local part, and of a path without its brackets
_NEXT = ".next"  # a key that is published but doesn't sign yet


@dataclass(frozen=True, slots=True)
class Published:
    """A key and whether it signs: "signing", "next", "retired" or "missing" (its file is gone)."""

    key: DkimKey
    state: str


def named(tx: Transaction, name: str) -> Domain:
    """The domain of that name, or the only one where the name is empty; `NotThere` otherwise."""
    hosted = rows.every(tx)
    if not name and len(hosted) == 1:
        return hosted[0]
    names = [each.name for each in hosted]
    if not names:
        raise NotThere("the office has no domain yet: `sortingoffice admin domain add DOMAIN` first")
    if not name:
        raise NotThere(f"say which domain: {', '.join(names)}")
    found = next((each for each in hosted if each.name == addresses.domain(name)), None)
    if found is None:
        hint = accounts.nearest(name, names) or f"; it has {', '.join(names)}"
        raise NotThere(f'"{name}" is no domain of this office{hint}')
    return found


def parse(text: str) -> str:
    """A domain to host, in normal form; `OfficeError` where it is none."""
    name = addresses.domain(text.strip().rstrip("."))
    if not name or "." not in name or name.startswith("["):
        raise OfficeError(f'"{text}" is no domain: write it like sort.example')
    if len(name) > _LONGEST:
        raise OfficeError(f"{name} has more than {_LONGEST} characters: addresses under it would be too long")
    return name


def add(office: Office, text: str, *, actor: str) -> tuple[Domain, bool]:
    """Host a domain, with keys; also whether anything was new."""
    name = parse(text)
    domain, fresh = office.db.call(_row, office, name, actor)
    return domain, make_keys(office, domain, actor=actor) or fresh


def _row(tx: Transaction, office: Office, name: str, actor: str) -> tuple[Domain, bool]:
    found = rows.by_name(tx, name)
    if found is not None:
        return found, False
    _refuse_home(tx, name)
    made = rows.add(tx, Domain(0, name, office.clock()))
    events.add(tx, at=office.clock(), actor=actor, what="domain added", detail=name)
    return made, True


def _refuse_home(tx: Transaction, name: str) -> None:
    """Mail for the mailboxes there would come here, where nobody can have one."""
    for account in account_rows.every(tx):
        for mailbox in account_rows.mailboxes(tx, account.id):
            if mailbox.state is MailboxState.VERIFIED and mailbox.address.rpartition("@")[2] == name:
                raise OfficeError(
                    f"{mailbox.address} is a mailbox of {account.name}: its mail would come here and be "
                    f"refused; host a domain of its own for the addresses, such as mail.{name}"
                )


# ---- keys ----------------------------------------------------------------------------------------


def published(tx: Transaction, office: Office, domain: Domain) -> tuple[Published, ...]:
    """Every key that the domain ever had, and what it does now."""
    return tuple(Published(key, _state(office, domain.name, key)) for key in rows.keys(tx, domain.id))


def _state(office: Office, domain: str, key: DkimKey) -> str:
    if key.retired is not None:
        return "retired"
    path = _file(office, domain, key.selector)
    try:
        if path.exists():
            return "signing"
        return "next" if _waiting(path).exists() else "missing"
    except PermissionError:
        raise OfficeError(f"{path.parent} is closed to this account: run this as its owner") from None


def make_keys(office: Office, domain: Domain, *, actor: str, waiting: bool = False) -> bool:
    """A key for each algorithm that has none that signs; with waiting=True the next pair, one that
    doesn't sign yet.  Whether any was made.  Of several who want one at a time, one makes it."""
    wanted = "next" if waiting else "signing"
    with alone(key_folder(office.config)):
        made = _take_in(office, domain, actor)
        have = office.db.view(published, office, domain)
        for algorithm, beginning, generate in _KINDS:
            if any(each.key.algorithm == algorithm and each.state == wanted for each in have):
                continue
            pem, public = generate()
            number = 1 + max(_numbers(beginning, (each.key.selector for each in have)), default=0)
            selector = f"{beginning}{number}"
            path = _file(office, domain.name, selector)
            path = _waiting(path) if waiting else path
            write_private(path, pem)
            _sync(path.parent)
            _add_key(office, domain, selector, algorithm, public, actor)
            made = True
    return made


def _take_in(office: Office, domain: Domain, actor: str) -> bool:
    """Rows for the key files that have none: a run that stopped half-way left them, or the database is a
    backup of an earlier day.  They sign, and DNS may know them; whether there were any."""
    known = {each.selector for each in office.db.view(rows.keys, domain.id)}
    folder = _file(office, domain.name, "").parent
    found = False
    for _, beginning, _ in _KINDS:
        names = {each.name.removesuffix(_NEXT).removesuffix(".pem") for each in folder.glob("*.pem*")}
        for number in sorted(set(_numbers(beginning, names - known))):
            selector = f"{beginning}{number}"
            path = _file(office, domain.name, selector)
            key = parse_key(path if path.exists() else _waiting(path), domain.name, selector)
            _add_key(office, domain, selector, key.algorithm, key.public, actor)
            found = True
    return found


def _numbers(beginning: str, selectors: Iterable[str]) -> Iterator[int]:
    """Those of our own selectors, such as 2 of rsa2."""
    for each in selectors:
        if re.fullmatch(rf"{beginning}[1-9][0-9]{{0,5}}", each):
            yield int(each.removeprefix(beginning))


def _add_key(office: Office, domain: Domain, selector: str, algorithm: str, public: str, actor: str) -> None:
    def add(tx: Transaction) -> None:
        now = office.clock()
        rows.add_key(tx, DkimKey(0, domain.id, selector, algorithm, public, now, None))
        events.add(tx, at=now, actor=actor, what="key made", detail=f"{selector}._domainkey.{domain.name}")

    office.db.call(add)


def rotate(office: Office, domain: Domain, *, actor: str) -> tuple[Published, ...]:
    """Let the next pair sign and retire what is older; one that was cut short goes on where it was.

    `OfficeError` where there is no next pair and nothing to go on with.
    """
    have = office.db.view(published, office, domain)
    coming = [each.key for each in have if each.state == "next"]
    if not coming and all(_gone(office, domain, each) for each in _outdone(have)):
        raise OfficeError(
            f"{domain.name} has no next key: `sortingoffice admin key new --domain {domain.name}` makes it; "
            "publish its records, wait a day, then rotate"
        )
    for _ in _steps(office, domain, coming, actor):
        failpoint.at("rotation-step")
    return office.db.view(published, office, domain)


def _steps(office: Office, domain: Domain, coming: Iterable[DkimKey], actor: str) -> Iterator[None]:
    """After each, the office may die: no key goes before a newer one of its algorithm signs, and none is
    retired that could still sign."""
    for key in coming:
        path = _file(office, domain.name, key.selector)
        with suppress(FileNotFoundError):  # somebody else rotates at this moment
            _waiting(path).rename(path)
        yield
    folder = _file(office, domain.name, "").parent
    _sync(folder)  # before what signed until now goes
    old = _outdone(office.db.view(published, office, domain))
    for each in old:
        path = _file(office, domain.name, each.key.selector)
        path.unlink(missing_ok=True)
        _waiting(path).unlink(missing_ok=True)
        yield
    _sync(folder)  # before its row says so
    office.db.call(_retire, office, domain, [each.key for each in old], actor)
    yield


def _outdone(have: Sequence[Published]) -> list[Published]:
    """Those older than the newest that signs of their algorithm: what a rotation does away with."""
    newest = {each.key.algorithm: each.key.id for each in have if each.state == "signing"}
    return [each for each in have if each.key.id < newest.get(each.key.algorithm, 0)]


def _gone(office: Office, domain: Domain, of: Published) -> bool:
    """Whether it is retired, and its file is no more."""
    path = _file(office, domain.name, of.key.selector)
    return of.state == "retired" and not path.exists() and not _waiting(path).exists()


def _retire(tx: Transaction, office: Office, domain: Domain, old: Iterable[DkimKey], actor: str) -> None:
    now = office.clock()
    for key in old:
        if rows.retire_key(tx, key.id, now):
            said = f"{key.selector}._domainkey.{domain.name}"
            events.add(tx, at=now, actor=actor, what="key retired", detail=said)


def _sync(folder: Path) -> None:
    """What came into the folder and what left it is on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _file(office: Office, domain: str, selector: str) -> Path:
    return key_folder(office.config) / "dkim" / domain / f"{selector}.pem"


def _waiting(path: Path) -> Path:
    return path.with_name(path.name + _NEXT)


# ---- what to publish -----------------------------------------------------------------------------


def dns(tx: Transaction, office: Office, domain: Domain) -> tuple[Record, ...]:
    """The records that the domain needs, the next keys' among them."""
    relayed = office.config.delivery.smarthost is not None
    return records(domain.name, office.config.hostname, rows.keys(tx, domain.id), smarthost=relayed)


def advice(office: Office) -> tuple[str, ...]:
    """What no record can say, as sentences for the person."""
    host, smarthost = office.config.hostname, office.config.delivery.smarthost
    told = [
        f"{host} needs an address record (A, AAAA) of this machine, and its PTR should lead back to {host}."
    ]
    if smarthost is not None:
        told.append(
            f"Mail leaves through {smarthost.host}: add the include: that its operator names "
            "to both SPF records, before ~all."
        )
    return tuple(told)
