"""Say the state of data quality as Prometheus reads it (text format 0.0.4; an OpenTelemetry collector reads it too)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# https://prometheus.io/docs/instrumenting/exposition_formats/ (2026): backslash, quote and line feed are escaped.
_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def prometheus(found: dict[str, Any], *, job: str) -> str:
    """Return the metrics of a quality report; no label holds a value of a row."""
    families: dict[tuple[str, str], list[str]] = {}
    for name, text, labels, value in _samples(found):
        listed = ",".join(f'{key}="{word.translate(_ESCAPED)}"' for key, word in {"job_name": job, **labels}.items())
        families.setdefault((name, text), []).append(f"{name}{{{listed}}} {value:g}")
    lines: list[str] = []
    for (name, text), samples in families.items():
        lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", *samples]
    return "\n".join(lines) + "\n"


def _samples(found: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, str], float]]:
    for stream in found["streams"]:
        at = {"stream": stream["stream"]}
        if stream["scores"]:
            for dimension, value in stream["scores"][-1].items():
                if dimension != "scored_at":
                    yield "consentry_quality_score", "Score from 0 to 100.", {**at, "dimension": dimension}, value
        if stream["loads"]:
            yield "consentry_load_rows", "Rows of the last load.", at, stream["loads"][-1]["rows"]
            bad = stream["loads"][-1]["quarantined"]
            yield "consentry_load_quarantined_rows", "Rows of the last load that broke the contract.", at, bad
        for rule in stream["rules"]:
            labels = {**at, "rule": rule["rule_id"], "code": rule["code"]}
            yield "consentry_rule_failed_rows", "Rows of the last load that broke a rule.", labels, rule["failed"]
        for column in stream["columns"]:
            labels = {**at, "column": column["column"]}
            if column["null_rate"] is not None:
                yield "consentry_column_null_ratio", "Share of missing values.", labels, column["null_rate"]
            if column["psi"] is not None:
                yield "consentry_column_drift_psi", "Population stability index.", labels, column["psi"]
        if stream["quarantine"]:
            held = stream["quarantine"]["open"]
            yield "consentry_quarantine_open_rows", "Rows that wait in quarantine.", at, held
    for item in found["imputation"]:
        if item["error"] is not None:
            labels = {"column": item["column_name"], "method": item["used"], "metric": item["metric"]}
            yield "consentry_imputation_error", "Error on hidden cells.", labels, item["error"]
    for item in found["agreement"]:
        share = item["disagree"] / item["people"]
        text = "Share of people about whom two sources disagree."
        yield "consentry_source_disagreement_ratio", text, {"attribute": item["column_name"]}, share
    yield "consentry_streams_held", "Streams and attributes that an alarm holds.", {}, len(found["held"])
