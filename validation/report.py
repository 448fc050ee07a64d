"""Gather what is known about the quality of a job's data: scores over time, worst rules, alarms, drift, imputation.

Everything comes from tables of counts; the only trace of rows are examples of bad cells, of which the shape alone is
left: letters are a, digits are 9.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from consentry.model.names import quoted
from consentry.validation.consistency import SOURCES
from consentry.validation.contract import Contract
from consentry.validation.drift import ks_distance, psi_numbers, psi_words
from consentry.validation.held import held_streams, summary_of
from consentry.validation.profiling import ColumnProfile, Point, history
from consentry.warehouse import Warehouse

# Plain JSON.
Told = dict[str, Any]
LOADS: Final = 60
WORST: Final = 12
EXAMPLES: Final = 3


def quality(warehouse: Warehouse, contracts: Mapping[str, Contract]) -> Told:
    """Return the state of every stream's quality and of the imputation, as plain JSON.

    contracts: by stream (`source__stream`). A stream without a load has no numbers yet.
    """
    return {
        "streams": [_stream(warehouse, stream, contract) for stream, contract in contracts.items()],
        "imputation": _rows_of_last_run(warehouse, "profile.imputation_quality", "measured_at"),
        "agreement": _rows_of_last_run(warehouse, "ops.agreement", "measured_at"),
        "disagreements": _findings(warehouse, SOURCES),
        "held": _held(warehouse),
    }


def _stream(warehouse: Warehouse, stream: str, contract: Contract) -> Told:
    points = history(warehouse, stream, before="", most=LOADS)
    loads = points.get("", [])
    last = loads[-1] if loads else None
    held = stream in held_streams(warehouse)
    return {
        "stream": stream.replace("__", ".", 1),
        "contract": contract.name,
        "loads": [_load(point) for point in loads],
        "scores": _scores(warehouse, stream),
        "rules": _rules(warehouse, stream, contract),
        "findings": _findings(warehouse, stream),
        "columns": [_column(name, found) for name, found in points.items() if name and found] if last else [],
        "quarantine": summary_of(warehouse, stream) if held else None,
    }


def _load(point: Point) -> Told:
    return {
        "loaded_at": point.loaded_at.isoformat(),
        "rows": point.column.rows,
        "quarantined": point.column.nulls,
        "flagged": point.flagged,
    }


def _scores(warehouse: Warehouse, stream: str) -> list[Told]:
    """Return the scores of each load, oldest first: {"scored_at", "overall", "validity", ...}."""
    if not warehouse.has("ops.score"):
        return []
    query = (
        "SELECT run_id, dimension, score, CAST(scored_at AS TEXT) AS scored_at FROM ops.score WHERE stream = $stream"
        " ORDER BY scored_at"
    )
    runs: dict[str, Told] = {}
    for row in warehouse.sql(query, stream=stream).to_pylist():
        runs.setdefault(row["run_id"], {"scored_at": row["scored_at"]})[row["dimension"]] = round(row["score"], 2)
    return list(runs.values())[-LOADS:]


def _rules(warehouse: Warehouse, stream: str, contract: Contract) -> list[Told]:
    """Return the rules that most rows broke in the last load that had rows, with redacted examples."""
    if not warehouse.has("ops.rule_result") or not warehouse.has("ops.score"):
        return []
    last = "SELECT run_id FROM ops.score WHERE stream = $stream ORDER BY scored_at DESC LIMIT 1"
    query = (
        "SELECT rule_id, column_name, code, severity, max(evaluated) AS evaluated, max(failed) AS failed"
        f" FROM ops.rule_result WHERE stream = $stream AND run_id IN ({last}) AND failed > 0"
        " GROUP BY rule_id, column_name, code, severity ORDER BY failed DESC, rule_id LIMIT $most"
    )
    sentences = {rule.rule_id: rule.sentence for rule in contract.rules}
    return [
        {
            **row,
            "share": row["failed"] / max(row["evaluated"], 1),
            "sentence": sentences.get(row["rule_id"], ""),
            "examples": _examples(warehouse, stream, row["rule_id"], row["column_name"]),
        }
        for row in warehouse.sql(query, stream=stream, most=WORST).to_pylist()
    ]


def _examples(warehouse: Warehouse, stream: str, rule: str, column: str | None) -> list[str]:
    if column is None or not warehouse.has(f"quarantine.{stream}"):
        return []
    query = (
        f"SELECT payload FROM quarantine.{quoted(stream)} WHERE status = 'open' AND reasons LIKE $rule"
        " ORDER BY last_seen DESC, _rid LIMIT 50"
    )
    found = warehouse.sql(query, rule=f'%"rule_id": {json.dumps(rule)},%')["payload"].to_pylist()
    shapes = [redacted(json.loads(payload).get(column)) for payload in found]
    return list(dict.fromkeys(shapes))[:EXAMPLES]


def redacted(value: Any) -> str:
    """Return the shape of a value: letters are a or A, digits 9, long ones cut; nothing can be read back from it."""
    if value is None:
        return "(missing)"
    text = str(value) if isinstance(value, str | int | float) else json.dumps(value)
    if not text.strip():
        return "(blank)"
    shape = re.sub(r"[^\W\d_]", lambda m: "A" if m.group().isupper() else "a", text)
    shape = re.sub(r"[^\x20-\x7e]", "a", re.sub(r"\d", "9", shape))
    # Runs of more than eight are one length, so that a rare name is not told by its length.
    shape = re.sub(r"(.)\1{8,}", r"\1\1\1\1\1\1\1…", shape)
    return shape if len(shape) <= 32 else shape[:31] + "…"


def _findings(warehouse: Warehouse, stream: str) -> list[Told]:
    if not warehouse.has("ops.finding"):
        return []
    query = (
        "SELECT column_name, kind, severity, sentence, detail, CAST(found_at AS TEXT) AS found_at FROM ops.finding"
        " WHERE stream = $stream ORDER BY found_at DESC, severity, column_name LIMIT 20"
    )
    found: list[Told] = warehouse.sql(query, stream=stream).to_pylist()
    return found


def _column(name: str, points: Sequence[Point]) -> Told:
    now, before = points[-1].column, [point.column for point in points[:-1] if not point.flagged][-10:]
    told: Told = {
        "column": name,
        "rows": now.rows,
        "null_rate": now.nulls / now.rows if now.rows else None,
        "distinct": now.distinct,
        "outliers": now.outliers,
        "mean": now.mean,
        "sd": now.sd,
        "null_rates": [point.column.nulls / point.column.rows if point.column.rows else 0.0 for point in points],
        "quantiles": list(now.quantiles),
        "words": dict(now.words),
    }
    return told | _moved(now, before)


def _moved(now: ColumnProfile, before: Sequence[ColumnProfile]) -> Told:
    numbers, words = [it.quantiles for it in before if it.quantiles], [it.words for it in before if it.words]
    if now.quantiles and numbers:
        middle = [sum(points) / len(points) for points in zip(*numbers, strict=True)]
        found = {"d": ks_distance(now.quantiles, numbers), "psi": psi_numbers(now.quantiles, numbers)}
        return {**found, "quantiles_before": middle, "words_before": {}}
    if now.words and words:
        usual = {w: sum(it.get(w, 0.0) for it in words) / len(words) for it in words for w in it}
        return {"d": None, "psi": psi_words(now.words, words), "quantiles_before": [], "words_before": usual}
    return {"d": None, "psi": None, "quantiles_before": [], "words_before": {}}


def _rows_of_last_run(warehouse: Warehouse, table: str, moment: str) -> list[Told]:
    if not warehouse.count(table):
        return []
    last = f"SELECT run_id FROM {table} ORDER BY {moment} DESC LIMIT 1"
    kept = [quoted(name) for name in warehouse.columns(table) if name not in ("run_id", moment)]
    query = f"SELECT {', '.join(kept)} FROM {table} WHERE run_id IN ({last}) ORDER BY 1"
    found: list[Told] = warehouse.sql(query).to_pylist()
    return found


def _held(warehouse: Warehouse) -> list[Told]:
    """Return why streams and attributes are held, each sentence once."""
    if not warehouse.has("ops.held_stream"):
        return []
    query = (
        "SELECT why, string_agg(stream, ', ' ORDER BY stream) AS held FROM ops.held_stream GROUP BY why ORDER BY held"
    )
    found: list[Told] = warehouse.sql(query).to_pylist()
    return found
