"""Records are linked only for purposes that both may be linked for."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.identity.config import IdentityConfig
from consentry.identity.conflicts import partition
from consentry.identity.graph import Graph
from consentry.identity.protect import links, shared_values
from consentry.identity.purposes import parts_for
from consentry.identity.resolve import resolve
from consentry.identity.staging import stage
from consentry.identity.tables import prepare
from consentry.testing.identity_records import Record, fill, groups, ids, run, together
from consentry.warehouse import DuckDBWarehouse


def linking(**purposes: list[str]) -> IdentityConfig:
    return IdentityConfig.model_validate({"linking": {"purposes": purposes}})


def mail(record_id: str, *boxes: str) -> Record:
    return Record(record_id, {"email": [f"{box}@example.com" for box in boxes]})


def test_sources_without_a_purpose_in_common_are_never_linked(warehouse: DuckDBWarehouse) -> None:
    config = linking(crm=["service"], forum=["research"])
    run(warehouse, [mail("crm:1", "a"), mail("crm:2", "a"), mail("forum:1", "a")], config)
    assert groups(warehouse) == {frozenset({"crm:1", "crm:2"}), frozenset({"forum:1"})}


def test_a_record_that_both_may_be_linked_with_is_no_way_around(warehouse: DuckDBWarehouse) -> None:
    config = linking(crm=["service"], forum=["research"])
    run(warehouse, [mail("crm:1", "a"), mail("shop:1", "a", "b"), mail("forum:1", "b")], config)
    assert not together(warehouse, "crm:1", "forum:1")


def test_a_person_falls_into_parts_for_a_stricter_purpose(warehouse: DuckDBWarehouse) -> None:
    config = linking(crm=["service", "ads"], shop=["service", "ads"], forum=["service"])
    records = [mail("crm:1", "a"), mail("forum:1", "a", "b"), mail("shop:1", "b"), mail("crm:9", "z")]
    run(warehouse, records, config)
    assert together(warehouse, "crm:1", "forum:1", "shop:1")
    rows = warehouse.sql(
        "SELECT purpose, record_id, part FROM identity.linked_for WHERE purpose <> '*' ORDER BY record_id"
    ).to_pylist()
    assert [tuple(row.values()) for row in rows] == [("ads", "crm:1", 1), ("ads", "forum:1", 2), ("ads", "shop:1", 3)]
    run(warehouse, records[:1] + records[2:], config, run_id="run-2")
    assert warehouse.count("identity.linked_for") == 0


def refusing(warehouse: DuckDBWarehouse, records: list[Record], refused: list[str], run_id: str) -> dict[str, int]:
    fill(warehouse, records)
    warehouse.sql("CREATE OR REPLACE TABLE identity.link_refused (record_id TEXT)")
    for record in refused:
        warehouse.sql("INSERT INTO identity.link_refused VALUES ($record)", record=record)
    return resolve(warehouse, IdentityConfig(), run_id=run_id, refused="identity.link_refused").events


def test_who_refuses_linking_leaves_the_person_alone_and_may_come_back(warehouse: DuckDBWarehouse) -> None:
    records = [mail(f"crm:{n}", "a") for n in range(4)]
    run(warehouse, records)
    before = ids(warehouse)
    assert refusing(warehouse, records, ["crm:2"], "run-2") == {"split": 1}
    after = ids(warehouse)
    assert [record for record in after if after[record] != before[record]] == ["crm:2"]
    assert refusing(warehouse, records, ["crm:2"], "run-3") == {}
    assert refusing(warehouse, records, [], "run-4") == {"merged": 1}
    assert ids(warehouse) == before


def test_a_refusal_merges_nobody_else(warehouse: DuckDBWarehouse) -> None:
    records = [mail(f"crm:{n}", "office") for n in range(6)]
    run(warehouse, records)
    assert "merged" not in refusing(warehouse, records, ["crm:0"], "run-2")
    assert len(groups(warehouse)) == 6


SOURCES = st.sampled_from(["crm", "shop", "forum", "desk"])
ROWS = st.lists(
    st.tuples(SOURCES, st.lists(st.sampled_from("abcd"), min_size=1, max_size=2), st.sampled_from([None, "11", "12"])),
    min_size=2,
    max_size=10,
)
PURPOSES = st.dictionaries(SOURCES, st.lists(st.sampled_from(["p", "q", "r"]), min_size=1, unique=True), max_size=4)


def staged(warehouse: DuckDBWarehouse, rows: list[tuple[str, list[str], str | None]], config: IdentityConfig) -> Graph:
    records = [
        Record(
            f"{source}:{n}",
            {"email": [f"{box}@example.com" for box in boxes]} | ({"customer_number": number} if number else {}),
        )
        for n, (source, boxes, number) in enumerate(rows)
    ]
    fill(warehouse, records)
    prepare(warehouse)
    return stage(warehouse, config)


@settings(max_examples=10, deadline=None)
@given(rows=ROWS, purposes=PURPOSES)
def test_the_people_of_a_stricter_purpose_refine_those_of_a_looser_one(
    rows: list[tuple[str, list[str], str | None]], purposes: dict[str, list[str]]
) -> None:
    config, warehouse = linking(**purposes), DuckDBWarehouse(threads=1)
    graph = staged(warehouse, rows, config)
    warehouse.close()
    live = links(graph, shared_values(graph, large=config.large_person).values)
    labels = partition(graph, live).labels
    bits = [graph.purposes >> n & 1 for n in config.linking.places().values()]
    allowed = [bit.astype(np.bool_) for bit in bits] + [np.ones(graph.records, dtype=np.bool_)]
    allowed += [one & other for one, other in combinations(allowed, 2)]
    parts = [parts_for(graph, live, labels, flags) for flags in allowed]
    for strict, parts_strict in zip(allowed, parts, strict=True):
        for loose, parts_loose in zip(allowed, parts, strict=True):
            if (strict <= loose).all():
                assert _refines(parts_strict, parts_loose)
        assert _refines(parts_strict, labels)
        # Who may not be linked for a purpose is alone in it.
        sizes = np.bincount(parts_strict, minlength=graph.records)
        assert (sizes[parts_strict[~strict]] == 1).all()
    # All records of a person have a purpose in common.
    for label in np.unique(labels):
        assert np.bitwise_and.reduce(graph.purposes[labels == label]) != 0


def _refines(fine: np.ndarray, coarse: np.ndarray) -> bool:
    return len(np.unique(np.stack([fine, coarse], axis=1), axis=0)) == len(np.unique(fine))
