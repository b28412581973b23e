"""Who writes to a relationship, recipients that never were, and evidence of leaks.

Sources: `core.writers`, `core.rejects`, `core.evidence`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _id() -> sa.Column[int]:
    return sa.Column("id", _Id, primary_key=True, autoincrement=True)


def _to(table: str, *, null: bool = False, index: bool = False) -> sa.Column[int]:
    return sa.Column(f"{table}_id", _Id, sa.ForeignKey(f"{table}.id"), nullable=null, index=index)


def _text(name: str, *, unique: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, unique=unique)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False)


def _at(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=null)


def _partial(name: str, table: str, column: str, where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, [column], sqlite_where=condition, postgresql_where=condition)


def upgrade() -> None:
    op.create_table(
        "writer",
        _id(),
        _to("relationship"),
        _text("standing"),
        _text("identity"),
        _text("marks"),
        _count("number"),
        _at("first"),
        _at("last"),
        _text("last_message"),
        sa.Column("pending", sa.Boolean, nullable=False),
        _at("told", null=True),
        sa.UniqueConstraint("relationship_id", "standing", "identity"),
        sqlite_autoincrement=True,
    )
    _partial("ix_writer_pending", "writer", "relationship_id", "pending")
    op.create_table(
        "reject",
        _id(),
        _text("address"),
        _text("canonical", unique=True),
        _to("alias", null=True),
        _text("peer"),
        _count("number"),
        _at("first"),
        _at("last"),
        _at("accepted", null=True),
        sa.Column("pending", sa.Boolean, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_reject_last", "reject", ["last"])
    _partial("ix_reject_near", "reject", "alias_id", "alias_id IS NOT NULL")
    op.create_table(
        "guesses",
        _id(),
        _text("domain"),
        _at("day"),
        _count("number"),
        sa.UniqueConstraint("domain", "day"),
        sqlite_autoincrement=True,
    )
    _evidence()


def _evidence() -> None:
    op.create_table(
        "evidence",
        _id(),
        _to("account"),
        _to("relationship", index=True),
        _text("message"),
        _at("at"),
        _text("standing"),
        _text("identity"),
        _text("rule"),
        _text("peer"),
        _text("sender"),
        _text("recipient"),
        _text("results"),
        _text("records"),
        _count("guesses"),
        _count("live"),
        _count("size"),
        _text("sha256"),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        _text("previous"),
        _text("hash"),
        sqlite_autoincrement=True,
    )
