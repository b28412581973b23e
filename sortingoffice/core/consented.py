"""A consent record and its receipt: what a vendor was permitted and given, in the fields of ISO/IEC TS 27560.

Facts in, a JSON-able document out.  What is not known is absent: no retention period, jurisdiction or
third party is made up, and a purpose is there only where the person named one.

Promise: no value of a card stands in it unless the caller passed it; the person is named by an
identifier that only this vendor sees.

Sources: ISO/IEC TS 27560:2023 (field names; the record's header, processing, parties and events), as mapped
by the DPVCG's guide; ISO 8601 (durations).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sortingoffice.core import derive, fields
from sortingoffice.core.model import Grant, GrantMode, Sensitivity, Via
from sortingoffice.frozen import dataclass

SCHEMA = "sortingoffice-27560-1"

_COLLECTED = {Via.WEB_FORM: "web form", Via.PAPER: "paper"}  # everything else went by mail


@dataclass(frozen=True, slots=True)
class Party:
    """The vendor, as far as it is known."""

    id: str
    name: str
    kind: str
    site: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """One value of the ledger.

    value  None unless it was asked for
    """

    at: datetime
    card: str
    field: str
    version: int | None
    via: Via
    form: str
    purpose: str
    state: str
    grant_id: int | None
    value: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """withdrawn: when, and what ("card.field"); sensitivity: of each card; members: of each card and view"""

    record_id: str
    receipt_id: str
    principal: str
    vendor: Party
    alias: str
    grants: tuple[Grant, ...]
    given: tuple[Given, ...]
    withdrawn: tuple[tuple[datetime, tuple[str, ...]], ...]
    sensitivity: Mapping[str, Sensitivity]
    members: Mapping[str, tuple[str, ...]]
    now: datetime


def receipt(facts: Facts) -> dict[str, Any]:
    """The receipt with its whole record."""
    return {
        "schema_version": SCHEMA,
        "receipt_id": facts.receipt_id,
        "issued": _at(facts.now),
        "consent_record": {
            "schema_version": SCHEMA,
            "record_id": facts.record_id,
            "pii_principal_id": facts.principal,
            "pii_processing": _processing(facts),
            "party_identification": [_party(facts.vendor)],
            "events": _events(facts),
            "disclosures": [_disclosure(each) for each in facts.given],
        },
    }


# ---- what for, and what ----------------------------------------------------------------------------


def _processing(facts: Facts) -> dict[str, Any]:
    purposes: dict[tuple[str, bool], list[str]] = {}
    for grant in facts.grants:
        if grant.mode is not GrantMode.NEVER:
            purposes.setdefault((grant.purpose, True), []).extend(_of_grant(grant, facts))
    for each in facts.given:
        key = (each.purpose, each.grant_id is not None)
        purposes.setdefault(key, []).append(f"{each.card}.{each.field}")
    rows = [_purpose(what, granted, named, facts) for (what, granted), named in purposes.items()]
    found: dict[str, Any] = {"purposes": rows}
    if facts.vendor.addresses:
        to = facts.vendor.addresses[0]
        found["withdrawal_method"] = (
            f"a mail from {facts.alias} to {to} that names the fields and asks to delete them"
        )
    return found


def _purpose(what: str, granted: bool, named: Sequence[str], facts: Facts) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if what:
        row["purpose"] = what
    if granted:
        row["lawful_basis"] = "consent"
    row["pii_information"] = [_attribute(each, facts) for each in dict.fromkeys(named)]
    row["pii_controllers"] = [facts.vendor.id]
    methods = {_COLLECTED.get(each.via, "email") for each in facts.given if _belongs(each, what, granted)}
    if methods:
        row["collection_method"] = sorted(methods)
    terms = {g.terms for g in facts.grants if g.terms and g.purpose == what and g.mode is not GrantMode.NEVER}
    if granted and len(terms) == 1:
        row["privacy_notice"] = terms.pop()
    return row


def _belongs(given: Given, purpose: str, granted: bool) -> bool:
    return given.purpose == purpose and (given.grant_id is not None) == granted


def _attribute(named: str, facts: Facts) -> dict[str, Any]:
    card, _, key = named.partition(".")
    row: dict[str, Any] = {"pii_attribute_id": named, "pii_type": fields.label(key)}
    if word := derive.split(key)[1]:
        row["derivation"] = word
    if card in facts.sensitivity:
        row["sensitive_pii_category"] = facts.sensitivity[card] in (Sensitivity.SENSITIVE, Sensitivity.SEALED)
    return row


def _of_grant(grant: Grant, facts: Facts) -> list[str]:
    """The fields that it speaks of, as far as they are there."""
    members = facts.members.get(grant.card, ())
    if not grant.fields:
        return list(members)
    keys = json.loads(grant.fields)
    found = [each for each in members if each.partition(".")[2] in keys]
    return found or [f"{grant.card}.{key}" for key in keys]


def _party(vendor: Party) -> dict[str, Any]:
    row: dict[str, Any] = {
        "party_id": vendor.id,
        "party_name": vendor.name,
        "party_role": "PII controller",
        "party_type": vendor.kind,
    }
    if vendor.site:
        row["party_url"] = f"https://{vendor.site}/"
    if vendor.addresses:
        row["party_email"] = list(vendor.addresses)
    return row


# ---- what happened ---------------------------------------------------------------------------------


def _events(facts: Facts) -> list[dict[str, Any]]:
    """In the order of time: permissions and their ends, what left by the person's own act, withdrawals."""
    found: list[tuple[datetime, dict[str, Any]]] = []
    for grant in facts.grants:
        found += _of_permission(grant, facts)
    for each in facts.given:
        if each.grant_id is None and each.via is not Via.NOTICE:
            found.append((each.at, _event(each.at, "given", [f"{each.card}.{each.field}"], facts)))
    for at, named in facts.withdrawn:
        found.append((at, _event(at, "withdrawn", named, facts)))
    return [event for _, event in sorted(found, key=lambda each: each[0])]


