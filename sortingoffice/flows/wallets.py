"""What an account has, opened: the facts that resolution looks at."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime

from sortingoffice.core import derive
from sortingoffice.core.model import Account, Contact, FieldType, Relationship, Sensitivity
from sortingoffice.core.wallet import Value, Wallet
from sortingoffice.flows import sealed
from sortingoffice.flows.office import Office
from sortingoffice.flows.vault import Vault
from sortingoffice.mail import mtasts
from sortingoffice.mail.mtasts import Kept, Mode
from sortingoffice.store import cards as rows
from sortingoffice.store import policies
from sortingoffice.store import relationships as relationship_rows
from sortingoffice.store.database import Transaction


def of(
    tx: Transaction,
    keys: Vault,
    account: Account,
    now: datetime,
    relationship: Relationship | None = None,
    *,
    also: Iterable[str] = (),
    today: date | None = None,
) -> Wallet:
    """Everything the account has at `now`; sealed values stay closed.

    also   derived values, as "card.field:derivation", beside those that views select
    today  the day that ages are counted to; None: the day of `now`
    """
    found: dict[str, list[Value]] = {card.name: [] for card in rows.every(tx, account.id)}
    for each in rows.current(tx, account.id, now):
        version = each.version
        text, like = None, None
        if version is not None:
            place = keys.version(each.field.id, version.number)
            if each.card.sensitivity is Sensitivity.SEALED:
                like = sealed.likeness(keys, place, version.sealed)
            else:
                text = keys.open(place, version.sealed)
        found[each.card.name].append(
            Value(
                card=each.card.name,
                key=each.field.key,
                type=each.field.type,
                sensitivity=each.card.sensitivity,
                text=text,
                version_id=version.id if version else None,
                number=version.number if version else 0,
                mac=version.mac if version else b"",
                like=like,
            )
        )
    views = {view.name: tuple(json.loads(view.members)) for view in rows.views(tx, account.id)}
    email = _alias(tx, keys, relationship) if relationship is not None else None
    named = {member for members in views.values() for member in members} | set(also)
    derived = _derived(keys, found, named, today or now.date())
    return Wallet({name: tuple(values) for name, values in found.items()}, views, email, derived)


def _derived(
    keys: Vault, found: dict[str, list[Value]], named: Iterable[str], today: date
) -> dict[str, Value]:
    """What is derived, as a value of its own: what a vendor holds of it says nothing of what is behind."""
    result: dict[str, Value] = {}
    for member in sorted(named):
        card, _, key = member.partition(".")
        base, word = derive.split(key)
        whole = next((value for value in found.get(card, ()) if value.key == base), None)
        if not word or whole is None:
            continue
        kind = derive.type_of(word)
        text = derive.value(word, whole.type, whole.text, today) if whole.text is not None else None
        mac = keys.mac(kind, key, text) if text is not None else b""
        result[member] = replace(whole, key=key, type=kind, text=text, mac=mac, like=None)
    return result


def _alias(tx: Transaction, keys: Vault, relationship: Relationship) -> Value | None:
    live = [alias for alias in relationship_rows.aliases(tx, relationship.id) if alias.state == "live"]
    if not live:
        return None
    address = live[-1].address
    mac = keys.mac(FieldType.EMAIL, "email", address)
    return Value("", "email", FieldType.EMAIL, Sensitivity.OPEN, address, mac=mac, own=True)


def verified_route(tx: Transaction, office: Office, contacts: Iterable[Contact], now: datetime) -> bool:
    """Whether mail to all of them is known to travel over verified TLS for as long as it may be tried.

    Either a smarthost takes it that must prove itself, or it goes straight to MXs whose MTA-STS policy is
    enforced and stays so: one that could run out while the mail waits promises nothing.
    """
    delivery = office.config.delivery
    if delivery.smarthost is not None:
        return delivery.smarthost_tls == "required"
    domains = {contact.address.rpartition("@")[2] for contact in contacts}
    until = now + delivery.give_up_after
    return bool(domains) and all(_enforced(policies.of(tx, domain), until) for domain in domains)


def _enforced(kept: Kept | None, until: datetime) -> bool:
    policy = mtasts.parse(kept.text) if kept is not None and kept.expires > until else None
    return policy is not None and policy.mode is Mode.ENFORCE
