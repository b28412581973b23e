"""Where List-Unsubscribe leads, and the vendor's own ways out.

Sources: `mail.unsubscribe`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("relationship", sa.Column("unsubscribe", sa.Text, nullable=False, server_default="vendor"))
    op.add_column("relationship", sa.Column("leave_url", sa.Text, nullable=False, server_default=""))
    op.add_column("relationship", sa.Column("leave_mailto", sa.Text, nullable=False, server_default=""))
