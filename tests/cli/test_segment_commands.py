"""`consentry segment ...` on a small job: what a marketer sees before anything is sent."""

from __future__ import annotations

import json
from copy import deepcopy

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
