"""Moving in what `flows.moving` wrote: an account's own export, into an office on the same domain or another.

A relationship whose addresses are hosted here keeps them.  On another domain it gets a fresh one, and
the old one stays in its history, so that the same file is known when it comes again.

    carry_out; carry_out  ==  carry_out

Promise: all of it in one transaction; what is there already stays as it is; what is planned is what is
done, because the plan is the doing, taken back.

Sources: docs/export.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sortingoffice.core import exported, fields
from sortingoffice.core.exported import KINDS, VERSION, Kind, Unreadable
from sortingoffice.core.model import Account
from sortingoffice.core.progress import Watcher, unwatched
from sortingoffice.errors import OfficeError
from sortingoffice.flows import restored
from sortingoffice.flows import vault as vaults
from sortingoffice.flows.office import Office
from sortingoffice.flows.restored import Work
from sortingoffice.mail import cipher
from sortingoffice.store import accounts, belongings, domains, events
from sortingoffice.store.database import Transaction

MOST_OCTETS = 512 << 20
_LISTED = ("mailboxes", "relationships", "cards", "views")  # the kinds of which each row is told


def read(octets: bytes) -> Any:
    """The document; of a locked one what is locked.  Raises `OfficeError`."""
    if len(octets) > MOST_OCTETS:
        raise OfficeError(f"the file is larger than {MOST_OCTETS >> 20} MiB")
    try:
        found = json.loads(octets)
    except (ValueError, RecursionError):
        raise OfficeError("the file is no JSON that can be read") from None
    if not isinstance(found, dict) or "sortingoffice" not in found:
        raise OfficeError("this is no Sorting Office's export")
    if found["sortingoffice"] != VERSION:
        raise OfficeError(
            f"this export has version {str(found['sortingoffice'])[:20]}; this office reads version {VERSION}"
        )
    return found


def ours(octets: bytes) -> bool:
    """Whether a file is an export of ours, so far as its beginning tells."""
    return octets.lstrip()[:1] == b"{" and b'"sortingoffice"' in octets[:200]


def carry_out(
    tx: Transaction,
    office: Office,
    account: Account,
    document: Mapping[str, Any],
    *,
    actor: str,
    watcher: Watcher = unwatched,
) -> list[dict[str, Any]]:
    """Make what is not there yet; a row for each thing.  Raises `OfficeError`."""
    try:
        work = _opened(tx, office, account, document)
        total = sum(len(work.document[kind.name]) for kind in KINDS)
        done = 0
        for kind in KINDS:
            before = len(work.new[kind.name])
            for number, row in enumerate(work.document[kind.name], 1):
                restored.take(work, kind, number, row)
                done += 1
                watcher(done, total)
            if kind.name == "aliases":
                restored.fresh_addresses(work)
            if kind.name not in _LISTED and len(work.new[kind.name]) > before:
                work.tell("make", kind.name, str(len(work.new[kind.name])))
    except Unreadable as error:
        raise OfficeError(f"this export can't be read: {error}") from None
    if any(work.new.values()):
        made = sum(map(len, work.new.values()))
        events.add(
            tx, at=office.clock(), actor=actor, what="imported", account_id=account.id, detail=f"{made} rows"
        )
    return work.told


class _TakenBack(Exception):
    """Ends the transaction of a plan, and carries it out of there."""


def planned(office: Office, account: Account, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What `carry_out` would do."""

    def tried(tx: Transaction) -> None:
        raise _TakenBack(carry_out(tx, office, account, document, actor="plan"))

    try:
        office.db.call(tried)
    except _TakenBack as taken:
        found: list[dict[str, Any]] = taken.args[0]
        return found
    raise AssertionError("it always ends so")


# ---- the account ---------------------------------------------------------------------------------


def _opened(tx: Transaction, office: Office, account: Account, document: Mapping[str, Any]) -> Work:
    for kind in KINDS:
        if not isinstance(document.get(kind.name, []), list):
            raise Unreadable(f"{kind.name} is no list")
    whole = {**document, **{kind.name: document.get(kind.name, []) for kind in KINDS}}
    accounts.hold(tx, account.id)  # or two at once would both make everything
    keys = vaults.open_for(office, account)
    root = exported.octets(document.get("key"), "key")
    if len(root) != cipher.KEY:
        raise Unreadable("key has another length than a key")
    hosted = frozenset(each.name for each in domains.every(tx))
    if not hosted:
        raise OfficeError("the office has no domain yet: `sortingoffice admin domain add DOMAIN` first")
    fresh = root != keys.data_keys[0]
    if fresh:
        if any(belongings.of(tx, kind.noun, account.id) for kind in KINDS if kind.name in _UNDER_KEYS):
            raise OfficeError(
                f"{account.name} has cards or a ledger of its own already: import into a new account "
                "(`sortingoffice admin account add NAME --mailbox ADDRESS`, then --account NAME)"
            )
        account = _settings(tx, account, whole)
        account = replace(account, wrapped_key=_keys(office, account, root))
        accounts.update(tx, account)
        keys = vaults.open_for(office, account)
    return Work(tx, office, account, keys, fresh, whole, hosted)


# What is recognised by the account's key: with another key none of it would be.
_UNDER_KEYS = frozenset({"versions", "items", "planted"})


def _keys(office: Office, account: Account, root: bytes) -> bytes:
    """The file's key recognises what was given; a new one seals."""
    assert office.keys.card is not None, "the vault was opened with it"
    return b"".join(
        cipher.wrap(office.keys.card, key, account.id, office.random(cipher.NONCE), generation)
        for generation, key in enumerate((root, office.random(cipher.KEY)), 1)
    )


def _settings(tx: Transaction, account: Account, document: Mapping[str, Any]) -> Account:
    """The account with the file's settings; who it is and what it may stays the office's word."""
    told = document.get("account")
    if not isinstance(told, dict):
        raise Unreadable("account is no object")
    kind = Kind("account", Account, hidden=frozenset({"name", "state", "admin", "wrapped_key"}))
    found = exported.noun(
        kind, {k: v for k, v in told.items() if k not in kind.hidden}, "account", lambda *_: None
    )
    fields.name(str(found["trigger"]), "word")
    return replace(account, **found)
