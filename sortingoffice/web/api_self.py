"""The office's own API: what is a person's own: devices, settings, by-mail contacts, all of it as a file.

A passkey is made on the page alone: its ceremony belongs to a browser at the office's own address.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from sortingoffice.core.access import Scope
from sortingoffice.core.model import Account, FromForm
from sortingoffice.core.names import Mark
from sortingoffice.flows import (
    bymail,
    cardcontacts,
    importing,
    moving,
    names,
    overview,
    passkeys,
    settings,
    signin,
)
from sortingoffice.store import accounts, sessions
from sortingoffice.store.database import Transaction
from sortingoffice.web import limits
from sortingoffice.web.api_account import AccountRow, account_row
from sortingoffice.web.auth import Call
from sortingoffice.web.operations import In, Operation, Out
from sortingoffice.web.pages import qr


class Settings(In):
    """trigger: the word after "#" that asks for a card; from_form: how vendors are named in From;
    new_contacts: whether whom a submitted mail names beside a contact becomes one, too.  What is left out
    stays."""

    trigger: Annotated[str, Field(min_length=1, max_length=60)] | None = None
    from_form: FromForm | None = Field(None, strict=False)
    new_contacts: bool | None = None


class Export(In):
    """text: another office's export, CSV or JSON; dry_run: only tell what would be done."""

    text: Annotated[str, Field(min_length=1)]  # the bound of a body is its bound
    dry_run: bool = True


class SessionRow(Out):
    id: int
    device: str
    how: str
    created: datetime
    last_used: datetime
    expires: datetime


class PasskeyRow(Out):
    id: int
    label: str
    created: datetime
    last_used: datetime | None


class Named(In):
    """name: only where the mark is "name"."""

    mark: Annotated[Mark, Field(strict=False)] = Mark.NAME
    name: Annotated[str, Field(max_length=100)] = ""


class NameRow(Out):
    mark: str
    name: str
    looked_for: list[str]


class ByMail(Out):
    """A mail from your mailbox to one of them is answered: with an address, or with a list."""

    new_address: str
    pocket_addresses: str


class Moved(Out):
    """what: keep, close, new or skip; alias: "" in a dry run."""

    address: str
    what: str
    why: str
    note: str
    alias: str
    relationship: str


async def _change(call: Call, body: Settings) -> Any:
    def change(tx: Transaction) -> dict[str, Any]:
        changed = call.account
        if body.trigger is not None:
            changed = settings.set_trigger(tx, call.office, changed, body.trigger, actor=call.actor)
        if body.from_form is not None:
            changed = settings.set_from_form(tx, call.office, changed, body.from_form, actor=call.actor)
        if body.new_contacts is not None:
            changed = settings.set_new_contacts(tx, call.office, changed, body.new_contacts, actor=call.actor)
        return account_row(tx, changed)

    return await call.office.db.write(change)


async def _sessions(call: Call) -> Any:
    found = await call.office.db.read(signin.live, call.office, call.account)
    return [signin.describe(each) for each in found]


async def _end(call: Call, number: int) -> None:
    await call.office.db.write(signin.end, call.office, call.account, number, actor=call.actor)


async def _end_all(call: Call) -> None:
    await call.office.db.write(signin.end_all, call.office, call.account, actor=call.actor)


async def _passkeys(call: Call) -> Any:
    found = await call.office.db.read(sessions.passkeys, call.account.id)
    return [passkeys.describe(each) for each in found]


async def _remove_passkey(call: Call, number: int) -> None:
    await call.office.db.write(passkeys.remove, call.office, call.account, number, actor=call.actor)


async def _names(call: Call) -> Any:
    return await call.office.db.read(names.every, call.account)


async def _mark(call: Call, body: Named) -> Any:
    return await call.office.db.write(
        names.add, call.office, call.account, body.mark, body.name, actor=call.actor
    )


async def _unmark(call: Call, body: Named) -> Any:
    return await call.office.db.write(
        names.remove, call.office, call.account, body.mark, body.name, actor=call.actor
    )


async def _contacts(call: Call) -> Any:
    return await call.office.db.read(_by_mail, call, call.account)


