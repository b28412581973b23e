"""Doors by HTTP: API tokens, sessions, one-time secrets, passkeys; what passed in a relationship, found fast.

Sources: `core.access`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _id() -> sa.Column[int]:
    return sa.Column("id", _Id, primary_key=True, autoincrement=True)


def _account(*, null: bool = False) -> sa.Column[int]:
    return sa.Column("account_id", _Id, sa.ForeignKey("account.id"), nullable=null, index=True)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _secret(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=False, unique=True)


def _at(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=null)


def upgrade() -> None:
    op.create_table(
        "api_token",
        _id(),
        _account(),
        _text("label"),
        _secret("hash"),
        _text("scopes"),
        _at("created"),
        _at("expires", null=True),
        _at("last_used", null=True),
        _at("revoked", null=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "session",
        _id(),
        _account(),
        _secret("hash"),
        sa.Column("previous", sa.LargeBinary, nullable=True, index=True),
        _text("device"),
        _text("how"),
        _at("created"),
        _at("rotated"),
        _at("last_used"),
        _at("expires"),
        _at("revoked", null=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "one_time",
        _id(),
        _account(null=True),
        _text("purpose"),
        _secret("hash"),
        _at("created"),
        _at("expires"),
        _at("used", null=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "passkey",
        _id(),
        _account(),
        _text("label"),
        _secret("credential"),
        sa.Column("public", sa.LargeBinary, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        _text("transports"),
        _at("created"),
        _at("last_used", null=True),
        _at("revoked", null=True),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_message_relationship_id", "message", ["relationship_id"])
