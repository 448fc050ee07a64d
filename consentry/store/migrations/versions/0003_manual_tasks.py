"""People whom somebody must take out of an audience by hand."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "manual_task",
        sa.Column("task_id", sa.String(36), primary_key=True),
        sa.Column("sync", sa.String(63), nullable=False),
        sa.Column("destination", sa.String(63), nullable=False),
        sa.Column("audience", sa.String(255), nullable=False),
        sa.Column("person_id", sa.String(36), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("due_at", sa.String(27), nullable=False),
        sa.Column("closed_at", sa.String(27)),
        sa.Column("closed_by", sa.String(255)),
    )
    op.create_index("manual_task_open", "manual_task", ["state", "due_at"])


def downgrade() -> None:
    """Remove the table, and with it what is still to be done by hand."""
    op.drop_table("manual_task")
