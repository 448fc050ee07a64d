"""What people ask for under data protection law, and whose data must be kept all the same."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "subject_request",
        sa.Column("request_id", sa.String(36), primary_key=True),
        sa.Column("subject", sa.String(64), nullable=False, index=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("law", sa.String(16), nullable=False),
        sa.Column("manner", sa.String(255), nullable=False),
        sa.Column("received_on", sa.String(10), nullable=False),
        sa.Column("due_on", sa.String(10), nullable=False),
        sa.Column("extended_because", sa.Text),
        sa.Column("answered_on", sa.String(10)),
        sa.Column("response", sa.String(16)),
        sa.Column("basis", sa.Text),
    )
    op.create_table(
        "legal_hold",
        sa.Column("hold_id", sa.String(36), primary_key=True),
        sa.Column("subject", sa.String(64), nullable=False, index=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("placed_at", sa.String(27), nullable=False),
        sa.Column("placed_by", sa.String(255), nullable=False),
        sa.Column("ended_at", sa.String(27)),
        sa.Column("ended_by", sa.String(255)),
    )


def downgrade() -> None:
    """Remove the tables; what was asked for and held would be forgotten."""
    op.drop_table("legal_hold")
    op.drop_table("subject_request")
