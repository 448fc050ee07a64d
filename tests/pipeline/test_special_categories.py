"""What is of a special category (GDPR Art. 9) is in the profile of those alone who granted it, and leaves with them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from consentry.audit.read import events_of
from consentry.errors import ConfigError
from consentry.pipeline.earlier import kept_names, names_of
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.pipeline.segmenting import lint_segments
from consentry.testing.memory import Audiences
from consentry.warehouse import DuckDBWarehouse
from tests.conftest import PEOPLE, TinyJob, choice, email, person

GRANTED = range(10)
EXISTS = "CASE WHEN count(*) FILTER (WHERE {0}) = 0 THEN 0 ELSE 1 END"


@pytest.fixture
def clinic(tiny: TinyJob) -> TinyJob:
    """The tiny job, where the CRM knows who smokes and the till who bought medicine; ten granted the use of that."""
    folder = tiny.folder
    for contract in ("people", "profile"):
        edit(folder / f"contracts/{contract}.yaml", lambda it: it["columns"].update(smoker=text()))
    columns = {name: text() for name in ("order_id", "email", "at", "kind")}
    columns["at"] = {"dtype": "Datetime", "nullable": True}
    (folder / "contracts/orders.yaml").write_text(yaml.safe_dump({"name": "o", "version": 1, "columns": columns}))
    bought = {"at": "2026-01-05T00:00:00Z", "kind": "medicine_bought"}
    orders = [{"order_id": str(n), "email": email(n), **bought} for n in range(PEOPLE)]
    (folder / "orders.jsonl").write_text("".join(json.dumps(order) + "\n" for order in orders))
    write_people(tiny)
    streams = tiny.spec["sources"]["crm"]["streams"]
    streams["people"]["map"]["smoker"] = "smoker"
    streams["orders"] = {
        "entity": "event",
        "contract": "contracts/orders.yaml",
        "primary_key": "order_id",
        "options": {"path": "orders.jsonl"},
        "event": {"column": "kind"},
        "occurred_at": "at",
        "identifiers": {"email": "email"},
    }
    tiny.spec["events"] = {"medicine_bought": {}}
    tiny.policy["purposes"]["care"] = {"basis": {"gdpr": "consent"}, "special_categories": ["health"]}
    marks = {"attributes": {"smoker": mark()}, "events": {"medicine_bought": mark()}}
    tiny.policy["profiling"]["special"] = marks
    answer(tiny, dict.fromkeys(GRANTED, "granted"), day=2)
    add_segment(tiny, "smokers", "smoker == 'yes'")
    tiny.write()
    return tiny


def write_people(job: TinyJob, **values: str) -> None:
    with (job.folder / "people.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*person(0), "smoker"])
        writer.writeheader()
        writer.writerows(person(n) | {"smoker": "yes"} | values for n in range(PEOPLE))


def mark() -> dict[str, str]:
    return {"category": "health", "purpose": "care"}


def text() -> dict[str, Any]:
    return {"dtype": "String", "nullable": True}


def edit(path: Path, how: Callable[[dict[str, Any]], object]) -> None:
    content = yaml.safe_load(path.read_text())
    how(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def answer(job: TinyJob, states: Mapping[int, str], *, day: int) -> None:
    """Let people say what they think of the purpose `care`."""
    lines = [choice(n, state, day) | {"event_id": f"care-{day}-{n}", "purpose": "care"} for n, state in states.items()]
    (job.folder / f"consents-care-{day}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def add_segment(job: TinyJob, name: str, rule: str, **keys: object) -> None:
    content = {"segment": name, "description": "Some people", "purpose": "news", "rule": rule, **keys}
    (job.folder / "segments" / f"{name}.yaml").write_text(yaml.safe_dump(content))


def go(job: TinyJob) -> dict[str, Any]:
    return run(make_plan(load_job(job.path)), Silent())


def known(job: TinyJob) -> dict[str, int]:
    """Count who has a profile, who has the attribute, the event, and the segment made of it."""
    queries = {
        "profiles": "SELECT count(*) AS n FROM profile.person",
        "smoker": "SELECT count(smoker) AS n FROM profile.person",
        "bought": "SELECT count(*) AS n FROM profile.event__medicine_bought",
        "smokers": "SELECT count(*) AS n FROM segment.membership WHERE segment = 'smokers'",
    }
    warehouse = DuckDBWarehouse(job.folder / "state/warehouse.duckdb")
    try:
        return {name: int(warehouse.sql(query)["n"][0].as_py()) for name, query in queries.items()}
    finally:
        warehouse.close()


def send_smokers(job: TinyJob, purposes: list[str]) -> None:
    """Let the segment go to the store, for these purposes."""
    job.spec["syncs"]["smokers"] = deepcopy(job.spec["syncs"]["adults"]) | {"segment": "smokers", "audience": "smokers"}
    job.policy["destinations"]["store"]["purposes_all_of"] = purposes
    job.write()


def refused(job: TinyJob) -> str:
    with pytest.raises(ConfigError) as found:
        load_job(job.path)
    return str(found.value)


def test_psychographics_of_a_special_category_are_known_of_those_alone_who_granted_it(clinic: TinyJob) -> None:
    summary = go(clinic)
    assert known(clinic) == {"profiles": PEOPLE, "smoker": 10, "bought": 10, "smokers": 10}
    told = [
        it for it in events_of(clinic.folder / "state/audit", summary["run_id"]) if it["action"] == "profile.decided"
    ]
    assert [it["special"] for it in told] == [{"care": {"allow": 10, "deny": PEOPLE - 10}}]


def test_earlier_values_of_a_special_category_are_not_kept_for_they_would_outlive_the_grant(clinic: TinyJob) -> None:
    feature = "{model: ills, description: t, purpose: care, kind: cluster, features: {n: count(medicine_bought)}}"
    (clinic.folder / "segments" / "models.yaml").write_text(f"models: [{feature}]\n")
    add_segment(clinic, "ill", "model.ills.label == 'c1' or age > 90")
    clinic.spec["profile"]["keep_earlier"] = "90 days"
    clinic.write()
    loaded = load_job(clinic.path)
    assert names_of(loaded) == {"age", "smoker", "model.ills.label"}
    assert kept_names(loaded) == {"age"}


def test_who_takes_the_grant_back_keeps_the_profile_without_it(clinic: TinyJob) -> None:
    go(clinic)
    answer(clinic, {0: "withdrawn", 1: "withdrawn"}, day=3)
    go(clinic)
    assert known(clinic) == {"profiles": PEOPLE, "smoker": 8, "bought": 8, "smokers": 8}


def test_what_the_run_before_knew_is_taken_too_where_an_alarm_keeps_the_golden_records_back(clinic: TinyJob) -> None:
    contract = clinic.folder / "contracts/profile.yaml"
    clinic.spec["sources"]["crm"]["streams"]["people"]["map"]["seen_at"] = "updated_at"
    clinic.write()
    edit(contract, lambda it: it["columns"].update(seen_at={"dtype": "Datetime", "nullable": True}))
    go(clinic)
    freshness = {"column": "seen_at", "max_hours": 1, "severity": "fail"}
    edit(contract, lambda it: it.update(watch={"freshness": freshness}))
    answer(clinic, {0: "withdrawn"}, day=3)
    write_people(clinic, smoker="no")
    summary = go(clinic)
    assert "--allow watch:golden" in str(summary), summary
    assert known(clinic) == {"profiles": PEOPLE, "smoker": 9, "bought": 9, "smokers": 9}


def test_a_segment_that_tells_of_health_goes_only_where_every_purpose_covers_it(clinic: TinyJob) -> None:
    send_smokers(clinic, ["news"])
    said = refused(clinic)
    assert "job.yaml:" in said
    assert "The purpose 'news' does not cover what the segment 'smokers' tells by the attribute 'smoker'" in said
    send_smokers(clinic, ["news", "care"])
    assert "'news' does not cover" in refused(clinic)
    del clinic.spec["syncs"]["adults"]
    clinic.spec["syncs"]["smokers"]["purpose"] = "care"
    send = clinic.spec["syncs"]["smokers"]
    clinic.policy["destinations"]["store"]["purposes_all_of"] = ["care"]
    clinic.write()
    assert send["segment"] == "smokers"
    go(clinic)
    assert Audiences.read(clinic.members_file).values("smokers", "email") == {email(n) for n in GRANTED}


@pytest.mark.parametrize(
    "rule",
    [
        "in segment(hidden)",
        "count(medicine_bought) > 0",
        "did(any medicine_bought then no medicine_bought within 1 day)",
        "score.care >= 0.5",
    ],
)
def test_no_way_around_hides_what_a_segment_reads(clinic: TinyJob, rule: str) -> None:
    score = {"score": "care", "description": "How often", "points": [{"value": "count(medicine_bought)", "points": 1}]}
    (clinic.folder / "segments/scores.yaml").write_text(yaml.safe_dump({"scores": [score]}))
    add_segment(clinic, "hidden", "smoker is known and age > 30")
    add_segment(clinic, "smokers", rule)
    send_smokers(clinic, ["news"])
    assert "does not cover what the segment 'smokers' tells" in refused(clinic)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (lambda job: special(job).update(smokes=special(job).pop("smoker")), "The job has no attribute 'smokes'; did"),
        (lambda job: special(job)["smoker"].update(purpose="car"), "The purpose 'car' is not declared"),
        (lambda job: special(job)["smoker"].update(purpose="news"), "'news' does not cover the attribute 'smoker'"),
        (lambda job: special(job)["smoker"].pop("purpose"), "'profiling' does not cover the attribute 'smoker'"),
        (lambda job: profile(job, nullable=False), "has to let 'smoker' be missing"),
        (lambda job: profile(job, impute={"method": "mode"}), "is never guessed"),
        (
            lambda job: leave(job, special_category="genetics"),
            "is of the special category 'genetics' here, and of 'health'",
        ),
        (lambda job: leave(job), "is of no special category here, and of 'health' as an attribute of the profile"),
    ],
)
def test_a_mark_that_does_not_hold_is_refused_with_its_line(
    clinic: TinyJob, how: Callable[[TinyJob], None], said: str
) -> None:
    how(clinic)
    clinic.write()
    found = refused(clinic)
    assert said in found
    assert "policy.yaml:" in found


def special(job: TinyJob) -> dict[str, Any]:
    found: dict[str, Any] = job.policy["profiling"]["special"]["attributes"]
    return found


def profile(job: TinyJob, **keys: object) -> None:
    edit(job.folder / "contracts/profile.yaml", lambda it: it["columns"]["smoker"].update(keys))


def leave(job: TinyJob, **mark: str) -> None:
    job.policy["purposes"]["news"]["special_categories"] = list(mark.values())
    job.policy["destinations"]["store"]["fields"]["smoker"] = {"transform": "pass", **mark}


def test_a_source_has_to_be_read_for_the_purpose_that_admits_what_is_special(clinic: TinyJob) -> None:
    clinic.spec["sources"]["crm"]["purposes"] = ["news", "profiling"]
    clinic.write()
    found = refused(clinic)
    assert "The profile uses the attribute 'smoker' for care, and crm, which gives it, is not read for that" in found
    clinic.spec["sources"]["crm"]["purposes"].append("care")
    clinic.write()
    load_job(clinic.path)


def test_a_telling_name_without_a_mark_is_remarked(clinic: TinyJob) -> None:
    for contract in ("people", "profile"):
        edit(clinic.folder / f"contracts/{contract}.yaml", lambda it: it["columns"].update(allergies=text()))
    clinic.spec["sources"]["crm"]["streams"]["people"]["map"]["allergies"] = "allergies"
    add_segment(clinic, "careful", "allergies is known")
    clinic.write()
    found = {it["segment"]: it["sentence"] for it in lint_segments(load_job(clinic.path)) if it["code"] == "sensitive"}
    assert list(found) == ["careful"]
    assert "the attribute 'allergies', which tells of health" in found["careful"]
