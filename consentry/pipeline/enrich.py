"""Complete golden records with what enrichment vendors know, where people allow it and first-party data is silent.

To look somebody up is to tell the vendor of them. It is therefore decided as a delivery is: the vendor is a
destination of the policy, its purpose has to be allowed, and only the identifiers that the policy names leave, as it
transforms them. An answer is remembered under a keyed hash of what was sent: nobody is asked for twice within
`ttl_days`, however their records are merged, and an answer serves only whoever has these identifiers now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pyarrow as pa

from consentry.connectors.base import Page
from consentry.consent.gate import Target
from consentry.errors import RetryLater, SourceFailed
from consentry.model.names import quoted
from consentry.pipeline.context import Context
from consentry.pipeline.job import Enrichment
from consentry.pipeline.uses import golden_of
from consentry.warehouse import Warehouse

KEYS = "identity.enrichment_key"
ANSWERS = "identity.enrichment"
_STAGED = "identity.enrichment_staged"
_GOLDEN, _SOURCES = "identity.golden_enriched", "identity.golden_source_enriched"
BATCH = 100
KEY_SCHEMA = pa.schema([("person_id", pa.string()), ("payload_hash", pa.string())])
ANSWER_SCHEMA = pa.schema(
    [
        ("enrichment", pa.string()),
        ("lookup", pa.string()),
        ("person_id", pa.string()),
        ("status", pa.string()),
        ("likelihood", pa.float64()),
        ("data", pa.string()),
        ("source", pa.string()),
        ("fetched_at", pa.timestamp("us", tz="UTC")),
    ]
)
# An answer that is on its way, or got lost, is asked for again in the next run.
_SETTLED = "status IN ('found', 'none')"


def enrich(context: Context) -> dict[str, Any]:
    """Look up who may be and was not, and fill the gaps of identity.golden; a vendor that fails stops nothing."""
    blocks = context.loaded.job.enrichments
    if blocks:
        _answers(context.warehouse)
        context.gate.subjects(context.warehouse)
    return {"enriched": {name: _Enriching(context, name, block).run() for name, block in blocks.items()}}


def _answers(warehouse: Warehouse) -> None:
    if not warehouse.has(ANSWERS):
        warehouse.write(ANSWERS, [], schema=ANSWER_SCHEMA)


class _Enriching:
    """One enrichment of one run."""

    def __init__(self, context: Context, name: str, block: Enrichment) -> None:
        self._context, self._name, self._block = context, name, block
        self._warehouse = context.warehouse
        self._target: Target = block.target(name)
        self._lookups: dict[str, str] = {}

    def run(self) -> dict[str, Any]:
        decided = self._context.gate.decide(self._warehouse, [self._target])[self._target.name]
        self._write_keys()
        counts: Counter[str] = Counter()
        sentence = ""
        try:
            for page in self._context.loaded.enricher(self._name).enrich(self._people()):
                counts.update(self._keep(page))
                self._context.progress.advance("enrich", page.records.num_rows)
        except (SourceFailed, RetryLater) as error:
            sentence = str(error)
        filled = self._fill()
        self._context.audit.append(
            "enrichment.looked_up",
            run=self._context.run_id,
            enrichment=self._name,
            counts=dict(counts),
            refused=dict(decided.refused),
            filled=filled,
        )
        return {"answers": dict(counts), "refused": dict(decided.refused), "filled": filled, "sentence": sentence}

    def _golden(self) -> str:
        return golden_of(self._context, self._target.destination)

    def _write_keys(self) -> None:
        """Name what would be sent of each person who may be looked up."""
        allowed = (
            f"SELECT g.* FROM {self._golden()} g JOIN ops.decision d"
            " ON d.person_id = g.person_id AND d.target = $consentry_target AND d.allow"
        )
        found = self._context.gate.payload_hashes(self._warehouse, self._target, allowed)
        batches = (batch.select(KEY_SCHEMA.names).cast(KEY_SCHEMA) for batch in found)
        self._warehouse.write(KEYS, batches, schema=KEY_SCHEMA)

    def _people(self) -> Iterator[pa.RecordBatch]:
        """Yield those who were not looked up within the time, with the identifiers that the policy lets out."""
        last = str(UUID(int=0))
        while people := self._next_people(last):
            last = str(people[-1]["person_id"])
            sealed = self._context.gate.seal(self._warehouse, self._target, "add", people, batch_id=last)
            self._context.gate.verify(sealed.batch)
            self._lookups |= sealed.payload_hashes
            rows = [{"person_id": row.person_id, **row.identifiers} for row in sealed.batch.rows]
            columns = [("person_id", pa.string()), *((kind, pa.string()) for kind in self._block.identifiers)]
            yield pa.RecordBatch.from_pylist(rows, pa.schema(columns))

    def _next_people(self, last: str) -> list[dict[str, Any]]:
        since = datetime.now(UTC) - timedelta(days=self._block.ttl_days)
        found = self._warehouse.sql(
            f"SELECT g.* FROM {self._golden()} g JOIN ("
            f"SELECT min(person_id) AS person_id FROM {KEYS} WHERE payload_hash NOT IN ("
            f"SELECT lookup FROM {ANSWERS} WHERE enrichment = $name AND {_SETTLED} AND fetched_at > $since)"
            " GROUP BY payload_hash) k ON k.person_id = g.person_id WHERE g.person_id > $last"
            f" ORDER BY g.person_id LIMIT {BATCH}",
            name=self._name,
            since=since,
            last=last,
        )
        rows: list[dict[str, Any]] = found.to_pylist()
        return rows

    def _keep(self, page: Page) -> Counter[str]:
        """Write answers down, in place of older ones about the same identifiers."""
        rows = [
            {**row, "enrichment": self._name, "lookup": self._lookups.pop(row["person_id"])}
            for row in page.records.to_pylist()
        ]
        self._warehouse.write(_STAGED, [pa.RecordBatch.from_pylist(rows, ANSWER_SCHEMA)], schema=ANSWER_SCHEMA)
        with self._warehouse.transaction():
            self._warehouse.sql(
                f"DELETE FROM {ANSWERS} WHERE enrichment = $name AND lookup IN (SELECT s.lookup FROM {_STAGED} s)",
                name=self._name,
            )
            self._warehouse.sql(f"INSERT INTO {ANSWERS} BY NAME SELECT * FROM {_STAGED}")
        self._warehouse.drop(_STAGED)
        return Counter(row["status"] for row in rows)

    def _fill(self) -> dict[str, int]:
        """Fill what golden records do not know, and note where each value came from; return how many by field."""
        known = self._warehouse.columns("identity.golden")
        values = self._values(known)
        old = [name for name in known if name not in values]
        selected = [f"g.{quoted(name)}" for name in old]
        for name, value in values.items():
            filled_in = f"coalesce(g.{quoted(name)}, {value})" if name in known else value
            selected.append(f"{filled_in} AS {quoted(name)}")
        bound: dict[str, Any] = {"name": self._name}
        joined = (
            f"identity.golden g LEFT JOIN {KEYS} k ON k.person_id = g.person_id LEFT JOIN {ANSWERS} e"
            " ON e.enrichment = $name AND e.lookup = k.payload_hash AND e.status = 'found'"
        )
        filled: dict[str, int] = {}
        self._warehouse.sql(f"CREATE OR REPLACE TABLE {_SOURCES} AS SELECT * FROM identity.golden_source")
        for name, value in values.items():
            gap = f"g.{quoted(name)} IS NULL AND " if name in known else ""
            filled[name] = self._note(name, f"FROM {joined} WHERE {gap}{value} IS NOT NULL", bound)
        self._warehouse.sql(f"CREATE OR REPLACE TABLE {_GOLDEN} AS SELECT {', '.join(selected)} FROM {joined}", **bound)
        self._warehouse.publish({"identity.golden": _GOLDEN, "identity.golden_source": _SOURCES})
        return filled

    def _values(self, known: Mapping[str, str]) -> dict[str, str]:
        """Return, by field of ours, the value of the answer, in the type and the unit that the field has."""
        conversions = self._context.loaded.unified.conversions.get(self._target.name, {})
        values = {name: f"json_extract_string(e.data, '$.{path}')" for name, path in self._block.fields.items()}
        for name, conversion in conversions.items():
            values[name] = conversion.sql(f"TRY_CAST({values[name]} AS DOUBLE)")
        return {name: f"TRY_CAST({value} AS {known.get(name, 'TEXT')})" for name, value in values.items()}

    def _note(self, field: str, found: str, bound: Mapping[str, Any]) -> int:
        self._warehouse.sql(
            f"INSERT INTO {_SOURCES} (person_id, field, record_id, source)"
            f" SELECT g.person_id, $field, $name || ':' || e.lookup, $name {found}",
            field=field,
            **bound,
        )
        counted = self._warehouse.sql(f"SELECT count(*) AS n {found}", **bound)
        return int(counted["n"][0].as_py())
