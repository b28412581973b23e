"""At a signup: an address for the site at hand, and addresses as a browser extension lists them.

What a password manager, an extension or a bookmarklet knows is a host name and some words; out of
these a `Wish` is made, so that the relationship is bound to its vendor from the start.

Promise: a host name that is no vendor's domain costs nobody their address; it is only not bound.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sortingoffice.core import naming, told
from sortingoffice.core.model import (
    Account,
    Alias,
    Mailbox,
    Relationship,
    RelationshipState,
)
from sortingoffice.core.relationship import Action, state_at
from sortingoffice.core.text import one_line
from sortingoffice.errors import NotThere, OfficeError
from sortingoffice.flows import issue, relationships
from sortingoffice.flows.issue import Wish
from sortingoffice.flows.office import Office
from sortingoffice.flows.relationships import Change
from sortingoffice.frozen import dataclass
from sortingoffice.store import accounts, domains, traffic
from sortingoffice.store import relationships as rows
from sortingoffice.store.database import Transaction
from sortingoffice.store.traffic import Counts

SUFFIX_FOR = timedelta(hours=1)  # between being offered an address's second half and taking it
_ENDED = (RelationshipState.REVOKED, RelationshipState.EXPIRED, RelationshipState.CLOSING)


class Taken(OfficeError):
    """A chosen address is not to be had: it was issued before, or is the office's own."""


class Late(OfficeError):
    """A suffix that was offered too long ago, or by nobody."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client knows at a signup; "" where it doesn't.

    hostname  of the page
    note      words, which may name the page
    local     a chosen local part
    """

    hostname: str = ""
    note: str = ""
    name: str = ""
    local: str = ""
    label: str = ""
    domain: str = ""
    mailbox: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One relationship as an extension lists it: by its current alias.

    ended  when it was revoked; None while it isn't
    """

    relationship: Relationship
    state: RelationshipState
    alias: Alias
    mailbox: Mailbox | None
    counts: Counts
    ended: datetime | None = None

    @property
    def enabled(self) -> bool:
        return self.state in (RelationshipState.ACTIVE, RelationshipState.UNBOUND)

    @property
    def words(self) -> str:
        """What tells the person which one it is."""
        return self.relationship.note or self.relationship.name


# ---- a new one -----------------------------------------------------------------------------------


def take(tx: Transaction, office: Office, account: Account, asked: Asked, *, actor: str) -> Row:
    """A fresh address.  Raises `OfficeError`; `Taken` for a chosen one that was issued before."""
    note = one_line(asked.note, "the note", most=1000)
    bound = "" if told.app(note) else site(tx, asked.hostname) or site(tx, told.site(note))
    words = "" if told.generated(note) else note[:60].strip()
    if asked.local:
        _refuse_taken(tx, asked.local, asked.domain)
    wish = Wish(
        name=one_line(asked.name, "the name") or bound or words or _shown(asked.hostname),
        site=bound,
        note=note,
        local=asked.local,
        label=asked.label,
        domain=asked.domain,
        mailbox=asked.mailbox,
    )
    made = issue.issue(tx, office, account, wish, actor=actor)
    found = rows.by_slug(tx, account.id, made["relationship"])
    assert found is not None, "it was stored a moment ago"
    return row(tx, office, found, Counts())


def site(tx: Transaction, host: str) -> str:
    """The vendor's domain that a host name means, or a whole URL; "" for none."""
    try:
        return relationships.parse_site(tx, host)
    except OfficeError:
        return ""


def _shown(host: str) -> str:
    """A name for an address that is for no vendor's site: a machine at home, a browser's own page."""
    return "".join(c for c in host if c.isprintable())[:60].strip() or "New address"


def _refuse_taken(tx: Transaction, local: str, domain: str) -> None:
    chosen = local.strip().lower()
    if naming.reserved(chosen) or naming.prefixed(chosen):
        raise Taken(f'"{chosen}" is reserved for the office itself: choose another local part')
    hosted = domain or next((each.name for each in domains.every(tx)), "")
    address = f"{chosen}@{hosted}"
    if rows.canonical_taken(tx, naming.canonical(address)):
        raise Taken(f"{address} was issued before, and no address is issued twice: choose another")


# ---- changed by a client -------------------------------------------------------------------------


def news(row: Row, wish: Change) -> Change:
    """What is new of a wish: clients send back what they show, and a name shown as the note is none."""
    return replace(wish, note=None) if wish.note == row.words else wish


# ---- an address in two halves ---------------------------------------------------------------------


def suffixes(tx: Transaction, office: Office, account: Account) -> tuple[tuple[str, str], ...]:
    """Second halves of an address to choose from, each with its signed form: for each domain one that is
    hard to guess, and one that adds nothing."""
    until = office.clock() + SUFFIX_FOR
    hosted = [each.name for each in domains.every(tx)]
    found = [f".{naming.labelled('', office.random)}@{name}" for name in hosted]
    found += [f"@{name}" for name in hosted]
    return tuple((suffix, _signed(office, account, suffix, until)) for suffix in found)


