"""The first schema: runs, consent ledger, suppression list, delivery journal, dead letters."""

from alembic import op

from consentry.store.tables import metadata

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
    bind = op.get_bind()
    metadata.create_all(bind)
    for statement in _TRIGGERS.get(bind.dialect.name, []):
        op.execute(statement)


def downgrade() -> None:
    """Refuse: the first schema holds evidence."""
    raise NotImplementedError("The first schema holds consent evidence and is not removed.")
