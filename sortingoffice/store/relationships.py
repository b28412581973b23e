"""Relationships, their aliases and their bindings.

A write transaction that reads a relationship by `by_id`, `by_slug` or `find` holds it until it
ends: a revoke and an arriving message never overwrite one another, on either database.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from sortingoffice.core import naming
from sortingoffice.core.model import Account, Alias, AliasState, Binding, Relationship, RelationshipState
from sortingoffice.core.text import quoted
from sortingoffice.errors import NotThere
from sortingoffice.store import engine, schema
from sortingoffice.store.engine import Transaction
from sortingoffice.store.statement import run

_relationship, _alias, _binding = schema.relationship, schema.alias, schema.binding
_OF: sa.BindParameter[int] = sa.bindparam("relationship_id")
_OF_ACCOUNT = _relationship.c.account_id == sa.bindparam("account_id")

_BY_ID = sa.select(_relationship).where(_relationship.c.id == sa.bindparam("id"))
_BY_SLUG = sa.select(_relationship).where(_OF_ACCOUNT, _relationship.c.slug == sa.bindparam("slug"))
_TAKEN = _BY_SLUG.with_only_columns(_relationship.c.id)
# FOR NO KEY UPDATE; SQLite, which has one writer, needs and says nothing.
_HELD_BY_ID = _BY_ID.with_for_update(key_share=True)
_HELD_BY_SLUG = _BY_SLUG.with_for_update(key_share=True)
# Only what changes: every other column would have its indexes and foreign keys looked at, too.
_COUNT = (
    _relationship.update()
    .where(_relationship.c.id == sa.bindparam("of"))
    .values(received=_relationship.c.received + 1, pixels=_relationship.c.pixels + sa.bindparam("more"))
)
_LEAVE = (
    _relationship.update()
    .where(_relationship.c.id == sa.bindparam("of"))
    .values(leave_url=sa.bindparam("url"), leave_mailto=sa.bindparam("mailto"))
)
_EVERY = sa.select(_relationship).where(_OF_ACCOUNT).order_by(_relationship.c.id)
_NAMES = sa.select(_relationship.c.id, _relationship.c.slug, _relationship.c.name).where(_OF_ACCOUNT)
_NOW = sa.bindparam("now", type_=schema.Instant)
# Each by its own index: an OR would read every relationship there is.
_OVER = tuple(
    sa.select(_relationship).where(column <= _NOW).order_by(column).limit(sa.bindparam("most"))
    for column in (_relationship.c.muted_until, _relationship.c.closing_until)
)
_LAPSED = (
    sa.select(_relationship)
    .where(
        _relationship.c.until <= _NOW,
        _relationship.c.state.in_(
            [RelationshipState.UNBOUND, RelationshipState.ACTIVE, RelationshipState.MUTED]
        ),
    )
    .order_by(_relationship.c.until)
    .limit(sa.bindparam("most"))
)

_BY_CANONICAL = sa.select(_alias).where(_alias.c.canonical == sa.bindparam("canonical"))
_ALIAS = sa.select(_alias).where(_alias.c.id == sa.bindparam("id"))
_BEHIND = (
    sa.select(_alias, _relationship, schema.account)
    .join(_relationship, _relationship.c.id == _alias.c.relationship_id)
    .join(schema.account, schema.account.c.id == _relationship.c.account_id)
    .where(_alias.c.canonical == sa.bindparam("canonical"))
)
_HELD_BEHIND = _BEHIND.with_for_update(key_share=True, of=_relationship)
_ALIASES = sa.select(_alias).where(_alias.c.relationship_id == _OF).order_by(_alias.c.id)
_LIVE = sa.select(sa.func.count()).select_from(_alias).where(_alias.c.state != AliasState.REVOKED)
_MADE_SINCE = (
    sa.select(sa.func.count())
    .select_from(_relationship)
    .where(_OF_ACCOUNT, _relationship.c.created >= sa.bindparam("since", type_=schema.Instant))
)
_ISSUED = sa.select(sa.func.max(_alias.c.id))
_MANY = 10_000
_ADDRESSES = (
    sa.select(_alias.c.relationship_id, _alias.c.address)
    .join(_relationship, _relationship.c.id == _alias.c.relationship_id)
    .where(_OF_ACCOUNT)
)
_REVERSE_TAKEN = sa.select(schema.contact.c.id).where(
    schema.contact.c.reverse_canonical == sa.bindparam("canonical")
)

_BINDINGS = sa.select(_binding).where(_binding.c.relationship_id == _OF).order_by(_binding.c.id)
_ONE_BINDING = sa.and_(
    _binding.c.relationship_id == sa.bindparam("of"), _binding.c.identity == sa.bindparam("who")
)
_REBIND = _binding.update().where(_ONE_BINDING)
_UNBIND = _binding.delete().where(_ONE_BINDING)


def add(tx: Transaction, relationship: Relationship) -> Relationship:
    return schema.insert(tx, relationship)


def update(tx: Transaction, relationship: Relationship) -> None:
    schema.update(tx, relationship)


def count(tx: Transaction, relationship_id: int, *, pixels: int = 0) -> None:
    """One message more was received, with so many tracking pixels in it."""
    run(tx, _COUNT, {"of": relationship_id, "more": pixels})


def leave(tx: Transaction, relationship_id: int, url: str, mailto: str) -> None:
    """The vendor's own ways out, as its latest message offers them."""
    run(tx, _LEAVE, {"of": relationship_id, "url": url, "mailto": mailto})


