"""What stewards decided about people."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "identity_decision",
        sa.Column("decision_id", sa.String(36), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("said_by", sa.String(255), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("decided_at", sa.String(27), nullable=False),
        sa.Column("forced", sa.Boolean, nullable=False),
        sa.Column("sides", sa.Text, nullable=False),
        sa.Column("reverts", sa.String(36)),
    )


def downgrade() -> None:
    """Remove the table, and with it what was decided."""
    op.drop_table("identity_decision")
