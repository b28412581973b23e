"""Moving in: addresses that another office gave out, from its export.

Each becomes a relationship here.  An address on a domain that is hosted here stays what it was, one
that was switched off stays closed; any other gets a fresh address, and its note says which it was, so
that the person can tell the vendor.

Promise: the plan is what is done, all of it or nothing; a second import of the same file does nothing.

Sources: SimpleLogin's and addy.io's exports; Firefox Relay's and Fastmail's APIs (relayaddresses;
MaskedEmail), whose answers are what people have of theirs.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

from sortingoffice.core import naming, told
from sortingoffice.core.model import Account
from sortingoffice.core.progress import Watcher, unwatched
from sortingoffice.core.relationship import Action
from sortingoffice.core.text import one_line
from sortingoffice.errors import OfficeError
from sortingoffice.flows import relationships, signup
from sortingoffice.flows.office import Office
from sortingoffice.flows.signup import Asked
from sortingoffice.frozen import dataclass
from sortingoffice.mail import address as addresses
from sortingoffice.store import domains
from sortingoffice.store import relationships as rows
from sortingoffice.store.database import Transaction

MOST = 10_000  # addresses of one file
MOST_OCTETS = 16 << 20
_OFF = ("false", "0", "no", "disabled", "deleted", "off")


@dataclass(frozen=True, slots=True)
class Old:
    """One address as its office exported it."""

    address: str
    note: str
    site: str
    on: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of one address: "keep", "close", "new" or "skip", and why where it is skipped."""

    old: Old
    what: str
    why: str = ""


# ---- reading -------------------------------------------------------------------------------------

# Per office: the member that marks its rows, where the note and the site are, and what says "on".
_KINDS: tuple[tuple[str, str, str, str, str], ...] = (
    ("simplelogin", "alias", "note", "", "enabled"),
    ("relay", "full_address", "description", "generated_for", "enabled"),
    ("fastmail", "email", "description", "forDomain", "state"),
    ("addy", "email", "description", "", "active"),
    ("simplelogin", "email", "note", "", "enabled"),  # its JSON, of all data or of the list
)


def read(octets: bytes) -> tuple[str, tuple[Old, ...]]:
    """Whose export this is, and its addresses.  Raises `OfficeError`."""
    if len(octets) > MOST_OCTETS:
        raise OfficeError(f"the file is larger than {MOST_OCTETS >> 20} MiB: split it")
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise OfficeError("the file is no UTF-8 text: export it as CSV or JSON") from None
    found = _json(text) if text.lstrip()[:1] in ("[", "{") else _csv(text)
    if not found:
        raise OfficeError("the file names no addresses")
    if len(found) > MOST:
        raise OfficeError(f"the file has {len(found)} rows, {MOST} are the most: split it")
    kind, mark, note, site, on = _kind(found[0])
    return kind, tuple(_old(row, mark, note, site, on) for row in found)


def _kind(row: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    if {"alias", "relationship", "state"} <= row.keys():
        raise OfficeError("this is a Sorting Office's own table of addresses: give its .json, which has all")
    for each in _KINDS:
        if each[1] in row and (each[4] in row or each[0] == "simplelogin"):
            return each
    raise OfficeError(
        "nobody's export looks like this: the exports of SimpleLogin, addy.io, Firefox Relay and Fastmail do"
    )


def _csv(text: str) -> list[Mapping[str, Any]]:
    """Also what a spreadsheet of a country with decimal commas made of it, or a table pasted with tabs."""
    names = text.partition("\n")[0]
    divider = max(",;\t", key=names.count)
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=divider)
        return [row for row in rows if any(row.values())]
    except csv.Error as error:
        raise OfficeError(f"the file is no CSV that can be read ({error})") from None


def _json(text: str) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise OfficeError("the file is no JSON that can be read") from None
    if isinstance(found, dict) and "sortingoffice" in found:
        raise OfficeError(
            "this is a Sorting Office's own export, put together anew: give it as it was written"
        )
    if isinstance(found, dict):
        found = _inside(found)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise OfficeError("the file holds no list of addresses")
    return found


def _inside(found: dict[str, Any]) -> Any:
    """The list in an API's answer: addy.io's `data`, JMAP's methodResponses, SimpleLogin's `aliases`."""
    answers = found.get("methodResponses")
    if isinstance(answers, list) and answers and isinstance(answers[0], list) and len(answers[0]) > 1:
        found = answers[0][1] if isinstance(answers[0][1], dict) else {}
    return next((found[name] for name in ("data", "list", "aliases", "results") if name in found), None)


