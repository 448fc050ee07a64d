"""A steward looks at the people of a job and decides otherwise; every later run heeds it."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from typer.testing import CliRunner

from consentry.cli.main import app
from consentry.errors import ConfigError
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.pipeline.stewarding import stewarding
from tests.conftest import TinyJob

SAID = ("--by", "Sam", "--why", "the customer called")


def ask(*words: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["identity", *map(str, words), "-o", "json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refusal(*words: object) -> str:
    with pytest.raises(ConfigError) as caught:
        CliRunner().invoke(app, ["identity", *map(str, words)], catch_exceptions=False)
    return str(caught.value)


def person_of(tiny: TinyJob, record: str) -> str:
    with stewarding(load_job(tiny.path)) as context:
        query = "SELECT person_id FROM identity.membership WHERE record_id = $r AND valid_to_run IS NULL"
        return context.warehouse.sql(query, r=record)["person_id"][0].as_py()


def again(tiny: TinyJob) -> dict[str, Any]:
    return run(make_plan(load_job(tiny.path)), Silent())


def test_people_are_merged_explained_and_parted_by_command(tiny: TinyJob) -> None:
    tiny.write_people(range(6))
    again(tiny)
    one, other = person_of(tiny, "crm:1"), person_of(tiny, "crm:2")
    made = ask("merge", tiny.path, one, other, *SAID)
    assert (made["kind"], made["by"], made["records"]) == ("merge", "Sam", [2])
    again(tiny)
    assert person_of(tiny, "crm:1") == person_of(tiny, "crm:2") == one
    assert ask("resolve", tiny.path, other)["person_id"] == one

    found = ask("explain", tiny.path, other)
    assert [(step["kind"], step["joined"]) for step in found["steps"]] == [("decision", ["crm:1", "crm:2"])]
    assert found["decisions"][0]["why"] == "the customer called"

    contradiction = refusal("split", tiny.path, one, "--record", "crm:2", *SAID)
    assert f"contradicts decision {made['decision_id']} (merge) of Sam" in contradiction
    ask("revert", tiny.path, made["decision_id"], *SAID)
    again(tiny)
    assert person_of(tiny, "crm:1") != person_of(tiny, "crm:2")
    assert [one["holds"] for one in ask("decisions", tiny.path)["decisions"]] == [False, False]
    kinds = [event["kind"] for event in ask("changes", tiny.path)["changes"]]
    assert kinds.count("manual") == 2 and kinds.count("created") == 6
    log = "".join(path.read_text() for path in sorted((tiny.folder / "state" / "audit").glob("*.jsonl")))
    assert log.count('"action":"identity.decided"') == 2 and "called" not in log


def test_a_person_that_was_split_by_command_stays_apart(tiny: TinyJob) -> None:
    rows = (tiny.folder / "people.csv").read_text().replace("canary.person2@", "canary.person1@").splitlines()
    rows = [row.replace("CanaryCato", "CanaryBryn") for row in rows[:5]]
    (tiny.folder / "people.csv").write_text("\n".join(rows) + "\n")
    again(tiny)
    person = person_of(tiny, "crm:1")
    assert person == person_of(tiny, "crm:2")
    assert "Some record must stay" in refusal("split", tiny.path, person, *_both("crm:1", "crm:2"), *SAID)
    assert "has no record 'crm:3'" in refusal("split", tiny.path, person, "--record", "crm:3", *SAID)
    ask("split", tiny.path, person, "--record", "crm:2", *SAID)
    for _ in range(2):
        again(tiny)
        assert person_of(tiny, "crm:1") != person_of(tiny, "crm:2")
    # Between these two the shared address is no question any more.
    assert ask("review", tiny.path) == {"review": [], "counts": {}, "next": None}


def _both(*records: str) -> list[str]:
    return [word for record in records for word in ("--record", record)]


def test_a_field_set_by_hand_stays_until_it_is_ended(tiny: TinyJob) -> None:
    tiny.write_people(range(3))
    again(tiny)
    person = person_of(tiny, "crm:1")
    ask("override", tiny.path, person, "--field", "given_name", "--value", "Mabel", *SAID)
    for name, words in (("Mabel", None), ("Mabel", ["--end"]), ("CanaryBryn", None)):
        again(tiny)
        assert golden_of(tiny, person) == name
        if words:
            assert [one["field"] for one in ask("overrides", tiny.path)["overrides"]] == ["given_name"]
            ask("override", tiny.path, person, "--field", "given_name", *words, *SAID)
    call = ("override", tiny.path, person, *SAID, "--field")
    assert "no field 'givn_name'; did you mean 'given_name'" in refusal(*call, "givn_name", "--value", "x")
    assert "holds INTEGER, and the value is none" in refusal(*call, "age", "--value", "old")
    assert "identifies people" in refusal(*call, "email", "--value", "x@example.com")


def golden_of(tiny: TinyJob, person: str) -> str:
    with stewarding(load_job(tiny.path)) as context:
        query = "SELECT given_name FROM identity.golden WHERE person_id = $person"
        return context.warehouse.sql(query, person=person)["given_name"][0].as_py()


def test_wrong_words_are_answered_with_a_sentence_and_a_remedy(tiny: TinyJob) -> None:
    assert "has not run yet" in refusal("review", tiny.path)
    tiny.write_people(range(3))
    again(tiny)
    assert "There is no person and no record 'nobody'. Look one up" in refusal("explain", tiny.path, "nobody")
    assert "There is no person and no record 'x'" in refusal("merge", tiny.path, "x", "y", *SAID)
    assert "one person already" in refusal("merge", tiny.path, "crm:1", "crm:1", *SAID)
    assert "identity split" in refusal("not-same", tiny.path, "crm:1", person_of(tiny, "crm:1"), *SAID)
    assert "no decision 'x'" in refusal("revert", tiny.path, "x", *SAID)


def test_people_are_evaluated_by_command(tiny: TinyJob) -> None:
    tiny.write_people(range(6))
    again(tiny)
    labels = tiny.folder / "truth.csv"
    labels.write_text("record_id,person\n" + "".join(f"crm:{n},p{n // 2}\n" for n in range(6)))
    page = tiny.folder / "people.html"
    found = ask("evaluate", tiny.path, "--labels", labels, "--out", page)
    assert found["labels"]["pairwise"]["recall"] == 0.0 and found["labels"]["scattered_people"] == 3
    assert found["order"] == {"checked": True, "records": 6, "differ": 0}
    assert "canary" not in page.read_text().lower()

    sample = tiny.folder / "sample.csv"
    drawn = ask("evaluate", tiny.path, "--sample", sample, "--size", 4)
    assert (drawn["draws"], drawn["records"]) == (4, 4)
    sample.write_text(sample.read_text().replace(",\n", ",same\n"))
    assert ask("evaluate", tiny.path, "--labels", sample)["labels"]["intervals"]["b_cubed_precision"]["value"] == 1.0
    labels.write_text("record_id,person\ncrm:1\n")
    assert f"{labels}:2: A record or its person is missing" in refusal("evaluate", tiny.path, "--labels", labels)


def test_text_answers_are_tables_and_the_queue_names_the_command_that_decides(tiny: TinyJob) -> None:
    tiny.write_people(range(3))
    people = tiny.folder / "people.csv"
    people.write_text(people.read_text().replace("+447700900002", "+447700900001").replace("CanaryCato", "Zoe"))
    again(tiny)
    person = person_of(tiny, "crm:1")
    shown = {
        words[0]: CliRunner().invoke(app, ["identity", words[0], str(tiny.path), *words[1:]], catch_exceptions=False)
        for words in (
            ["review"],
            ["decisions"],
            ["overrides"],
            ["changes"],
            ["evaluate"],
            ["explain", person],
            ["resolve", person],
        )
    }
    assert all(result.exit_code == 0 and result.stdout for result in shown.values())
    assert "1 shown; open are 1: 1 contradictory_value." in shown["review"].stdout
    assert "canary" not in shown["review"].stdout.lower()
    line = next(line for line in shown["review"].stdout.splitlines() if "two people: " in line)
    command = shlex.split(line.partition(": ")[2])
    assert command[:3] == ["consentry", "identity", "not-same"]
    assert ask(*command[2:])["by"] == "NAME"
    assert ask("review", tiny.path)["counts"] == {}
