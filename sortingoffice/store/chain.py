"""The chain over the log and the ledger: link what is new, and verify all of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from sortingoffice.core import chain
from sortingoffice.core.chain import Link
from sortingoffice.core.progress import Watcher, unwatched
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction

_link = schema.link
LINES = {"event": schema.event, "disclosure": schema.disclosure, "disclosure_item": schema.disclosure_item}
_LATE = 10_000  # ids: a transaction that began before so many others has ended by now
_BATCH = 500


def _raw(table: sa.Table) -> sa.Select[Any]:
    """The columns as the database holds them: integers, texts, octets."""
    return sa.select(*[sa.type_coerce(each, _plain(each.type)).label(each.name) for each in table.columns])


def _plain(type: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    if isinstance(type, schema.Instant):
        return sa.BigInteger()
    return sa.Text() if isinstance(type, schema.Word) else type


_ROWS = {name: _raw(table) for name, table in LINES.items()}
_HEAD = sa.select(_link.c.hash).order_by(_link.c.id.desc()).limit(1)
_HOW_MANY = sa.select(sa.func.count()).select_from(_link)
_NEW = {
    name: _ROWS[name]
    .where(
        table.c.id
        > sa.select(sa.func.coalesce(sa.func.max(_link.c.number), 0) - _LATE)
        .where(_link.c.line == name)
        .scalar_subquery(),
        ~sa.exists().where(_link.c.line == name, _link.c.number == table.c.id),
    )
    .order_by(table.c.id)
    .limit(sa.bindparam("most"))
    for name, table in LINES.items()
}
_BY_ID = {
    name: _ROWS[name].where(table.c.id.in_(sa.bindparam("ids", expanding=True)))
    for name, table in LINES.items()
}
_LINKS = (
    sa.select(_link)
    .where(_link.c.id > sa.bindparam("after"))
    .order_by(_link.c.id)
    .limit(sa.bindparam("most"))
)


def head(tx: Transaction) -> str:
    """The last hash."""
    return str(tx.execute(_HEAD).scalar() or chain.START)


def extend(tx: Transaction, most: int) -> int:
    """Link what is new; how many lines.  One node at a time."""
    last = head(tx)
    total = 0
    for name in LINES:
        for row in tx.execute(_NEW[name], {"most": most}).mappings().all():
            digest = chain.digest(dict(row))
            last = chain.after(last, name, int(row["id"]), digest)
            schema.insert(tx, Link(0, name, int(row["id"]), digest, last))
            total += 1
    return total


def verify(tx: Transaction, watcher: Watcher = unwatched) -> tuple[int, str]:
    """How many lines hold, and what is wrong with the first that doesn't; "" where all do."""
    last, count = chain.START, 0
    total = int(tx.execute(_HOW_MANY).scalar_one())
    for links in _batches(tx):
        for name in LINES:
            wanted = [each.number for each in links if each.line == name]
            found = {row["id"]: row for row in tx.execute(_BY_ID[name], {"ids": wanted}).mappings()}
            for each in links:
                if each.line == name and each.number not in found:
                    return count, f"{name} {each.number} was taken out"
                if each.line == name and chain.digest(dict(found[each.number])) != each.digest:
                    return count, f"{name} {each.number} was changed"
        for each in links:
            last = chain.after(last, each.line, each.number, each.digest)
            if last != each.hash:
                return count, f"the chain breaks at {each.line} {each.number}"
            count += 1
        watcher(count, total)
    return count, ""


def _batches(tx: Transaction) -> Iterator[tuple[Link, ...]]:
    after = 0
    while links := schema.every(Link, tx.execute(_LINKS, {"after": after, "most": _BATCH})):
        yield links
        after = links[-1].id
