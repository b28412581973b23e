"""The pages for the account: devices and tokens, settings, the log, taking everything along."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from sortingoffice.core.access import Scope
from sortingoffice.core.model import FromForm
from sortingoffice.core.names import Mark
from sortingoffice.errors import NotThere
from sortingoffice.flows import (
    accounts,
    bymail,
    cardcontacts,
    history,
    moving,
    names,
    passkeys,
    passwords,
    settings,
    signin,
    tokens,
)
from sortingoffice.store import accounts as account_rows
from sortingoffice.store import domains
from sortingoffice.store import sessions as session_rows
from sortingoffice.store.database import Transaction
from sortingoffice.web import limits
from sortingoffice.web.answers import Refused
from sortingoffice.web.auth import Desk, spend
from sortingoffice.web.visit import Visit, base_url, download, go, page

_MAY = {
    "new": frozenset({Scope.NEW}),
    "addresses": frozenset({Scope.NEW, Scope.RELATIONSHIPS}),
    "everything": tokens.EVERYTHING,
}


def routes(desk: Desk) -> list[BaseRoute]:
    return [
        page(desk, "/devices", _devices, "GET"),
        page(desk, "/devices/sessions", _end_session, "POST"),
        page(desk, "/devices/passkeys", _remove_passkey, "POST"),
        page(desk, "/devices/tokens", _new_token, "POST"),
        page(desk, "/devices/tokens/revoke", _revoke_token, "POST"),
        page(desk, "/devices/passwords", _new_password, "POST"),
        page(desk, "/devices/passwords/revoke", _revoke_password, "POST"),
        page(desk, "/dashboard/api_key", _api_key, "GET"),
        *(page(desk, path, _home, "GET") for path in ("/dashboard", "/dashboard/", "/auth/register")),
        page(desk, "/settings", _settings, "GET"),
        page(desk, "/settings/mailboxes", _add_mailbox, "POST"),
        page(desk, "/settings/prefer", _prefer, "POST"),
        page(desk, "/settings/trigger", _trigger, "POST"),
        page(desk, "/settings/from", _from_form, "POST"),
        page(desk, "/settings/new-contacts", _new_contacts, "POST"),
        page(desk, "/settings/names", _mark_name, "POST"),
        page(desk, "/settings/names/remove", _unmark_name, "POST"),
        page(desk, "/settings/contacts.vcf", _contacts, "GET"),
        page(desk, "/settings/contacts/renew", _renew, "POST"),
        page(desk, "/log", _log, "GET"),
        page(desk, "/export/addresses.csv", _addresses, "GET"),
        page(desk, "/export/everything.json", _everything, "GET"),
    ]


# ---- devices -------------------------------------------------------------------------------------


async def _devices(visit: Visit) -> Response:
    return await _devices_page(visit)


async def _devices_page(visit: Visit, shown: dict[str, str] | None = None) -> Response:
    found = await visit.office.db.read(_held_keys, visit)
    base = base_url(visit.office)
    can = passkeys.party(base) is not None
    return await visit.page("devices.html", shown=shown, base=base, can_passkey=can, **found)


def _held_keys(tx: Transaction, visit: Visit) -> dict[str, Any]:
    office, account = visit.office, visit.account
    return {
        "sessions": [signin.describe(each, visit.session.id) for each in signin.live(tx, office, account)],
        "passkeys": [passkeys.describe(each) for each in session_rows.passkeys(tx, account.id)],
        "tokens": tokens.listing(tx, office, account),
        "passwords": passwords.live(tx, account.id),
    }


async def _api_key(visit: Visit) -> Response:
    """Where SimpleLogin's extension sends people for a key."""
    return go("/devices")


async def _home(visit: Visit) -> Response:
    """Its links "Dashboard" and "Sign Up"."""
    return go("/")


async def _end_session(visit: Visit) -> Response:
    which, office = visit.said("id"), visit.office
    if which == "others":
        await office.db.write(signin.end_all, office, visit.account, actor=visit.actor, but=visit.session.id)
    else:
        await office.db.write(signin.end, office, visit.account, _number(which), actor=visit.actor)
    return go("/devices", "out")


