"""Sealed cards: also encrypted to the person's own passphrase, so that no daemon can open them.

    under the account's key: likeness · salt · (the value, under the passphrase)

Promise: a sealed value is in the database only under a key that is made from the passphrase, and beside
it, under the account's key, no more than its likeness, by which the leak guard knows it where it is typed
(`core.likeness`); sealing a card seals what it held before, too.  What was given to a vendor earlier stays
in the ledger as it was.

Sources: the cards document of the design, "Encryption at rest"; RFC 7914 (scrypt).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sortingoffice.core import fields, secrets
from sortingoffice.core import likeness as likenesses
from sortingoffice.core.likeness import Likeness
from sortingoffice.core.model import Account, CardField, FieldType, FieldVersion, Sensitivity
from sortingoffice.errors import OfficeError
from sortingoffice.flows import cards
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.cards import Assignment
from sortingoffice.flows.office import Office
from sortingoffice.flows.vault import Vault
from sortingoffice.frozen import dataclass
from sortingoffice.mail import cipher
from sortingoffice.mail.cipher import Place
from sortingoffice.store import cards as rows
from sortingoffice.store.database import Transaction

LEAST = 8  # characters of a passphrase
_WRONG = "that is not the passphrase of your sealed cards"


@dataclass(frozen=True, slots=True)
class Seal:
    """A person's passphrase, made into keys once for each salt."""

    passphrase: str

    def __repr__(self) -> str:
        return "Seal()"

    def close(self, keys: Vault, place: Place, type: FieldType, text: str) -> bytes:
        """Under the passphrase, then with its likeness under the account's key."""
        salt = keys.random(cipher.SALT)
        inner = cipher.seal(self._key(salt), place, text.encode(), keys.random(cipher.NONCE))
        outer = _with(_made(keys, type, text).octets, salt + inner)
        return cipher.seal(keys.data_key, place, outer, keys.random(cipher.NONCE))

    def open(self, keys: Vault, place: Place, sealed: bytes) -> str:
        """Raises OfficeError where the passphrase is another."""
        _, whole = _parted(keys.open_octets(place, sealed))
        outer, origin = _came_from(whole, place)
        try:
            inner = cipher.open_(self._key(outer[: cipher.SALT]), origin, outer[cipher.SALT :])
        except cipher.Unreadable:
            raise OfficeError(_WRONG) from None
        return inner.decode()

    def _key(self, salt: bytes) -> bytes:
        return cipher.passphrase_key(self.passphrase, salt)


# Each stands before what it says; no salt begins like it but by a chance of 2**-128.
_LIKE = hashlib.sha256(b"sortingoffice: sealed, with its likeness").digest()[: cipher.SALT]
_MOVED = hashlib.sha256(b"sortingoffice: sealed elsewhere").digest()[: cipher.SALT]


def likeness(keys: Vault, place: Place, sealed: bytes) -> Likeness | None:
    """What a sealed value is known by; None of one that was sealed before there were likenesses."""
    like, _ = _parted(keys.open_octets(place, sealed))
    return likenesses.read(keys.likeness_key(), like) if like is not None else None


def _made(keys: Vault, type: FieldType, text: str) -> Likeness:
    return likenesses.of(keys.likeness_key(), secrets.spelled(type, text))


def _with(like: bytes, outer: bytes) -> bytes:
    return _LIKE + len(like).to_bytes(2, "big") + like + outer


def _parted(octets: bytes) -> tuple[bytes | None, bytes]:
    """The likeness, None where there is none, and the rest."""
    if not octets.startswith(_LIKE):
        return None, octets
    at = len(_LIKE) + 2
    end = at + int.from_bytes(octets[len(_LIKE) : at], "big")
    return octets[at:end], octets[end:]


def moving(keys: Vault, place: Place, sealed: bytes) -> bytes:
    """A sealed value for another office, closed as it is: only the passphrase opens it there, too."""
    octets = keys.open_octets(place, sealed)
    like, outer = _parted(octets)
    if outer.startswith(_MOVED):
        return octets
    origin = f"{place.row}@{place.account_id}".encode()
    moved = _MOVED + len(origin).to_bytes(2, "big") + origin + outer
    return moved if like is None else _with(like, moved)


def moved_in(keys: Vault, place: Place, octets: bytes) -> bytes:
    """What `moving` gave, for its row here.  Raises ValueError where it is no such thing."""
    like, outer = _parted(octets)
    if not outer.startswith(_MOVED):
        raise ValueError("not a sealed value from elsewhere")
    _came_from(outer, place)
    likenesses.read(keys.likeness_key(), like or b"")
    return cipher.seal(keys.data_key, place, octets, keys.random(cipher.NONCE))


def _came_from(outer: bytes, place: Place) -> tuple[bytes, Place]:
    """The salt and what is closed under the passphrase, and the place that it was closed for."""
    if not outer.startswith(_MOVED):
        return outer, place
    at = len(_MOVED) + 2
    end = at + int.from_bytes(outer[len(_MOVED) : at], "big")
    row, _, account_id = outer[at:end].decode().rpartition("@")
    return outer[end:], replace(place, row=row, account_id=int(account_id))


