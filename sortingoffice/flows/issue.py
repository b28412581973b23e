"""Addresses given out: a new relationship's alias, pocket aliases, a rotated one, reverse aliases.

Promise: an address is never issued twice, and the event "issued" is committed with it, before
anybody is shown it.

Sources: the design, "Addresses"; RFC 5321 §4.5.1 (reserved local parts).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from sortingoffice.core import naming
from sortingoffice.core.model import (
    Account,
    Alias,
    AliasState,
    Contact,
    Domain,
    Relationship,
    RelationshipState,
    Strangers,
    VendorKind,
    Via,
)
from sortingoffice.core.relationship import state_at
from sortingoffice.core.text import one_line
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows import accounts, overview, relationships
from sortingoffice.flows.office import Office
from sortingoffice.frozen import dataclass
from sortingoffice.mail import address as addresses
from sortingoffice.store import accounts as account_rows
from sortingoffice.store import contacts, domains
from sortingoffice.store import relationships as rows
from sortingoffice.store.database import Transaction

_TRIES = 50  # at a free alias; with 2**24 times more names than aliases two hardly ever happen
POCKET = 10


@dataclass(frozen=True, slots=True)
class Wish:
    """What a new relationship should be; empty texts and None are left to the office.

    label    a readable beginning of the alias: "shop" → shop.<random>@
    local    a chosen local part
    domain   which hosted domain; "": the oldest
    mailbox  where it delivers; "": the account's preferred mailbox
    gave     cards, or single fields as "card.field", that the person typed into the vendor's form
    """

    name: str
    kind: VendorKind = VendorKind.VENDOR
    site: str = ""
    label: str = ""
    local: str = ""
    domain: str = ""
    mailbox: str = ""
    until: datetime | None = None
    max_messages: int | None = None
    note: str = ""
    gave: tuple[str, ...] = ()


# ---- issuing -------------------------------------------------------------------------------------


def issue(tx: Transaction, office: Office, account: Account, wish: Wish, *, actor: str) -> dict[str, Any]:
    """A new relationship with a fresh alias; the view of it.  Raises `OfficeError`."""
    name = one_line(wish.name, "the name")
    if not name:
        raise OfficeError("a relationship needs a name, such as the vendor's")
    mailbox = accounts.delivering(tx, account, wish.mailbox) if wish.mailbox else None
    made = _store(tx, office, account, replace(wish, name=name), RelationshipState.ACTIVE)
    if mailbox is not None:
        made = replace(made, mailbox_id=mailbox.id)
        rows.update(tx, made)
    if made.site:
        relationships.bind_site(tx, office, made)
    alias = fresh_alias(tx, office, made, domain_named(tx, wish.domain), label=wish.label, local=wish.local)
    relationships.write_event(tx, office, made, actor, "issued", detail=alias.address)
    _write_given(tx, office, account, made, wish.gave, actor)
    return overview.of(tx, office, made)


def _write_given(
    tx: Transaction, office: Office, account: Account, of: Relationship, gave: tuple[str, ...], actor: str
) -> None:
    """What went into the vendor's form counts as disclosed, or `who-has` would lie."""
    if not gave:
        return
    from sortingoffice.flows import ledger  # cards validate phones and countries: slow to import

    for each in gave:
        card, _, field = each.strip().partition(".")
        only = (field,) if field else ()
        ledger.disclosed(tx, office, account, of.slug, card, only, via=Via.WEB_FORM, actor=actor)


def pocket(
    tx: Transaction, office: Office, account: Account, number: int, *, actor: str
) -> list[dict[str, Any]]:
    """Aliases for vendors not yet known: the first mail binds one to its sender."""
    domain = domain_named(tx, "")
    views = []
    for _ in range(number):
        made = _store(tx, office, account, Wish("Pocket"), RelationshipState.UNBOUND)
        alias = fresh_alias(tx, office, made, domain)
        relationships.write_event(tx, office, made, actor, "issued", detail=alias.address)
        views.append(overview.of(tx, office, made))
    return views


def _store(
    tx: Transaction, office: Office, account: Account, wish: Wish, state: RelationshipState
) -> Relationship:
    if account_rows.preferred_mailbox(tx, account.id) is None and not wish.mailbox:
        raise OfficeError(
            f"{account.name} has no mailbox to deliver to: `sortingoffice admin mailbox add ADDRESS` first"
        )
    account_rows.hold(tx, account.id)  # or two at once would find the same slug free
    now = office.clock()
    if wish.until is not None and wish.until <= now:
        raise OfficeError("the end lies in the past: give a later date, or a time such as 14d")
    return rows.add(
        tx,
        Relationship(
            id=0,
            account_id=account.id,
            slug=rows.free_slug(tx, account.id, naming.slug(wish.name)),
            name=wish.name,
            kind=wish.kind,
            state=state,
            site=relationships.parse_site(tx, wish.site),
            mailbox_id=None,
            strangers=Strangers.LEARN,
            display_name="",
            note=one_line(wish.note, "the note", most=1000),
            created=now,
            received=0,
            max_messages=wish.max_messages,
            until=wish.until,
            muted_until=None,
            closing_until=None,
        ),
    )


