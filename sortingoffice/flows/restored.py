"""One row of an export, taken into an account: checked, joined to what it belongs to, sealed anew, stored.

What an export is, and what becomes of it as a whole, is `flows.restoring`.

Promise: a row is taken over with what it belongs to or not at all; no value comes in that `card set` would
have refused; an address that is somebody's here stays theirs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from sortingoffice.core import exported, fields, naming
from sortingoffice.core.exported import KINDS, Kind, Unreadable
from sortingoffice.core.model import (
    Account,
    AliasState,
    DeliveryState,
    FieldType,
    FieldVersion,
    Mailbox,
    Relationship,
    Sensitivity,
)
from sortingoffice.core.text import one_line
from sortingoffice.errors import OfficeError
from sortingoffice.flows import issue, sealed
from sortingoffice.flows.office import Office
from sortingoffice.flows.vault import Vault
from sortingoffice.mail import address as addresses
from sortingoffice.store import accounts, belongings, cards, spool
from sortingoffice.store import relationships as rows
from sortingoffice.store.database import Transaction

_SLUG = re.compile(r"[^\W_][\w-]*")


@dataclass
class Work:
    """What was made so far.

    fresh   the account has nothing under its keys yet: it gets the file's, and its settings
    made    list → number in the file → id here; for what is there already, too
    new     list → numbers of what was made now
    told    a row for each thing that a person looks for
    """

    tx: Transaction
    office: Office
    account: Account
    keys: Vault
    fresh: bool
    document: Mapping[str, Any]
    hosted: frozenset[str]
    made: dict[str, dict[int, int]] = field(default_factory=lambda: {kind.name: {} for kind in KINDS})
    new: dict[str, set[int]] = field(default_factory=lambda: {kind.name: set() for kind in KINDS})
    told: list[dict[str, Any]] = field(default_factory=list)

    @cached_property
    def aliases(self) -> dict[int, list[dict[str, Any]]]:
        """Of each relationship, by its number."""
        found: dict[int, list[dict[str, Any]]] = {}
        for number, each in enumerate(self.document["aliases"], 1):
            if isinstance(each, dict) and isinstance(each.get("relationship"), int):
                _address(each.get("address"), f"aliases[{number}]")
                found.setdefault(each["relationship"], []).append(each)
        return found

    @cached_property
    def ledgers(self) -> set[Any]:
        """Numbers of the messages that a ledger line of a new relationship hangs on."""
        return {
            each.get("message")
            for name in ("disclosures", "notifications")
            for each in self.document[name]
            if isinstance(each, dict) and each.get("relationship") in self.new["relationships"]
        }

    def tell(self, what: str, kind: str, name: str, address: str = "", why: str = "") -> None:
        self.told.append({"what": what, "kind": kind, "name": name, "address": address, "why": why})

    def number(self, name: str, number: int) -> int | None:
        if not 1 <= number <= len(self.document[name]):
            raise Unreadable(f"there is no {number} among {name}")
        return self.made[name].get(number)


def take(work: Work, kind: Kind, number: int, row: Any) -> None:
    where = f"{kind.name}[{number}]"
    if not isinstance(row, dict):
        raise Unreadable(f"{where} is no object")
    owner = exported.REFERENCES.get(kind.owner, "")
    if owner:
        belongs_to = row.get(kind.owner.removesuffix("_id"))
        if not isinstance(belongs_to, int) or not 1 <= belongs_to <= len(work.document[owner]):
            raise Unreadable(f"{where} belongs to nothing that there is")
        if belongs_to not in work.new[owner]:
            return  # that was there already, or was left out
    if kind.name == "events" and not _event_wanted(work, row):
        return
    if kind.name == "messages" and number not in work.ledgers:
        return
    columns = exported.noun(kind, row, where, work.number)
    _TAKES.get(kind.name, _plainly)(work, kind, number, row, columns, where)


def fresh_addresses(work: Work) -> None:
    """For each relationship whose addresses are all at domains that are not hosted here."""
    domain = issue.domain_named(work.tx, "")
    tellings = {each["name"]: each for each in work.told if each["kind"] == "relationship"}
    for number in sorted(work.new["relationships"]):
        if any(each["address"].rpartition("@")[2].lower() in work.hosted for each in work.aliases[number]):
            continue
        of = rows.by_id(work.tx, work.made["relationships"][number])
        assert of is not None, "it was just made"
        fresh = issue.fresh_alias(work.tx, work.office, of, domain)
        told = tellings[of.slug]
        told["why"] = f"instead of {told['address']}, whose domain is not hosted here"
        told["address"] = fresh.address


# ---- each kind ------------------------------------------------------------------------------------


def _made(work: Work, kind: Kind, number: int, noun: Any) -> Any:
    stored = belongings.add(work.tx, noun)
    work.made[kind.name][number] = stored.id
    work.new[kind.name].add(number)
    return stored


def _there(work: Work, kind: Kind, number: int, id: int) -> None:
    work.made[kind.name][number] = id


def _built(work: Work, kind: Kind, columns: Mapping[str, Any], **more: Any) -> Any:
    if exported.of_an_account(kind):
        more["account_id"] = work.account.id
    return kind.noun(id=0, **columns, **more)


def _plainly(work: Work, kind: Kind, number: int, row: Any, columns: dict[str, Any], where: str) -> None:
    _made(work, kind, number, _built(work, kind, columns))


def _event_wanted(work: Work, row: Mapping[str, Any]) -> bool:
    if row.get("relationship") is None:
        return work.fresh
    return row["relationship"] in work.new["relationships"]


def _mailbox(work: Work, kind: Kind, number: int, row: Any, columns: dict[str, Any], where: str) -> None:
    address = _address(columns["address"], where)
    new: Mailbox = _built(work, kind, {**columns, "address": address}, verify_hash=None, verify_expires=None)
    mine = accounts.mailboxes(work.tx, work.account.id)
    there = next((each for each in mine if each.address == address), None)
    if there is None:
        preferred = new.preferred and not any(each.preferred for each in mine)
        _made(work, kind, number, replace(new, preferred=preferred))
        work.tell("make", "mailbox", address)
        return
    _there(work, kind, number, there.id)
    if work.fresh:
        accounts.set_mailbox(work.tx, replace(new, id=there.id))
    work.tell("there", "mailbox", address)


def _private_name(work: Work, kind: Kind, number: int, row: Any, columns: dict[str, Any], where: str) -> None:
    one_line(columns["name"], f"{where}: the name", most=1000)
    mine = belongings.of(work.tx, kind.noun, work.account.id)
    if not any((each.mark, each.name) == (columns["mark"], columns["name"]) for each in mine):
        _plainly(work, kind, number, row, columns, where)


def _relationship(work: Work, kind: Kind, number: int, row: Any, columns: dict[str, Any], where: str) -> None:
    new: Relationship = _built(work, kind, columns)
    for text, what in ((new.name, "name"), (new.display_name, "display name"), (new.site, "site")):
        one_line(text, f"{where}: the {what}")
    if not _SLUG.fullmatch(new.slug):
        raise Unreadable(f"{where}.slug is no slug")
    old = work.aliases.get(number)
    if not old:
        raise Unreadable(f"{where} has no alias")
    shown = next(
        (each["address"] for each in old if each.get("state") == AliasState.LIVE), old[-1]["address"]
    )
    for each in old:
        address = _address(each["address"], where)
        taken = rows.alias_by_canonical(work.tx, naming.canonical(address))
        owner = None if taken is None else rows.by_id(work.tx, taken.relationship_id)
        if owner is not None and owner.account_id == work.account.id:
            _there(work, kind, number, owner.id)
            work.tell("there", "relationship", owner.slug, shown)
            return
        if why := _in_the_way(work, address):
            work.tell("conflict", "relationship", new.slug, shown, f"{address} {why}")
            return
    slug = rows.free_slug(work.tx, work.account.id, new.slug)
    _made(work, kind, number, replace(new, slug=slug))
    work.tell("make", "relationship", slug, shown)


def _in_the_way(work: Work, address: str) -> str:
    """Why an address can't be this account's here; "" where it can."""
    if rows.canonical_taken(work.tx, naming.canonical(address)):
        return "is taken here"
    local, _, domain = address.rpartition("@")
    if domain in work.hosted and (naming.reserved(local) or naming.prefixed(local)):
        return "is a name of the office's own"
    return ""


def _alias(work: Work, kind: Kind, number: int, row: Any, columns: dict[str, Any], where: str) -> None:
    """At another's domain it is history."""
    address = _address(columns["address"], where)
    if address.rpartition("@")[2] not in work.hosted and columns["state"] is AliasState.LIVE:
        columns |= {"state": AliasState.ROTATED}
    columns |= {"address": address}
    _made(work, kind, number, _built(work, kind, columns, canonical=naming.canonical(address)))


