"""Write the quality report as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from consentry.validation.report_page import html_table, page
from consentry.validation.report_svg import bars, cumulative, shares, trend


def report_html(found: dict[str, Any], *, job: str, made_at: str) -> str:
    """Return the page for a report of `quality`."""
    return page(f"Data quality of {job}", _parts(found, job, made_at))


def _parts(found: dict[str, Any], job: str, made_at: str) -> Iterator[str]:
    yield f"<h1>Data quality of {escape(job)}</h1>"
    told = "Scores are from 0 to 100; examples show the shape of a value only."
    yield f'<p class="soft">Made {escape(made_at)}. {told}</p>'
    for item in found["held"]:
        yield f'<p><span class="mark poor">held</span> {escape(item["why"])}</p>'
    yield f'<div class="tiles">{"".join(map(_tile, found["streams"]))}</div>'
    for stream in found["streams"]:
        yield from _stream(stream)
    yield from _imputation(found["imputation"])
    yield from _agreement(found["agreement"], found["disagreements"])


def _tile(stream: dict[str, Any]) -> str:
    name = escape(stream["stream"])
    head = f'<div class="tile"><a href="#{name}">{name}</a>'
    if not stream["scores"]:
        return f'{head}<div class="number soft">none</div><p class="soft">No load yet.</p></div>'
    now = stream["scores"][-1]["overall"]
    before = stream["scores"][-2]["overall"] if len(stream["scores"]) > 1 else None
    change = "first load" if before is None else _change(now - before)
    return f'{head}<div class="number {_tone(now)}">{now:.1f}</div><p class="soft">{change}</p></div>'


def _change(points: float) -> str:
    return f"{points:+.1f} since the load before" if abs(points) >= 0.05 else "as in the load before"


def _tone(score: float) -> str:
    return "good" if score >= 95 else "fair" if score >= 80 else "poor"


def _stream(stream: dict[str, Any]) -> Iterator[str]:
    name = escape(stream["stream"])
    yield f'<h2 id="{name}">{name}</h2><p class="soft">Contract {escape(stream["contract"])}. {_last_load(stream)}</p>'
    if not stream["scores"]:
        return
    yield f'<div class="cards">{"".join(_overview(stream))}</div>'
    yield from _rules(stream["rules"])
    yield from _findings(stream["findings"])
    yield from _columns(stream["columns"])


def _last_load(stream: dict[str, Any]) -> str:
    if not stream["loads"]:
        return "It had no load yet."
    last = stream["loads"][-1]
    held = stream["quarantine"]
    waiting = f" {held['open']:,} rows wait in quarantine." if held and held["open"] else ""
    return f"Last load: {last['rows']:,} rows, {last['quarantined']:,} of them broke the contract.{waiting}"


def _ends(moments: list[str]) -> tuple[str, str]:
    return (moments[0][:10], moments[-1][:10]) if len(moments) > 1 else ("", moments[0][:10])


def _overview(stream: dict[str, Any]) -> Iterator[str]:
    scores, loads = stream["scores"], stream["loads"]
    values = [it["overall"] for it in scores]
    low = min(80.0, *values) // 10 * 10
    drawn = trend(values, low=low, high=100, label="Score of each load", ends=_ends([it["scored_at"] for it in scores]))
    yield f'<div class="card"><h3>Score</h3>{drawn}</div>'
    if loads:
        drawn = bars(
            [it["rows"] for it in loads],
            below=[it["quarantined"] for it in loads],
            label="Rows of each load; red: broke the contract",
            ends=_ends([it["loaded_at"] for it in loads]),
        )
        red = '<span class="soft">red: broke the contract</span>'
        yield f'<div class="card"><h3>Rows of each load {red}</h3>{drawn}</div>'
    names = [name for name in scores[-1] if name not in ("scored_at", "overall")]
    rows = [(escape(name), f'<span class="{_tone(scores[-1][name])}">{scores[-1][name]:.1f}</span>') for name in names]
    yield f'<div class="card"><h3>Dimensions, last load</h3>{html_table(["dimension", "#score"], rows)}</div>'


def _rules(rules: list[dict[str, Any]]) -> Iterator[str]:
    if not rules:
        yield "<h3>Rules</h3><p>No row of the last load broke a rule.</p>"
        return
    worst = max(rule["share"] for rule in rules)
    rows = [
        (
            f"<code>{escape(rule['rule_id'])}</code>"
            f'<br><span class="soft">{escape(rule["sentence"] or rule["code"])}</span>',
            escape(rule["severity"]),
            f"{rule['failed']:,}",
            f'{_share(rule["share"])}<div class="meter"><i style="width:{100 * rule["share"] / worst:.0f}%"></i></div>',
            ", ".join(f"<code>{escape(shape)}</code>" for shape in rule["examples"]),
        )
        for rule in rules
    ]
    yield "<h3>Rules that rows of the last load broke</h3>"
    yield html_table(["rule", "severity", "#rows", "#share", "examples, redacted"], rows)


def _share(value: float) -> str:
    return "below 0.1%" if 0 < value < 0.001 else f"{value:.1%}"


def _findings(findings: list[dict[str, Any]]) -> Iterator[str]:
    if not findings:
        return
    rows = [
        (
            f'<span class="mark {"poor" if it["severity"] == "fail" else "fair"}">{escape(it["severity"])}</span>',
            escape(it["kind"].replace("_", " ")),
            escape(it["sentence"] + (f" ({it['detail']})" if it["kind"].endswith("_category") else "")),
            escape(it["found_at"][:16]),
        )
        for it in findings
    ]
    yield "<h3>Not as it was</h3>" + html_table(["", "kind", "what", "when (UTC)"], rows)


def _columns(columns: list[dict[str, Any]]) -> Iterator[str]:
    rows = [
        (
            f"<code>{escape(it['column'])}</code>",
            "" if it["null_rate"] is None else f"{it['null_rate']:.1%}",
            f"{it['distinct']:,}",
            _number(it["mean"]),
            _number(it["sd"]),
            f"{it['outliers']:,}" if it["quantiles"] else "",
            "" if it["d"] is None else f"{it['d']:.3f}",
            "" if it["psi"] is None else f"{it['psi']:.3f}",
        )
        for it in columns
    ]
    yield "<h3>Columns of the last load</h3>"
    yield html_table(["column", "#missing", "#distinct", "#mean", "#sd", "#far out", "#D", "#PSI"], rows)
    moved = sorted((it for it in columns if it["psi"] is not None), key=lambda it: -max(it["psi"], it["d"] or 0))[:6]
    if moved:
        yield '<h3>How columns have moved <span class="soft">(last load against the ten before it)</span></h3>'
        yield f'<div class="cards">{"".join(map(_moved, moved))}</div>'


def _number(value: float | None) -> str:
    """Write a number with four digits; one below ten thousand without a comma, because it may be a year."""
    if value is None:
        return ""
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def _moved(column: dict[str, Any]) -> str:
    name = escape(column["column"])
    if column["quantiles_before"]:
        drawn = cumulative(
            column["quantiles"], column["quantiles_before"], label=f"Cumulative shares of {column['column']}"
        )
        told = f"D {column['d']:.3f}, PSI {column['psi']:.3f}; dashed: before"
    else:
        drawn = shares(column["words"], column["words_before"], label=f"Shares of {column['column']}")
        told = f"PSI {column['psi']:.3f}; tick: before"
    return f'<div class="card"><h3>{name} <span class="soft">{told}</span></h3>{drawn}</div>'


def _imputation(measured: list[dict[str, Any]]) -> Iterator[str]:
    if not measured:
        return
    rows = [
        (
            f"<code>{escape(it['column_name'])}</code>",
            escape(it["used"] if it["used"] == it["method"] else f"{it['used']} ({it['method']} was no better)"),
            escape(it["metric"]),
            f"{it['hidden']:,}",
            *("unknown" if it[key] is None else f"{it[key]:.3f}" for key in ("error", "baseline_error", "shift")),
        )
        for it in measured
    ]
    yield "<h2>Filled gaps</h2><p class='soft'>Known cells were hidden and filled: NRMSE is better when less (1 is one"
    yield " value for all), accuracy when more. Shift says how far filling moves the distribution, from 0 to 1.</p>"
    yield html_table(["column", "method", "metric", "#hidden cells", "#result", "#plain way", "#shift"], rows)


def _agreement(found: list[dict[str, Any]], findings: list[dict[str, Any]]) -> Iterator[str]:
    if not found:
        return
    rows = [
        (
            f"<code>{escape(it['column_name'])}</code>",
            f"{it['people']:,}",
            f"{it['disagree']:,}",
            _share(it["disagree"] / it["people"]),
        )
        for it in found
    ]
    yield "<h2>Do sources agree?</h2>"
    yield "<p class='soft'>People whom two sources know, and those of whom they say different things.</p>"
    yield html_table(["attribute", "#people", "#disagree", "#share"], rows)
    yield from _findings(findings)