def by_id(tx: Transaction, relationship_id: int) -> Relationship | None:
    statement = _HELD_BY_ID if engine.writes(tx) else _BY_ID
    return schema.one(Relationship, run(tx, statement, {"id": relationship_id}))


def by_slug(tx: Transaction, account_id: int, slug: str) -> Relationship | None:
    statement = _HELD_BY_SLUG if engine.writes(tx) else _BY_SLUG
    return schema.one(Relationship, run(tx, statement, {"account_id": account_id, "slug": slug}))


def find(tx: Transaction, account_id: int, text: str) -> Relationship:
    """The relationship that a person means: its slug, an alias of it, or a unique part of its name.

    Raises NotThere where nothing fits, or several do.
    """
    found = by_slug(tx, account_id, text.strip().lower()) or _by_alias(tx, account_id, text)
    if found is not None:
        return found
    wanted = text.strip().casefold()
    names = tx.execute(_NAMES, {"account_id": account_id}).all()
    fitting = [row for row in names if row.name.casefold() == wanted]
    fitting = fitting or [row for row in names if wanted and wanted in row.name.casefold()]
    if len(fitting) > 1:
        slugs = sorted(row.slug for row in fitting)
        more = f" and {len(slugs) - 5} more" if len(slugs) > 5 else ""
        raise NotThere(f"{quoted(text)} fits several relationships: {', '.join(slugs[:5])}{more}; say which")
    if not fitting:
        raise NotThere(f"no relationship fits {quoted(text)}; see: sortingoffice list")
    one = by_id(tx, fitting[0].id)
    assert one is not None, "relationships are never deleted"
    return one


def _by_alias(tx: Transaction, account_id: int, text: str) -> Relationship | None:
    alias = alias_by_canonical(tx, naming.canonical(text.strip())) if "@" in text else None
    relationship = by_id(tx, alias.relationship_id) if alias is not None else None
    return relationship if relationship is not None and relationship.account_id == account_id else None


def every(
    tx: Transaction, account_id: int, state: RelationshipState | None = None, search: str = ""
) -> tuple[Relationship, ...]:
    """An account's relationships in the order of their making.

    search  part of the slug, name, site, note or an alias, in any case; "" for all
    """
    statement = _EVERY if state is None else _EVERY.where(_relationship.c.state == state)
    found = schema.every(Relationship, tx.execute(statement, {"account_id": account_id}))
    if not search:
        return found
    wanted = search.casefold()
    by_alias = {
        row.relationship_id
        for row in tx.execute(_ADDRESSES, {"account_id": account_id})
        if wanted in row.address
    }
    return tuple(
        each
        for each in found
        if each.id in by_alias
        or any(wanted in text.casefold() for text in (each.slug, each.name, each.site, each.note))
    )


def over(tx: Transaction, now: datetime, most: int = 1000) -> tuple[Relationship, ...]:
    """Relationships whose pause or whose closing has come to its end."""
    asked = {"now": now, "most": most}
    return tuple(each for ends in _OVER for each in schema.every(Relationship, tx.execute(ends, asked)))


