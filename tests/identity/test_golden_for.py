"""What a record may not be linked for flows into no golden record of that purpose."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.errors import StopRun
from consentry.identity.config import IdentityConfig
from consentry.identity.golden import golden
from consentry.identity.golden_for import golden_rows, left_out
from consentry.identity.overrides import override
from consentry.testing.identity_records import Record, ids, run
from consentry.warehouse import DuckDBWarehouse

Rows = list[dict[str, str | None]]
USES = (("ads",), ("service",), ("ads", "news"))


def linking(**purposes: list[str]) -> IdentityConfig:
    return IdentityConfig.model_validate({"linking": {"purposes": purposes}})


def said(record_id: str, *boxes: str, **columns: str) -> Record:
    return Record(record_id, {"email": [f"{box}@example.com" for box in boxes]}, columns=columns)


def rows_for(warehouse: DuckDBWarehouse, *purposes: str) -> Rows:
    return warehouse.sql(f"SELECT * FROM {golden_rows(warehouse, purposes)} ORDER BY person_id").to_pylist()


SERVICE_ONLY = linking(forum=["service"], shop=["service", "ads"])
PERSON = [
    said("crm:1", "a", given_name="Ann", family_name="Lee"),
    said("crm:2", "a", given_name="Ann", family_name="Lee"),
    said("forum:1", "a", "b", city="Bath"),
    said("shop:1", "b", city="Ely"),
]


def test_a_cell_of_a_record_that_is_only_for_service_is_in_no_golden_record_for_ads(
    warehouse: DuckDBWarehouse,
) -> None:
    run(warehouse, PERSON, SERVICE_ONLY)
    golden(warehouse, SERVICE_ONLY, run_id="run-1", uses=USES)
    [whole] = rows_for(warehouse, "service")
    [ads] = rows_for(warehouse, "ads")
    assert (whole["city"], ads["city"]) == ("Bath", None)
    # What forum:1 alone ties to crm:1 and crm:2 is not told for ads either.
    assert (ads["family_name"], ads["person_id"]) == ("Lee", whole["person_id"])
    query, params = left_out(warehouse, ["ads"])
    assert set(warehouse.sql(query, **params)["record_id"].to_pylist()) == {"forum:1", "shop:1"}


def test_what_a_steward_set_in_place_of_a_record_goes_no_further_than_the_record(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, PERSON, SERVICE_ONLY)
    golden(warehouse, SERVICE_ONLY, run_id="run-1", uses=USES)
    person = ids(warehouse)["crm:1"]
    override(warehouse, SERVICE_ONLY, person, "city", "Wells", by="Sam", why="a letter")
    override(warehouse, SERVICE_ONLY, person, "family_name", "Leigh", by="Sam", why="a letter")
    golden(warehouse, SERVICE_ONLY, run_id="run-2", uses=USES)
    told = [(row["city"], row["family_name"]) for use in ("service", "ads") for row in rows_for(warehouse, use)]
    assert told == [("Wells", "Leigh"), (None, "Leigh")]


def test_a_use_that_nobody_foresaw_has_no_golden_records_where_it_matters(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, PERSON, SERVICE_ONLY)
    golden(warehouse, SERVICE_ONLY, run_id="run-1")
    assert rows_for(warehouse, "service") == rows_for(warehouse)
    with pytest.raises(StopRun, match="no golden records for the purposes ads"):
        golden_rows(warehouse, ["ads"])


SOURCES = st.sampled_from(["crm", "shop", "forum", "desk"])
RECORDS = st.lists(
    st.tuples(SOURCES, st.lists(st.sampled_from("abcd"), min_size=1, max_size=2)), min_size=2, max_size=9
)
PURPOSES = st.dictionaries(
    SOURCES, st.lists(st.sampled_from(["service", "ads", "news"]), min_size=1, unique=True), min_size=1, max_size=4
)


@settings(max_examples=6, deadline=None)
@given(records=RECORDS, purposes=PURPOSES)
def test_the_cells_of_a_golden_record_come_from_one_part_of_the_person_for_each_purpose_of_the_use(
    records: list[tuple[str, list[str]]], purposes: dict[str, list[str]]
) -> None:
    config, warehouse = linking(**purposes), DuckDBWarehouse(threads=1)
    # Every cell says which record it came from; the fields rank the records differently.
    named = [
        said(f"{source}:{n}", *boxes, **dict.fromkeys(("city", "given_name")[n % 2 :], f"{source}:{n}"))
        for n, (source, boxes) in enumerate(records)
    ]
    config = config.model_copy(update={"contradiction": None})
    run(warehouse, named, config)
    golden(warehouse, config, run_id="run-1", uses=USES)
    person = ids(warehouse)
    part = {
        (row["purpose"], row["record_id"]): row["part"]
        for row in warehouse.sql("SELECT * FROM identity.linked_for").to_pylist()
    }
    found = {use: {row["person_id"]: row for row in rows_for(warehouse, *use)} for use in USES}
    warehouse.close()
    for use, rows in found.items():
        assert rows.keys() == set(person.values())
        for owner, row in rows.items():
            sources = {row[field] for field in ("city", "given_name") if row[field]}
            assert all(person[str(record)] == owner for record in sources)
            for purpose in use:
                parts = {part.get((purpose, str(record))) for record in sources}
                assert len(parts) <= 1
                # A record that may not be linked stands for nobody but itself.
                if len(sources) > 1:
                    assert all(purpose in purposes.get(str(r).partition(":")[0], [purpose]) for r in sources)
