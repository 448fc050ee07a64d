"""Experiments on people in a warehouse: the same arm everywhere, everybody counted who took part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from consentry.config import Faults
from consentry.errors import ConfigError
from consentry.segments.catalog import Catalog
from consentry.segments.clock import Clock
from consentry.segments.evaluate import evaluate
from consentry.segments.experiments.bandit import current, learnt, update
from consentry.segments.experiments.definition import Experiment, Split, with_arms
from consentry.segments.experiments.files import Kpi, check_segments, read_experiments, read_kpis
from consentry.segments.experiments.kpis import alarms, cohorts, keep_days, table_of
from consentry.segments.experiments.measure import exposed, judged
from consentry.segments.files import Segment, read_segments
from consentry.segments.holdout import is_held_out
from consentry.segments.memberships import memberships
from consentry.segments.person import Event, Person
from consentry.segments.refresh import refresh
from consentry.segments.segment import Holdout
from consentry.segments.served import served_to
from consentry.warehouse import DuckDBWarehouse
from tests.segments.conftest import CATALOG, NOW, fill, members

START = NOW - timedelta(days=10)
TEXT = f"""\
segments:
  - segment: seen
    description: Looked at a product
    purpose: ads
    rule: count(product_view) >= 1 and count(purchase) == 0
    holdout: {{share: 20%, salt: q4}}
  - segment: offered
    description: Gets the offer
    purpose: ads
    rule: in segment(seen) and experiment.offer == 'offer'
experiments:
  - experiment: offer
    description: Does the offer sell?
    segment: seen
    arms: {{control: 50%, offer: 50%}}
    salt: s1
    start: {START.isoformat()}
    metrics:
      bought: count(purchase) >= 1
      spent: sum(purchase.value)
  - experiment: reach
    description: Is the segment worth reaching?
    segment: seen
    arms: holdout
    start: {START.isoformat()}
    metrics: {{bought: count(purchase) >= 1}}
  - experiment: words
    description: Which words sell?
    segment: seen
    arms: {{plain: 50%, loud: 50%}}
    start: {START.isoformat()}
    metrics: {{bought: count(purchase) >= 1}}
    bandit: bought
kpis:
  - {{kpi: logins, description: Logins of a member, value: count(login), drop: 20%}}