def lapsed(tx: Transaction, now: datetime, most: int = 1000) -> tuple[Relationship, ...]:
    """Relationships that still take mail although their `until` has passed."""
    return schema.every(Relationship, tx.execute(_LAPSED, {"now": now, "most": most}))


def free_slug(tx: Transaction, account_id: int, wanted: str) -> str:
    """`wanted`, or where it is taken `wanted-2`, `wanted-3` …"""

    def taken(slug: str) -> bool:
        return tx.execute(_TAKEN, {"account_id": account_id, "slug": slug}).first() is not None

    if not taken(wanted):
        return wanted
    last, free = 1, 2
    while taken(f"{wanted}-{free}"):
        last, free = free, free * 2
    while free - last > 1:
        middle = (last + free) // 2
        last, free = (middle, free) if taken(f"{wanted}-{middle}") else (last, middle)
    return f"{wanted}-{free}"


# ---- aliases -------------------------------------------------------------------------------------


def add_alias(tx: Transaction, alias: Alias) -> Alias:
    """Raises IntegrityError where the canonical form was ever issued."""
    return schema.insert(tx, alias)


def set_alias(tx: Transaction, alias: Alias) -> None:
    schema.update(tx, alias)


def alias_by_canonical(tx: Transaction, canonical: str) -> Alias | None:
    return schema.one(Alias, run(tx, _BY_CANONICAL, {"canonical": canonical}))


def made_since(tx: Transaction, account_id: int, since: datetime) -> int:
    """How many relationships the account has made since then."""
    return int(tx.execute(_MADE_SINCE, {"account_id": account_id, "since": since}).scalar_one())


def alias_by_id(tx: Transaction, alias_id: int) -> Alias | None:
    return schema.one(Alias, tx.execute(_ALIAS, {"id": alias_id}))


def behind(tx: Transaction, canonical: str) -> tuple[Alias, Relationship, Account] | None:
    """An alias, its relationship (held, as by `by_id`) and its owner, in one look."""
    row = run(tx, _HELD_BEHIND if engine.writes(tx) else _BEHIND, {"canonical": canonical}).first()
    if row is None:
        return None
    first, second = len(_alias.c), len(_alias.c) + len(_relationship.c)
    return Alias(*row[:first]), Relationship(*row[first:second]), Account(*row[second:])


def aliases(tx: Transaction, relationship_id: int) -> tuple[Alias, ...]:
    """Oldest first, revoked ones too."""
    return schema.every(Alias, run(tx, _ALIASES, {"relationship_id": relationship_id}))


def live_aliases(tx: Transaction) -> int:
    """How many aliases of the whole office a guess could hit, at most: what `naming.alias_local` asks.

    Counted while that is quick; beyond, all that were ever issued.
    """
    issued = int(tx.execute(_ISSUED).scalar() or 0)
    return issued if issued > _MANY else int(tx.execute(_LIVE).scalar_one())


def canonical_taken(tx: Transaction, canonical: str) -> bool:
    """Whether an alias or a reverse alias has, or ever had, this canonical form."""
    if alias_by_canonical(tx, canonical) is not None:
        return True
    return run(tx, _REVERSE_TAKEN, {"canonical": canonical}).first() is not None


# ---- bindings ------------------------------------------------------------------------------------


def bind(tx: Transaction, binding: Binding) -> bool:
    """Store a binding; where the identity stands already, only `how` changes.  Whether it is new."""
    new = schema.add_unless(tx, binding, "relationship_id", "identity")
    if not new:
        changed: dict[str, Any] = {"of": binding.relationship_id, "who": binding.identity, "how": binding.how}
        tx.execute(_REBIND, changed)
    return new


def unbind(tx: Transaction, relationship_id: int, identity: str) -> bool:
    """Whether it was bound."""
    return bool(tx.execute(_UNBIND, {"of": relationship_id, "who": identity}).rowcount)


def bindings(tx: Transaction, relationship_id: int) -> tuple[Binding, ...]:
    return schema.every(Binding, run(tx, _BINDINGS, {"relationship_id": relationship_id}))
