"""Which key versions a job has used, by a value that only the same key gives."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "key_seen",
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("proof", sa.String(64), nullable=False),
        sa.Column("first_at", sa.String(27), nullable=False),
    )


def downgrade() -> None:
    """Remove the table; other keys would not be noticed."""
    op.drop_table("key_seen")
