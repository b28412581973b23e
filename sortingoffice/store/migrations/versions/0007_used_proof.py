"""Signatures that have carried a message of an account to a recipient.

Sources: `core.proof`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "used_proof",
        sa.Column("id", _Id, primary_key=True, autoincrement=True),
        sa.Column("account_id", _Id, sa.ForeignKey("account.id"), nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=True),
        sa.UniqueConstraint("account_id", "digest"),
        sqlite_autoincrement=True,
    )
    condition = sa.text("until IS NOT NULL")
    op.create_index(
        "ix_used_proof_until",
        "used_proof",
        ["until"],
        sqlite_where=condition,
        postgresql_where=condition,
    )
