"""SimpleLogin's dialect, the account's side: settings, mailboxes; signing in is in `web.compat_login`.

Sources: as `web.compat_simplelogin`.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sortingoffice.core.access import Scope
from sortingoffice.core.model import Account, FromForm, MailboxState, RelationshipState
from sortingoffice.flows import accounts as account_flows
from sortingoffice.flows import settings, tokens
from sortingoffice.store import accounts, domains, traffic
from sortingoffice.store import relationships as rows
from sortingoffice.store.database import Transaction
from sortingoffice.web import mailboxes
from sortingoffice.web.answers import Answer, Refused, said
from sortingoffice.web.auth import Call, Desk, guarded, route
from sortingoffice.web.compat_login import log_in, log_out
from sortingoffice.web.typed import text, yes_or_no


def routes(desk: Desk) -> list[BaseRoute]:
    """Paths below /api."""

    async def logged_in(request: Request) -> Response:
        return await guarded(lambda: log_in(desk, request), 400, request)

    new, account = Scope.NEW, Scope.ACCOUNT
    return [
        Route("/auth/login", logged_in, methods=["POST"]),
        route(desk, "/auth/logout", log_out, "POST", scope=None),
        route(desk, "/user_info", _user_info, "GET", scope=None),
        route(desk, "/user_info", _change_user, "PATCH", scope=account),
        route(desk, "/logout", _logout, "GET", "POST", scope=None),
        route(desk, "/api_key", _api_key, "POST", scope=None),
        route(desk, "/stats", _stats, "GET", scope=None),
        route(desk, "/setting", _setting, "GET", scope=None),
        route(desk, "/setting", _change_setting, "PATCH", scope=account),
        route(desk, "/setting/domains", _domains_old, "GET", scope=new),
        route(desk, "/v2/setting/domains", _domains, "GET", scope=new),
        route(desk, "/mailboxes", _mailboxes_old, "GET", scope=new),
        route(desk, "/mailboxes", _add_mailbox, "POST", scope=account),
        route(desk, "/v2/mailboxes", _mailboxes, "GET", scope=new),
        route(desk, "/mailboxes/{id:int}", _change_mailbox, "PUT", "PATCH", scope=account),
        route(desk, "/notifications", _no_notifications, "GET", scope=None),
        route(desk, "/custom_domains", _no_domains, "GET", scope=None),
    ]


async def _user_info(call: Call) -> Response:
    preferred = await call.office.db.read(accounts.preferred_mailbox, call.account.id)
    return Answer(
        {
            "name": call.account.name,
            "email": preferred.address if preferred is not None else "",
            "is_premium": True,
            "in_trial": False,
            "profile_picture_url": None,
            "max_alias_free_plan": 0,
            "connected_proton_address": None,
            "can_create_reverse_alias": True,
        }
    )


async def _change_user(call: Call) -> Response:
    """A name that is another one and a picture are refused: an account has the name it was made with."""
    given = await said(call.request)
    if text(given, "name") not in ("", call.account.name):
        raise Refused(400, f'an account keeps its name: this one is "{call.account.name}"')
    if text(given, "profile_picture"):
        raise Refused(400, "an account has no picture here")
    return await _user_info(call)


async def _logout(call: Call) -> Response:
    """Nothing to do: a token is revoked on the page Settings, an extension only forgets it."""
    return Answer({"msg": "User is logged out"})


async def _api_key(call: Call) -> Response:
    """Another token; one that may no more than the token that asks."""
    given = await said(call.request)
    scopes = frozenset(Scope(name) for name in call.token.scopes.split())
    wish = tokens.Wish(text(given, "device")[:60], scopes, call.token.expires)
    secret, _ = await call.office.db.write(tokens.new, call.office, call.account, wish, actor=call.actor)
    return Answer({"api_key": secret}, 201)


async def _stats(call: Call) -> Response:
    return Answer(await call.office.db.read(_totals, call.account.id))


def _totals(tx: Transaction, account_id: int) -> dict[str, int]:
    every = [each for each in rows.every(tx, account_id) if each.state is not RelationshipState.REVOKED]
    counts = traffic.counts(tx, [each.id for each in every]).values()
    return {
        "nb_alias": len(every),
        "nb_block": sum(each.refused for each in counts),
        "nb_forward": sum(each.inward for each in counts),
        "nb_reply": sum(each.outward for each in counts),
    }


_FORMS = {"AT": FromForm.NAME_AND_ADDRESS, "NAME_ONLY": FromForm.NAME, "AT_ONLY": FromForm.ADDRESS}
_SENDER_FORMATS = {form: name for name, form in _FORMS.items()}


async def _setting(call: Call) -> Response:
    """What their settings say of us."""
    return Answer(await call.office.db.read(_settings, call.account))


def _settings(tx: Transaction, account: Account) -> dict[str, Any]:
    hosted = domains.every(tx)
    return {
        "alias_generator": "word",
        "notification": False,
        "random_alias_default_domain": hosted[0].name if hosted else "",
        "sender_format": _SENDER_FORMATS[account.from_form],
        "random_alias_suffix": "random_string",
    }


# What nobody chooses here: why each is as it is, said to whoever wants it otherwise.
_FIXED = {
    "alias_generator": "a random address always has two words and four digits",
    "notification": "the office writes no newsletters; its notices about your mail can't be switched off",
    "random_alias_default_domain": "a new address is at the office's first domain: name another at each",
    "random_alias_suffix": "the ending of an address is always made at random",
}


async def _change_setting(call: Call) -> Response:
    """The form of From is ours, too.  What is sent back as it was shown is no change; else nothing is."""
    given = await said(call.request)
    return Answer(await call.office.db.write(_set_up, call, given))


def _set_up(tx: Transaction, call: Call, given: dict[str, Any]) -> dict[str, Any]:
    shown = _settings(tx, call.account)
    for name, reason in _FIXED.items():
        wanted = yes_or_no(given, name) if name == "notification" else text(given, name)
        if wanted not in (None, "", shown[name]):
            raise Refused(400, f"{name} stays {json.dumps(shown[name])}: {reason}")
    wanted = text(given, "sender_format") or shown["sender_format"]
    if wanted not in _FORMS:
        raise Refused(400, f"sender_format must be one of {', '.join(_FORMS)}")
    changed = settings.set_from_form(tx, call.office, call.account, _FORMS[wanted], actor=call.actor)
    return _settings(tx, changed)


async def _domains(call: Call) -> Response:
    hosted = await call.office.db.read(domains.every)
    return Answer([{"domain": each.name, "is_custom": True} for each in hosted])


async def _domains_old(call: Call) -> Response:
    hosted = await call.office.db.read(domains.every)
    return Answer([[False, each.name] for each in hosted])


async def _no_notifications(call: Call) -> Response:
    return Answer({"more": False, "notifications": []})


async def _no_domains(call: Call) -> Response:
    """A person has no domain of their own here: all are the office's."""
    return Answer({"custom_domains": []})


