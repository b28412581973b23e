"""The addresses of the by-mail contacts can be made anew.

Sources: `flows.bymail`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("account", sa.Column("contacts_renewed", sa.Integer, nullable=False, server_default="0"))
