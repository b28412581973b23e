"""New keys for old: the office's, and an account's.

    office    office.next.key → each account's keys wrapped under both → office.key; the old one is kept as
              office.previous.key until every process has the new one, then `finish`
    account   a new data key seals from now on; the cards' values are sealed anew, a batch at a time

Promise: whatever is cut short goes on where it was; until the end, a process with either key opens
everything.  A ledger line is never touched, so what was given stays under the data key of its day.

Sources: the cards document of the design, "Encryption at rest"; NIST SP 800-57 part 1 §5.3 (cryptoperiods).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from sortingoffice.core.model import Account
from sortingoffice.errors import OfficeError
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.office import KEY_OCTETS, OFFICE_KEY, Office, key_folder, read_private, write_private
from sortingoffice.mail import cipher
from sortingoffice.mail.cipher import Place
from sortingoffice.store import accounts, events
from sortingoffice.store import cards as rows
from sortingoffice.store.database import Transaction

NEXT, PREVIOUS = "office.next.key", "office.previous.key"
_KEPT = "office.until-"  # a date and ".key": opens backups of that time
BATCH = 200  # rows in one transaction, so that arriving mail never waits long for us


# ---- the office's key ------------------------------------------------------------------------------


def rotate_office(office: Office, *, actor: str) -> int:
    """Make (or go on with) a new office key, and let it open every account; how many.

    The processes that run go on with the old key.  Raises OfficeError where an earlier rotation
    waits for its end.
    """
    folder = key_folder(office.config)
    current, coming = folder / OFFICE_KEY, folder / NEXT
    if (folder / PREVIOUS).exists() and not coming.exists():
        raise OfficeError(
            "a rotation waits for its end: restart (or reload) every process of the office, then "
            "`sortingoffice admin key rotate --office --finish`"
        )
    old = _read(current)
    if not coming.exists():
        write_private(coming, office.random(KEY_OCTETS))
    new = _read(coming)
    wrapped = 0
    while number := office.db.call(_wrap_also, office, old, new, BATCH):
        wrapped += number
    _keep_as(current, folder / PREVIOUS)
    coming.replace(current)
    _sync(folder)
    office.db.call(_note, office, actor, "office key rotated", "")
    return wrapped


def finish_office(office: Office, *, actor: str, destroy: bool) -> Path | None:
    """The old key opens nothing any more; where it is kept for older backups, None where it was destroyed.

    Every process must have the new key: one that has not could open no card.
    """
    folder = key_folder(office.config)
    previous = folder / PREVIOUS
    if not previous.exists() or (folder / NEXT).exists():
        raise OfficeError(
            "no rotation waits for its end: `sortingoffice admin key rotate --office` begins one"
        )
    old, new = _read(previous), _read(folder / OFFICE_KEY)
    while office.db.call(_wrap_also, office, old, new, BATCH):  # accounts that an old process made meanwhile
        continue
    while office.db.call(_wrap_only, new, BATCH):
        continue
    kept = None if destroy else _free(folder, office)
    if kept is None:
        _overwrite(previous)
        previous.unlink()
    else:
        previous.rename(kept)
    _sync(folder)
    office.db.call(_note, office, actor, "office key retired", "destroyed" if destroy else "kept")
    return kept


def adopt(tx: Transaction, office: Office) -> tuple[int, tuple[str, ...]]:
    """After a backup was put back: with today's key what kept keys open; how many, and who stays closed."""
    folder = key_folder(office.config)
    new = office.keys.card
    if new is None:
        return 0, ()
    old = [_read(path) for path in sorted([*folder.glob(f"{_KEPT}*.key"), *folder.glob(PREVIOUS)])]
    adopted, closed = 0, []
    for account in accounts.every(tx):
        if account.wrapped_key is None or cipher.wrapped_under(new, account.wrapped_key):
            continue
        fit = next((key for key in old if cipher.wrapped_under(key, account.wrapped_key)), None)
        if fit is None:
            closed.append(account.name)
            continue
        both = _under(office, account, account.wrapped_key, fit, new)
        accounts.set_wrapped_key(tx, account.id, cipher.wrapped_under(new, both))
        adopted += 1
    return adopted, tuple(closed)


def _wrap_also(tx: Transaction, office: Office, old: bytes, new: bytes, most: int) -> int:
    """Records under the new key beside those under the old one."""
    number = 0
    for account in accounts.every(tx):
        accounts.hold(tx, account.id)
        fresh = accounts.by_id(tx, account.id)
        if fresh is None or fresh.wrapped_key is None or not cipher.wrapped_under(old, fresh.wrapped_key):
            continue
        mine = cipher.wrapped_under(new, fresh.wrapped_key)
        if len(mine) >= len(cipher.wrapped_under(old, fresh.wrapped_key)):
            continue
        accounts.set_wrapped_key(tx, fresh.id, _under(office, fresh, fresh.wrapped_key, old, new))
        number += 1
        if number == most:
            break
    return number


