"""Who was told of a change, and whether they answered.

Sources: `core.notification`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _to(table: str, *, null: bool = False, index: bool = False, unique: bool = False) -> sa.Column[int]:
    key = sa.ForeignKey(f"{table}.id")
    return sa.Column(f"{table}_id", _Id, key, nullable=null, index=index, unique=unique)


def upgrade() -> None:
    op.create_table(
        "notification",
        sa.Column("id", _Id, primary_key=True, autoincrement=True),
        _to("account", index=True),
        _to("relationship", index=True),
        _to("message", unique=True),
        sa.Column("card", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("silent_from", sa.BigInteger, nullable=False),
        sa.Column("acknowledged", sa.BigInteger, nullable=True),
        _to("notification", null=True),
        sqlite_autoincrement=True,
    )
    waiting = sa.text("acknowledged IS NULL")
    op.create_index(
        "ix_notification_waiting",
        "notification",
        ["silent_from"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
