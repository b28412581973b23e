"""Names that an account keeps to itself.

Sources: `core.names`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "private_name",
        sa.Column("id", _Id, primary_key=True, autoincrement=True),
        sa.Column("account_id", _Id, sa.ForeignKey("account.id"), nullable=False),
        sa.Column("mark", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.UniqueConstraint("account_id", "mark", "name"),
        sqlite_autoincrement=True,
    )
