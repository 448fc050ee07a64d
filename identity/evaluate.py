"""How good the people of a job are: against labels, and by what can be seen without any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from consentry.errors import ConfigError
from consentry.identity.config import IdentityConfig
from consentry.identity.decisions import Decisions
from consentry.identity.estimate import pair_estimates, sample_precision
from consentry.identity.fitted import fitted
from consentry.identity.labels import Labels
from consentry.identity.metrics import Agreement, b_cubed, exact_clusters, mistakes, pairwise
from consentry.identity.model import load
from consentry.identity.resolve import resolve
from consentry.warehouse import DuckDBWarehouse, Warehouse

# The check that order does not matter resolves everything once more, in memory.
CHECKED = 200_000
_LARGEST = 10
_RUNS = 10
_NOW = "SELECT record_id, person_id FROM identity.membership WHERE valid_to_run IS NULL ORDER BY record_id"


# Everything here returns plain JSON.
def against_labels(warehouse: Warehouse, labels: Labels) -> dict[str, Any]:
    """Compare the people with labels; records that only one of both has are counted and left out.

    Raises ConfigError when no labelled record is known.
    """
    rows = warehouse.sql(_NOW)
    people = dict(zip(rows["record_id"].to_pylist(), rows["person_id"].to_pylist(), strict=True))
    known = [record for record in labels.person if record in people]
    if not known:
        raise ConfigError("None of the labelled records is known to this job. Record ids look like crm:17.")
    told: dict[str, Any] = {"records": len(known), "unknown": len(labels.person) - len(known)}
    if labels.draws:
        return told | _of_sample(labels)
    found = [people[record] for record in known]
    true = [labels.person[record] for record in known]
    mixed, scattered = mistakes(found, true)
    precision, recall = pair_estimates(found, true)
    return told | {
        "people": len(set(true)),
        "unlabelled": len(people) - len(known),
        "pairwise": _scores(pairwise(found, true)),
        "b_cubed": _scores(b_cubed(found, true)),
        "exact_clusters": _scores(exact_clusters(found, true)),
        "mixed_people": mixed,
        "scattered_people": scattered,
        "intervals": {"pairwise_precision": asdict(precision), "pairwise_recall": asdict(recall)},
    }


def _scores(found: Agreement) -> dict[str, float]:
    return {"precision": found.precision, "recall": found.recall, "f1": found.f1}


def _of_sample(labels: Labels) -> dict[str, Any]:
    cubed, pairs = sample_precision([[labels.person[r] for r in records] for records in labels.draws.values()])
    intervals = {"b_cubed_precision": asdict(cubed), "pairwise_precision": asdict(pairs)}
    return {"draws": len(labels.draws), "intervals": intervals}


def without_labels(
    warehouse: Warehouse, config: IdentityConfig, *, decisions: Decisions | None = None, refused: str | None = None
) -> dict[str, Any]:
    """Describe the people: sizes, the largest, conflicts, churn, evidence, and whether order matters."""
    rows = warehouse.sql(_NOW)
    return {
        "records": rows.num_rows,
        "people": len(set(rows["person_id"].to_pylist())),
        "sizes": _sizes(warehouse),
        "largest": _largest(warehouse),
        "conflicts": _conflicts(warehouse, config),
        "churn": _churn(warehouse),
        "evidence": _evidence(warehouse),
        "likeness": likeness_of(warehouse, config),
        "order": _order(warehouse, config, decisions, refused),
    }


def _sizes(warehouse: Warehouse) -> dict[str, int]:
    """Count the people by customer records: 1, 2, 3 to 5, 6 to 10, more."""
    rows = warehouse.sql(
        "WITH size AS (SELECT count(*) FILTER (WHERE r.customer) AS n FROM identity.membership m"
        " JOIN identity.record r USING (record_id) WHERE m.valid_to_run IS NULL GROUP BY m.person_id)"
        " SELECT CASE WHEN n = 0 THEN 'events only' WHEN n = 1 THEN '1' WHEN n = 2 THEN '2' WHEN n <= 5 THEN '3-5'"
        " WHEN n <= 10 THEN '6-10' ELSE 'more' END AS name, min(n) AS least, count(*) AS people FROM size"
        " GROUP BY 1 ORDER BY 2"
    ).to_pylist()
    return {row["name"]: row["people"] for row in rows}


def _largest(warehouse: Warehouse) -> list[dict[str, Any]]:
    return list(
        warehouse.sql(
            "SELECT m.person_id, count(*) AS records, count(*) FILTER (WHERE r.customer) AS customers"
            " FROM identity.membership m JOIN identity.record r USING (record_id) WHERE m.valid_to_run IS NULL"
            " GROUP BY m.person_id ORDER BY customers DESC, records DESC, m.person_id LIMIT $n",
            n=_LARGEST,
        ).to_pylist()
    )


def _conflicts(warehouse: Warehouse, config: IdentityConfig) -> dict[str, Any]:
    """Count the people who hold several values of a type of which one person has one."""
    names = warehouse.sql("SELECT DISTINCT type FROM identity.identifier")["type"].to_pylist()
    unique = [name for name in names if config.rule(name).unique]
    rows = warehouse.sql(
        "WITH held AS (SELECT m.person_id, i.type, count(DISTINCT i.value) AS n FROM identity.identifier i"
        " JOIN identity.membership m ON m.record_id = i.record_id AND m.valid_to_run IS NULL"
        " WHERE i.status = 'ok' AND i.type IN (SELECT unnest($unique)) GROUP BY 1, 2)"
        " SELECT count(DISTINCT person_id) AS people,"
        " count(DISTINCT person_id) FILTER (WHERE n > 1) AS conflicting FROM held",
        unique=unique or [""],
    ).to_pylist()[0]
    return {**rows, "rate": rows["conflicting"] / rows["people"] if rows["people"] else 0.0}


def _churn(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Count for each of the last runs the records that had a person before, and those whose person changed."""
    rows = warehouse.sql(
        "WITH run AS (SELECT DISTINCT valid_from_run AS run_id FROM identity.membership"
        " ORDER BY run_id DESC LIMIT $runs) SELECT run.run_id,"
        " count(*) FILTER (WHERE m.valid_from_run < run.run_id) AS known,"
        " count(*) FILTER (WHERE m.valid_to_run = run.run_id AND n.record_id IS NOT NULL) AS changed FROM run"
        " JOIN identity.membership m ON m.valid_from_run <= run.run_id"
        " AND (m.valid_to_run IS NULL OR m.valid_to_run >= run.run_id)"
        " LEFT JOIN identity.membership n ON n.record_id = m.record_id AND n.valid_from_run = run.run_id"
        " AND m.valid_to_run = run.run_id GROUP BY run.run_id ORDER BY run.run_id",
        runs=_RUNS,
    ).to_pylist()
    return [{**row, "rate": row["changed"] / row["known"] if row["known"] else 0.0} for row in rows]