def _contact(work: Work, kind: Kind, number: int, row: Any, columns: dict[str, Any], where: str) -> None:
    address, written = _address(columns["address"], where), columns["written"]
    if addresses.parse(written) is None:
        raise Unreadable(f"{where}.written is no address")
    one_line(columns["name"], f"{where}: the name", most=1000)
    reverse = _address(columns["reverse_alias"], where)
    of = rows.by_id(work.tx, columns["relationship_id"])
    assert of is not None, "its relationship was just made"
    taken = rows.canonical_taken(work.tx, naming.canonical(reverse))
    if taken or reverse.rpartition("@")[2] not in work.hosted:
        reverse = issue.fresh_reverse(work.tx, work.office, of, address)
    columns |= {"address": address, "reverse_alias": reverse}
    _made(work, kind, number, _built(work, kind, columns, reverse_canonical=naming.canonical(reverse)))


def _card(work: Work, kind: Kind, number: int, row: Any, columns: dict[str, Any], where: str) -> None:
    name = _named(columns["name"], where)
    there = cards.by_name(work.tx, work.account.id, name)
    if there is not None and columns["removed"] is None:
        _there(work, kind, number, there.id)
        work.tell("there", "card", name)
    elif columns["removed"] is None or work.fresh:  # a removed one is history, and came with the first import
        _made(work, kind, number, _built(work, kind, columns))
        if columns["removed"] is None:
            work.tell("make", "card", name)