def _old(row: Mapping[str, Any], mark: str, note: str, site: str, on: str) -> Old:
    def text(name: str) -> str:
        value = row.get(name) if name else ""
        return "" if value is None else str(value).strip()

    gone = bool(text("deleted_at"))
    plain = " ".join("".join(c if c.isprintable() else " " for c in text(note)).split())
    # addy.io's table is a spreadsheet's, where false may be an empty cell
    off = text(on).lower() in _OFF or (on == "active" and text(on) == "")
    return Old(text(mark), plain[:900], text(site), not off and not gone)


# ---- planning ------------------------------------------------------------------------------------


def plan(tx: Transaction, account: Account, found: tuple[Old, ...]) -> tuple[Step, ...]:
    """What would be done, in the file's order; reads only."""
    hosted = {each.name for each in domains.every(tx)}
    notes = [each.note for each in rows.every(tx, account.id)]
    moved = {note.rpartition(_WAS)[2].removesuffix(")") for note in notes if _WAS in note}
    steps: list[Step] = []
    issued: set[str] = set()  # by the steps so far, in canonical form
    for old in found:
        step = _step(tx, old, hosted, moved)
        if step.what in ("keep", "close"):
            canonical = naming.canonical(_normal(old.address))
            if canonical in issued:
                step = Step(old, "skip", "an earlier row differs from it in dots and dashes only")
            issued.add(canonical)
        moved.add(_normal(old.address))
        steps.append(step)
    return tuple(steps)


_WAS = "(was "


def _normal(text: str) -> str:
    parsed = addresses.parse(text)
    return parsed.normal if parsed is not None else ""


def _step(tx: Transaction, old: Old, hosted: set[str], moved: set[str]) -> Step:
    parsed = addresses.parse(old.address)
    if parsed is None:
        return Step(old, "skip", "it is no mail address")
    if parsed.normal in moved:
        return Step(old, "skip", "it was moved already")
    if parsed.domain not in hosted:
        return Step(old, "new") if old.on else Step(old, "skip", "it is switched off")
    if naming.reserved(parsed.local) or naming.prefixed(parsed.local):
        return Step(old, "skip", "it is a name of the office's own")
    if not parsed.ascii or '"' in str(parsed) or "+" in parsed.local:
        return Step(old, "skip", "an address here has letters, digits and dots only")
    if rows.canonical_taken(tx, naming.canonical(parsed.normal)):
        return Step(old, "skip", "it was issued here before")
    return Step(old, "keep" if old.on else "close")


# ---- doing it ------------------------------------------------------------------------------------


def carry_out(
    tx: Transaction,
    office: Office,
    account: Account,
    found: tuple[Old, ...],
    *,
    actor: str,
    watcher: Watcher = unwatched,
) -> list[dict[str, Any]]:
    """Do what `plan` says now; a row for each address."""
    done = []
    for step in plan(tx, account, found):
        done.append(_do(tx, office, account, step, actor))
        watcher(len(done), len(found))
    return done


def _do(tx: Transaction, office: Office, account: Account, step: Step, actor: str) -> dict[str, Any]:
    if step.what == "skip":
        return row(step)
    old = step.old
    local, _, domain = _normal(old.address).rpartition("@")
    kept = step.what in ("keep", "close")
    note = old.note if kept else f"{old.note} {_WAS}{_normal(old.address)})".strip()
    asked = Asked(
        hostname=old.site,
        note=one_line(note, "the note", most=1000),
        name=_name(old),
        local=local if kept else "",
        domain=domain if kept else "",
    )
    made = signup.take(tx, office, account, asked, actor=actor)
    if step.what == "close":
        slug = made.relationship.slug
        relationships.act(tx, office, account, slug, Action.REVOKE, actor=actor)
    return {**row(step), "alias": made.alias.address, "relationship": made.relationship.slug}


def _name(old: Old) -> str:
    """What the person called it; the site, or the old address, where they didn't."""
    if old.note and not told.site(old.note):
        return old.note[:60].strip()
    return "" if told.site(old.note) or old.site else old.address[:200]


def row(step: Step) -> dict[str, Any]:
    """A step as a person sees it."""
    return {
        "address": step.old.address,
        "what": step.what,
        "why": step.why,
        "note": step.old.note,
        "alias": "",
        "relationship": "",
    }