def _by_mail(tx: Transaction, call: Call, account: Account) -> dict[str, str]:
    current = accounts.by_id(tx, account.id) or account
    return {
        name.lower().replace(" ", "_"): str(address)
        for name, address in bymail.contacts(tx, call.office, current).items()
    }


async def _renew(call: Call) -> Any:
    def renew(tx: Transaction) -> dict[str, str]:
        return _by_mail(tx, call, bymail.renew(tx, call.office, call.account, actor=call.actor))

    return await call.office.db.write(renew)


async def _book(call: Call) -> bytes:
    return await call.office.db.read(cardcontacts.file, call.office, call.account)


async def _qr(call: Call, relationship: str) -> bytes:
    shown = await call.office.db.read(overview.named, call.office, call.account, relationship)
    return qr(shown["alias"])


async def _everything(call: Call) -> bytes:
    return (await call.office.db.read(moving.everything_json, call.office, call.account)).encode()


async def _addresses(call: Call) -> bytes:
    return (await call.office.db.read(moving.addresses_csv, call.office, call.account)).encode()


async def _import(call: Call, body: Export) -> Any:
    _, found = importing.read(body.text.encode("utf-8", "replace"))
    if body.dry_run:
        return [
            importing.row(each) for each in await call.office.db.read(importing.plan, call.account, found)
        ]
    call.spend(limits.ADDRESSES, f"account {call.account.id}")
    return await call.office.db.write(importing.carry_out, call.office, call.account, found, actor=call.actor)


_SCOPE = Scope.ACCOUNT

OPERATIONS = (
    Operation("PATCH", "/account", "changeAccount", "Your settings", _SCOPE, _change, AccountRow, Settings),
    Operation(
        "GET", "/sessions", "listSessions", "Devices that are signed in", _SCOPE, _sessions, list[SessionRow]
    ),
    Operation("DELETE", "/sessions", "endSessions", "Sign every device out", _SCOPE, _end_all),
    Operation("DELETE", "/sessions/{number:int}", "endSession", "Sign a device out", _SCOPE, _end),
    Operation("GET", "/passkeys", "listPasskeys", "Your passkeys", _SCOPE, _passkeys, list[PasskeyRow]),
    Operation(
        "DELETE", "/passkeys/{number:int}", "removePasskey", "Remove a passkey", _SCOPE, _remove_passkey
    ),
    Operation("GET", "/names", "listNames", "Names that no vendor may see", _SCOPE, _names, list[NameRow]),
    Operation("POST", "/names", "markName", "Keep a name", _SCOPE, _mark, NameRow, Named, status=201),
    Operation("POST", "/names/remove", "unmarkName", "Keep it no longer", _SCOPE, _unmark, NameRow, Named),
    Operation(
        "GET", "/contacts", "byMailContacts", "Where to ask for an address by mail", _SCOPE, _contacts, ByMail
    ),
    Operation(
        "POST",
        "/contacts/renew",
        "renewContacts",
        "Other by-mail contacts from now on",
        _SCOPE,
        _renew,
        ByMail,
    ),
    Operation(
        "GET",
        "/contacts.vcf",
        "addressBook",
        "By-mail and card contacts for an address book",
        _SCOPE,
        _book,
        file="text/vcard",
    ),
    Operation(
        "GET",
        "/relationships/{relationship}/qr.svg",
        "qrCode",
        "Its address as a QR code",
        Scope.RELATIONSHIPS,
        _qr,
        file="image/svg+xml",
    ),
    Operation(
        "GET",
        "/export/everything.json",
        "exportEverything",
        "All that is yours, card values included",
        _SCOPE,
        _everything,
        file="application/json",
    ),
    Operation(
        "GET",
        "/export/addresses.csv",
        "exportAddresses",
        "A line for each relationship",
        _SCOPE,
        _addresses,
        file="text/csv",
    ),
    Operation(
        "POST",
        "/import",
        "importAddresses",
        "Move in from another office",
        _SCOPE,
        _import,
        list[Moved],
        Export,
    ),
)