def _field(work: Work, kind: Kind, number: int, row: Any, columns: dict[str, Any], where: str) -> None:
    _named(columns["key"], where)
    _made(work, kind, number, _built(work, kind, columns))


def _version(work: Work, kind: Kind, number: int, row: Any, columns: dict[str, Any], where: str) -> None:
    place = work.keys.version(columns["field_id"], columns["number"])
    owner = work.document["fields"][row["field"] - 1]
    card = work.document["cards"][owner["card"] - 1]
    if card["sensitivity"] == Sensitivity.SEALED:
        try:
            octets = sealed.moved_in(work.keys, place, exported.octets(row.get("closed"), f"{where}.closed"))
        except ValueError:
            raise Unreadable(f"{where}.closed is no sealed value") from None
    else:
        octets = work.keys.seal(place, _value(FieldType(owner["type"]), row.get("value"), where))
    version: FieldVersion = _built(work, kind, columns, sealed=octets)
    _made(work, kind, number, version)


def _value(type: FieldType, value: Any, where: str) -> str:
    """A value in the form in which it was stored, and in no other."""
    if not isinstance(value, str):
        raise Unreadable(f"{where}.value is no text")
    try:
        if fields.normalise(type, value) == value:
            return value
    except OfficeError as error:
        raise Unreadable(f"{where}.value: {error}") from None
    raise Unreadable(f"{where}.value is not in the form in which a {type} is kept")


def _view(work: Work, kind: Kind, number: int, row: Any, columns: dict[str, Any], where: str) -> None:
    name = _named(columns["name"], where)
    there = next((each for each in cards.views(work.tx, work.account.id) if each.name == name), None)
    if there is not None or cards.by_name(work.tx, work.account.id, name) is not None:
        work.tell("there", "view", name)
        return
    _strings(columns["members"], f"{where}.members")
    _made(work, kind, number, _built(work, kind, columns))
    work.tell("make", "view", name)


def _grant(work: Work, kind: Kind, number: int, row: Any, columns: dict[str, Any], where: str) -> None:
    _named(columns["card"], where)
    if columns["fields"]:
        _strings(columns["fields"], f"{where}.fields")
    _made(work, kind, number, _built(work, kind, columns))


def _message(work: Work, kind: Kind, number: int, row: Any, columns: dict[str, Any], where: str) -> None:
    """Without its octets: only what became of it counts."""
    token = columns["token"]
    if spool.by_token(work.tx, token) is not None:
        token = f"{token}-{work.account.id}"
    _made(work, kind, number, _built(work, kind, {**columns, "token": token}, raw=b"", fingerprint=None))


def _delivery(work: Work, kind: Kind, number: int, row: Any, columns: dict[str, Any], where: str) -> None:
    """What was still on its way counts as arrived, as the ledger must; what was held stays behind."""
    if columns["state"] is DeliveryState.QUEUED:
        columns |= {"state": DeliveryState.DELIVERED, "reason": "moved", "ended": work.office.clock()}
    elif columns["state"] is DeliveryState.HELD:
        columns |= {"state": DeliveryState.DROPPED, "reason": "moved", "ended": work.office.clock()}
    _made(work, kind, number, _built(work, kind, columns, lease_node="", lease_until=None))


def _item(work: Work, kind: Kind, number: int, row: Any, columns: dict[str, Any], where: str) -> None:
    value = exported.read(str, row.get("value"), f"{where}.value")
    place = work.keys.item(columns["disclosure_id"], columns["card"], columns["field"])
    _made(work, kind, number, _built(work, kind, columns, sealed=work.keys.seal(place, value)))


_Take = Callable[[Work, Kind, int, Any, dict[str, Any], str], None]
_TAKES: Mapping[str, _Take] = {
    "mailboxes": _mailbox,
    "private_names": _private_name,
    "relationships": _relationship,
    "aliases": _alias,
    "contacts": _contact,
    "cards": _card,
    "fields": _field,
    "versions": _version,
    "views": _view,
    "grants": _grant,
    "messages": _message,
    "deliveries": _delivery,
    "items": _item,
}


# ---- what is read --------------------------------------------------------------------------------


def _address(text: Any, where: str) -> str:
    parsed = addresses.parse(text) if isinstance(text, str) else None
    if parsed is None:
        raise Unreadable(f"{where} has no address that can be read")
    return parsed.normal


def _named(text: str, where: str) -> str:
    if fields.name(text) != text:
        raise Unreadable(f"{where} has a name that is not in the form in which names are kept")
    return text


def _strings(text: str, where: str) -> None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise Unreadable(f"{where} is no list of names")