def _under(office: Office, account: Account, wrapped: bytes, old: bytes, new: bytes) -> bytes:
    """The records that the old key opens, and all of those under the new one."""
    found = cipher.unwrap(old, wrapped, account.id)
    made = [
        cipher.wrap(new, key, account.id, office.random(cipher.NONCE), number)
        for number, key in enumerate(found, 1)
    ]
    return cipher.wrapped_under(old, wrapped) + b"".join(made)


def _wrap_only(tx: Transaction, new: bytes, most: int) -> int:
    number = 0
    for account in accounts.every(tx):
        if account.wrapped_key is None:
            continue
        mine = cipher.wrapped_under(new, account.wrapped_key)
        if mine and mine != account.wrapped_key:
            accounts.set_wrapped_key(tx, account.id, mine)
            number += 1
            if number == most:
                break
    return number


# ---- an account's data key -------------------------------------------------------------------------


def rotate_account(
    office: Office, account: Account, *, actor: str, watcher: Callable[[int], None] = lambda _: None
) -> int:
    """A new data key, unless one was begun with and isn't through; how many values were sealed anew.

    watcher  is told how many are done
    """
    office.db.call(_begin, office, account, actor)
    done = 0
    while number := office.db.call(_reseal, office, account.id, BATCH):
        done += number
        watcher(done)
    office.db.call(_note, office, actor, "data key rotated", f"{done} values", account.id)
    return done


def _begin(tx: Transaction, office: Office, account: Account, actor: str) -> None:
    accounts.hold(tx, account.id)
    fresh = accounts.by_id(tx, account.id)
    assert fresh is not None, "it was just looked up"
    keys = vaults.open_for(office, fresh)
    assert office.keys.card is not None, "the vault is open"
    assert fresh.wrapped_key is not None, "the vault is open"
    if rows.sealed_otherwise(tx, fresh.id, cipher.name_of(keys.data_key), 1):
        return  # an earlier one was cut short
    if len(keys.data_keys) >= 100:
        raise OfficeError(f"the data key of {fresh.name} was rotated 99 times: that is enough")
    if len(cipher.records(fresh.wrapped_key)) != len(keys.data_keys):
        raise OfficeError(
            "the office's key is being rotated: end that first (admin key rotate --office --finish)"
        )
    record = cipher.wrap(
        office.keys.card,
        office.random(cipher.KEY),
        fresh.id,
        office.random(cipher.NONCE),
        len(keys.data_keys) + 1,
    )
    accounts.set_wrapped_key(tx, fresh.id, fresh.wrapped_key + record)
    _note(tx, office, actor, "data key made", f"generation {len(keys.data_keys) + 1}", fresh.id)


def _reseal(tx: Transaction, office: Office, account_id: int, most: int) -> int:
    accounts.hold(tx, account_id)
    account = accounts.by_id(tx, account_id)
    assert account is not None, "it was just looked up"
    keys = vaults.open_for(office, account)
    found = rows.sealed_otherwise(tx, account_id, cipher.name_of(keys.data_key), most)
    for version in found:
        place: Place = keys.version(version.field_id, version.number)
        octets = keys.open_octets(place, version.sealed)  # of a sealed card, still under its passphrase
        fresh = cipher.seal(keys.data_key, place, octets, office.random(cipher.NONCE))
        rows.reseal(tx, version.id, fresh, version.mac)
    return len(found)


# ---- files -----------------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    try:
        octets = read_private(path)
    except OSError as error:
        raise OfficeError(f"the key {path} can't be read ({error.strerror}): run as its owner") from None
    if len(octets) != KEY_OCTETS:
        raise OfficeError(f"the key {path} has {len(octets)} octets instead of {KEY_OCTETS}")
    return octets


def _keep_as(current: Path, previous: Path) -> None:
    """A second name for the old key, before the first one goes to the new key."""
    if not previous.exists():
        os.link(current, previous)
        _sync(current.parent)


def _free(folder: Path, office: Office) -> Path:
    day = f"{office.clock():%Y-%m-%d}"
    names = (f"{_KEPT}{day}{'' if n == 1 else f'-{n}'}.key" for n in range(1, 10_000))
    return next(folder / name for name in names if not (folder / name).exists())


def _overwrite(path: Path) -> None:
    """As far as a file system lets us: one that copies on write, or a snapshot, may keep the octets."""
    with path.open("r+b") as file:
        file.write(bytes(KEY_OCTETS))
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _note(
    tx: Transaction, office: Office, actor: str, what: str, detail: str, account_id: int | None = None
) -> None:
    events.add(tx, at=office.clock(), actor=actor, what=what, account_id=account_id, detail=detail)
