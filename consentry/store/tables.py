"""The tables of the control store; a change here needs a migration in `migrations/versions`."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

# Instants are UTC, ISO 8601 text with microseconds and a Z: they sort as text and read alike on every database.
_instant = sa.String(27)

run = sa.Table(
    "run",
    metadata,
    sa.Column("run_id", sa.String(36), primary_key=True),
    sa.Column("job", sa.String(63), nullable=False),
    sa.Column("plan_sha256", sa.String(64), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("started_at", _instant, nullable=False),
    sa.Column("ended_at", _instant),
    sa.Column("summary", sa.Text),
)

# A stage that is listed here is done for that run and is not done again by a resumed one.
stage_done = sa.Table(
    "stage_done",
    metadata,
    sa.Column("run_id", sa.String(36), sa.ForeignKey("run.run_id"), primary_key=True),
    sa.Column("stage", sa.String(63), primary_key=True),
    sa.Column("done_at", _instant, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
)

consent_event = sa.Table(
    "consent_event",
    metadata,
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
    sa.Column("effective_at", _instant, nullable=False),
    sa.Column("recorded_at", _instant, nullable=False),
    sa.Column("expires_at", _instant),
    sa.Column("evidence_uri", sa.Text),
    sa.Column("prev_hash", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.UniqueConstraint("source_system", "source_event_id"),
)
sa.Index("consent_event_subject", consent_event.c.identifier_hmac, consent_event.c.purpose)

suppression = sa.Table(
    "suppression",
    metadata,
    sa.Column("identifier_hmac", sa.String(64), primary_key=True),
    sa.Column("scope_purpose", sa.String(255), primary_key=True),
    sa.Column("key_version", sa.Integer, nullable=False),
    sa.Column("reason", sa.String(32), nullable=False),
    sa.Column("since", _instant, nullable=False),
)

# Every policy that was in force; approval: the signature that lets an older one back in.
policy_seen = sa.Table(
    "policy_seen",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("policy_id", sa.String(255), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("first_at", _instant, nullable=False),
    sa.Column("in_force", sa.Boolean, nullable=False),
    sa.Column("approval", sa.String(64)),
)

# One key a person, wrapped; when the wrapped key is gone, what it encrypted is gone (crypto-shredding).
subject_key = sa.Table(
    "subject_key",
    metadata,
    sa.Column("subject_ref", sa.String(36), primary_key=True),
    sa.Column("dek_wrapped", sa.LargeBinary),
    sa.Column("kek_id", sa.String(63), nullable=False),
    sa.Column("made_at", _instant, nullable=False),
    sa.Column("destroyed_at", _instant),
)

# The key versions that were used, each with a value that only the same key gives.
key_seen = sa.Table(
    "key_seen",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("proof", sa.String(64), nullable=False),
    sa.Column("first_at", _instant, nullable=False),
)

# What platforms sent as it came, each under its person's key; it can go while the ledger stays whole.
consent_evidence = sa.Table(
    "consent_evidence",
    metadata,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("subject_ref", sa.String(36), nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)

# The journal: a batch stands here before it is sent, its outcomes after. No payload, no identifier.
delivery_batch = sa.Table(
    "delivery_batch",
    metadata,
    sa.Column("batch_id", sa.String(36), primary_key=True),
    sa.Column("run_id", sa.String(36), nullable=False),
    sa.Column("sync", sa.String(63), nullable=False),
    sa.Column("destination", sa.String(63), nullable=False),
    sa.Column("audience", sa.String(255), nullable=False),
    sa.Column("operation", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),  # sending, pending, answered, folded
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("journalled_at", _instant, nullable=False),
    sa.Column("answered_at", _instant),
)
sa.Index("delivery_batch_open", delivery_batch.c.sync, delivery_batch.c.state)

delivery_row = sa.Table(
    "delivery_row",
    metadata,
    sa.Column("batch_id", sa.String(36), sa.ForeignKey("delivery_batch.batch_id"), primary_key=True),
    sa.Column("person_id", sa.String(36), primary_key=True),
    sa.Column("payload_hash", sa.String(32), nullable=False),
    sa.Column("remote_id", sa.Text),
    sa.Column("outcome", sa.String(16)),
    sa.Column("code", sa.String(63)),
    sa.Column("place", sa.Integer),  # in the batch
    sa.Column("identity", sa.Text),  # JSON: kind -> what was sent, sealed
    sa.Column("keep", sa.Boolean),  # whether the ledger takes the identity over
    sa.Column("job", sa.Text),  # of the destination, while the row is pending
)

dead_letter = sa.Table(
    "dead_letter",
    metadata,
    sa.Column("sync", sa.String(63), primary_key=True),
    sa.Column("person_id", sa.String(36), primary_key=True),
    sa.Column("operation", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),  # open, replay, discarded
    sa.Column("code", sa.String(63), nullable=False),
    sa.Column("field", sa.String(255)),
    sa.Column("payload_hash", sa.String(32), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("first_at", _instant, nullable=False),
    sa.Column("last_at", _instant, nullable=False),
)

# People whom somebody must take out by hand, because no call can do it.
manual_task = sa.Table(
    "manual_task",
    metadata,
    sa.Column("task_id", sa.String(36), primary_key=True),
    sa.Column("sync", sa.String(63), nullable=False),
    sa.Column("destination", sa.String(63), nullable=False),
    sa.Column("audience", sa.String(255), nullable=False),
    sa.Column("person_id", sa.String(36), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),  # open, done, obsolete
    sa.Column("created_at", _instant, nullable=False),
    sa.Column("due_at", _instant, nullable=False),
    sa.Column("closed_at", _instant),
    sa.Column("closed_by", sa.String(255)),
)
sa.Index("manual_task_open", manual_task.c.state, manual_task.c.due_at)

# What stewards decided about people. sides: JSON, of each side the keyed hashes of its records.
identity_decision = sa.Table(
    "identity_decision",
    metadata,
    sa.Column("decision_id", sa.String(36), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("said_by", sa.String(255), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("decided_at", _instant, nullable=False),
    sa.Column("forced", sa.Boolean, nullable=False),
    sa.Column("sides", sa.Text, nullable=False),
    sa.Column("reverts", sa.String(36)),
)

# What people ask for under data protection law; days are ISO 8601.
subject_request = sa.Table(
    "subject_request",
    metadata,
    sa.Column("request_id", sa.String(36), primary_key=True),
    sa.Column("subject", sa.String(64), nullable=False, index=True),  # a keyed hash
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

legal_hold = sa.Table(
    "legal_hold",
    metadata,
    sa.Column("hold_id", sa.String(36), primary_key=True),
    sa.Column("subject", sa.String(64), nullable=False, index=True),  # a keyed hash
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("placed_at", _instant, nullable=False),
    sa.Column("placed_by", sa.String(255), nullable=False),
    sa.Column("ended_at", _instant),
    sa.Column("ended_by", sa.String(255)),
)
