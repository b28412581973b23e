"""Whether whom a person writes to beside a contact becomes one, too; per account.

Sources: the design, "Outward: person → vendor".
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("account", sa.Column("new_contacts", sa.Boolean, nullable=False, server_default=sa.false()))
