"""A new record gets the score that it would get in a batch."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from consentry.identity.delta import Index, build_index, meet
from consentry.identity.roles import ROLES
from consentry.identity.similar import Evidence, look
from consentry.identity.similar_config import SimilarRules
from consentry.testing.hard_customers import hard_customers
from consentry.warehouse import DuckDBWarehouse

COLUMNS = {name: name for name in ROLES if name not in ("national_id", "birth_place", "occupation")}


def _indexed(records: int) -> tuple[pa.Table, Evidence, Index]:
    """Return some customers, how they are alike as a batch, and an index of them."""
    table, rules = hard_customers(records, seed=3), SimilarRules()
    found = look(DuckDBWarehouse(threads=2), table, COLUMNS, rules=rules)
    warehouse = DuckDBWarehouse(threads=2)
    rows = table.append_column("r", pa.array(np.arange(table.num_rows), pa.int64()))
    warehouse.write("clean.records", rows.to_batches(), schema=rows.schema)
    return table, found, build_index(warehouse, found.model, rules, COLUMNS, "SELECT * FROM clean.records")


def test_copies_of_known_records_score_as_in_a_batch() -> None:
    table, found, index = _indexed(600)
    batch = dict(
        zip(
            zip(found.pairs.left.tolist(), found.pairs.right.tolist(), strict=True),
            found.pairs.probability,
            strict=True,
        )
    )
    seen = 0
    for record in (5, 77, 300):
        new = meet(index, table.slice(record, 1))
        assert new.right.tolist() == [index.records] * len(new.right)
        scores = dict(zip(new.left.tolist(), new.probability.tolist(), strict=True))
        for (one, other), expected in batch.items():
            if record in (one, other):
                assert scores[one + other - record] == pytest.approx(expected, abs=1e-9)
                seen += 1
    assert seen


def test_a_record_like_no_other_meets_nobody() -> None:
    _, _, index = _indexed(300)
    odd = pa.table({name: ["qqqq"] for name in COLUMNS})
    assert meet(index, odd).probability.max(initial=0.0) < 0.01


def test_nobody_new_meets_nobody_and_new_records_meet_each_other() -> None:
    table, _, index = _indexed(300)
    assert len(meet(index, table.slice(0, 0)).left) == 0
    said = {name: ["quentin"] * 2 for name in COLUMNS} | {"email": ["q@example.org"] * 2}
    new = meet(index, pa.table(said))
    assert new.probability[(new.left == index.records) & (new.right == index.records + 1)].tolist() > [0.9]
