"""What a steward is shown: how a person came together."""

from __future__ import annotations

from consentry.identity.config import IdentityConfig
from consentry.identity.waterfall import waterfall
from consentry.testing.identity_records import Record, ids, run
from consentry.warehouse import DuckDBWarehouse

EMPTY = IdentityConfig()


def test_a_waterfall_tells_what_joined_whom_the_strongest_first_and_leaves_out_what_added_nothing(
    warehouse: DuckDBWarehouse,
) -> None:
    records = [
        Record("crm:1", {"email": "ann@example.com", "customer_number": "17001"}),
        Record("crm:2", {"email": "ann@example.com", "customer_number": "17001"}),
        Record("crm:3", {"email": "ann@example.com", "phone": "+442079460018"}),
        Record("crm:4", {"phone": "+442079460018"}),
    ]
    run(warehouse, records)
    steps = waterfall(warehouse, EMPTY, ids(warehouse)["crm:1"])
    assert [(step.kind, step.value, step.joined, step.left) for step in steps] == [
        ("customer_number", "17***", ("crm:1", "crm:2"), 3),
        ("email", "a***@e***.com", ("crm:1", "crm:3"), 2),
        ("phone", "+44***18", ("crm:1", "crm:4"), 1),
    ]


def test_a_step_says_for_what_its_records_may_be_linked(warehouse: DuckDBWarehouse) -> None:
    config = IdentityConfig.model_validate({"linking": {"purposes": {"crm": ["ads", "service"], "web": ["service"]}}})
    run(warehouse, [Record(f"{source}:1", {"email": "a@example.com"}) for source in ("crm", "web")], config)
    [step] = waterfall(warehouse, config, ids(warehouse)["crm:1"])
    assert step.purposes == ("service",)
