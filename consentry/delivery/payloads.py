"""Which payload does each person have now: hash again only the golden records that changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import pyarrow as pa

from consentry.consent.gate import Gate, Target
from consentry.delivery.golden import Golden, golden_of
from consentry.model.names import quoted
from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON
from consentry.warehouse.protocol import Param

HASHED = pa.schema([("person_id", pa.string()), ("payload_hash", pa.string())])


def refresh(warehouse: Warehouse, gate: Gate, target: Target, *, people: str) -> int:
    """Bring `identity.payload` up to date for the people of a table, and return how many had to be hashed.

    people: a table with the columns person_id and fingerprint.
    """
    warehouse.sql(
        f"CREATE OR REPLACE TABLE delivery.stale AS SELECT c.person_id, c.fingerprint FROM {people} c"
        " LEFT JOIN identity.payload p ON p.target = $target AND p.person_id = c.person_id"
        " WHERE p.fingerprint IS DISTINCT FROM c.fingerprint",
        target=target.name,
    )
    stale = warehouse.count("delivery.stale")
    if stale:
        golden = golden_of(warehouse, gate, target).relation
        query = f"SELECT g.* FROM {golden} g JOIN delivery.stale s ON s.person_id = g.person_id"
        hashes = (batch.select(HASHED.names).cast(HASHED) for batch in gate.payload_hashes(warehouse, target, query))
        warehouse.write("delivery.hashed", hashes, schema=HASHED)
        _remember(
            warehouse, target, f"SELECT CAST(person_id AS {PERSON}) AS person_id, payload_hash FROM delivery.hashed"
        )
        warehouse.drop("delivery.hashed")
    warehouse.drop("delivery.stale")
    return stale


def remember_sent(warehouse: Warehouse, target: Target, batches: Sequence[str]) -> None:
    """Note the payload hashes of people just sent, so that the next difference need not hash them again.

    batches: those folded in this run, made from the golden records that the difference has compared.
    """
    if batches:
        sent = (
            "SELECT a.person_id, a.payload_hash FROM delivery.ack a"
            " WHERE a.sync = $target AND a.batch_id IN (SELECT unnest($batches))"
        )
        _remember(warehouse, target, sent, batches=batches)


def _remember(warehouse: Warehouse, target: Target, hashed: str, **params: Param) -> None:
    """Put down payload hashes with the fingerprints of what they were made from."""
    with warehouse.transaction():
        warehouse.sql(
            "DELETE FROM identity.payload p WHERE p.target = $target"
            f" AND EXISTS (SELECT 1 FROM ({hashed}) h WHERE h.person_id = p.person_id)",
            target=target.name,
            **params,
        )
        warehouse.sql(
            "INSERT INTO identity.payload SELECT $target, d.person_id, d.fingerprint, h.payload_hash"
            f" FROM delivery.desired d JOIN ({hashed}) h ON h.person_id = d.person_id",
            target=target.name,
            **params,
        )


def version(gate: Gate, target: Target) -> str:
    """Name the policy, the key and the mapping in force: under others the same record makes another payload."""
    place = [gate.policy.sha256, gate.ledger.keyring.active, target.destination, target.purpose]
    mapping = [*place, list(target.identifiers), dict(target.fields)]
    return hashlib.sha256(json.dumps(mapping, sort_keys=True).encode()).hexdigest()


def fingerprints(golden: Golden, *, signals: bool) -> str:
    """Return the query for `person_id` and `fingerprint` of everybody whom `$target` may have, under `$version`.

    A fingerprint names the golden record, the decision and the signals that a payload is made from, in 64 bits that
    stay in the restricted zone: they say "look again", and are never compared across zones.
    signals: whether the destination is told any, which costs a join.
    """
    columns = ", ".join(quoted(name) for name in golden.columns)
    # The consent signals of a sync are decided as targets `<sync>/<signal>`.
    granted = (
        " LEFT JOIN (SELECT person_id, string_agg(target, ',' ORDER BY target) AS granted FROM ops.decision"
        " WHERE allow AND starts_with(target, $target || '/') GROUP BY person_id) o ON o.person_id = d.person_id"
    )
    # Materialised, because the planner would take every column of everybody through the joins, and hash them after.
    return (
        f"WITH g AS MATERIALIZED (SELECT person_id, hash({columns}) AS content FROM {golden.relation})"
        " SELECT g.person_id, hash(d.decided, g.content) AS fingerprint FROM g JOIN ("
        f"SELECT d.person_id, hash($version, d.identifiers{', o.granted' if signals else ''}) AS decided"
        f" FROM ops.decision d{granted if signals else ''}"
        " WHERE d.target = $target AND d.allow) d ON d.person_id = g.person_id"
    )
