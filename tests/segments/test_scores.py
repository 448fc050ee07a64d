"""RFM on the public Online Retail data, and the laws of scores."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.config import Faults
from consentry.errors import ConfigError
from consentry.segments.ast import Score
from consentry.segments.catalog import Catalog
from consentry.segments.evaluate import evaluate
from consentry.segments.files import read_segments
from consentry.segments.parse import parse_value
from consentry.segments.person import Event, Person
from consentry.segments.score_files import read_scores
from consentry.segments.scores import RFM_CELLS, RFM_TABLE, Rfm, figures, score
from consentry.warehouse import DuckDBWarehouse
from tests.segments.conftest import CATALOG, members

ROOT = Path(__file__).parents[2]
RETAIL = Path(os.environ.get("CONSENTRY_DATA", ROOT.parent / "shared" / "data")) / "online_retail.parquet"
Populate = Callable[[Mapping[str, Person]], None]
SCORES = """\
rfm: {recency: last(purchase), frequency: count(purchase), monetary: sum(purchase.value)}
scores:
  - score: engagement
    description: Recency, frequency and attention in one number from 0 to 1
    weights:
      - {value: last(purchase), weight: 0.4, lower_is_better: true}
      - {value: count(purchase), weight: 0.3}
      - {value: count(login), weight: 0.3}
    bands: {low: 0, medium: 0.3, high: 0.7}
  - score: points
    description: Ten for a purchase, one for a login
    points: [{value: count(purchase), points: 10}, {value: count(login), points: 1}]
    bands: {cold: 0, warm: 10, hot: 20}
