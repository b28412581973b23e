"""Who writes to which relationship, and what is kept of strangers' mail."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from sortingoffice.core.evidence import Evidence
from sortingoffice.core.writers import Writer, joined
from sortingoffice.frozen import dataclass
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction
from sortingoffice.store.statement import run

_writer, _evidence, _relationship = schema.writer, schema.kept, schema.relationship
_alias, _reject = schema.alias, schema.reject

_ONE = sa.select(_writer).where(
    _writer.c.relationship_id == sa.bindparam("of"),
    _writer.c.standing == sa.bindparam("standing"),
    _writer.c.identity == sa.bindparam("identity"),
)
_AGAIN = (
    _writer.update()
    .where(
        _writer.c.relationship_id == sa.bindparam("of"),
        _writer.c.standing == sa.bindparam("which"),
        _writer.c.identity == sa.bindparam("whose"),
    )
    .values(number=_writer.c.number + 1, last=sa.bindparam("now"), last_message=sa.bindparam("token"))
)
_OF_RELATIONSHIP = (
    sa.select(_writer).where(_writer.c.relationship_id == sa.bindparam("of")).order_by(_writer.c.id)
)
_OF_STANDING = _OF_RELATIONSHIP.where(_writer.c.standing == sa.bindparam("standing"))
_OF_ACCOUNT = (
    sa.select(_writer)
    .join(_relationship, _relationship.c.id == _writer.c.relationship_id)
    .where(_relationship.c.account_id == sa.bindparam("account"))
    .order_by(_writer.c.relationship_id, _writer.c.id)
)
_COUNT = (
    sa.select(sa.func.count()).select_from(_writer).where(_writer.c.relationship_id == sa.bindparam("of"))
)
_BY_WRITER = sa.select(_relationship.c.account_id).join(
    _writer, _writer.c.relationship_id == _relationship.c.id
)
_BY_SLIP = (
    sa.select(_relationship.c.account_id)
    .join(_alias, _alias.c.relationship_id == _relationship.c.id)
    .join(_reject, _reject.c.alias_id == _alias.c.id)
)
_LATELY = sa.bindparam("lately", type_=schema.Instant)
_SOMETHING = sa.union(
    _BY_WRITER.where(_writer.c.pending), _BY_SLIP.where(_reject.c.pending, _reject.c.accepted.is_(None))
).subquery()
_WAITING = (
    sa.select(_SOMETHING.c.account_id)
    .where(
        *(
            ~each.where(_relationship.c.account_id == _SOMETHING.c.account_id, told > _LATELY)
            .correlate(_SOMETHING)
            .exists()
            for each, told in ((_BY_WRITER, _writer.c.told), (_BY_SLIP, _reject.c.told))
        )
    )
    .limit(sa.bindparam("most"))
)
_TELL = (
    _writer.update()
    .where(_writer.c.id.in_(sa.bindparam("ids", expanding=True)))
    .values(pending=False, told=sa.bindparam("now"))
)


def note(
    tx: Transaction,
    relationship_id: int,
    standing: str,
    identity: str,
    *,
    marks: Iterable[str] = (),
    now: datetime,
    token: str,
    pending: bool = False,
    pending_first: bool = False,
) -> Writer:
    """One message more of this writer's; the row.

    pending        the person is to be told of it
    pending_first  they are to be told if it is the writer's first
    """
    wanted = {"of": relationship_id, "standing": standing, "identity": identity}
    found = schema.one(Writer, run(tx, _ONE, wanted))
    if found is None:
        new = Writer(
            0,
            relationship_id,
            standing,
            identity,
            joined("", marks),
            1,
            now,
            now,
            token,
            pending or pending_first,
            None,
        )
        if schema.add_unless(tx, new, "relationship_id", "standing", "identity"):
            return new
        found = schema.one(Writer, run(tx, _ONE, wanted))
        assert found is not None, "another transaction stored it just now"
    more = replace(
        found,
        marks=joined(found.marks, marks),
        number=found.number + 1,
        last=now,
        last_message=token,
        pending=found.pending or pending,
    )
    schema.update(tx, more)
    return more


def again(
    tx: Transaction, relationship_id: int, standing: str, identity: str, *, now: datetime, token: str
) -> bool:
    """One message more of a writer that is there; whether it is.  One statement, for the many that are."""
    wanted = {"of": relationship_id, "which": standing, "whose": identity, "now": now, "token": token}
    return bool(run(tx, _AGAIN, wanted).rowcount)


def number(tx: Transaction, relationship_id: int) -> int:
    """How many writers a relationship has."""
    return int(run(tx, _COUNT, {"of": relationship_id}).scalar())


def of_relationship(tx: Transaction, relationship_id: int, standing: str = "") -> tuple[Writer, ...]:
    """Oldest first; of one standing, where it is named."""
    if standing:
        return schema.every(Writer, run(tx, _OF_STANDING, {"of": relationship_id, "standing": standing}))
    return schema.every(Writer, run(tx, _OF_RELATIONSHIP, {"of": relationship_id}))


def of_account(tx: Transaction, account_id: int) -> tuple[Writer, ...]:
    return schema.every(Writer, tx.execute(_OF_ACCOUNT, {"account": account_id}))


def waiting(tx: Transaction, lately: datetime, most: int) -> tuple[int, ...]:
    """Accounts that are to be told of somebody, or of a slip, and were told of nobody after `lately`."""
    return tuple(row[0] for row in tx.execute(_WAITING, {"lately": lately, "most": most}))


def tell(tx: Transaction, ids: Iterable[int], now: datetime) -> None:
    """These have been told of."""
    tx.execute(_TELL, {"ids": list(ids), "now": now})


# ---- evidence --------------------------------------------------------------------------------------------

_LAST = (
    sa.select(_evidence.c.hash)
    .where(_evidence.c.relationship_id == sa.bindparam("of"))
    .order_by(_evidence.c.id.desc())
    .limit(1)
)
_KEPT = sa.select(_evidence).where(_evidence.c.relationship_id == sa.bindparam("of")).order_by(_evidence.c.id)
_KEPT_OF_ACCOUNT = (
    sa.select(
        _evidence.c.relationship_id,
        _evidence.c.standing,
        _evidence.c.identity,
        _evidence.c.recipient,
        sa.func.count(),
        sa.func.min(_evidence.c.at, type_=schema.Instant),
        sa.func.max(_evidence.c.at, type_=schema.Instant),
    )
    .where(_evidence.c.account_id == sa.bindparam("account"))
    .group_by(_evidence.c.relationship_id, _evidence.c.standing, _evidence.c.identity, _evidence.c.recipient)
    .order_by(_evidence.c.relationship_id, sa.func.min(_evidence.c.id))
)
_REACHED = (
    sa.select(_evidence.c.recipient)
    .where(_evidence.c.relationship_id == sa.bindparam("of"))
    .where(_evidence.c.standing == sa.bindparam("standing"), _evidence.c.identity == sa.bindparam("identity"))
    .order_by(_evidence.c.id.desc())
    .limit(1)
)
_HOLD = (
    sa.select(_relationship.c.id)
    .where(_relationship.c.id == sa.bindparam("of"))
    .with_for_update(key_share=True)
)


@dataclass(frozen=True, slots=True)
class Leak:
    """Evidence of one writer's mail to one address, summed up."""

    relationship_id: int
    standing: str
    identity: str
    recipient: str
    number: int
    first: datetime
    last: datetime


def last_hash(tx: Transaction, relationship_id: int) -> str:
    """The end of a relationship's chain, "" where nothing was kept; nobody adds to it until `tx` ends."""
    tx.execute(_HOLD, {"of": relationship_id})
    return str(tx.execute(_LAST, {"of": relationship_id}).scalar() or "")


def keep(tx: Transaction, evidence: Evidence) -> Evidence:
    return schema.insert(tx, evidence)


def kept(tx: Transaction, relationship_id: int) -> tuple[Evidence, ...]:
    """Oldest first."""
    return schema.every(Evidence, tx.execute(_KEPT, {"of": relationship_id}))


def reached(tx: Transaction, of: Writer) -> str:
    """Which address of the relationship's this writer wrote to last, as far as evidence is kept; else ""."""
    wanted = {"of": of.relationship_id, "standing": of.standing, "identity": of.identity}
    return str(tx.execute(_REACHED, wanted).scalar() or "")


def leaks(tx: Transaction, account_id: int) -> tuple[Leak, ...]:
    return tuple(Leak(*row) for row in tx.execute(_KEPT_OF_ACCOUNT, {"account": account_id}))
