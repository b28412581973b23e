"""What becomes of remote images, per relationship, and how a vendor is named in From, per account.

Sources: `core.remote`; `core.inward.written_as`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("relationship", sa.Column("remote_images", sa.Text, nullable=False, server_default="keep"))
    op.add_column("relationship", sa.Column("pixels", sa.Integer, nullable=False, server_default="0"))
    op.add_column(
        "account", sa.Column("from_form", sa.Text, nullable=False, server_default="name-and-address")
    )