def domain_named(tx: Transaction, name: str) -> Domain:
    hosted = domains.every(tx)
    if not hosted:
        raise OfficeError("the office has no domain yet: `sortingoffice admin domain add DOMAIN` first")
    if not name:
        return min(hosted, key=lambda each: each.id)
    found = next((each for each in hosted if each.name == addresses.domain(name)), None)
    if found is None:
        names = [each.name for each in hosted]
        raise NotThere(
            f'"{name}" is no domain of this office'
            + (accounts.nearest(name, names) or f"; it has {', '.join(names)}")
        )
    return found


def fresh_alias(
    tx: Transaction, office: Office, of: Relationship, domain: Domain, *, label: str = "", local: str = ""
) -> Alias:
    """An address that was never issued before.  Raises `OfficeError` for a chosen one that can't be."""
    if naming.prefixed(label):
        raise OfficeError(f'"{label}" begins addresses of the office itself: choose another label')
    if local:
        address = _chosen(tx, local, domain)
    else:
        live = rows.live_aliases(tx)
        for _ in range(_TRIES):
            made = naming.labelled(label, office.random) if label else naming.alias_local(office.random, live)
            address = f"{made}@{domain.name}"
            if not naming.reserved(made) and not rows.canonical_taken(tx, naming.canonical(address)):
                break
        else:
            raise OfficeError("no free address was found; try again, or name one with --local")
    return rows.add_alias(
        tx, Alias(0, of.id, address, naming.canonical(address), AliasState.LIVE, office.clock())
    )


def _chosen(tx: Transaction, local: str, domain: Domain) -> str:
    parsed = addresses.parse(f"{local.strip().lower()}@{domain.name}")
    if parsed is None or not parsed.ascii or parsed.local.startswith("-") or '"' in str(parsed):
        raise OfficeError(f'"{local}" is no local part: use letters, digits and dots')
    if naming.reserved(parsed.local) or naming.prefixed(parsed.local):
        raise OfficeError(f'"{local}" is reserved for the office itself: choose another local part')
    if rows.canonical_taken(tx, naming.canonical(parsed.normal)):
        raise OfficeError(
            f"{parsed.normal} was issued before, and no address is issued twice: choose another"
        )
    return parsed.normal


def rotate(tx: Transaction, office: Office, account: Account, text: str, *, actor: str) -> dict[str, Any]:
    """A new alias for the relationship; the old one goes on, flagged, until it is revoked."""
    of = relationships.find(tx, account, text)
    if state_at(of, office.clock()) in (RelationshipState.REVOKED, RelationshipState.EXPIRED):
        raise OfficeError(f"{of.name} ({of.slug}) takes no mail any more: `restore` it first")
    old = relationships.current_alias(tx, of)
    domain = domain_named(tx, old.address.rpartition("@")[2])
    made = fresh_alias(tx, office, of, domain)
    rows.set_alias(tx, replace(old, state=AliasState.ROTATED))
    relationships.write_event(tx, office, of, actor, "rotated", detail=old.address)
    relationships.write_event(tx, office, of, actor, "issued", detail=made.address)
    return overview.of(tx, office, of)


# ---- contacts ------------------------------------------------------------------------------------


def contact(
    tx: Transaction, office: Office, account: Account, text: str, address: str, *, name: str = "", actor: str
) -> tuple[Relationship, Contact]:
    """A relationship's contact of that address, with the reverse alias that leads to it.

    name  what a new one is called; mail from it may tell another name later
    """
    called = one_line(name, "the contact's name", most=80)
    of = relationships.find(tx, account, text)
    parsed = addresses.parse(address.strip().removeprefix("<").removesuffix(">"))
    if parsed is None:
        raise OfficeError(f'"{address}" is no mail address: write it like orders@lampshop.example')
    # Another account's is nobody's business: this one would learn that it is there.
    if any(each.account_id == account.id for each in account_rows.mailboxes_by_address(tx, parsed.normal)):
        raise OfficeError(f"{parsed.normal} is a mailbox of this office, not a vendor's address")
    if state_at(of, office.clock()) in (RelationshipState.REVOKED, RelationshipState.EXPIRED):
        raise OfficeError(f"{of.name} ({of.slug}) is over: `restore` it first")
    found = contacts.by_address(tx, of.id, parsed.normal)
    if found is not None:
        return of, found
    reverse = fresh_reverse(tx, office, of, parsed.normal)
    made = contacts.get_or_add(
        tx,
        of.id,
        Contact(
            0, of.id, parsed.normal, str(parsed), called, reverse, naming.canonical(reverse), office.clock()
        ),
    )
    relationships.write_event(tx, office, of, actor, "contact added", detail=made.address)
    return of, made


def fresh_reverse(tx: Transaction, office: Office, of: Relationship, address: str) -> str:
    """A reverse alias for a contact, on the domain of the relationship's alias; never issued before."""
    domain = relationships.current_alias(tx, of).address.rpartition("@")[2]
    for _ in range(_TRIES):
        reverse = f"{naming.reverse_local(address, office.random)}@{domain}"
        if not rows.canonical_taken(tx, naming.canonical(reverse)):
            return reverse
    raise OfficeError("no free reverse alias was found; try again")
