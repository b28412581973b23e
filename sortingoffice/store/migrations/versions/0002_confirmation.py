"""Held messages ask the person, and keep their word.

Sources: the cards document of the design, "Held, and errors".
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "confirmation",
        sa.Column("id", _Id, primary_key=True, autoincrement=True),
        sa.Column("account_id", _Id, sa.ForeignKey("account.id"), nullable=False),
        sa.Column("relationship_id", _Id, sa.ForeignKey("relationship.id"), nullable=False),
        sa.Column("message_id", _Id, sa.ForeignKey("message.id"), nullable=False, index=True),
        sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("leaving", sa.Text, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("answered", sa.BigInteger, nullable=True),
        sa.Column("answer", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
