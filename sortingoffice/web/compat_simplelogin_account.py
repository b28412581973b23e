"""SimpleLogin's dialect, the account's side: settings, mailboxes; signing in is in `web.compat_login`.

Sources: as `web.compat_simplelogin`.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sortingoffice.core.access import Scope
from sortingoffice.core.model import Account, MailboxState, RelationshipState
from sortingoffice.flows import accounts as account_flows
from sortingoffice.flows import tokens
from sortingoffice.store import accounts, domains, traffic
from sortingoffice.store import relationships as rows
from sortingoffice.store.database import Transaction
from sortingoffice.web import mailboxes
from sortingoffice.web.answers import Answer, Refused, said
from sortingoffice.web.auth import Call, Desk, guarded, route
from sortingoffice.web.compat_login import log_in, log_out
from sortingoffice.web.typed import text


def routes(desk: Desk) -> list[BaseRoute]:
    """Paths below /api."""

    async def logged_in(request: Request) -> Response:
        return await guarded(lambda: log_in(desk, request), 400, request)

    new, account = Scope.NEW, Scope.ACCOUNT
    return [
        Route("/auth/login", logged_in, methods=["POST"]),
        route(desk, "/auth/logout", log_out, "POST", scope=None),
        route(desk, "/user_info", _user_info, "GET", "PATCH", scope=None),
        route(desk, "/logout", _logout, "GET", "POST", scope=None),
        route(desk, "/api_key", _api_key, "POST", scope=None),
        route(desk, "/stats", _stats, "GET", scope=None),
        route(desk, "/setting", _setting, "GET", "PATCH", scope=None),
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


async def _setting(call: Call) -> Response:
    """What their settings would say of us; a PATCH changes nothing, since there is nothing to choose."""
    hosted = await call.office.db.read(domains.every)
    return Answer(
        {
            "alias_generator": "word",
            "notification": False,
            "random_alias_default_domain": hosted[0].name if hosted else "",
            "random_alias_suffix": "random_string",
            "sender_format": "AT",
        }
    )


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
    if given.get("default") is True:
        await call.office.db.write(
            account_flows.prefer_mailbox, call.office, call.account, found.address, actor=call.actor
        )
    return Answer({"updated": True})
