"""What a source is read for: in the log of everything that is done with it, and as the limit of its use."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from consentry.audit import Json
from consentry.errors import ConfigError
from consentry.pipeline.explain import explain_plan
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.purposes import serving
from consentry.pipeline.register import register
from tests.conftest import TinyJob

ROOT = Path(__file__).parents[2]


def reading(job: TinyJob, **purposes: list[str]) -> TinyJob:
    """Let sources state what they are read for."""
    for source, names in purposes.items():
        job.spec["sources"][source]["purposes"] = names
    job.write()
    return job


def refused(job: TinyJob) -> str:
    job.write()
    with pytest.raises(ConfigError) as told:
        load_job(job.path)
    return str(told.value)


def serves(job: TinyJob, action: str, **facts: Json) -> Any:
    return serving(load_job(job.path))(action, facts)


def test_what_a_source_states_stands_in_its_events_and_what_it_does_not_is_derived(tiny: TinyJob) -> None:
    tiny.policy["purposes"]["service"] = {"basis": {"gdpr": "consent"}}
    reading(tiny, crm=["profiling", "service", "news"])
    assert serves(tiny, "contract.applied", stream="crm.people") == {"purposes": ["news", "profiling", "service"]}
    told = serves(tiny, "contract.applied", stream="form.consents")
    assert told == {"purposes": ["news", "profiling"], "purposes_derived": True}
    assert serves(tiny, "run.started") == {"purposes": ["news", "profiling", "service"]}
    assert serves(tiny, "egress.decide", sync="adults", destination="store") == {"purposes": ["news"]}


def test_a_source_that_may_be_linked_for_some_purposes_is_read_for_these(tiny: TinyJob) -> None:
    tiny.spec["identity"] = {"linking": {"purposes": {"crm": ["profiling"]}}}
    tiny.write()
    told = serves(tiny, "source.read", source="crm")
    assert told == {"purposes": ["profiling"], "purposes_derived": True}


@pytest.mark.parametrize(
    ("action", "purpose"),
    [("request.received", "legal_duty"), ("identity.erased", "legal_duty"), ("key.rotated", "security")],
)
def test_what_the_law_asks_for_and_what_keeps_data_safe_serves_that(tiny: TinyJob, action: str, purpose: str) -> None:
    assert serves(tiny, action) == {"purposes": [purpose]}


def test_no_action_that_the_log_may_hold_is_without_a_purpose(tiny: TinyJob) -> None:
    told = serving(load_job(tiny.path))
    folders = [ROOT / name for name in ("consentry", "consent", "identity", "segments", "validation")]
    texts = [path.read_text() for folder in folders for path in folder.rglob("*.py")]
    actions = {name for text in texts for name in re.findall(r"\.append\(\s*\"([a-z]+\.[a-z_]+)\"", text)}
    assert {"source.read", "request.received", "hold.placed", "log.recovered_partial", "egress.decide"} < actions
    assert [action for action in sorted(actions) if not told(action, {})["purposes"]] == []


def test_a_purpose_that_the_policy_does_not_know_is_told_with_the_nearest_and_its_line(tiny: TinyJob) -> None:
    told = refused(reading(tiny, crm=["profiling", "newz"]))
    assert "The policy has no purpose 'newz'; did you mean 'news'?" in told
    line = int(told.partition("job.yaml:")[2].partition(":")[0])
    assert tiny.path.read_text().splitlines()[line - 1].strip() == "- newz"


def test_a_field_leaves_only_for_what_its_source_is_read_for(tiny: TinyJob) -> None:
    told = refused(reading(tiny, crm=["profiling"]))
    assert (
        "Sync adults uses the attribute 'given_name' for news, and crm, which gives it, is not read for that." in told
    )
    assert "Add it to the 'purposes' of crm, or leave 'given_name' out." in told
    # The segment reads an attribute of the same source, and the e-mail is nobody else's.
    assert "Sync adults uses the attribute 'age' for news" in told
    assert "Sync adults sends 'email' for news, and no source that has it is read for that." in told


def test_a_segment_is_used_only_for_what_the_sources_of_its_events_and_scores_are_read_for(tiny: TinyJob) -> None:
    web = deepcopy(tiny.spec["sources"]["crm"])
    web["purposes"] = ["profiling"]
    web["streams"]["people"] |= {"entity": "event", "event": {"name": "visit"}, "occurred_at": "updated_at", "map": {}}
    tiny.spec["sources"]["web"] = web
    tiny.spec["events"] = {"visit": {}}
    rule, segments = "segment: adults\ndescription: t\npurpose: news\nrule: ", tiny.folder / "segments"
    (segments / "adults.yaml").write_text(f"{rule}age >= 18\n")
    tiny.write()
    load_job(tiny.path)
    (segments / "scores.yaml").write_text(
        "scores: [{score: keen, description: t, points: [{value: count(visit), points: 1}]}]\n"
    )
    for read in ("count(visit) > 1", "score.keen > 1"):
        (segments / "adults.yaml").write_text(f"{rule}{read}\n")
        assert "Sync adults uses the event 'visit' for news, and web" in refused(tiny)


def test_a_profile_takes_in_only_what_is_read_for_profiling(tiny: TinyJob) -> None:
    assert "The profile uses the attribute 'age' for profiling, and crm" in refused(reading(tiny, crm=["news"]))
    load_job(reading(tiny, crm=["news", "profiling"]).path)


def test_an_identifier_needs_one_source_that_is_read_for_it(tiny: TinyJob) -> None:
    shop = deepcopy(tiny.spec["sources"]["crm"])
    shop["streams"]["people"] |= {"map": {"shoe_size": "age"}}
    tiny.spec["sources"]["shop"] = shop
    load_job(reading(tiny, shop=["profiling"], crm=["news", "profiling"]).path)


def test_records_are_linked_only_for_what_their_source_is_read_for(tiny: TinyJob) -> None:
    tiny.spec["identity"] = {"linking": {"purposes": {"crm": ["profiling", "news"]}}}
    told = refused(reading(tiny, crm=["news"]))
    assert "The source crm is not read for profiling. Add it to its 'purposes', or take it out here." in told


def test_the_plan_and_the_register_say_what_a_source_is_read_for(tiny: TinyJob) -> None:
    loaded = load_job(reading(tiny, crm=["profiling", "news"]).path)
    assert "   crm for profiling, news" in explain_plan(make_plan(loaded))["sentences"]
    assert register(loaded)["sources"]["crm"]["purposes"] == ["profiling", "news"]
