"""Moving out: everything that an account owns, as JSON or as CSV.

What stays behind, and why, is said by `core.exported`.  The way back is `flows.restoring`.

Promise: values are readable in what is written, or all of it is under a passphrase; sealed cards stay
sealed; no cell of a CSV is a formula, and each can be read back.

Sources: docs/export.md; RFC 4180 (CSV); OWASP, CSV Injection.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from sortingoffice.core import exported
from sortingoffice.core.exported import KINDS, VERSION, Kind
from sortingoffice.core.model import Account, Card, CardField, DisclosureItem, FieldVersion, Sensitivity
from sortingoffice.core.progress import Watcher, unwatched
from sortingoffice.errors import OfficeError
from sortingoffice.flows import overview, sealed
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.office import Office
from sortingoffice.flows.vault import Vault
from sortingoffice.mail import cipher
from sortingoffice.mail.cipher import Place
from sortingoffice.store import belongings
from sortingoffice.store.database import Transaction

_COLUMNS = ("alias", "name", "site", "state", "created", "note", "received", "mailbox", "relationship")
# What a spreadsheet takes for a formula; and the sign that we put before one.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "'")
_ACCOUNT = ("name", "state", "admin", "trigger", "created", "contacts_renewed", "from_form", "new_contacts")
_PLACE = Place("export", "octets", "1", 0)
LEAST = 8  # characters of a passphrase


# ---- JSON ----------------------------------------------------------------------------------------


def everything(
    tx: Transaction, office: Office, account: Account, watcher: Watcher = unwatched
) -> dict[str, Any]:
    """All that the account owns as one document, in the shape of docs/export.md."""
    keys = vaults.open_for(office, account)
    nouns = {kind.name: list(belongings.of(tx, kind.noun, account.id)) for kind in KINDS}
    _only_of_the_ledger(nouns)
    numbers = {name: {each.id: at for at, each in enumerate(found, 1)} for name, found in nouns.items()}
    total, done = sum(map(len, nouns.values())), 0
    document: dict[str, Any] = {
        "sortingoffice": VERSION,
        "exported": exported.plain(office.clock()),
        "account": {name: exported.plain(getattr(account, name)) for name in _ACCOUNT},
        "key": base64.b64encode(keys.data_keys[0]).decode(),
    }
    value = _values(keys, nouns)
    for kind in KINDS:
        rows = document[kind.name] = []
        for noun in nouns[kind.name]:
            rows.append({**exported.row(kind, noun, numbers), **value(noun)})
            done += 1
            watcher(done, total)
    return document


def _only_of_the_ledger(nouns: dict[str, list[Any]]) -> None:
    """Of mail only what the ledger's truth hangs on: whether it arrived."""
    told = {each.message_id for name in ("disclosures", "notifications") for each in nouns[name]}
    nouns["messages"] = [each for each in nouns["messages"] if each.id in told]
    nouns["deliveries"] = [each for each in nouns["deliveries"] if each.message_id in told]


def _values(keys: Vault, nouns: Mapping[str, list[Any]]) -> Callable[[Any], dict[str, str]]:
    """What stands in an encrypted row."""
    cards: dict[int, Card] = {each.id: each for each in nouns["cards"]}
    fields: dict[int, CardField] = {each.id: each for each in nouns["fields"]}

    def value(noun: Any) -> dict[str, str]:
        if isinstance(noun, DisclosureItem):
            return {"value": keys.open(keys.item(noun.disclosure_id, noun.card, noun.field), noun.sealed)}
        if not isinstance(noun, FieldVersion):
            return {}
        place = keys.version(noun.field_id, noun.number)
        if cards[fields[noun.field_id].card_id].sensitivity is Sensitivity.SEALED:
            return {"closed": base64.b64encode(sealed.moving(keys, place, noun.sealed)).decode()}
        return {"value": keys.open(place, noun.sealed)}

    return value


def everything_json(tx: Transaction, office: Office, account: Account, watcher: Watcher = unwatched) -> str:
    return json.dumps(everything(tx, office, account, watcher), ensure_ascii=False, indent=1)


# ---- under a passphrase --------------------------------------------------------------------------


def locked(octets: bytes, passphrase: str, random: Callable[[int], bytes]) -> bytes:
    """A file that only the passphrase opens.  Raises `OfficeError` for one that is too short."""
    if len(passphrase) < LEAST:
        raise OfficeError(f"a passphrase has at least {LEAST} characters; a few words are easier to keep")
    salt = random(cipher.SALT)
    closed = cipher.seal(cipher.passphrase_key(passphrase, salt), _PLACE, octets, random(cipher.NONCE))
    told = {"salt": base64.b64encode(salt).decode(), "octets": base64.b64encode(closed).decode()}
    return json.dumps({"sortingoffice": VERSION, "locked": told}, indent=1).encode()


def unlocked(locked: Any, passphrase: str) -> bytes:
    """The way back.  Raises `OfficeError` where the passphrase is another."""
    try:
        told = locked if isinstance(locked, dict) else {}
        salt = exported.octets(told.get("salt"), "locked.salt")
        closed = exported.octets(told.get("octets"), "locked.octets")
        return cipher.open_(cipher.passphrase_key(passphrase, salt), _PLACE, closed)
    except cipher.Unreadable:
        raise OfficeError("that is not the passphrase of this export, or the file was changed") from None
    except ValueError as error:
        raise OfficeError(f"this export can't be read: {error}") from None


# ---- CSV -----------------------------------------------------------------------------------------


def addresses_csv(tx: Transaction, office: Office, account: Account) -> str:
    """A line for each relationship."""
    return _csv(_COLUMNS, overview.every(tx, office, account))


def tables_zip(document: Mapping[str, Any]) -> bytes:
    """The lists of the document, each a CSV file; a row's number is its line, the first below the names."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as folder:
        for kind in KINDS:
            rows = document[kind.name]
            folder.writestr(f"{kind.name}.csv", _csv(_names(kind, rows), rows))
    return out.getvalue()


def _names(kind: Kind, rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for each in rows for name in each)) or (kind.name,)


def _csv(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    names = list(columns)
    writer.writerow(names)
    for each in rows:
        writer.writerow([cell(each.get(name)) for name in names])
    return out.getvalue()


def cell(value: Any) -> str:
    """A value as a spreadsheet may show it: never a formula; one "'" at its front is not of it."""
    if value is None:
        return ""
    text = value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