def _number(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or len(text) > 15:
        raise NotThere("there is no such thing")
    return int(text)


async def _remove_passkey(visit: Visit) -> Response:
    await visit.office.db.write(
        passkeys.remove, visit.office, visit.account, _number(visit.said("id")), actor=visit.actor
    )
    return go("/devices", "removed")


async def _new_token(visit: Visit) -> Response:
    days = visit.said("days")
    expires = visit.office.clock() + timedelta(days=int(days)) if days in ("30", "365") else None
    wish = tokens.Wish(visit.said("label"), _MAY.get(visit.said("may"), _MAY["new"]), expires)
    secret, made = await visit.office.db.write(
        tokens.new, visit.office, visit.account, wish, actor=visit.actor
    )
    return await _devices_page(
        visit,
        {
            "title": f"The token for {made.label}" if made.label else "Your token",
            "secret": secret,
            "help": f"In Bitwarden: Generator, Username, Forwarded email alias, SimpleLogin (self-hosted); "
            f"API key: this token; server URL: {base_url(visit.office)}",
        },
    )


async def _revoke_token(visit: Visit) -> Response:
    which = _number(visit.said("id"))
    await visit.office.db.write(tokens.revoke, visit.office, visit.account, which, actor=visit.actor)
    return go("/devices", "removed")


async def _new_password(visit: Visit) -> Response:
    label = visit.said("label")
    made = await asyncio.to_thread(passwords.new, visit.office, visit.account, label, actor=visit.actor)
    title = f"The app password for {label}" if label else "Your app password"
    return await _devices_page(
        visit, {"title": title, "secret": made, "help": f"User name: {visit.account.name}"}
    )


async def _revoke_password(visit: Visit) -> Response:
    which = _number(visit.said("id"))
    await visit.office.db.write(passwords.revoke, visit.office, visit.account, which, actor=visit.actor)
    return go("/devices", "removed")


# ---- settings ------------------------------------------------------------------------------------


async def _settings(visit: Visit) -> Response:
    return await visit.page("settings.html", **await visit.office.db.read(_set_up, visit))


def _set_up(tx: Transaction, visit: Visit) -> dict[str, Any]:
    return {
        "mailboxes": [accounts.describe(each) for each in account_rows.mailboxes(tx, visit.account.id)],
        "domains": [each.name for each in domains.every(tx)],
        "names": names.every(tx, visit.account),
        "contacts": bymail.contacts(tx, visit.office, visit.account),
    }


async def _add_mailbox(visit: Visit) -> Response:
    spend(visit.desk, limits.LINKS, f"mailbox {visit.account.id}")
    await visit.office.db.write(
        accounts.admit_mailbox,
        visit.office,
        visit.account,
        visit.said("address"),
        delivers=True,
        preferred=False,
        verify=True,
        actor=visit.actor,
    )
    visit.office.wake()
    return go("/settings", "asked")


async def _prefer(visit: Visit) -> Response:
    await visit.office.db.write(
        accounts.prefer_mailbox, visit.office, visit.account, visit.said("address"), actor=visit.actor
    )
    return go("/settings", "changed")


async def _trigger(visit: Visit) -> Response:
    await visit.office.db.write(
        settings.set_trigger, visit.office, visit.account, visit.said("trigger"), actor=visit.actor
    )
    return go("/settings", "changed")


async def _from_form(visit: Visit) -> Response:
    if visit.said("from_form") not in [each.value for each in FromForm]:
        raise Refused(400, "Choose how vendors are named.")
    form = FromForm(visit.said("from_form"))
    await visit.office.db.write(settings.set_from_form, visit.office, visit.account, form, actor=visit.actor)
    return go("/settings", "changed")


async def _new_contacts(visit: Visit) -> Response:
    wanted = visit.said("new_contacts") == "on"
    await visit.office.db.write(
        settings.set_new_contacts, visit.office, visit.account, wanted, actor=visit.actor
    )
    return go("/settings", "changed")


async def _mark_name(visit: Visit) -> Response:
    await visit.office.db.write(
        names.add, visit.office, visit.account, _mark(visit), visit.said("name"), actor=visit.actor
    )
    return go("/settings", "changed")


async def _unmark_name(visit: Visit) -> Response:
    await visit.office.db.write(
        names.remove, visit.office, visit.account, _mark(visit), visit.said("name"), actor=visit.actor
    )
    return go("/settings", "changed")


def _mark(visit: Visit) -> Mark:
    if visit.said("mark") not in [each.value for each in Mark]:
        raise Refused(400, "Choose which name is meant.")
    return Mark(visit.said("mark"))


async def _contacts(visit: Visit) -> Response:
    made = await visit.office.db.read(cardcontacts.file, visit.office, visit.account)
    return download(made, "sortingoffice.vcf", "text/vcard")


async def _renew(visit: Visit) -> Response:
    await visit.office.db.write(bymail.renew, visit.office, visit.account, actor=visit.actor)
    return go("/settings", "renewed")


async def _log(visit: Visit) -> Response:
    found = await visit.office.db.read(history.log, visit.account, "", 300)
    return await visit.page("log.html", rows=found[::-1])


# ---- taking it along -----------------------------------------------------------------------------


async def _addresses(visit: Visit) -> Response:
    made = await visit.office.db.read(moving.addresses_csv, visit.office, visit.account)
    return download(made.encode(), "addresses.csv", "text/csv")


async def _everything(visit: Visit) -> Response:
    made = await visit.office.db.read(moving.everything_json, visit.office, visit.account)
    return download(made.encode(), "sortingoffice.json", "application/json")
