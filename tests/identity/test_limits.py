"""Limits that count a window of time, and sources that are not trusted with a type."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from consentry.identity.config import IdentityConfig
from consentry.identity.forest import most_at_once
from consentry.testing.identity_records import Record, groups, run, together
from consentry.warehouse import DuckDBWarehouse


def rules(**rule: object) -> IdentityConfig:
    return IdentityConfig.model_validate({"identifiers": {"email": rule}})


def chain(days_between: int) -> list[Record]:
    """Records of one customer, each with the address of the one before and a new one."""
    start = datetime(2025, 1, 1, tzinfo=UTC)
    return [
        Record(
            f"crm:{n}",
            {"email": [f"box{n}@example.com", f"box{n + 1}@example.com"]},
            updated_at=start + timedelta(days=n * days_between),
        )
        for n in range(5)
    ]


def test_addresses_beyond_the_limit_hold_together_when_years_lie_between(warehouse: DuckDBWarehouse) -> None:
    config = rules(max_per_person=2, window_days=365)
    run(warehouse, chain(400), config)
    assert len(groups(warehouse)) == 1


def test_addresses_beyond_the_limit_within_the_window_do_not(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, chain(10), rules(max_per_person=2, window_days=365))
    assert len(groups(warehouse)) > 1


def test_a_later_sighting_alone_makes_a_run_look_again(warehouse: DuckDBWarehouse) -> None:
    config = rules(max_per_person=2, window_days=365)
    others = [Record(f"shop:{n}", {"email": f"p{n}@example.com"}) for n in range(20)]
    run(warehouse, chain(400) + others, config)
    found = run(warehouse, chain(10) + others, config, run_id="run-2")
    assert found.looked_at == 5
    assert len(groups(warehouse)) > 21


def test_a_source_that_is_not_trusted_with_a_type_does_not_link_by_it(warehouse: DuckDBWarehouse) -> None:
    records = [
        Record("crm:1", {"email": "a@example.com"}, trust=3),
        Record("crm:2", {"email": "a@example.com"}, trust=3),
        Record("form:1", {"email": "a@example.com", "phone": "+442079460018"}, trust=1),
        Record("form:2", {"phone": "+442079460018"}, trust=1),
    ]
    run(warehouse, records, rules(min_trust=2))
    assert groups(warehouse) == {frozenset({"crm:1", "crm:2"}), frozenset({"form:1", "form:2"})}
    reasons = warehouse.sql("SELECT DISTINCT unlinked FROM identity.identifier WHERE record_id = 'form:1' ORDER BY 1")
    assert reasons["unlinked"].to_pylist() == ["untrusted_source", None]


def test_a_source_can_be_trusted_in_one_type_alone(warehouse: DuckDBWarehouse) -> None:
    records = [Record(f"{source}:1", {"email": "a@example.com"}, trust=1) for source in ("crm", "form")]
    run(warehouse, records, rules(min_trust=2, trust={"form": 2, "crm": 5}))
    assert together(warehouse, "crm:1", "form:1")


@given(st.lists(st.one_of(st.none(), st.integers(0, 60)), max_size=12), st.integers(1, 30))
def test_no_window_holds_more_days_than_counted(days: list[int | None], window: int) -> None:
    known = [day for day in days if day is not None]
    most = max((sum(start <= day < start + window for day in known) for start in known), default=0)
    assert most_at_once(days, window) == most + len(days) - len(known)