# ---- mailboxes -----------------------------------------------------------------------------------


async def _mailboxes_old(call: Call) -> Response:
    """Verified ones only, as the first version of theirs has it."""
    found = await call.office.db.read(_mailbox_rows, call.account)
    return Answer({"mailboxes": [each for each in found if each["verified"]]})


async def _mailboxes(call: Call) -> Response:
    return Answer({"mailboxes": await call.office.db.read(_mailbox_rows, call.account)})


def _mailbox_rows(tx: Transaction, account: Account) -> list[dict[str, Any]]:
    preferred, every = accounts.preferred_mailbox(tx, account.id), accounts.mailboxes(tx, account.id)
    used = mailboxes.used(tx, account.id)
    return [
        {
            "id": each.id,
            "email": each.address,
            "default": preferred is not None and each.id == preferred.id,
            "verified": each.state is not MailboxState.PENDING,
            "creation_timestamp": int(each.created.timestamp()),
            "nb_alias": used[each.id],
        }
        for each in every
        if each.delivers
    ]


async def _add_mailbox(call: Call) -> Response:
    """Added, and asked by mail whether it is the person's."""
    made = await mailboxes.propose(call, text(await said(call.request), "email"))
    return Answer({"id": made.id, "email": made.address, "verified": False, "default": False}, 201)


async def _change_mailbox(call: Call) -> Response:
    """Made the one that takes what has no mailbox of its own; another address is another mailbox."""
    given = await said(call.request)
    wanted = min(call.request.path_params["id"], 2**62)
    found = await call.office.db.read(accounts.mailbox_by_id, wanted)
    if found is None or found.account_id != call.account.id:
        raise Refused(404, "there is no such mailbox")
    if text(given, "email") not in ("", found.address):
        raise Refused(400, "a mailbox keeps its address: add the other one, and make it the default")
    if yes_or_no(given, "default"):
        await call.office.db.write(
            account_flows.prefer_mailbox, call.office, call.account, found.address, actor=call.actor
        )
    return Answer({"updated": True})
