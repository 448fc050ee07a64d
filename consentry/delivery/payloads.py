"""Which payload does each person have now: hash again only the golden records that changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import pyarrow as pa

from consentry.consent.gate import Gate, Target
from consentry.model.names import quoted
from consentry.warehouse import Warehouse

_DECIDED = (
    "JOIN ops.decision d ON d.person_id = g.person_id AND d.target = $target"
    # The consent signals of a sync are decided as targets `<sync>/<signal>`.
    " LEFT JOIN (SELECT person_id, string_agg(target, ',' ORDER BY target) AS granted FROM ops.decision"
    " WHERE allow AND starts_with(target, $target || '/') GROUP BY person_id) o ON o.person_id = g.person_id"
)
HASHED = pa.schema([("person_id", pa.string()), ("payload_hash", pa.string())])


def refresh(warehouse: Warehouse, gate: Gate, target: Target, *, people: str) -> int:
    """Bring `identity.payload` up to date for the people of a table, and return how many had to be hashed.

    people: a table with a column person_id.
    """
    content = fingerprint(warehouse)
    warehouse.sql(
        f"CREATE OR REPLACE TABLE delivery.stale AS SELECT g.person_id, {content} AS fingerprint"
        f" FROM identity.golden g JOIN {people} c ON c.person_id = g.person_id {_DECIDED}"
        " LEFT JOIN identity.payload p ON p.target = $target AND p.person_id = g.person_id"
        f" WHERE p.fingerprint IS NULL OR p.fingerprint <> {content}",
        target=target.name,
        version=version(gate, target),
    )
    stale = warehouse.count("delivery.stale")
    if stale:
        query = "SELECT g.* FROM identity.golden g JOIN delivery.stale s ON s.person_id = g.person_id"
        hashes = (batch.select(HASHED.names).cast(HASHED) for batch in gate.payload_hashes(warehouse, target, query))
        warehouse.write("delivery.hashed", hashes, schema=HASHED)
        _remember(warehouse, target)
        warehouse.drop("delivery.hashed")
    warehouse.drop("delivery.stale")
    return stale


def _remember(warehouse: Warehouse, target: Target) -> None:
    with warehouse.transaction():
        warehouse.sql(
            "DELETE FROM identity.payload WHERE target = $target"
            " AND person_id IN (SELECT s.person_id FROM delivery.stale s)",
            target=target.name,
        )
        warehouse.sql(
            "INSERT INTO identity.payload SELECT $target, s.person_id, s.fingerprint, h.payload_hash"
            " FROM delivery.stale s JOIN delivery.hashed h ON h.person_id = s.person_id",
            target=target.name,
        )


def remember_sent(warehouse: Warehouse, gate: Gate, target: Target, batches: Sequence[str]) -> None:
    """Note the payload hashes of people just sent, so that the next difference need not hash them again.

    batches: those folded in this run; the golden records must be the ones they were made from.
    """
    if not batches:
        return
    sent = "FROM delivery.ack a WHERE a.sync = $target AND a.batch_id IN (SELECT unnest($batches))"
    with warehouse.transaction():
        warehouse.sql(
            f"DELETE FROM identity.payload WHERE target = $target AND person_id IN (SELECT a.person_id {sent})",
            target=target.name,
            batches=batches,
        )
        warehouse.sql(
            f"INSERT INTO identity.payload SELECT $target, g.person_id, {fingerprint(warehouse)}, s.payload_hash"
            f" FROM identity.golden g {_DECIDED}"
            f" JOIN (SELECT a.person_id, a.payload_hash {sent}) s ON s.person_id = g.person_id",
            target=target.name,
            batches=batches,
            version=version(gate, target),
        )


def version(gate: Gate, target: Target) -> str:
    """Name the policy, the key and the mapping in force: under others the same record makes another payload."""
    place = [gate.policy.sha256, gate.ledger.keyring.active, target.destination, target.purpose]
    mapping = [*place, list(target.identifiers), dict(target.fields)]
    return hashlib.sha256(json.dumps(mapping, sort_keys=True).encode()).hexdigest()


def fingerprint(warehouse: Warehouse) -> str:
    """Return the SQL that names a golden record `g` under its decision `d` and its signals `o`, with `$version`.

    64 bits that stay in the restricted zone: they say "look again", and are never compared across zones.
    """
    columns = [f"g.{quoted(name)}" for name in warehouse.columns("identity.golden")]
    return f"hash($version, d.identifiers, o.granted, {', '.join(columns)})"