def _of_permission(grant: Grant, facts: Facts) -> list[tuple[datetime, dict[str, Any]]]:
    named = _of_grant(grant, facts)
    begun = _event(grant.created, "refused" if grant.mode is GrantMode.NEVER else "given", named, facts)
    if grant.expires is not None:
        begun["validity_duration"] = _duration(grant.expires - (grant.not_before or grant.created))
    found = [(grant.created, begun)]
    if grant.mode is GrantMode.NEVER:
        return found
    if grant.ended is not None:
        again = any(
            each.created == grant.ended and (each.card, each.fields) == (grant.card, grant.fields)
            for each in facts.grants
        )
        state = "renewed" if again else "withdrawn"
        found.append((grant.ended, _event(grant.ended, state, named, facts)))
    elif grant.expires is not None and grant.expires <= facts.now:
        found.append((grant.expires, _event(grant.expires, "expired", named, facts)))
    return found


def _event(at: datetime, state: str, named: Sequence[str], facts: Facts) -> dict[str, Any]:
    """Each is the person's own act, but for an expiry, which is the clock's."""
    row: dict[str, Any] = {"event_time": _at(at), "event_state": state, "pii_attribute_ids": list(named)}
    if state != "expired":
        row |= {"event_type": "explicit", "entity_id": facts.principal}
    return row


def _disclosure(each: Given) -> dict[str, Any]:
    row: dict[str, Any] = {
        "time": _at(each.at),
        "pii_attribute_id": f"{each.card}.{each.field}",
        "via": each.via.value,
        "form": each.form,
        "state": each.state,
    }
    if each.version is not None:
        row["version"] = each.version
    if each.value is not None:
        row["value"] = each.value
    return row


def _at(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _duration(span: timedelta) -> str:
    """ISO 8601, in days and seconds."""
    seconds = max(int(span.total_seconds()), 0)
    days, rest = divmod(seconds, 86_400)
    return f"P{days}D" + (f"T{rest}S" if rest else "")
