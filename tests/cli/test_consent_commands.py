"""The commands about consent: they answer, refuse with a sentence, and never show the identifier they were given."""

from __future__ import annotations

import io
import json

import pytest
import yaml

from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from tests.cli.conftest import Cli, told
from tests.conftest import PEOPLE, TinyJob, choice, email


def test_consent_is_shown_explained_withdrawn_and_receipted(
    cli: Cli, ran: TinyJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = ("--by", "email", "--value", email(3))
    assert told(cli("consent", "show", ran.path, *who, "-o", "json"))["states"][0]["state"] == "granted"
    asked = ("consent", "explain", ran.path, *who, "--sync", "adults", "-o", "json")
    assert told(cli(*asked))["people"][0]["reason"] == "allow"
    row = {**choice(3, "withdrawn", 2), "source_system": "form", "source_event_id": "w-1", "identifier_value": email(3)}
    feed = ran.folder / "word.jsonl"
    feed.write_text(json.dumps(row) + "\n")
    assert told(cli("consent", "import", ran.path, feed, "-o", "json"))["new"] == 1
    assert told(cli("consent", "import", ran.path, feed, "-o", "json"))["duplicate"] == 1
    assert told(cli(*asked))["people"][0]["reason"] == "withdrawn"
    assert told(cli(*asked, "--known-at", "2026-01-05T00:00:00Z"))["people"][0]["reason"] == "no_record"
    monkeypatch.setattr("sys.stdin", io.StringIO(email(3) + "\n"))
    assert len(told(cli("consent", "history", ran.path, "--by", "email", "--value", "-", "-o", "json"))["events"]) == 2
    receipts = [json.loads(line) for line in cli("consent", "receipt", ran.path, *who)[1].splitlines()]
    assert [one["dpv:hasConsentStatus"]["@type"] for one in receipts] == ["dpv:ConsentGiven", "dpv:ConsentWithdrawn"]
    assert len(cli("consent", "export", ran.path)[1].splitlines()) == PEOPLE + 1
    assert "withdrawn" in cli("consent", "history", ran.path, *who)[1]


def test_suppression_keeps_matching_after_a_rotation(cli: Cli, ran: TinyJob) -> None:
    who = ("--by", "email", "--value", email(4).upper())
    assert told(cli("suppress", "add", ran.path, *who, "--reason", "objection", "-o", "json"))["added"] == 1
    assert told(cli("keys", "rotate", ran.path, "-o", "json")) == {
        "provider": "file",
        "active": 2,
        "accepted": [1, 2],
        "rewrapped": 0,
    }
    summary = run(make_plan(load_job(ran.path)), Silent())
    assert (summary["syncs"]["adults"]["removes"], summary["profiles_refused"]) == (1, {"suppressed": 1})
    assert told(cli("suppress", "list", ran.path, "-o", "json"))["suppressed"][0]["entries"] == 1
    assert told(cli("suppress", "remove", ran.path, *who, "-o", "json"))["removed"] == 1
    assert told(cli("suppress", "add", ran.path, *who, "--reason", "erasure", "-o", "json"))["added"] == 1
    assert told(cli("suppress", "remove", ran.path, *who, "-o", "json"))["removed"] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("consent", "show", "--by", "phone", "--value", "canary"),
        ("consent", "explain", "--by", "email", "--value", "canary@example.com", "--sync", "adults"),
        ("consent", "explain", "--by", "email", "--value", "canary@example.com", "--sync", "nothing"),
        ("suppress", "add", "--by", "email", "--value", "canary@example.com", "--reason", "whim"),
        ("suppress", "add", "--by", "email", "--value", "canary@example.com", "--reason", "legal", "--scope", "nws"),
        ("consent", "import", "missing.jsonl"),
        ("anonymity", "--columns", "agge"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(cli: Cli, ran: TinyJob, arguments: tuple[str, ...]) -> None:
    split = 1 if arguments[0] == "anonymity" else 2
    code, _, err = cli(*arguments[:split], ran.path, *arguments[split:])
    assert code == 1
    assert err.strip().endswith(".")


def test_a_policy_is_checked_tried_and_compared(cli: Cli, ran: TinyJob) -> None:
    policy = ran.folder / "policy.yaml"
    assert told(cli("policy", "check", policy, "-o", "json"))["policy_id"] == "tiny"
    said = {"purpose": "news", "state": "granted", "effective_at": "2026-01-01T00:00:00Z"}
    case = {"name": "a grant", "as_of": "2026-02-01T00:00:00Z", "given": [said], "expect": {"store": "allow"}}
    cases = ran.folder / "cases.yaml"
    cases.write_text(yaml.safe_dump({"cases": [case]}))
    assert told(cli("policy", "test", policy, cases, "-o", "json"))["tried"] == 1
    cases.write_text(yaml.safe_dump({"cases": [{**case, "expect": {"store": "expired"}}]}))
    assert cli("policy", "test", policy, cases)[0] == 1
    cases.write_text(yaml.safe_dump({"cases": [{**case, "expect": {"stor": "alow"}}]}))
    assert "no reason code" in cli("policy", "test", policy, cases)[2]
    new = ran.folder / "new.yaml"
    new.write_text(policy.read_text().replace("gdpr: consent", "gdpr: consent\n    ttl: P1D"))
    found = told(cli("policy", "diff", ran.path, new, "-o", "json"))["syncs"]["adults"]
    assert found == {"gain": 0, "lose": PEOPLE, "lost_for": {"expired": PEOPLE}}
    assert "-40" in cli("policy", "diff", ran.path, new)[1]


def test_an_older_policy_runs_when_it_is_approved(cli: Cli, tiny: TinyJob) -> None:
    for revision in (2, 1):
        tiny.policy["revision"] = revision
        tiny.write()
        code, _, err = cli("run", tiny.path, "-o", "json")
    assert (code, "policy approve" in err) == (5, True)
    assert told(cli("policy", "approve", tiny.path, "-o", "json"))["policy_id"] == "tiny"
    assert cli("run", tiny.path, "-o", "json")[0] == 0


def test_t67_the_leak_scan_is_clean_and_finds_what_is_planted(cli: Cli, ran: TinyJob) -> None:
    # What the destination of this job keeps lies outside of the state folder.
    assert told(cli("leak-scan", ran.path, "-o", "json"))["findings"] == []
    canaries = ran.folder / "planted.txt"
    canaries.write_text("blue heron\n")
    key = json.loads((ran.folder / "state" / "keys.json").read_text())["keys"]["1"]
    note = ran.folder / "state" / "note.txt"
    note.write_text(f'{{"who":"{email(3).upper()}","tel":447700900003}} a blue heron {key}, CanaryDela')
    code, out, _ = cli("leak-scan", ran.path, "--canaries", canaries, "-o", "json")
    found = {(one["place"], one["kind"]) for one in json.loads(out)["findings"]}
    assert code == 1
    assert found == {("note.txt", kind) for kind in ("email", "phone", "planted", "key", "name")}


def test_the_smallest_group_of_some_columns_is_told(cli: Cli, ran: TinyJob) -> None:
    found = told(cli("anonymity", ran.path, "--columns", "age", "--segment", "adults", "-o", "json"))
    assert (found["k"], found["people"], found["unique_people"]) == (1, PEOPLE, PEOPLE)


def test_a_person_is_told_what_is_held_and_who_was_given_it(cli: Cli, ran: TinyJob) -> None:
    out = ran.folder / "access.json"
    who = ("--by", "email", "--value", email(3).upper(), "--out", out)
    assert told(cli("consent", "access", ran.path, *who, "-o", "json")) == {"file": str(out), "people": 1}
    assert out.stat().st_mode & 0o777 == 0o600
    (person,) = json.loads(out.read_text())["people"]
    assert person["golden_record"][0]["email"] == email(3)
    assert {one["type"] for one in person["identifiers"]} == {"email", "phone"}
    assert [one["state"] for one in person["consents"]] == ["granted"]
    assert [one["segment"] for one in person["segments"]] == ["adults"]
    (given,) = person["disclosures"]
    assert (given["recipient"], given["purpose"]) == ("store", "news")
    assert given["data"] == ["email", "given_name"]
    assert cli("consent", "access", ran.path, *who)[0] == 1  # what is there is not written over
    assert cli("consent", "access", ran.path, "--by", "email", "--value", "x@example.com", "--out", out)[0] == 1
    assert email(3) not in "".join(path.read_text() for path in (ran.folder / "state" / "audit").glob("*.jsonl"))


def test_the_register_names_every_recipient_with_its_basis(cli: Cli, tiny: TinyJob) -> None:
    tiny.policy["controller"] = {"name": "Tiny Shop", "contact": "privacy@example.com"}
    found = told(cli("policy", "register", tiny.write(), "-o", "json"))
    processing = {one["purpose"]: one for one in found["processing"]}["news"]
    (recipient,) = [one for one in processing["recipients"] if one["name"] == "store"]
    assert found["controller"]["name"] == "Tiny Shop"
    assert processing["basis"] == {"gdpr": "consent"}
    assert (recipient["used_by"], recipient["re_identifiable_by_recipient"]) == (["adults"], True)
    assert "Tiny Shop" in cli("policy", "register", tiny.path)[1]
    receipts = told(cli("consent", "receipt", tiny.path, "--by", "email", "--value", "x@example.com", "-o", "json"))
    assert receipts == {"receipts": []}