def opened_suffix(office: Office, account: Account, signed: str) -> str:
    """The suffix that was offered.  Raises `Late`."""
    suffix, _, rest = signed.rpartition("~")
    seconds = rest.partition("-")[0]
    if suffix and seconds.isascii() and seconds.isdigit() and len(seconds) < 12:
        until = datetime.fromtimestamp(int(seconds), office.clock().tzinfo)
        ours = hmac.compare_digest(signed.encode(), _signed(office, account, suffix, until).encode())
        if ours and until > office.clock():
            return suffix
    raise Late("the choice of this address has run out: open the list of endings anew")


def _signed(office: Office, account: Account, suffix: str, until: datetime) -> str:
    seconds = int(until.timestamp())
    said = f"suffix\0{account.id}\0{suffix}\0{seconds}".encode()
    return f"{suffix}~{seconds}-{hmac.digest(office.keys.token, said, 'sha256')[:12].hex()}"


# ---- listing -------------------------------------------------------------------------------------


def listed(
    tx: Transaction,
    office: Office,
    account: Account,
    *,
    search: str = "",
    keep: Callable[[RelationshipState], bool],
    mailbox_id: int | None = None,
    pinned: bool | None = None,
    offset: int,
    most: int,
    by: Callable[[Row], tuple[bool, Any]] | None = None,
    falling: bool = False,
) -> tuple[list[Row], int]:
    """A page of the account's relationships, the pinned ones first, then the latest, and how many in all.

    mailbox_id  only those that deliver there
    pinned      only those that are, or are not
    by          another order than that: whether there is nothing to sort by, which is last in any case,
                and what to sort by; falling: that one from its end
    """
    now = office.clock()
    every = [each for each in rows.every(tx, account.id, search=search) if keep(state_at(each, now))]
    if mailbox_id is not None:
        delivered = [(each, accounts.mailbox_for(tx, each)) for each in every]
        every = [each for each, to in delivered if to is not None and to.id == mailbox_id]
    if pinned is not None:
        every = [each for each in every if each.pinned is pinned]
    if by is not None:
        counts = traffic.counts(tx, [each.id for each in every])
        found = [row(tx, office, each, counts.get(each.id, Counts())) for each in every[::-1]]
        ordered = sorted(found, key=lambda each: by(each)[1], reverse=falling)
        ordered.sort(key=lambda each: (not each.relationship.pinned, by(each)[0]))
        return ordered[offset : offset + most], len(every)
    every.sort(key=lambda each: (each.pinned, each.id), reverse=True)
    page = every[offset : offset + most]
    counts = traffic.counts(tx, [each.id for each in page])
    return [row(tx, office, each, counts.get(each.id, Counts())) for each in page], len(every)


def one(tx: Transaction, office: Office, account: Account, relationship_id: int) -> Row:
    """Raises `NotThere`, for another account's too."""
    found = own(tx, account, relationship_id)
    return row(tx, office, found, traffic.counts(tx, [found.id]).get(found.id, Counts()))


def own(tx: Transaction, account: Account, relationship_id: int) -> Relationship:
    found = rows.by_id(tx, relationship_id) if 0 < relationship_id < 2**63 else None
    if found is None or found.account_id != account.id:
        raise NotThere("there is no such address")
    return found


def row(tx: Transaction, office: Office, of: Relationship, counts: Counts) -> Row:
    state = state_at(of, office.clock())
    over = state is RelationshipState.REVOKED
    ended = (traffic.revoked_at(tx, of.id) or of.closing_until or of.created) if over else None
    alias = relationships.current_alias(tx, of)
    return Row(of, state, alias, accounts.mailbox_for(tx, of), counts, ended)


def of_site(tx: Transaction, office: Office, account: Account, hostname: str) -> Row | None:
    """The latest address that is in use for this site."""
    wanted = site(tx, hostname)
    now = office.clock()
    fitting = [each for each in rows.every(tx, account.id, search=wanted) if wanted and each.site == wanted]
    live = [each for each in fitting if state_at(each, now) not in _ENDED]
    return row(tx, office, live[-1], Counts()) if live else None


# ---- on and off ----------------------------------------------------------------------------------


def switch(
    tx: Transaction, office: Office, account: Account, relationship_id: int, *, on: bool, actor: str
) -> Row:
    """What an extension calls enabling and disabling: off is a pause, so that nothing is lost."""
    of = own(tx, account, relationship_id)
    state = state_at(of, office.clock())
    back = Action.RESTORE if state in _ENDED else Action.RESUME
    action = back if on else Action.PAUSE
    relationships.act(tx, office, account, of.slug, action, actor=actor)
    return one(tx, office, account, relationship_id)


def act(
    tx: Transaction, office: Office, account: Account, relationship_id: int, action: Action, *, actor: str
) -> Row:
    of = own(tx, account, relationship_id)
    relationships.act(tx, office, account, of.slug, action, actor=actor)
    return one(tx, office, account, relationship_id)
