"""Policies that were in force, and the wrapped key of each person."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "policy_seen",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("policy_id", sa.String(255), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("first_at", sa.String(27), nullable=False),
        sa.Column("in_force", sa.Boolean, nullable=False),
        sa.Column("approval", sa.String(64)),
    )
    op.create_table(
        "subject_key",
        sa.Column("subject_ref", sa.String(36), primary_key=True),
        sa.Column("dek_wrapped", sa.LargeBinary),
        sa.Column("kek_id", sa.String(63), nullable=False),
        sa.Column("made_at", sa.String(27), nullable=False),
        sa.Column("destroyed_at", sa.String(27)),
    )


def downgrade() -> None:
    """Remove both tables; what the keys of people encrypted cannot be read after that."""
    op.drop_table("subject_key")
    op.drop_table("policy_seen")
