"""When a person was told of mail that was one slip away from an address of theirs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("reject", sa.Column("told", sa.BigInteger, nullable=True))
