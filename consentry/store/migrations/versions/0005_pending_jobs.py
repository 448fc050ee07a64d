"""Rows that a destination accepted and applies later, and what it knows people by."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS = {"place": sa.Integer, "identity": sa.Text, "keep": sa.Boolean, "job": sa.Text}


def upgrade() -> None:
    """Add the columns to the journal's rows."""
    with op.batch_alter_table("delivery_row") as table:
        for name, kind in COLUMNS.items():
            table.add_column(sa.Column(name, kind))


def downgrade() -> None:
    """Take them away; jobs under way are forgotten."""
    with op.batch_alter_table("delivery_row") as table:
        for name in COLUMNS:
            table.drop_column(name)
