"""The address that inward mail was accepted for: what a DSN to its sender names.

Sources: `core.model.Delivery`; RFC 3464 §2.3.2.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("delivery", sa.Column("accepted_for", sa.Text, nullable=False, server_default=""))