"""
Loaded = tuple[Catalog, tuple[Experiment, ...], tuple[Segment, ...], tuple[Kpi, ...]]
Read = Callable[..., Loaded]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def load(text: str = TEXT) -> Loaded:
        path = tmp_path / "experiments.yaml"
        path.write_text(text, encoding="utf-8")
        faults = Faults()
        experiments = read_experiments(path, CATALOG, faults)
        catalog = with_arms(CATALOG, experiments)
        segments = read_segments(path, catalog, faults)
        check_segments(experiments, segments, faults)
        kpis = read_kpis(path, catalog, faults)
        faults.check()
        return catalog, experiments, segments, kpis

    return load


def named(experiments: Sequence[Experiment], name: str) -> Experiment:
    return next(experiment for experiment in experiments if experiment.name == name)


def people(count: int, *, buys: Callable[[str], bool], at: datetime = NOW) -> dict[str, Person]:
    """People who looked before the experiment; those for whom `buys` holds bought on its second day."""
    look = Event("product_view", START - timedelta(days=5))
    buy = Event("purchase", START + timedelta(days=2), {"value": 30.0})
    return {f"p{n}": Person(events=[look, buy] if buys(f"p{n}") and buy.at <= at else [look]) for n in range(count)}


def test_an_arm_is_the_same_in_batch_in_a_refresh_and_in_process(read: Read) -> None:
    catalog, experiments, segments, _ = read()
    warehouse = DuckDBWarehouse(threads=1)
    everybody = people(400, buys=lambda name: False)
    fill(warehouse, catalog, everybody)
    evaluate(warehouse, segments, catalog, now=NOW, run_id="r")
    inside = members(warehouse)
    split = named(experiments, "offer").split(segments)
    assert inside["offered"] == {name for name in everybody if split.arm(name) == "offer"}
    assert 150 < len(inside["offered"]) < 250
    refresh(warehouse, segments, catalog, now=NOW + timedelta(minutes=5), run_id="r2")
    assert members(warehouse) == inside
    for name in list(everybody)[:20]:
        person = Person(events=everybody[name].events, served=served_to(warehouse, catalog.served, name))
        found = memberships(segments, person, Clock(NOW, catalog.zone()))
        assert ("offered" in found) == (name in inside["offered"])


def test_the_arms_of_a_holdout_are_those_whom_syncs_leave_out(read: Read) -> None:
    _, experiments, segments, _ = read()
    split = named(experiments, "reach").split(segments)
    for n in range(300):
        assert (split.arm(f"p{n}") == "held_out") == is_held_out(f"p{n}", Holdout(0.2, "q4"))


def test_shares_of_arms_are_kept_and_another_salt_splits_anew() -> None:
    split = Split.of({"a": 0.5, "b": 0.3, "c": 0.2}, "x")
    counts = Counter(split.arm(str(n)) for n in range(10_000))
    assert [round(counts[arm] / 10_000, 2) for arm in "abc"] == [
        pytest.approx(share, abs=0.02) for share in (0.5, 0.3, 0.2)
    ]
    both = Counter((split.arm(str(n)), Split.of({"a": 0.5, "b": 0.5}, "y").arm(str(n))) for n in range(10_000))
    assert both["a", "a"] / counts["a"] == pytest.approx(0.5, abs=0.03)


def test_whoever_left_the_segment_by_converting_still_counts(read: Read) -> None:
    catalog, experiments, segments, _ = read()
    warehouse = DuckDBWarehouse(threads=1)
    offer = named(experiments, "offer")
    arm = offer.split(segments).arm

    def buys(name: str) -> bool:
        return arm(name) == "offer" and int(name[1:]) % 3 == 0

    fill(warehouse, catalog, people(600, buys=lambda name: False))
    evaluate(warehouse, segments, catalog, now=START, run_id="r1")
    fill(warehouse, catalog, people(600, buys=buys))
    evaluate(warehouse, segments, catalog, now=NOW, run_id="r2")
    assert len(members(warehouse)["seen"]) < 600
    found = judged(warehouse, catalog, offer, segments, now=NOW)
    assert sum(found["sizes"].values()) == 600 and not found["mismatch"]
    bought, spent = found["metrics"]
    assert bought["arms"]["control"]["value"] == 0
    assert bought["arms"]["offer"]["value"] == pytest.approx(1 / 3, abs=0.08)
    assert bought["chi_square_p"] < 1e-6 and bought["against_control"]["offer"]["sure"]
    assert spent["kind"] == "mean" and spent["arms"]["offer"]["value"] == pytest.approx(10, abs=2.5)


def test_what_happened_before_somebody_came_in_is_not_an_outcome(read: Read) -> None:
    catalog, experiments, segments, _ = read()
    warehouse = DuckDBWarehouse(threads=1)
    early = Event("purchase", START - timedelta(days=1), {"value": 9.0})
    seen = [segment for segment in segments if segment.name == "seen"]
    everybody = people(50, buys=lambda name: False)
    fill(warehouse, catalog, everybody)
    evaluate(warehouse, seen, catalog, now=START, run_id="r1")
    fill(warehouse, catalog, {name: Person(events=[*p.events, early]) for name, p in everybody.items()})
    found = judged(warehouse, catalog, named(experiments, "offer"), seen, now=NOW)
    assert [arm["value"] for arm in found["metrics"][0]["arms"].values()] == [0, 0]


def test_people_who_were_not_watched_long_enough_are_left_out(read: Read) -> None:
    catalog, experiments, segments, _ = read()
    warehouse = DuckDBWarehouse(threads=1)
    fill(warehouse, catalog, people(40, buys=lambda name: False))
    evaluate(warehouse, segments, catalog, now=NOW - timedelta(days=3), run_id="r")
    offer = named(experiments, "offer")
    split = offer.split(segments)
    assert len(exposed(warehouse, offer, split, now=NOW).people) == 40
    assert len(exposed(warehouse, replace(offer, within=4 * 86_400), split, now=NOW).people) == 0


def test_a_broken_split_is_told_as_a_sample_ratio_mismatch(read: Read) -> None:
    catalog, experiments, segments, _ = read()
    warehouse = DuckDBWarehouse(threads=1)
    offer = named(experiments, "offer")
    arm = offer.split(segments).arm
    some = {name: p for name, p in people(900, buys=lambda name: False).items() if arm(name) == "offer" or name < "p5"}
    fill(warehouse, catalog, some)
    evaluate(warehouse, segments, catalog, now=START, run_id="r")
    assert judged(warehouse, catalog, offer, segments, now=NOW)["mismatch"]


def test_an_experiment_that_nobody_took_part_in_is_reported_empty(read: Read) -> None:
    catalog, experiments, segments, _ = read()
    warehouse = DuckDBWarehouse(threads=1)
    fill(warehouse, catalog, {"p": Person()})
    evaluate(warehouse, segments, catalog, now=NOW, run_id="r")
    found = judged(warehouse, catalog, named(experiments, "offer"), segments, now=NOW)
    assert found["sizes"] == {"control": 0, "offer": 0} and found["ratio_p"] == 1.0
    assert found["metrics"][0]["against_control"] == {"offer": None}


def test_thompson_weights_are_served_to_rules_and_move_to_the_better_arm(read: Read) -> None:
    catalog, experiments, segments, _ = read()
    warehouse = DuckDBWarehouse(threads=1)
    words = named(experiments, "words")
    fill(warehouse, catalog, people(800, buys=lambda name: False))
    evaluate(warehouse, segments, catalog, now=START, run_id="r1")
    assert served_to(warehouse, catalog.served, "p1")["experiment.words"] is None
    assert update(warehouse, catalog, words, now=START)["weights"] == {"plain": 0.5, "loud": 0.5}
    first = current(warehouse, words)
    assert first is not None
    arm = first[0].arm
    assert served_to(warehouse, catalog.served, "p1")["experiment.words"] == arm("p1")
    fill(warehouse, catalog, people(800, buys=lambda name: arm(name) == "loud" and int(name[1:]) % 4 == 0))
    found = update(warehouse, catalog, words, now=START + timedelta(days=5))
    assert found["weights"]["loud"] > 0.9
    assert sum(found["people"].values()) == 800 and found["held"]["plain"] == 0
    assert learnt(warehouse, words)[1]["loud"] == found["held"]["loud"] > 50
    again = current(warehouse, words)
    assert again is not None and again[0].shares()["loud"] == pytest.approx(found["weights"]["loud"], abs=1e-6)


def test_a_kpi_of_a_day_belongs_to_the_members_of_that_day(read: Read) -> None:
    catalog, _, segments, kpis = read()
    warehouse = DuckDBWarehouse(threads=1)
    midnight = NOW.replace(hour=0)
    login = [Event("login", midnight - timedelta(days=n)) for n in range(1, 8)]
    look = Event("product_view", midnight - timedelta(days=5, hours=6))
    buy = Event("purchase", midnight - timedelta(days=2, hours=6), {"value": 1.0})
    everybody = {"stays": Person(events=[look, *login]), "leaves": Person(events=[look, buy, *login])}
    for days in range(5, -1, -1):
        at = midnight - timedelta(days=days)
        known = {
            name: replace(person, events=[event for event in person.events if event.at <= at])
            for name, person in everybody.items()
        }
        fill(warehouse, catalog, known)
        evaluate(warehouse, segments, catalog, now=at, run_id=f"r{days}")
    fill(warehouse, catalog, everybody)
    assert keep_days(warehouse, catalog, kpis, now=NOW, days=7) > 0
    rows = [row for row in table_of(warehouse, days=7) if row["segment"] == "seen"]
    assert [(row["members"], row["total"]) for row in rows] == [(1, 1), (1, 1), (1, 1), (2, 2), (2, 2), (2, 2)]
    before = table_of(warehouse, days=7)
    keep_days(warehouse, catalog, kpis, now=NOW, days=7)
    assert table_of(warehouse, days=7) == before  # twice is once
    keep_days(warehouse, catalog, kpis, now=NOW, days=7, members_of_now=True)
    assert {row["members"] for row in table_of(warehouse, days=7) if row["segment"] == "seen"} == {1}


def test_a_segment_whose_engagement_declines_is_an_alarm(read: Read) -> None:
    catalog, _, segments, kpis = read()
    warehouse = DuckDBWarehouse(threads=1)
    midnight = NOW.replace(hour=0)
    look = Event("product_view", midnight - timedelta(days=60))
    # Ten log in every day, and in the last week only four of them.
    often = [Event("login", midnight - timedelta(days=n, hours=-3)) for n in range(1, 36)]
    seldom = [event for event in often if event.at < midnight - timedelta(days=7)]
    everybody = {f"p{n}": Person(events=[look, *(often if n < 4 else seldom)]) for n in range(10)}
    fill(warehouse, catalog, everybody)
    evaluate(warehouse, segments, catalog, now=midnight - timedelta(days=40), run_id="r")
    keep_days(warehouse, catalog, kpis, now=NOW, days=35)
    (sentence,) = [found for found in alarms(warehouse, kpis) if "of seen" in found]
    assert sentence == ("logins a member of seen fell by 60%: 0.4 a day in the last week, 1 in the four before.")


def test_cohorts_tell_who_came_back_month_by_month(read: Read) -> None:
    catalog, _, segments, _ = read()
    warehouse = DuckDBWarehouse(threads=1)

    def logins(*months: int) -> Person:
        look = Event("product_view", NOW)
        return Person(events=[look, *(Event("login", datetime(2026, month, 5, tzinfo=NOW.tzinfo)) for month in months)])

    fill(warehouse, catalog, {"a": logins(1, 2, 3), "b": logins(1, 3), "c": logins(2, 3), "d": logins()})
    evaluate(warehouse, segments, catalog, now=NOW, run_id="r")
    assert cohorts(warehouse, "seen", "login", months=12) == [
        {"cohort": "2026-01", "people": 2, "came_back": [1.0, 0.5, 1.0]},
        {"cohort": "2026-02", "people": 1, "came_back": [1.0, 1.0]},
    ]


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("{control: 50%, offer: 50%}", "{control: 50%, offer: 40%}", "15: The shares of the arms sum to 90%"),
        ("{control: 50%, offer: 50%}", "{control: 100%}", "15: An experiment has two arms or more"),
        ("segment: seen\n    arms: {control", "segment: sen\n    arms: {control", "14: There is no segment 'sen'"),
        (
            "count(purchase) >= 1\n      spent",
            "count(purchas) >= 1\n      spent",
            "19: The metric, column 1: unknown event",
        ),
        ("sum(purchase.value)", "last(purchase)", "20: The metric, column 1: a number is needed here"),
        ("bandit: bought", "bandit: spent", "33: A bandit needs 'arms', and a metric that is a rule"),
        ("    holdout: {share: 20%, salt: q4}\n", "", "22: The segment 'seen' has no 'holdout'"),
        ("kpi: logins", "kpi: Logins", "35: kpi: a name has lower-case letters"),
        ("value: count(login)", "value: count(logn)", "unknown event 'logn'"),
        ("salt: s1", "sallt: s1", "16: The key 'sallt' is not known here; did you mean 'salt'"),
    ],
)
def test_a_fault_is_told_with_its_line(read: Read, before: str, after: str, fault: str) -> None:
    assert before in TEXT
    with pytest.raises(ConfigError) as error:
        read(TEXT.replace(before, after))
    assert any(fault in sentence for sentence in error.value.faults), error.value.faults