def _evidence(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Count by type the values that hold two or more records of a person together, and those that link nobody."""
    return list(
        warehouse.sql(
            "WITH held AS (SELECT i.type, i.value, m.person_id FROM identity.identifier i"
            " JOIN identity.membership m ON m.record_id = i.record_id AND m.valid_to_run IS NULL"
            " WHERE i.status = 'ok' AND i.unlinked IS NULL GROUP BY ALL HAVING count(*) > 1)"
            " SELECT h.type, count(*) AS linking, (SELECT count(*) FROM identity.demoted d WHERE d.type = h.type)"
            " AS demoted FROM held h GROUP BY h.type ORDER BY h.type"
        ).to_pylist()
    )


def likeness_of(warehouse: Warehouse, config: IdentityConfig) -> dict[str, Any] | None:
    """Count pairs by how alike they are, in tenths, and list what each level of the model weighs, in bits."""
    if config.similar is None or not warehouse.has("identity.similar_pair"):
        return None
    rows = warehouse.sql(
        "SELECT least(floor(probability * 10), 9)::INT AS tenth, count(*) AS pairs FROM identity.similar_pair"
        " GROUP BY 1 ORDER BY 1"
    ).to_pylist()
    model = fitted(warehouse) or (load(config.similar.model) if config.similar.model else None)
    weights = [
        {"comparison": comparison.name, "level": level.label, "bits": level.weight}
        for comparison in (model.comparisons if model else ())
        for level in comparison.told
    ]
    pairs = {f"{row['tenth'] / 10:.1f}-{(row['tenth'] + 1) / 10:.1f}": row["pairs"] for row in rows}
    return {"pairs": pairs, "weights": weights}


def _order(
    warehouse: Warehouse, config: IdentityConfig, decisions: Decisions | None, refused: str | None
) -> dict[str, Any]:
    """Resolve the records once more in another order, in memory, and count those whose companions differ."""
    records = warehouse.count("identity.record")
    if records > CHECKED:
        return {"checked": False, "why": f"There are more than {CHECKED:,} records."}
    again = DuckDBWarehouse()
    try:
        for table in ("clean.link", "clean.customer", *([refused] if refused else [])):
            if warehouse.has(table):
                # By a hash: an order that has nothing to do with that of arrival.
                found = warehouse.sql(f"SELECT * FROM {table} ORDER BY md5(record_id || 'another order')")
                again.write(table, found.to_batches(max_chunksize=10_000), schema=found.schema)
        resolve(again, config, run_id="order", decisions=decisions, refused=refused)
        now, other = warehouse.sql(_NOW), again.sql(_NOW)
    finally:
        again.close()
    return {"checked": True, "records": records, "differ": _differ(now, other)}


def _differ(one: pa.Table, other: pa.Table) -> int:
    """Count the records whose companions are not the same in two partitions."""
    labels: list[Mapping[str, str]] = [
        dict(zip(table["record_id"].to_pylist(), table["person_id"].to_pylist(), strict=True)) for table in (one, other)
    ]
    both = sorted(labels[0].keys() & labels[1].keys())
    first, second = (np.unique([label[record] for record in both], return_inverse=True)[1] for label in labels)
    cell = np.unique(np.stack([first, second], axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    sizes = [np.bincount(codes)[codes] for codes in (first, second, cell)]
    same = (sizes[0] == sizes[2]) & (sizes[1] == sizes[2])
    return int((~same).sum()) + len(labels[0].keys() ^ labels[1].keys())


def clerical_sample(warehouse: Warehouse, *, size: int, seed: int = 1) -> list[dict[str, Any]]:
    """Draw people in proportion to their customer records, for a clerk to look at: a line for each of their records.

    The clerk writes into `person` who each record is: equal words for one person.
    """
    rows = warehouse.sql(
        "SELECT m.record_id, m.person_id FROM identity.membership m JOIN identity.record r USING (record_id)"
        " WHERE m.valid_to_run IS NULL AND r.customer ORDER BY m.record_id"
    )
    people: dict[str, list[str]] = {}
    owners = rows["person_id"].to_pylist()
    for record, person in zip(rows["record_id"].to_pylist(), owners, strict=True):
        people.setdefault(person, []).append(record)
    drawn = np.random.default_rng(seed).choice(owners, size=min(size, len(owners))).tolist() if owners else []
    return [
        {"draw": number, "record_id": record, "person_id": person, "person": ""}
        for number, person in enumerate(drawn, 1)
        for record in people[person]
    ]
