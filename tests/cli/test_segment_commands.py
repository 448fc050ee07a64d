"""`consentry segment ...` on a small job: what a marketer sees before anything is sent."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from typing import Any

from tests.cli.conftest import Cli, told
from tests.conftest import PEOPLE, TinyJob


def add(job: TinyJob, name: str, rule: str, more: str = "") -> None:
    text = f"segment: {name}\ndescription: test\npurpose: news\nrule: {rule}\n{more}"
    (job.folder / "segments" / f"{name}.yaml").write_text(text)


def test_the_segment_commands_tell_one_story(cli: Cli, tiny: TinyJob) -> None:
    add(tiny, "older", "age >= 30", "tests: [{in: {age: 30}}, {out: {age: 29}}]\n")
    add(tiny, "rare", "age between 30 and 32")
    tiny.spec["syncs"]["older"] = deepcopy(tiny.spec["syncs"]["adults"]) | {"segment": "older", "audience": "older"}
    tiny.write()
    tiny.write_consents({n: "granted" if n % 2 else "denied" for n in range(PEOPLE)})
    assert cli("segment", "preview", tiny.path)[0] == 1  # it has not run yet
    ran = cli("run", tiny.path)
    assert ran[0] == 0, ran[2]

    rows = {
        (row["segment"], row["sync"]): row
        for row in told(cli("segment", "preview", tiny.path, "-o", "json"))["segments"]
    }
    older = rows["older", "older"]
    gates = ("rule", "members", "consent", "suppression", "holdout")
    assert [older[gate] for gate in gates] == [30, 30, 15, 15, 15]
    assert rows["rare", None]["members"] == "<10"
    assert "older" in cli("segment", "preview", tiny.path, "--segment", "older")[1]
    assert "did you mean 'older'" in cli("segment", "preview", tiny.path, "--segment", "oldr")[2]

    (pair,) = told(cli("segment", "overlap", tiny.path, "-o", "json"))["pairs"]
    assert (pair["left"], pair["right"], pair["jaccard"]) == ("adults", "older", 0.75)
    assert pair["advice"].startswith("prune 'older'")

    history = told(cli("segment", "history", tiny.path, "-o", "json"))["history"]
    assert {row["segment"]: row["members"] for row in history} == {"adults": 40, "older": 30, "rare": 3}
    diff = told(cli("segment", "diff", tiny.path, "-o", "json"))["segments"]
    assert {row["segment"]: row["entered"] for row in diff} == {"adults": 40, "older": 30, "rare": "<10"}

    assert told(cli("segment", "refresh", tiny.path, "-o", "json"))["entered"] == {}
    page = tiny.folder / "report.html"
    assert cli("segment", "report", tiny.path, "--out", page)[0] == 0
    html = page.read_text()
    assert "<svg" in html and "http" not in html and "older" in html and "&lt;10" in html


def test_a_person_is_explained_condition_by_condition(cli: Cli, tiny: TinyJob) -> None:
    cli("run", tiny.path)
    shown = told(cli("explain", tiny.path, "--by", "email", "--value", "canary.person3@example.com", "-o", "json"))
    person = shown["person_id"]
    (row,) = told(cli("segment", "explain", tiny.path, person, "-o", "json"))["segments"]
    assert (row["member"], row["holds"]) == (True, True)
    assert row["reasons"] == [{"condition": "age >= 18", "holds": True, "values": {"age": 23.0}}]
    code, _, err = cli("segment", "explain", tiny.path, "nobody")
    assert (code, "no profile of this person" in err) == (1, True)


def test_lint_warns_and_test_fails_on_a_wrong_example(cli: Cli, tiny: TinyJob) -> None:
    add(tiny, "odd", "not age > 30", "tests: [{in: {age: 40}}]\n")
    code, out, _ = cli("segment", "lint", tiny.path, "--strict", "-o", "json")
    assert code == 1
    assert {(r["segment"], r["code"]) for r in json.loads(out)["remarks"]} >= {
        ("odd", "nullable_not"),
        ("odd", "unused"),
    }
    assert cli("segment", "lint", tiny.path)[0] == 0
    code, out, _ = cli("segment", "test", tiny.path, "-o", "json")
    assert (code, json.loads(out)["ok"]) == (1, False)


def test_actionable_and_measurable_a_segment_without_a_sync_or_a_figure_is_remarked(cli: Cli, tiny: TinyJob) -> None:
    def remarked() -> set[tuple[str, str]]:
        found = told(cli("segment", "lint", tiny.path, "-o", "json"))["remarks"]
        return {(row["segment"], row["code"]) for row in found}

    add(tiny, "older", "age >= 30")
    assert remarked() >= {("older", "unused"), ("", "unmeasured")}
    assert ("adults", "unused") not in remarked()
    tiny.spec["syncs"]["older"] = deepcopy(tiny.spec["syncs"]["adults"]) | {"segment": "older", "audience": "older"}
    tiny.write()
    figures = "kpis: [{kpi: people, description: Heads, value: age}]\n"
    (tiny.folder / "segments" / "figures.yaml").write_text(figures)
    assert not {code for _, code in remarked()} & {"unused", "unmeasured"}


def test_format_writes_the_one_spelling_and_the_tree(cli: Cli) -> None:
    assert cli("segment", "format", "age>3   and (country=='DE')")[1].strip() == "age > 3 and country == 'DE'"
    tree = told(cli("segment", "format", "not age > 3", "-o", "json"))["tree"]
    assert list(tree) == ["not"]
    assert "cannot stand here" in cli("segment", "format", "age > > 3")[2]


def move_the_clock(job: TinyJob, day: str) -> None:
    job.spec["as_of"] = f"{day}T00:00:00Z"
    job.write()


def person_of(cli: Cli, job: TinyJob, number: int) -> str:
    asked = ("--by", "email", "--value", f"canary.person{number}@example.com", "-o", "json")
    return str(told(cli("explain", job.path, *asked))["person_id"])


def test_audit_logs_and_kept_changes_tell_why_somebody_was_in_a_segment_on_a_day(cli: Cli, ran: TinyJob) -> None:
    person = person_of(cli, ran, 9)
    add(ran, "older", "age >= 29")
    move_the_clock(ran, "2026-03-01")
    came = told(cli("segment", "refresh", ran.path, "-o", "json"))["run_id"]
    (ran.folder / "segments" / "older.yaml").unlink()
    move_the_clock(ran, "2026-04-01")
    left = told(cli("segment", "refresh", ran.path, "-o", "json"))["run_id"]

    def at(day: str) -> tuple[str, dict[str, Any]]:
        found = told(cli("segment", "explain", ran.path, person, "--at", day, "-o", "json"))
        rows = {row["segment"]: row for row in found["segments"]}
        assert rows["adults"]["since"] == "2026-02-01T00:00:00+00:00"
        return found["evaluation"]["rules"], rows.get("older", {})

    # The rules of the first run are those of now: the segment came and went in between.
    assert at("2026-02-28") == ("same", {})
    rules, older = at("2026-03-31")
    assert (rules, older["member"], older["since"][:10], older["run_id"]) == ("changed", True, "2026-03-01", came)
    assert "no longer defined" in older["remark"]
    rules, older = at("2026-04-01T00:00:00Z")
    assert (rules, older["member"], older["left"][:10], older["run_id"]) == ("same", False, "2026-04-01", left)


def test_what_disagrees_with_the_membership_of_then_is_told(cli: Cli, ran: TinyJob) -> None:
    person = person_of(cli, ran, 39)
    add(ran, "older", "age >= percentile(50 of age)")
    move_the_clock(ran, "2026-03-01")
    assert cli("segment", "refresh", ran.path)[0] == 0
    people = ran.folder / "people.csv"
    people.write_text(people.read_text().replace(",59,", ",19,"))
    move_the_clock(ran, "2026-04-01")
    assert cli("run", ran.path)[0] == 0

    found = told(cli("segment", "explain", ran.path, person, "--at", "2026-03-02", "-o", "json"))
    (older,) = (row for row in found["segments"] if row["segment"] == "older")
    assert (older["member"], older["holds"], found["evaluation"]["rules"]) == (True, False, "same")
    assert "known now: age, or what is known of events of then has changed." in older["remark"]
    assert older["reasons"][0]["values"] == {"age": 19.0, "percentile(50 of age)": 39.5}
    assert found["notes"][0].startswith("Attributes") and "those of that run" in found["notes"][-1]
    _, text, _ = cli("segment", "explain", ran.path, person, "--at", "2026-03-02")
    assert f"older: in since 2026-03-01T00:00:00+00:00 (run {found['evaluation']['run_id']})" in text
    assert "They were in it, and the rule does not hold" in text


def test_a_day_before_the_first_evaluation_nobody_and_no_day_are_refused(cli: Cli, ran: TinyJob) -> None:
    person = person_of(cli, ran, 3)

    def refusal(person: str, at: str) -> str:
        code, _, err = cli("segment", "explain", ran.path, person, "--at", at)
        assert code == 1
        return err

    assert "had not evaluated its segments yet" in refusal(person, "2026-01-31")
    assert "There is no profile of this person" in refusal("nobody", "2026-02-01")
    assert "--at is a day" in refusal(person, "2026-02-01T00:00:00")


def test_what_an_earlier_day_cannot_be_told_of_is_said(cli: Cli, ran: TinyJob) -> None:
    person = person_of(cli, ran, 3)
    (ran.folder / "segments" / "ladder.yaml").write_text(
        "groups: [{name: ladder}]\n"
        "segments:\n"
        "  - {segment: top, description: t, purpose: news, rule: age >= 20, group: {name: ladder, priority: 1}}\n"
        "  - {segment: low, description: t, purpose: news, rule: age >= 18, group: {name: ladder, priority: 2}}\n"
        "  - {segment: half, description: t, purpose: news, rule: age >= percentile(50 of age)}\n"
    )
    assert cli("segment", "refresh", ran.path)[0] == 0
    shutil.rmtree(ran.folder / "state" / "audit")

    def at() -> tuple[list[str], dict[str, dict[str, Any]]]:
        found = told(cli("segment", "explain", ran.path, person, "--at", "2026-02-01", "-o", "json"))
        return found["notes"], {row["segment"]: row for row in found["segments"]}

    notes, rows = at()
    assert "the audit log does not tell by which run" in notes[2]
    assert "of the last evaluation where the log has none of that run" in notes[3]
    assert rows["low"]["remark"] == "The rule holds, and top comes first in the group ladder."
    now = told(cli("segment", "explain", ran.path, person, "-o", "json"))["segments"]
    assert {row["segment"]: row.get("remark") for row in now}["low"] == rows["low"]["remark"]
    ladder = ran.folder / "segments" / "ladder.yaml"
    ladder.write_text(ladder.read_text().replace("age >= 20", "age >= 200"))
    assert "the rule does not hold by what is known now: the rule, since run" in at()[1]["top"]["remark"]


def test_a_person_of_several_ids_is_told_by_each_and_who_is_erased_not_at_all(cli: Cli, ran: TinyJob) -> None:
    one, other = person_of(cli, ran, 3), person_of(cli, ran, 4)
    said = ("--by", "Sam", "--why", "the same")
    assert cli("identity", "merge", ran.path, one, other, *said)[0] == 0
    assert cli("run", ran.path)[0] == 0

    def at(person: str) -> tuple[list[str], dict[str, Any]]:
        found = told(cli("segment", "explain", ran.path, person, "--at", "2026-02-01", "-o", "json"))
        return found["notes"], found["segments"][0]

    kept, gone = (one, other) if person_of(cli, ran, 4) == one else (other, one)
    assert at(kept)[0][0].endswith(f"memberships of their own until then, and their events count here: {gone}.")
    notes, adults = at(gone)
    assert notes[0] == f"The person is kept as {kept} today: what came after is told of that id."
    assert notes[1] == "There is no profile of this person now, so that no condition can be judged."
    assert (adults["holds"], adults["reasons"]) == (None, [])
    assert cli("erase", ran.path, "--person", kept, "--approved-by", "Dana")[0] == 0
    for person in (kept, gone):
        assert "no profile of this person" in cli("segment", "explain", ran.path, person, "--at", "2026-02-01")[2]
