"""The first schema: runs, consent ledger, suppression list, delivery journal, dead letters."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# consent_event is evidence: nothing may change or remove a row once it stands.
_TRIGGERS = {
    "sqlite": [
        f"CREATE TRIGGER consent_event_no_{verb} BEFORE {verb.upper()} ON consent_event "
        "BEGIN SELECT RAISE(ABORT, 'consent_event is append-only'); END"
        for verb in ("update", "delete")
    ],
    "postgresql": [
        "CREATE FUNCTION consent_event_append_only() RETURNS trigger AS "
        "$$ BEGIN RAISE EXCEPTION 'consent_event is append-only'; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER consent_event_append_only BEFORE UPDATE OR DELETE ON consent_event "
        "FOR EACH ROW EXECUTE FUNCTION consent_event_append_only()",
    ],
}


def upgrade() -> None:
    """Make every table, and the triggers that keep the ledger append-only."""
    _make_runs()
    _make_consent()
    _make_delivery()
    for statement in _TRIGGERS.get(op.get_bind().dialect.name, []):
        op.execute(statement)


def downgrade() -> None:
    """Refuse: the first schema holds evidence."""
    raise NotImplementedError("The first schema holds consent evidence and is not removed.")


def _make_runs() -> None:
    op.create_table(
        "run",
        sa.Column("run_id", sa.String(36), primary_key=True),
        sa.Column("job", sa.String(63), nullable=False),
        sa.Column("plan_sha256", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("started_at", sa.String(27), nullable=False),
        sa.Column("ended_at", sa.String(27)),
        sa.Column("summary", sa.Text),
    )
    op.create_table(
        "stage_done",
        sa.Column("run_id", sa.String(36), sa.ForeignKey("run.run_id"), primary_key=True),
        sa.Column("stage", sa.String(63), primary_key=True),
        sa.Column("done_at", sa.String(27), nullable=False),
        sa.Column("result", sa.Text, nullable=False),
    )


def _make_consent() -> None:
    op.create_table(
        "consent_event",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("event_id", sa.String(36), nullable=False, unique=True),
        sa.Column("identifier_type", sa.String(63), nullable=False),
        sa.Column("identifier_hmac", sa.String(64), nullable=False),
        sa.Column("purpose", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("regime", sa.String(16)),
        sa.Column("lawful_basis", sa.String(32)),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("mechanism", sa.String(255)),
        sa.Column("source_system", sa.String(63), nullable=False),
        sa.Column("source_event_id", sa.String(255), nullable=False),
        sa.Column("notice_id", sa.String(255)),
        sa.Column("notice_version", sa.Integer),
        sa.Column("notice_sha256", sa.String(64)),
        sa.Column("jurisdiction", sa.String(16)),
        sa.Column("effective_at", sa.String(27), nullable=False),
        sa.Column("recorded_at", sa.String(27), nullable=False),
        sa.Column("expires_at", sa.String(27)),
        sa.Column("evidence_uri", sa.Text),
        sa.Column("prev_hash", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.UniqueConstraint("source_system", "source_event_id"),
    )
    op.create_index("consent_event_subject", "consent_event", ["identifier_hmac", "purpose"])
    op.create_table(
        "suppression",
        sa.Column("identifier_hmac", sa.String(64), primary_key=True),
        sa.Column("scope_purpose", sa.String(255), primary_key=True),
        sa.Column("key_version", sa.Integer, nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("since", sa.String(27), nullable=False),
    )


def _make_delivery() -> None:
    op.create_table(
        "delivery_batch",
        sa.Column("batch_id", sa.String(36), primary_key=True),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("sync", sa.String(63), nullable=False),
        sa.Column("destination", sa.String(63), nullable=False),
        sa.Column("audience", sa.String(255), nullable=False),
        sa.Column("operation", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("journalled_at", sa.String(27), nullable=False),
        sa.Column("answered_at", sa.String(27)),
    )
    op.create_index("delivery_batch_open", "delivery_batch", ["sync", "state"])
    op.create_table(
        "delivery_row",
        sa.Column("batch_id", sa.String(36), sa.ForeignKey("delivery_batch.batch_id"), primary_key=True),
        sa.Column("person_id", sa.String(36), primary_key=True),
        sa.Column("payload_hash", sa.String(32), nullable=False),
        sa.Column("remote_id", sa.Text),
        sa.Column("outcome", sa.String(16)),
        sa.Column("code", sa.String(63)),
    )
    op.create_table(
        "dead_letter",
        sa.Column("sync", sa.String(63), primary_key=True),
        sa.Column("person_id", sa.String(36), primary_key=True),
        sa.Column("operation", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("code", sa.String(63), nullable=False),
        sa.Column("field", sa.String(255)),
        sa.Column("payload_hash", sa.String(32), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("first_at", sa.String(27), nullable=False),
        sa.Column("last_at", sa.String(27), nullable=False),
    )