def any_version(tx: Transaction, account: Account) -> FieldVersion | None:
    """A sealed value that a passphrase can be tried on; None where nothing is sealed yet."""
    for card in rows.every(tx, account.id):
        if card.sensitivity is Sensitivity.SEALED:
            for field in rows.fields(tx, card.id):
                for version in rows.versions(tx, field.id):
                    return version
    return None


def check(tx: Transaction, office: Office, account: Account, seal: Seal) -> None:
    """Raises OfficeError where it is not the passphrase of what is sealed already."""
    if len(seal.passphrase) < LEAST:
        raise OfficeError(f"a passphrase has at least {LEAST} characters; a few words are easier to keep")
    version = any_version(tx, account)
    if version is not None:
        keys = vaults.open_for(office, account)
        seal.open(keys, keys.version(version.field_id, version.number), version.sealed)


def set_fields(
    tx: Transaction,
    office: Office,
    account: Account,
    assignments: Sequence[Assignment],
    seal: Seal,
    *,
    valid_from: datetime | None = None,
    type: FieldType | None = None,
    verified: str = "",
    actor: str,
) -> list[dict[str, Any]]:
    """Like `cards.set_fields`, and the cards are sealed from now on, with all that they held."""
    check(tx, office, account, seal)
    keys = vaults.open_for(office, account)
    names = dict.fromkeys(fields.name(each.card) for each in assignments)
    macs: dict[int, bytes] = {}
    for name in names:
        macs |= open_again(tx, keys, account, name, seal)
    result = cards.set_fields(
        tx,
        office,
        account,
        assignments,
        valid_from=valid_from,
        sensitivity=Sensitivity.SENSITIVE,
        type=type,
        verified=verified,
        actor=actor,
    )
    for name in names:
        _close(tx, keys, account, name, seal, macs)
    return result


def recognised(office: Office, account: Account, seal: Seal) -> int:
    """Give a likeness to what was sealed before there were any; how many now have one.

    Opening one takes a tenth of a second on purpose, so no transaction waits for it.
    """
    keys = vaults.open_for(office, account)
    done = 0
    for field, version in office.db.view(_unrecognised, keys, account):
        place = keys.version(field.id, version.number)
        text = seal.open(keys, place, version.sealed)
        closed = seal.close(keys, place, field.type, text)
        done += office.db.call(rows.reseal_unchanged, version, closed)
    return done


def _unrecognised(tx: Transaction, keys: Vault, account: Account) -> list[tuple[CardField, FieldVersion]]:
    return [
        (field, version)
        for card in rows.every(tx, account.id)
        if card.sensitivity is Sensitivity.SEALED
        for field in rows.fields(tx, card.id)
        for version in rows.versions(tx, field.id)
        if likeness(keys, keys.version(field.id, version.number), version.sealed) is None
    ]


def show(
    tx: Transaction, office: Office, account: Account, name: str, seal: Seal | None
) -> list[dict[str, Any]]:
    """`cards.show` revealed, with the sealed values too; seal None: those stay closed."""
    found = cards.show(tx, office, account, name, reveal=True)
    if seal is None:
        return found
    keys = vaults.open_for(office, account)
    for row in found:
        if row["sensitivity"] != Sensitivity.SEALED or row["version"] is None:
            continue
        card = rows.by_name(tx, account.id, row["card"])
        field = next(each for each in rows.fields(tx, card.id) if each.key == row["field"]) if card else None
        assert field is not None, "it was just listed"
        version = next(each for each in rows.versions(tx, field.id) if each.number == row["version"])
        row["value"] = seal.open(keys, keys.version(field.id, version.number), version.sealed)
    return found


def open_again(tx: Transaction, keys: Vault, account: Account, name: str, seal: Seal) -> dict[int, bytes]:
    """A sealed card as a sensitive one; the MACs that its versions had, by which the ledger knows them."""
    card = rows.by_name(tx, account.id, name)
    if card is None or card.sensitivity is not Sensitivity.SEALED:
        return {}
    macs: dict[int, bytes] = {}
    for field in rows.fields(tx, card.id):
        for version in rows.versions(tx, field.id):
            place = keys.version(field.id, version.number)
            text = seal.open(keys, place, version.sealed)
            rows.reseal(tx, version.id, keys.seal(place, text), keys.mac(field.type, field.key, text))
            macs[version.id] = version.mac
    rows.set_sensitivity(tx, card.id, Sensitivity.SENSITIVE)
    return macs


def _close(
    tx: Transaction, keys: Vault, account: Account, name: str, seal: Seal, macs: dict[int, bytes]
) -> None:
    card = rows.by_name(tx, account.id, name)
    assert card is not None, "it was just set"
    for field in rows.fields(tx, card.id):
        for version in rows.versions(tx, field.id):
            place = keys.version(field.id, version.number)
            text = keys.open(place, version.sealed)
            # No MAC of the value: whole and in the clear, it would tell equal values from others.
            mac = macs.get(version.id) or keys.random(16)
            rows.reseal(tx, version.id, seal.close(keys, place, field.type, text), mac)
    rows.set_sensitivity(tx, card.id, Sensitivity.SEALED)
