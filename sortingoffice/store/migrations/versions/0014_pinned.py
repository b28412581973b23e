"""Whether a person wants a relationship on top of the lists."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("relationship", sa.Column("pinned", sa.Boolean, nullable=False, server_default=sa.false()))
