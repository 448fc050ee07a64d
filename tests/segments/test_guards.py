"""Minimum sizes, history, staleness, holdouts, overlap and how many syncs a channel bears."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from consentry.segments import ast
from consentry.segments.catalog import Catalog
from consentry.segments.evaluate import Evaluated, evaluate
from consentry.segments.files import Segment
from consentry.segments.holdout import is_held_out, mismatch_p
from consentry.segments.limits import Limits, crowded
from consentry.segments.overlap import alike, pairs
from consentry.segments.parse import parse, parse_value
from consentry.segments.person import Person
from consentry.segments.reads import inputs_of
from consentry.segments.scores import Term, Weighted
from consentry.segments.segment import Holdout, Place
from consentry.segments.served import Served
from consentry.warehouse import DuckDBWarehouse

Write = Callable[[str], tuple[Segment, ...]]
Decide = Callable[..., Evaluated]
Populate = Callable[[Mapping[str, Person]], None]


def one(rule: str, more: str = "", name: str = "s") -> str:
    return f'segments:\n  - {{segment: {name}, description: t, purpose: ads, rule: "{rule}"{more}}}\n'


def crowd(size: int) -> dict[str, Person]:
    return {f"p{n:05d}": Person({"age": n}) for n in range(size)}


def held_out(warehouse: DuckDBWarehouse) -> set[str]:
    return set(warehouse.sql("SELECT person_id FROM segment.holdout")["person_id"].to_pylist())


def test_a_b_inside_segments_a_holdout_is_the_same_people_in_every_run_and_about_its_share(
    write: Write, decide: Decide, populate: Populate, warehouse: DuckDBWarehouse
) -> None:
    populate(crowd(2000))
    segments = write(one("age >= 0", ", holdout: {share: 10%, salt: q4}"))
    split = decide(segments, run_id="r1").holdouts["s"]
    first = held_out(warehouse)
    decide(segments, run_id="r2")
    assert held_out(warehouse) == first
    assert (split.members, split.held) == (2000, len(first))
    assert 0.07 < split.held / split.members < 0.13 and not split.is_mismatch
    holdout = Holdout(0.1, "q4")
    assert first == {name for name in crowd(2000) if is_held_out(name, holdout)}
    assert first != {name for name in crowd(2000) if is_held_out(name, Holdout(0.1, "q1"))}


def test_only_members_are_held_out_and_an_old_holdout_is_forgotten(
    write: Write, decide: Decide, populate: Populate, warehouse: DuckDBWarehouse
) -> None:
    populate(crowd(300))
    decide(write(one("age < 100", ", holdout: {share: 50%, salt: x}")), run_id="r1")
    assert held_out(warehouse) <= {f"p{n:05d}" for n in range(100)}
    decide(write(one("age < 100")), run_id="r2")
    assert held_out(warehouse) == set()


@pytest.mark.parametrize(("held", "is_off"), [(100, False), (130, False), (150, True), (50, True)])
def test_a_split_that_chance_does_not_explain_is_a_sample_ratio_mismatch(held: int, is_off: bool) -> None:
    assert (mismatch_p(1000, held, 0.1) < 0.001) == is_off


def test_minimum_size_is_one_in_a_hundred_unless_another_is_stated(
    write: Write, warehouse: DuckDBWarehouse, populate: Populate, now: datetime, catalog: Catalog
) -> None:
    populate(crowd(1000))
    text = one("age < 9") + '  - {segment: own, description: t, purpose: ads, rule: "age < 9", min_size: 5}\n'
    text += '  - {segment: none, description: t, purpose: ads, rule: "age < 9", min_share: 0%}\n'
    found = evaluate(
        warehouse,
        write(text),
        catalog,
        now=now,
        run_id="r",
        limits=Limits(on_small="block"),
    )
    assert [(item.segment, item.code) for item in found.findings] == [("s", "small")]
    assert found.notes == ("The segment 's' has 9 members; its minimum is 10.",)
    assert warehouse.sql("SELECT segment, code FROM segment.hold").to_pylist() == [{"segment": "s", "code": "small"}]


def test_anomalies_a_sudden_change_of_size_is_told_and_a_usual_one_is_not(
    write: Write, decide: Decide, populate: Populate, now: datetime
) -> None:
    segments = write(one("age >= 0"))
    for day, size in enumerate((100, 104, 98, 101, 99, 103)):
        populate(crowd(size))
        assert decide(segments, at=now + timedelta(days=day), run_id=f"r{day}").findings == ()
    populate(crowd(105))
    assert decide(segments, at=now + timedelta(days=6), run_id="r6").findings == ()
    populate(crowd(30))
    (found,) = decide(segments, at=now + timedelta(days=7), run_id="r7").findings
    assert (found.code, "usually has 101" in found.sentence) == ("anomaly", True)


def test_anomalies_a_size_is_held_against_the_same_weekday(
    write: Write, decide: Decide, populate: Populate, now: datetime
) -> None:
    segments = write(one("age >= 0"))

    def told(day: int, size: int) -> list[str]:
        populate(crowd(size))
        return [found.code for found in decide(segments, at=now + timedelta(days=day), run_id=f"r{day}").findings]

    for day in range(36):
        told(day, 20 + day % 3 if day % 7 == 6 else 100 + day % 3)
    assert told(41, 21) == []
    assert told(42, 21) == ["anomaly"]


def test_doing_a_run_again_leaves_one_line_of_history(
    write: Write, decide: Decide, populate: Populate, warehouse: DuckDBWarehouse
) -> None:
    populate(crowd(5))
    for _ in range(2):
        decide(write(one("age > 1")), run_id="same")
    assert warehouse.sql("SELECT members, population FROM segment.history").to_pylist() == [
        {"members": 3, "population": 5}
    ]


def test_what_a_segment_reads_includes_what_its_references_read(write: Write) -> None:
    text = one("in segment(b) and device == 'mobile'", name="a")
    text += '  - {segment: b, description: t, purpose: ads, rule: "count(purchase where value > 3) > 1"}\n'
    assert inputs_of(write(text)) == {
        "a": {("attribute", "device"), ("event", "purchase")},
        "b": {("event", "purchase")},
    }


def test_what_a_segment_reads_includes_what_scores_and_models_are_made_of_and_what_its_group_reads() -> None:
    care = Weighted("care", (Term(parse_value("count(purchase)"), 1.0),), is_integer=True)
    churn = Served("number", "", "segment.model__churn", reads=(("attribute", "income"),))
    catalog = Catalog({}, scores={"score.care": care}, served={"model.churn": churn})
    segments = [
        Segment("first", "t", "ads", parse("age > 1"), group=Place("ladder", 1, parse_value("score.care"))),
        Segment("second", "t", "ads", parse("model.churn > 0.5"), group=Place("ladder", 2)),
        Segment("rest", "t", "ads", None, fallback_of="ladder"),
        Segment("outside", "t", "ads", parse("in segment(rest) and device == 'mobile'")),
    ]
    ladder = {("attribute", "age"), ("event", "purchase"), ("attribute", "income")}
    found = inputs_of(segments, catalog)
    assert found == dict.fromkeys(("first", "second", "rest"), ladder) | {"outside": ladder | {("attribute", "device")}}


def test_a_long_chain_of_references_is_followed_to_its_end() -> None:
    names = [f"s{n:05d}" for n in range(10_000)]
    chain = [Segment(names[0], "t", "ads", parse("age > 1"))]
    chain += [Segment(name, "t", "ads", ast.InSegment(before)) for before, name in pairwise(names)]
    assert inputs_of(chain)[names[-1]] == {("attribute", "age")}


def test_stale_data_a_segment_with_an_old_input_is_stale_and_its_syncs_are_held(
    write: Write, warehouse: DuckDBWarehouse, populate: Populate, now: datetime, catalog: Catalog
) -> None:
    populate(crowd(10))
    text = one("count(purchase) > 0") + '  - {segment: other, description: t, purpose: ads, rule: "age > 1"}\n'
    late = {("event", "purchase"): "shop.orders is older than its freshness allows."}
    found = evaluate(
        warehouse,
        write(text),
        catalog,
        now=now,
        run_id="r",
        stale=late,
        limits=Limits(on_small="ignore"),
    )
    assert [(item.segment, item.code, item.action) for item in found.findings] == [("s", "stale", "block")]
    assert warehouse.sql("SELECT segment FROM segment.hold")["segment"].to_pylist() == ["s"]
    assert warehouse.sql("SELECT segment FROM segment.history WHERE stale")["segment"].to_pylist() == ["s"]


people = st.sets(st.integers(0, 60))


@given(st.dictionaries(st.sampled_from("abcd"), people, min_size=2))
def test_the_overlap_matrix_is_exact(made: dict[str, set[int]]) -> None:
    rosters = {name: BitMap(members) for name, members in made.items()}
    found = list(pairs(rosters))
    assert len(found) == len(made) * (len(made) - 1) // 2
    for pair in found:
        left, right = made[pair.left], made[pair.right]
        assert pair.jaccard == (len(left & right) / len(left | right) if left | right else 0.0)


def test_overlap_segments_that_are_alike_come_with_advice() -> None:
    rosters = {"a": range(100), "b": range(95), "part": range(60), "half": range(30, 90), "far": range(500, 600)}
    found = {(p.left, p.right): p.advice for p in alike({k: BitMap(v) for k, v in rosters.items()}, 0.3)}
    assert found["a", "b"].startswith("merge")
    assert found["a", "part"].startswith("prune 'part'")
    assert found["half", "part"].startswith("put 'half' and 'part' in one group")
    assert not any("far" in pair for pair in found)


def test_10_15_per_channel_above_ten_is_warned_of_and_above_fifteen_refused() -> None:
    found = crowded({"few": 10, "many": 11, "most": 15, "too_many": 16}, Limits())
    assert {name: is_error for name, (is_error, _) in found.items()} == {
        "many": False,
        "most": False,
        "too_many": True,
    }