"""


def read(folder: Path, text: str, catalog: Catalog = CATALOG) -> Catalog:
    path = folder / "scores.yaml"
    path.write_text(text, encoding="utf-8")
    faults = Faults()
    found = read_scores(path, catalog, faults)
    read_segments(path, found, faults)
    faults.check()
    return found


def test_every_cell_of_recency_and_frequency_has_exactly_one_name() -> None:
    cells = [(r, f) for rs, fs in RFM_TABLE.values() for r in rs for f in fs]
    assert len(cells) == len(set(cells)) == 25
    assert set(RFM_CELLS) == {(r, f) for r in range(1, 6) for f in range(1, 6)}


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60))
def test_rfm_equal_values_have_equal_scores_and_more_is_never_worse(counts: list[int]) -> None:
    value = parse_value("count(purchase)")
    rfm, frequency = Rfm(value, value, value), np.array(counts, dtype=np.float64)
    columns = [np.zeros(len(counts)), frequency, frequency]
    known = figures(rfm, columns, 0)
    found = score(rfm, Score("rfm", "f"), columns, known, 0, lambda word: 0.0)
    by_count: dict[int, set[float]] = {}
    for count, f in zip(counts, found.tolist(), strict=True):
        by_count.setdefault(count, set()).add(f)
    assert all(len(scores) == 1 for scores in by_count.values())
    ordered = [min(by_count[count]) for count in sorted(by_count)]
    assert ordered == sorted(ordered)


def test_weighted_sum_engagement_index_behavioural_score_and_priority_levels_by_hand(
    tmp_path: Path, warehouse: DuckDBWarehouse, populate: Populate, now: datetime
) -> None:
    def person(purchases: int, logins: int) -> Person:
        bought = [Event("purchase", now, {"value": 1.0})] * purchases
        return Person({}, [*bought, *[Event("login", now)] * logins])

    populate({"best": person(2, 4), "half": person(1, 2), "none": person(0, 3)})
    text = SCORES + (
        "segments:\n"
        '  - {segment: engaged, description: t, purpose: ads, rule: "score.engagement >= 0.3"}\n'
        "  - {segment: high, description: t, purpose: ads, rule: \"band.engagement == 'high'\"}\n"
        "  - {segment: hot, description: t, purpose: ads, rule: \"band.points == 'hot'\"}\n"
        '  - {segment: warm, description: t, purpose: ads, rule: "score.points between 10 and 19"}\n'
        '  - {segment: unknown, description: t, purpose: ads, rule: "score.engagement is missing"}\n'
    )
    catalog = read(tmp_path, text)
    segments = read_segments(tmp_path / "scores.yaml", catalog, Faults())
    found = evaluate(warehouse, segments, catalog, now=now, run_id="r")
    # engagement of best: recency is the same day for both buyers (0.4 x 1), purchases 2 of 0..2, logins 4 of 2..4.
    # half: 0.4 + 0.3 x 0.5 + 0 = 0.55. none never bought: its recency is missing, and so is its score.
    assert members(warehouse) == {
        "engaged": {"best", "half"}, "high": {"best"}, "hot": {"best"}, "warm": {"half"}, "unknown": {"none"},
    }  # fmt: skip
    assert found.figures["engagement"] == (0.0, 0.0, 0.0, 2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("weight: 0.4", "weight: 0.5", "sum to 1.1, and not to 1"),
        ("count(login), weight", "count(logon), weight", "unknown event 'logon'; did you mean 'login'"),
        ("recency: last(purchase)", "recency: count(purchase)", "'recency' has to be a time"),
        ("high: 0.7", "high: 0.3", "begin at the same value"),
        ("value: count(login), points", "value: first(purchase.category), points", "a number or a time is needed"),
        ("score: points", "score: engagement", "declared twice"),
    ],
)
def test_mistakes_in_scores_are_told_with_their_line(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        read(tmp_path, SCORES.replace(old, new))


def test_an_unknown_score_has_a_suggestion(tmp_path: Path) -> None:
    rule = 'segments: [{segment: s, description: t, purpose: ads, rule: "score.engagment > 1"}]\n'
    with pytest.raises(ConfigError, match=r"unknown score 'score\.engagment'; did you mean 'score\.engagement'"):
        read(tmp_path, SCORES + rule)


# Reference: UCI Online Retail, complete; figures worked out independently (see docs/segments.md, Scores).
SIZES = {
    "champions": 604, "loyal": 688, "potential_loyalist": 484, "at_risk": 357, "cannot_lose": 35,
    "need_attention": 121, "about_to_sleep": 478, "new": 67, "promising": 169, "hibernating": 1335,
}  # fmt: skip


@pytest.mark.skipif(not RETAIL.exists(), reason=f"needs online_retail.parquet in CONSENTRY_DATA ({RETAIL.parent})")
def test_rfm_of_online_retail_equals_the_reference(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(threads=2)
    columns = [row[0] for row in warehouse.connection.sql(f"DESCRIBE SELECT * FROM '{RETAIL}'").fetchall()]
    names = {column.lower().replace("_", "").replace(" ", ""): f'"{column}"' for column in columns}
    number, invoice, quantity, price, at = (
        names.get(name) or names[other]
        for name, other in (("customerid", "customer"), ("invoiceno", "invoice"), ("quantity", "quantity"),
                            ("unitprice", "price"), ("invoicedate", "date"))
    )  # fmt: skip
    warehouse.sql(
        "CREATE TABLE profile.event__purchase AS SELECT CAST(CAST(CAST(" + number + " AS DOUBLE) AS BIGINT) AS TEXT)"
        f" AS person_id, CAST({at} AS TIMESTAMP)::TIMESTAMPTZ AS occurred_at, CAST({invoice} AS TEXT) AS invoice,"
        f" CAST({quantity} AS DOUBLE) * CAST({price} AS DOUBLE) AS value FROM '{RETAIL}'"
        f" WHERE {number} IS NOT NULL AND CAST({invoice} AS TEXT) NOT LIKE 'C%' AND {quantity} > 0 AND {price} > 0"
    )
    warehouse.sql("CREATE TABLE profile.person AS SELECT DISTINCT person_id FROM profile.event__purchase")
    text = (
        "rfm: {recency: last(purchase), frequency: distinct(purchase.invoice), monetary: sum(purchase.value)}\n"
        "segments:\n"
    )
    rules = {name: f"rfm.segment == '{name}'" for name in SIZES}
    rules |= {f"r{n}": f"rfm.r == {n}" for n in range(1, 6)} | {f"f{n}": f"rfm.f == {n}" for n in range(1, 6)}
    text += "".join(
        f'  - {{segment: {name}, description: t, purpose: ads, rule: "{rule}"}}\n' for name, rule in rules.items()
    )
    catalog = read(tmp_path, text, Catalog({}, {"purchase": {"invoice": "text", "value": "number"}}))
    segments = read_segments(tmp_path / "scores.yaml", catalog, Faults())
    found = evaluate(warehouse, segments, catalog, now=datetime(2011, 12, 10, tzinfo=UTC), run_id="r")
    assert found.population == 4338
    cuts = found.figures["rfm"]
    assert cuts is not None
    assert [round(cut, 6) for cut in cuts[:8]] == [13.8, 33, 72, 180, 1, 2, 3, 6]
    assert [found.members[f"f{n}"] for n in range(1, 6)] == [1493, 835, 508, 802, 700]
    assert [found.members[f"r{n}"] for n in range(1, 6)] == [861, 866, 863, 880, 868]
    assert Counter({name: found.members[name] for name in SIZES}) == Counter(SIZES)
