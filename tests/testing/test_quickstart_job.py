"""The quickstart's job: its files are read without a fault, and refuse exactly what is wrong with its data."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from consentry.connectors.files import Files, FilesConfig, FileStream
from consentry.connectors.landing import StreamSpec, land
from consentry.pipeline.load import Loaded, load_job
from consentry.segments.clock import Clock
from consentry.segments.examples import run_tests
from consentry.segments.person import Event, Judge, Person
from consentry.testing.purchases import Shopper, sample_path, shoppers
from consentry.testing.quickstart_data import is_at_risk, is_champion
from consentry.validation.run import validate
from consentry.warehouse import DuckDBWarehouse

DATA = sample_path().parent


@pytest.fixture(scope="module")
def quickstart() -> Loaded:
    return load_job(DATA.parent / "job.yaml")


def test_every_example_of_the_segments_comes_out_as_its_file_says(quickstart: Loaded) -> None:
    assert quickstart.job.as_of is not None
    results = run_tests(quickstart.segments, quickstart.job.as_of)
    assert len(results) >= 2 * sum(segment.rule is not None for segment in quickstart.segments)
    assert [result.sentence for result in results if not result.passed] == []


def test_the_policy_names_each_destination_and_each_field_that_a_sync_sends(quickstart: Loaded) -> None:
    for sync in quickstart.job.syncs.values():
        allowed = quickstart.policy.destinations[sync.destination]
        assert set(sync.fields.values()) <= set(allowed.fields)
        assert set(sync.identifiers) <= set(allowed.identifiers)
        assert sync.purpose in allowed.purposes_all_of


def test_no_clear_value_goes_to_the_ads_destination(quickstart: Loaded) -> None:
    identifiers = quickstart.policy.destinations["ads"].identifiers.values()
    assert {rule.transform for rule in identifiers} == {"match_sha256"}


@pytest.mark.parametrize(("name", "takes"), [("champions", is_champion), ("at_risk", is_at_risk)])
def test_the_rules_of_the_mailed_segments_agree_with_the_generator(
    quickstart: Loaded, name: str, takes: object
) -> None:
    assert quickstart.job.as_of is not None and callable(takes)
    rule = next(segment.rule for segment in quickstart.segments if segment.name == name)
    assert rule is not None
    clock = Clock(quickstart.job.as_of, ZoneInfo("UTC"))
    for shopper in shoppers(sample_path()):
        assert Judge(_as_person(shopper), clock).holds(rule) == takes(shopper)


def _as_person(shopper: Shopper) -> Person:
    """Put all that was spent into the last order; the rules ask for the last order and the sum alone."""
    if shopper.last_order is None:
        return Person()
    at = datetime.fromisoformat(shopper.last_order).replace(tzinfo=ZoneInfo("Europe/London")).astimezone(UTC)
    return Person({}, [Event("order_line", at, {"amount": shopper.spent})])


@pytest.mark.parametrize(
    ("stream", "counted"),
    [
        ("shop__customers", "shop_customers"),
        ("shop__purchases", "purchases"),
        ("web__events", "web_events"),
        ("preferences__consents", "consents_day1"),
    ],
)
def test_the_contracts_refuse_exactly_the_faults_that_were_put_in(
    quickstart: Loaded, tmp_path: Path, stream: str, counted: str
) -> None:
    expected = yaml.safe_load((DATA / "expected.yaml").read_text())
    source, name = stream.split("__")
    block = quickstart.job.sources[source].streams[name]
    files = Files(FilesConfig(folder=DATA), streams={name: FileStream(**block.options)}, account=source)
    with closing(DuckDBWarehouse(tmp_path / "warehouse.duckdb")) as warehouse:
        land(
            files, name=source, streams=[StreamSpec(name, block.mode)], warehouse=warehouse, folder=tmp_path, run_id="r"
        )
        checked = validate(
            warehouse,
            quickstart.contracts[stream],
            stream=stream,
            primary_key=block.primary_key,
            mode=block.mode,
            run_id="r",
        )
    assert checked.rows_in == expected["rows"][counted]
    assert checked.quarantined == expected["quarantined"][counted]
