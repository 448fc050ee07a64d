"""Splink's own charts of the model of likeness, as Vega-Lite specifications: no value of any record is in them."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from splink.internals.html_utils import load_chart_libraries

from consentry.identity.candidates import FEATURES, STAGED, stage_features
from consentry.identity.config import IdentityConfig
from consentry.identity.fitted import fitted
from consentry.identity.likeness import RECORDS, stage_customers
from consentry.identity.report_html import Chart
from consentry.identity.similar_config import SimilarRules
from consentry.identity.training import splink_linker
from consentry.warehouse import Warehouse

# A pair of each kind: of those that are two people and of those that are one the nearest to the threshold; the surest.
_EXAMPLES = {
    "Two people, nearest to the threshold": "a.person_id <> b.person_id ORDER BY abs(s.probability - $pair)",
    "One person, nearest to the threshold": "a.person_id = b.person_id ORDER BY abs(s.probability - $pair)",
    "One person, the surest": "a.person_id = b.person_id AND s.probability >= $pair ORDER BY s.probability DESC",
}
_PAIR = "l.pair = r.pair"
_SHOWN = "identity.staged_shown"
_MEMBERS = "SELECT record_id, person_id FROM identity.membership WHERE valid_to_run IS NULL"


def charts(warehouse: Warehouse, config: IdentityConfig) -> tuple[Chart, ...]:
    """Draw the weights and shares of the model that the last run fitted, and how the scores of some pairs come about.

    Nothing where no likeness is looked for.
    """
    model = fitted(warehouse)
    if config.similar is None or model is None or not warehouse.has("identity.similar_pair"):
        return ()
    examples = _examples(warehouse, config.similar)
    linker = splink_linker(_records(warehouse, config.similar, examples), model, pairs=[_PAIR], explains=True)
    drawn = linker.visualisations
    found = [
        Chart(
            "What each agreement weighs",
            "To the right it speaks for one person, to the left against it; in bits, for values of ordinary frequency.",
            drawn.match_weights_chart().chart_dict,
        ),
        Chart(
            "How often records agree",
            "On the left among records of one person (m), on the right among strangers (u).",
            drawn.m_u_parameters_chart().chart_dict,
        ),
    ]
    scored = linker.inference.predict().as_record_list() if examples else []
    for row in sorted(scored, key=lambda row: row["pair_l"]):
        spec = drawn.waterfall_chart([row], remove_sensitive_data=True).chart_dict
        # One pair a chart, so that there is nothing to choose.
        spec["params"][0].pop("bind")
        title = list(examples)[row["pair_l"]]
        found.append(Chart(title, f"How two records come to be alike with {row['match_probability']:.2f}.", spec))
    return tuple(found)


def _examples(warehouse: Warehouse, rules: SimilarRules) -> dict[str, tuple[str, str]]:
    """Return a pair of records for each kind of which there is one."""
    found: dict[str, tuple[str, str]] = {}
    for title, condition in _EXAMPLES.items():
        rows = warehouse.sql(
            f"SELECT s.record_id, s.other_id FROM identity.similar_pair s JOIN ({_MEMBERS}) a ON a.record_id ="
            f" s.record_id JOIN ({_MEMBERS}) b ON b.record_id = s.other_id WHERE {condition},"
            " s.record_id, s.other_id LIMIT 1",
            pair=rules.pair,
        ).to_pylist()
        if rows:
            found[title] = (rows[0]["record_id"], rows[0]["other_id"])
    return found


def _records(warehouse: Warehouse, rules: SimilarRules, examples: Mapping[str, tuple[str, str]]) -> pa.Table:
    """Return what is compared of the records of each pair, with how frequent each value is among all records.

    A record stands there once for each pair it is in: r is a number of the row, pair that of the pair.
    """
    numbers = [(record, pair) for pair, records in enumerate(examples.values()) for record in records]
    told = pa.table({
        "record_id": pa.array([record for record, _ in numbers], pa.string()),
        "number": pa.array(range(len(numbers)), pa.int64()),
        "pair": pa.array([pair for _, pair in numbers], pa.int64()),
    })  # fmt: skip
    try:
        stage_features(warehouse, *stage_customers(warehouse, rules))
        warehouse.write(_SHOWN, told.to_batches(), schema=told.schema)
        return warehouse.sql(
            f"SELECT x.number AS r, x.pair, f.* EXCLUDE (r, source) FROM {_SHOWN} x JOIN {RECORDS} a USING (record_id)"
            f" JOIN {FEATURES} f ON f.r = a.r ORDER BY x.number"
        )
    finally:
        for table in (*STAGED, RECORDS, _SHOWN):
            warehouse.drop(table)


def libraries() -> tuple[str, ...]:
    """Return the scripts that draw the charts, as Splink ships them, in the order in which a page needs them."""
    sources: dict[str, str] = load_chart_libraries()  # type: ignore[no-untyped-call]
    return tuple(sources[name] for name in ("vega", "vega-lite", "vega-embed"))
