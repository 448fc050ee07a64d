"""Segment files: what is read, and every fault with its file, line and column."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from consentry.config import Faults
from consentry.errors import ConfigError
from consentry.segments.catalog import Catalog
from consentry.segments.examples import run_tests
from consentry.segments.files import Segment, read_segments
from consentry.segments.parse import parse

Write = Callable[[str], tuple[Segment, ...]]

FULL = """\
segment: mobile_browsers_25_34
description: Young mobile visitors who look at products
purpose: ads_personalisation
rule: age between 25 and 34 and count(product_view, last 7 days) >= 3 and device == 'mobile'
refresh: 15 minutes
min_share: 1%
min_size: 50
holdout: {share: 10%, salt: q4}
tests:
  - {in:  {age: 30, device: mobile,  events: {product_view: [1 day ago, 2 days ago, 6 days ago]}}}
  - {out: {age: 30, device: mobile,  events: {product_view: [1 day ago, 2 days ago, 8 days ago]}}}
"""
ONE = "segment: {name}\ndescription: test\npurpose: ads\nrule: {rule}\n"


def faults_of(write: Write, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        write(text)
    return [fault.split("segments.yaml", 1)[1] for fault in caught.value.faults]


def listed(*entries: str, groups: str = "") -> str:
    rows = "".join(f"  - {{description: test, purpose: ads, {entry}}}\n" for entry in entries)
    return f"segments:\n{rows}{groups}"


def test_every_key_of_a_segment_file_is_read(write: Write) -> None:
    (segment,) = write(FULL)
    assert segment.name == "mobile_browsers_25_34"
    assert segment.purpose == "ads_personalisation"
    assert segment.rule == parse(
        "age between 25 and 34 and count(product_view, last 7 days) >= 3 and device == 'mobile'"
    )
    assert (segment.refresh, segment.min_share, segment.min_size) == (900, 0.01, 50)
    assert segment.holdout is not None and (segment.holdout.share, segment.holdout.salt) == (0.1, "q4")
    assert len(segment.examples) == 2


def test_examples_in_the_file_are_run(write: Write, now: datetime) -> None:
    results = run_tests(write(FULL), now)
    assert [(result.number, result.passed) for result in results] == [(1, True), (2, True)]
    assert results[0].line == 10


def test_an_example_that_fails_says_so(write: Write, now: datetime) -> None:
    (result,) = run_tests(write(ONE.format(name="a", rule="age > 3") + "tests: [{in: {age: 3}}]\n"), now)
    assert not result.passed
    assert result.sentence == "Example 1 of the segment 'a' has to be 'in', but comes out 'out'."


def test_examples_have_properties_instants_and_segments(write: Write, now: datetime) -> None:
    body = (
        "{events: {purchase: [{at: 2026-03-30T12:00:00Z, value: 5, due: 2026-01-01}]}, segments: [b], born: 2000-01-01}"
    )
    text = listed(
        'segment: a, rule: "sum(purchase.value, last 1 days) == 5 and in segment(b) and born < 2001-01-01",'
        f" tests: [{{in: {body}}}]",
        "segment: b, rule: subscribed",
    )
    assert [result.passed for result in run_tests(write(text), now)] == [True]


def test_a_folder_is_read_with_all_its_files_in_order_of_names(tmp_path: Path, catalog: Catalog) -> None:
    (tmp_path / "b.yml").write_text(ONE.format(name="b", rule="age > 3"))
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.yaml").write_text(ONE.format(name="a", rule="age > 4"))
    (tmp_path / "groups.yaml").write_text("group: g\nfallback: null\n")
    faults = Faults()
    assert [segment.name for segment in read_segments(tmp_path, catalog, faults)] == ["a", "b"]
    assert faults.found == []


def test_a_folder_without_segments_is_a_fault(tmp_path: Path, catalog: Catalog) -> None:
    faults = Faults()
    assert read_segments(tmp_path, catalog, faults) == ()
    assert "There is no segment file" in faults.found[0]


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path, catalog: Catalog) -> None:
    faults = Faults()
    read_segments(tmp_path / "none.yaml", catalog, faults)
    assert "cannot be read" in faults.found[0]


@pytest.mark.parametrize("key", ["description", "purpose"])
def test_documentation_description_and_purpose_are_required(write: Write, key: str) -> None:
    text = "\n".join(line for line in FULL.splitlines() if not line.startswith(key))
    assert faults_of(write, text) == [f":1: The file has no {key!r}. Add it."]


def test_a_fault_in_a_rule_has_line_column_and_caret(write: Write) -> None:
    (fault,) = faults_of(write, ONE.format(name="a", rule="age > 3 and count(purchace) > 1"))
    first, rule, caret = fault.splitlines()
    assert first == ":4: The rule, column 13: unknown event 'purchace'; did you mean 'purchase'?"
    assert rule[caret.index("^") :].startswith("count(purchace)")


def test_all_faults_of_all_segments_are_shown_at_once(write: Write) -> None:
    text = listed("segment: a, rule: aeg > 3", "segment: b, rule: age > 3, colour: red", "segment: c", "rule: age > 1")
    found = faults_of(write, text)
    assert [fault.split(":")[1] for fault in found] == ["3", "5", "2", "4"]
    assert "The key 'colour' is not known here" in found[0]
    assert "has no 'segment'" in found[1]
    assert "did you mean 'age'?" in found[2]
    assert "The segment 'c' has no 'rule'. Add it." in found[3]


def test_two_segments_of_one_name_are_a_fault(write: Write) -> None:
    (fault,) = faults_of(write, listed("segment: a, rule: age > 3", "segment: a, rule: age > 4"))
    assert fault.startswith(":3: The segment 'a' is declared here and at ") and fault.endswith(
        ":2. Rename one of them."
    )


def test_a_cycle_is_shown_with_its_path(write: Write) -> None:
    text = listed(
        "segment: a, rule: in segment(b)",
        "segment: b, rule: age > 3 or in segment(c)",
        "segment: c, rule: not in segment(a)",
    )
    (fault,) = faults_of(write, text)
    path = fault.split("each other: ")[1].split(".")[0].split(" → ")
    assert path[0] == path[-1] and set(path) == {"a", "b", "c"}
    assert path in (["a", "b", "c", "a"], ["b", "c", "a", "b"], ["c", "a", "b", "c"])


def test_a_segment_that_names_itself_is_a_cycle(write: Write) -> None:
    (fault,) = faults_of(write, listed("segment: a, rule: in segment(a)"))
    assert "a → a" in fault


def test_a_cycle_through_a_group_names_the_group(write: Write) -> None:
    text = listed(
        "segment: a, rule: in segment(b), group: {name: g, priority: 1}",
        "segment: b, rule: age > 3, group: {name: g, priority: 2}",
        groups="groups: [{name: g}]\n",
    )
    (fault,) = faults_of(write, text)
    assert "group g" in fault and "b" in fault


def test_a_group_has_to_be_declared(write: Write) -> None:
    text = listed(
        "segment: a, rule: age > 3, group: {name: lifecicle, priority: 1}", groups="groups: [{name: lifecycle}]\n"
    )
    assert faults_of(write, text) == [":2: The group 'lifecicle' is not declared; did you mean 'lifecycle'?"]


def test_a_fallback_has_to_be_a_segment_without_rule(write: Write) -> None:
    (missing,) = faults_of(write, listed("segment: a, rule: age > 3", groups="groups: [{name: g, fallback: rest}]\n"))
    assert missing.startswith(":3: The fallback 'rest' of the group 'g' is not declared;")
    (ruled,) = faults_of(write, listed("segment: a, rule: age > 3", groups="groups: [{name: g, fallback: a}]\n"))
    assert "it takes whoever is left and has neither 'rule' nor 'group'" in ruled


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("refresh: often", "'refresh' is a length of time such as '15 minutes', '1 hour' or '1 day'."),
        ("min_share: 101%", "'min_share' is a share such as 1% or 0.01."),
        ("min_share: few", "'min_share' is a share such as 1% or 0.01."),
        ("holdout: {share: 2, salt: a}", "'share' is a share such as 1% or 0.01."),
        ("tests: [{maybe: {age: 3}}]", "An example is 'in: {...}' or 'out: {...}', with attributes and events."),
        ("tests: [{in: {aeg: 3}}]", "Unknown attribute 'aeg'; did you mean 'age'?"),
        ("tests: [{in: {age: old}}]", "The attribute 'age' is integer; this value is not."),
        ("tests: [{in: {events: {purchace: [1 day ago]}}}]", "Unknown event 'purchace'; did you mean 'purchase'?"),
        ("tests: [{in: {events: {purchase: [soon]}}}]", "An event needs a time: '2 days ago' or an instant"),
    ],
)
def test_a_wrong_value_is_a_fault_on_its_line(write: Write, line: str, sentence: str) -> None:
    (fault,) = faults_of(write, ONE.format(name="a", rule="age > 3") + line + "\n")
    assert fault.startswith(f":5: {sentence}")


def test_a_rule_with_a_percentile_cannot_have_examples(write: Write) -> None:
    text = ONE.format(name="a", rule="income > percentile(75 of income)") + "tests: [{in: {income: 3}}]\n"
    assert "A percentile needs a population" in faults_of(write, text)[0]


def test_1000_segments_in_files_are_read_in_bounded_time(tmp_path: Path, catalog: Catalog) -> None:
    begun = datetime.now()
    entries = [f"segment: s{n}, rule: age > {n} and count(purchase) > {n}" for n in range(1000)]
    (tmp_path / "many.yaml").write_text(listed(*entries))
    faults = Faults()
    assert len(read_segments(tmp_path, catalog, faults)) == 1000
    assert datetime.now() - begun < timedelta(seconds=20)
