"""Sessions, one-time secrets and passkeys: rows found by the hash of what a browser shows."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from sortingoffice.core.access import OneTime, Passkey, Purpose, Session
from sortingoffice.store import schema
from sortingoffice.store.engine import Transaction

_session, _once, _passkey = schema.session, schema.one_time, schema.passkey
_OF = sa.bindparam("of", type_=sa.BigInteger)
_HASH = sa.bindparam("given", type_=sa.LargeBinary)
_OWNER = sa.bindparam("owner", type_=sa.BigInteger)


# ---- sessions ------------------------------------------------------------------------------------


def add(tx: Transaction, session: Session) -> Session:
    return schema.insert(tx, session)


def by_hash(tx: Transaction, digest: bytes) -> Session | None:
    """By the cookie's secret, or the one before it; ended ones too."""
    return schema.one(Session, tx.execute(_BY_HASH, {"given": digest}))


def every(tx: Transaction, account_id: int) -> tuple[Session, ...]:
    """The latest first, ended ones too."""
    return schema.every(Session, tx.execute(_EVERY, {"owner": account_id}))


def update(tx: Transaction, session: Session) -> None:
    schema.update(tx, session)


def end(tx: Transaction, account_id: int, now: datetime, *, session_id: int | None = None) -> int:
    """Revoke one of an account's sessions, or with None all of them; how many."""
    statement = _END if session_id is None else _END.where(_session.c.id == session_id)
    return int(tx.execute(statement, {"owner": account_id, "at": now}).rowcount)


_BY_HASH = sa.select(_session).where(sa.or_(_session.c.hash == _HASH, _session.c.previous == _HASH))
_EVERY = sa.select(_session).where(_session.c.account_id == _OWNER).order_by(_session.c.id.desc())
_END = (
    _session.update()
    .where(_session.c.account_id == _OWNER, _session.c.revoked.is_(None))
    .values(revoked=sa.bindparam("at", type_=schema.Instant))
)


# ---- one-time secrets ----------------------------------------------------------------------------


def add_once(tx: Transaction, secret: OneTime) -> OneTime:
    return schema.insert(tx, secret)


def once(tx: Transaction, purpose: Purpose, digest: bytes, now: datetime) -> OneTime | None:
    """A secret that is still good."""
    return schema.one(OneTime, tx.execute(_ONCE, {"given": digest, "kind": purpose, "now": now}))


def made_since(tx: Transaction, account_id: int, purpose: Purpose, since: datetime) -> int:
    """How many secrets of this kind an account was given since then, good or not."""
    wanted = {"owner": account_id, "kind": purpose, "now": since}
    return int(tx.execute(_MADE_SINCE, wanted).scalar_one())


def use(tx: Transaction, secret_id: int, now: datetime) -> bool:
    """Use it up; False where somebody was quicker."""
    return bool(tx.execute(_USE, {"of": secret_id, "now": now}).rowcount)


def use_all(tx: Transaction, account_id: int, purpose: Purpose, now: datetime) -> None:
    """No secret of this kind is good any more."""
    tx.execute(_USE_ALL, {"owner": account_id, "kind": purpose, "now": now})


def forget(tx: Transaction, before: datetime) -> int:
    """Forget what ended before then; how many rows."""
    ended = tx.execute(_FORGET_ONCE, {"before": before}).rowcount
    return int(ended + tx.execute(_FORGET_SESSIONS, {"before": before}).rowcount)


_NOW = sa.bindparam("now", type_=schema.Instant)
_PURPOSE = _once.c.purpose == sa.bindparam("kind", type_=schema.Word(Purpose))
_GOOD = sa.and_(_once.c.used.is_(None), _once.c.expires > _NOW)
_ONCE = sa.select(_once).where(_once.c.hash == _HASH, _PURPOSE, _GOOD)
_MADE_SINCE = (
    sa.select(sa.func.count())
    .select_from(_once)
    .where(_once.c.account_id == _OWNER, _PURPOSE, _once.c.created > _NOW)
)
_USE = _once.update().where(_once.c.id == _OF, _GOOD).values(used=_NOW)
_USE_ALL = _once.update().where(_once.c.account_id == _OWNER, _PURPOSE, _GOOD).values(used=_NOW)
_BEFORE = sa.bindparam("before", type_=schema.Instant)
_FORGET_ONCE = _once.delete().where(_once.c.expires < _BEFORE)
_FORGET_SESSIONS = _session.delete().where(
    sa.or_(_session.c.expires < _BEFORE, _session.c.revoked < _BEFORE, _session.c.last_used < _BEFORE)
)


# ---- passkeys ------------------------------------------------------------------------------------


def add_passkey(tx: Transaction, passkey: Passkey) -> Passkey:
    return schema.insert(tx, passkey)


def passkeys(tx: Transaction, account_id: int) -> tuple[Passkey, ...]:
    """Those in force, oldest first."""
    return schema.every(Passkey, tx.execute(_PASSKEYS, {"owner": account_id}))


def passkey_by_credential(tx: Transaction, credential: bytes) -> Passkey | None:
    """One in force."""
    return schema.one(Passkey, tx.execute(_BY_CREDENTIAL, {"given": credential}))


def credential_known(tx: Transaction, credential: bytes) -> bool:
    """Whether a passkey has, or ever had, this id."""
    return tx.execute(_KNOWN, {"given": credential}).first() is not None


def set_passkey(tx: Transaction, passkey: Passkey) -> None:
    schema.update(tx, passkey)


_PASSKEYS = (
    sa.select(_passkey)
    .where(_passkey.c.account_id == _OWNER, _passkey.c.revoked.is_(None))
    .order_by(_passkey.c.id)
)
_KNOWN = sa.select(_passkey.c.id).where(_passkey.c.credential == _HASH)
_BY_CREDENTIAL = sa.select(_passkey).where(_passkey.c.credential == _HASH, _passkey.c.revoked.is_(None))
