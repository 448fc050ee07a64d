"""A small job from one end to the other, and every way in which it can go wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from consentry.audit import verify
from consentry.errors import Blocked, ConfigError, ConsentryError
from consentry.pipeline.access import access
from consentry.pipeline.explain import explain_plan
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import pending, run
from consentry.testing.memory import Audiences
from consentry.warehouse import DuckDBWarehouse
from tests.conftest import PEOPLE, TinyJob, email


def go(job: TinyJob, *allow: str) -> dict[str, Any]:
    return run(make_plan(load_job(job.path)), Silent(), allow=frozenset(allow))


def members(job: TinyJob) -> set[str]:
    return Audiences.read(job.members_file).values("adults", "email")


def sent_last(job: TinyJob, number: int) -> Mapping[str, object]:
    told = [one for one in Audiences.read(job.members_file).effects if one.identifiers.get("email") == email(number)]
    return told[-1].fields


def test_everybody_who_allowed_it_arrives_and_nobody_else(tiny: TinyJob) -> None:
    tiny.write_consents({n: "granted" if n % 3 else "denied" for n in range(PEOPLE)})
    summary = go(tiny)
    assert summary["status"] == "ok"
    assert members(tiny) == {email(n) for n in range(PEOPLE) if n % 3}
    assert summary["syncs"]["adults"]["refused"] == {"denied": len(range(0, PEOPLE, 3))}


def test_sync_a_second_run_sends_nothing_and_calls_nobody(ran: TinyJob) -> None:
    again = go(ran)["syncs"]["adults"]
    assert (again["adds"], again["updates"], again["removes"], again["api_calls"]) == (0, 0, 0, 0)


def test_opt_in_and_opt_out_a_withdrawal_takes_exactly_that_person_out(ran: TinyJob) -> None:
    ran.write_consents({7: "withdrawn"}, day=2)
    summary = go(ran)
    assert summary["syncs"]["adults"]["removes"] == 1
    assert members(ran) == {email(n) for n in range(PEOPLE) if n != 7}


def test_explicit_consent_nobody_without_a_record_of_it_leaves(tiny: TinyJob) -> None:
    tiny.write_consents({0: "granted"})
    assert go(tiny)["syncs"]["adults"]["refused"] == {"no_record": PEOPLE - 1}
    assert members(tiny) == {email(0)}


def test_a_changed_value_is_an_update(ran: TinyJob) -> None:
    people = ran.folder / "people.csv"
    people.write_text(people.read_text().replace("CanaryBryn", "CanaryBrynn", 1))
    sync = go(ran)["syncs"]["adults"]
    assert (sync["adds"], sync["updates"], sync["removes"]) == (0, 1, 0)


def test_person_ids_stay_the_same_over_runs(tiny: TinyJob) -> None:
    first, second = go(tiny), go(tiny)
    assert first["persons"] == second["persons"] == PEOPLE
    effects = Audiences.read(tiny.members_file).effects
    assert sum(effect.kind == "add" for effect in effects) == PEOPLE


def test_a_plan_calls_no_destination_and_names_what_a_run_would_send(tiny: TinyJob) -> None:
    planned = pending(make_plan(load_job(tiny.path)), Silent())
    assert planned["syncs"]["adults"]["adds"] == PEOPLE
    assert not tiny.members_file.exists()
    assert go(tiny)["syncs"]["adults"]["adds"] == PEOPLE


def test_audit_logs_of_every_run_are_whole(ran: TinyJob) -> None:
    go(ran)
    assert verify(ran.folder / "state" / "audit").ok


def test_an_empty_source_removes_nobody(ran: TinyJob) -> None:
    header = (ran.folder / "people.csv").read_text().splitlines()[0]
    (ran.folder / "people.csv").write_text(header + "\n")
    with pytest.raises(Blocked, match=r"crm\.people gave no rows") as caught:
        go(ran)
    assert caught.value.exit_code == 5
    assert len(members(ran)) == PEOPLE


def test_a_source_that_shrinks_is_refused_until_it_is_allowed(ran: TinyJob) -> None:
    ran.write_people(range(10))
    with pytest.raises(Blocked, match="shrank from 40 rows to 10"):
        go(ran)
    assert len(members(ran)) == PEOPLE
    assert go(ran, "crm.people")["status"] == "blocked"
    assert len(members(ran)) == PEOPLE
    assert go(ran, "crm.people", "adults.max_delete_pct")["syncs"]["adults"]["removes"] == 30
    assert members(ran) == {email(n) for n in range(10)}


def test_a_job_that_did_not_run_yet_is_not_started_by_an_empty_source(tiny: TinyJob) -> None:
    (tiny.folder / "people.csv").write_text("id,email,phone,given_name,age,updated_at\n")
    with pytest.raises(Blocked, match="gave no rows"):
        go(tiny)


def test_malformed_lines_and_wrong_types_are_set_aside_and_the_rest_goes_on(tiny: TinyJob) -> None:
    people = tiny.folder / "people.csv"
    lines = people.read_text().splitlines()
    lines[3] = "3,too,many,fields,for,this,line,really"
    lines[5] = lines[5].replace(",24,", ",twenty,")
    people.write_text("\n".join([*lines, lines[9]]) + "\n")
    summary = go(tiny)
    assert summary["rows"]["extracted"] == summary["rows"]["clean"] + summary["rows"]["quarantined"]
    assert summary["quarantine_reasons"] == {"malformed": 1, "not_a_number": 1, "duplicate_key": 1}
    assert len(members(tiny)) == PEOPLE - 2


def test_one_failing_destination_does_not_stop_the_others(tiny: TinyJob) -> None:
    failing = {"type": "failing", "connection": {"schedule": [{"kind": "refuse_batch"}]}}
    tiny.spec["destinations"]["broken"] = failing
    tiny.spec["syncs"] = {
        "first": deepcopy(tiny.spec["syncs"]["adults"]) | {"destination": "broken"},
        "adults": tiny.spec["syncs"]["adults"],
    }
    tiny.policy["destinations"]["broken"] = deepcopy(tiny.policy["destinations"]["store"])
    tiny.write()
    summary = go(tiny)
    assert summary["status"] == "failed"
    assert summary["syncs"]["first"]["status"] == "failed"
    assert summary["syncs"]["first"]["sentence"]
    assert len(members(tiny)) == PEOPLE


def test_rejected_rows_end_the_run_with_their_own_status(tiny: TinyJob) -> None:
    connection = {"path": str(tiny.members_file), "schedule": [{"call": 1, "kind": "reject", "rows": [0]}]}
    tiny.spec["destinations"]["store"] = {"type": "failing", "connection": connection}
    tiny.write()
    summary = go(tiny)
    assert (summary["status"], summary["syncs"]["adults"]["rejected"]) == ("rejected", 1)


def faults_of(job: TinyJob) -> str:
    with pytest.raises(ConfigError) as caught:
        load_job(job.write())
    return "\n".join(caught.value.faults)


def test_an_unknown_connector_is_named_with_the_nearest_one(tiny: TinyJob) -> None:
    tiny.spec["sources"]["crm"]["type"] = "hubspott"
    assert "did you mean 'hubspot'" in faults_of(tiny)


def test_every_fault_of_every_file_is_shown_at_once(tiny: TinyJob) -> None:
    tiny.spec["syncs"]["adults"]["segment"] = "adult"
    tiny.spec["sources"]["crm"]["streams"]["people"]["map"]["given_name"] = "given_nam"
    (tiny.folder / "segments" / "adults.yaml").write_text(
        "segment: adults\ndescription: x\npurpose: news\nrule: agee >= 18\n"
    )
    faults = faults_of(tiny)
    assert "did you mean 'given_name'" in faults
    assert "adults.yaml:4" in faults
    assert "did you mean 'age'" in faults


def test_a_field_that_the_policy_does_not_name_is_refused_before_anything_runs(tiny: TinyJob) -> None:
    tiny.spec["syncs"]["adults"]["fields"]["age"] = "age"
    assert "age" in faults_of(tiny)


def test_a_destination_without_a_policy_is_refused_before_anything_runs(tiny: TinyJob) -> None:
    del tiny.policy["destinations"]["store"]
    assert "store" in faults_of(tiny)


def test_a_profile_never_holds_a_direct_identifier(tiny: TinyJob) -> None:
    contract = tiny.folder / "contracts" / "profile.yaml"
    contract.write_text(contract.read_text() + "  email: {dtype: String, nullable: true}\n")
    assert "identifies people" in faults_of(tiny)


def test_a_missing_file_is_a_sentence(tiny: TinyJob) -> None:
    (tiny.folder / "people.csv").unlink()
    with pytest.raises(ConsentryError, match=r"people\.csv"):
        go(tiny)


def test_a_key_file_that_others_can_read_stops_the_run(ran: TinyJob) -> None:
    (ran.folder / "state" / "keys.json").chmod(0o644)
    with pytest.raises(ConsentryError, match="chmod 600"):
        go(ran)


def test_a_run_that_failed_is_closed_and_the_next_begins_anew(tiny: TinyJob) -> None:
    (tiny.folder / "people.csv").rename(tiny.folder / "away.csv")
    with pytest.raises(ConsentryError):
        go(tiny)
    (tiny.folder / "away.csv").rename(tiny.folder / "people.csv")
    summary = go(tiny)
    assert (summary["status"], summary["resumed"]) == ("ok", False)


def test_the_audit_log_says_what_was_decided_in_numbers(ran: TinyJob) -> None:
    lines = (ran.folder / "state" / "audit" / "000001.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    decided = [event for event in events if event["action"] == "egress.decide"]
    assert sum(event["counts"]["allow"] for event in decided) == PEOPLE
    assert {event["action"] for event in events} >= {"run.started", "consent.recorded", "egress.sent", "run.ended"}


def test_audit_data_flows_every_event_names_who_acted_and_every_batch_its_purpose(ran: TinyJob) -> None:
    lines = (ran.folder / "state" / "audit" / "000001.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert all(event["actor"].startswith("consentry@") for event in events)
    batches = [event for event in events if event["action"] == "egress.decide"]
    sent = [event["batch"] for event in events if event["action"] == "egress.sent"]
    assert sent == [event["batch"] for event in batches]
    assert all((event["purpose"], event["destination"]) == ("news", "store") for event in batches)


def test_audit_data_flows_every_event_of_a_run_says_the_purposes_that_it_serves(ran: TinyJob) -> None:
    lines = (ran.folder / "state" / "audit" / "000001.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    both, profiling, news = ["news", "profiling"], ["profiling"], ["news"]
    assert {event["action"]: event["purposes"] for event in events} == {
        "run.started": both,
        "source.read": both,
        "contract.applied": both,
        "consent.recorded": both,
        "identity.resolved": profiling,
        "profile.decided": profiling,
        "segment.evaluated": profiling,
        "suppression.pulled": news,
        "egress.decide": news,
        "egress.sent": news,
        "run.ended": both,
    }
    assert {event["source"]: event["rows"] for event in events if event["action"] == "source.read"} == {
        "crm": {"people": PEOPLE},
        "form": {"consents": PEOPLE},
    }
    assert {event["stream"] for event in events if event["action"] == "contract.applied"} == {
        "crm.people",
        "form.consents",
    }
    # The job states none, so that they follow from what it serves.
    derived = {event["action"] for event in events if event.get("purposes_derived")}
    assert derived == {"source.read", "contract.applied", "consent.recorded"}


def test_data_diffing_two_snapshots_of_a_source_are_told_as_added_changed_and_gone(ran: TinyJob) -> None:
    ran.write_people(range(1, PEOPLE + 1))
    ran.write_consents({PEOPLE: "granted"}, day=2)
    people = ran.folder / "people.csv"
    people.write_text(people.read_text().replace("CanaryBryn", "CanaryBrynn", 1))
    found = pending(make_plan(load_job(ran.path)), Silent())["syncs"]["adults"]
    assert (found["adds"], found["updates"], found["removes"]) == (1, 1, 1)
    assert members(ran) == {email(n) for n in range(PEOPLE)}


def test_imputation_is_seen_by_rules_and_destinations_where_the_contract_serves_it_and_nowhere_else(
    tiny: TinyJob,
) -> None:
    tiny.spec["sources"]["crm"]["streams"]["people"]["map"]["years"] = "age"
    tiny.spec["syncs"]["adults"]["fields"] = {"age": "age", "years": "years"}
    tiny.policy["destinations"]["store"]["fields"] = {name: {"transform": "pass"} for name in ("age", "years")}
    tiny.write()
    gaps = {"dtype": "Int32", "nullable": True, "impute": {"method": "constant", "value": 40}}
    columns = {"age": gaps, "years": {**gaps, "serve": "imputed"}}
    contract = json.dumps({"name": "profile", "version": 1, "columns": columns})
    (tiny.folder / "contracts" / "profile.yaml").write_text(contract)
    for name, rule in (("adults", "years >= 18"), ("known", "age >= 18")):
        text = f"segment: {name}\ndescription: t\npurpose: news\nrule: {rule}\n"
        (tiny.folder / "segments" / f"{name}.yaml").write_text(text)
    people = tiny.folder / "people.csv"
    people.write_text(people.read_text().replace(",20,2026", ",,2026").replace(",21,2026", ",,2026"))
    summary = go(tiny)
    assert summary["segments"] == {"adults": PEOPLE, "known": PEOPLE - 2}
    assert sent_last(tiny, 0) == sent_last(tiny, 1) == {"age": None, "years": 40}
    assert sent_last(tiny, 2) == {"age": 22, "years": 22}
    (person,) = access(load_job(tiny.path), "email", email(0), None)["people"]
    assert [one["imputed"] for one in person["disclosures"]] == [["years"]]
    sentences = explain_plan(make_plan(load_job(tiny.path)))["sentences"]
    assert [one.strip() for one in sentences if "imputed" in one] == ["imputed where nothing was observed: years"]
    people.write_text(people.read_text().replace(",,2026", ",18,2026", 1))
    again = go(tiny)["syncs"]["adults"]
    assert (again["adds"], again["updates"], again["removes"]) == (0, 1, 0)
    assert sent_last(tiny, 0) == {"age": 18, "years": 18}


def test_imputation_learns_from_nobody_who_may_not_be_profiled(tiny: TinyJob) -> None:
    tiny.policy["profiling"] = {"purpose": "news"}
    tiny.write()
    tiny.write_consents({n: "granted" if n < 4 else "withdrawn" for n in range(PEOPLE)})
    gaps = {"dtype": "Int32", "nullable": True, "impute": {"method": "median"}}
    contract = json.dumps({"name": "profile", "version": 1, "columns": {"age": gaps}})
    (tiny.folder / "contracts" / "profile.yaml").write_text(contract)
    people = tiny.folder / "people.csv"
    people.write_text(people.read_text().replace(",20,2026", ",,2026"))
    assert go(tiny)["imputed_cells"] == 1
    warehouse = DuckDBWarehouse(tiny.folder / "state" / "warehouse.duckdb")
    found = warehouse.sql("SELECT age, age__imputed FROM identity.golden_imputed ORDER BY age NULLS FIRST").to_pylist()
    warehouse.close()
    assert [tuple(row.values()) for row in found] == [(None, 22), (21, None), (22, None), (23, None)]


def test_an_artefact_of_a_job_lies_in_its_state_folder_only(tiny: TinyJob) -> None:
    before = {path for path in tiny.folder.rglob("*") if path.is_file()}
    go(tiny)
    new = {path for path in tiny.folder.rglob("*") if path.is_file()} - before - {tiny.members_file}
    assert all(path.is_relative_to(tiny.folder / "state") for path in new)
    assert Path(tiny.folder / "state" / "keys.json").stat().st_mode & 0o777 == 0o600
