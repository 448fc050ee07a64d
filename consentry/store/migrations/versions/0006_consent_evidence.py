"""What platforms sent about consent as it came, sealed under the person's own key."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "consent_evidence",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("subject_ref", sa.String(36), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Remove the table, and with it the evidence."""
    op.drop_table("consent_evidence")
