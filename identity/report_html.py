"""Write the evaluation of identity as one HTML page that needs nothing else: no font, no network.

It has scripts where there are charts of Splink, which it draws with Vega: these are part of the page, and the page's
own policy lets no other run and nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #3b7dd8; --soft: #777; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; } th, td { padding: .25rem .8rem; text-align: left; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } tr { border-bottom: 1px solid var(--line); }
.tiles { display: flex; flex-wrap: wrap; gap: 1rem; } .tile { border: 1px solid var(--line); border-radius: .5rem;
padding: .6rem 1rem; min-width: 9rem; } .tile b { display: block; font-size: 1.6rem; } .soft { color: var(--soft); }
.ours rect { fill: var(--bar); } .ours text { fill: currentColor; font-size: 13px; }
.chart { overflow-x: auto; background: #fff; color: #000; border-radius: .5rem; padding: .5rem; margin-bottom: 1rem; }
"""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: what it shows, in a sentence, and its Vega-Lite specification."""

    title: str
    sentence: str
    spec: Mapping[str, Any]


def identity_report(
    found: Mapping[str, Any], *, job: str, made_at: str, charts: Sequence[Chart] = (), libraries: Sequence[str] = ()
) -> str:
    """Return the page for what `evaluate` found, with charts of the model of likeness.

    libraries: the scripts that draw the charts.
    """
    title = f"People of {escape(job)}"
    scripts = (*libraries, _draw(charts)) if charts else ()
    body = "".join((*_parts(found, title, made_at, charts), *(f"<script>{text}</script>" for text in scripts)))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}{_allowed(scripts)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


def _allowed(scripts: Sequence[str]) -> str:
    """Return what the page's policy adds for its scripts: these, by their hashes, and that Vega compiles its own."""
    if not scripts:
        return ""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    return "; script-src 'unsafe-eval' " + " ".join(f"'sha256-{one}'" for one in hashes)


def _draw(charts: Sequence[Chart]) -> str:
    """Write the script that draws each chart in its place; what ends a script is written otherwise."""
    specs = json.dumps([chart.spec for chart in charts], default=float).replace("<", "\\u003c")
    options = "{actions: false, renderer: 'svg'}"
    return f"{specs}.forEach((spec, n) => vegaEmbed('#chart-' + n, spec, {options}));"


def _charts(charts: Sequence[Chart]) -> Iterator[str]:
    for number, chart in enumerate(charts):
        yield f"<h3>{escape(chart.title)}</h3><p>{escape(chart.sentence)}</p>"
        yield f'<div class="chart" id="chart-{number}" role="img" aria-label="{escape(chart.title)}"></div>'


def _parts(found: Mapping[str, Any], title: str, made_at: str, charts: Sequence[Chart]) -> Iterator[str]:
    yield f'<h1>{title}</h1><p class="soft">Made {escape(made_at)}. No identifier of anybody is on this page.</p>'
    conflicts, order = found["conflicts"], found["order"]
    tiles = {
        "records": f"{found['records']:,}",
        "people": f"{found['people']:,}",
        "hold conflicting ids": f"{conflicts['rate']:.2%}",
        "differ in another order": f"{order['differ']:,}" if order["checked"] else "not checked",
    }
    yield f'<div class="tiles">{"".join(_tile(name, number) for name, number in tiles.items())}</div>'
    if "labels" in found:
        yield from _labels(found["labels"])
    yield "<h2>People by customer records</h2>" + _bars(found["sizes"])
    yield "<h2>What links them</h2>" + _table(
        ("type", "values that link", "values that no longer link"),
        ((row["type"], row["linking"], row["demoted"]) for row in found["evidence"]),
    )
    if found["likeness"]:
        yield from _likeness(found["likeness"], charts)
    yield "<h2>Records whose person changed, by run</h2>" + _table(
        ("run", "known before", "changed", "share"),
        ((row["run_id"], row["known"], row["changed"], f"{row['rate']:.2%}") for row in found["churn"]),
    )
    yield "<h2>The largest people</h2>" + _table(
        ("person", "customer records", "all records"),
        ((row["person_id"], row["customers"], row["records"]) for row in found["largest"]),
    )


def _labels(labels: Mapping[str, Any]) -> Iterator[str]:
    unknown = f", {labels['unknown']:,} labelled records are unknown to the job" if labels["unknown"] else ""
    yield f"<h2>Against labels</h2><p>{labels['records']:,} records compared{unknown}.</p>"
    scores = [(name, labels[name]) for name in ("pairwise", "b_cubed", "exact_clusters") if name in labels]
    if scores:
        yield _table(
            ("measure", "precision", "recall", "F1"),
            ((name, *(f"{score[key]:.4f}" for key in ("precision", "recall", "f1"))) for name, score in scores),
        )
        yield f"<p>{labels['mixed_people']:,} people mix several, {labels['scattered_people']:,} are scattered.</p>"
    yield _table(
        ("estimate", "value", "95% interval", "rests on"),
        (
            (name, f"{one['value']:.4f}", f"{one['low']:.4f} to {one['high']:.4f}", one["of"])
            for name, one in labels["intervals"].items()
        ),
    )


def _likeness(found: Mapping[str, Any], charts: Sequence[Chart]) -> Iterator[str]:
    yield "<h2>Pairs by how alike they are</h2>" + _bars(found["pairs"])
    if charts:
        yield "<h2>How likeness is told</h2><p>Charts of Splink, for the model as the last run fitted it.</p>"
        yield from _charts(charts)
    elif found["weights"]:
        yield "<h2>What each agreement weighs</h2>" + _weights(found["weights"])


def _weights(levels: Sequence[Mapping[str, Any]]) -> str:
    """Draw what speaks for one person to the right of the middle, and what speaks against it to the left."""
    most = max(max(abs(level["bits"]) for level in levels), 1.0)
    rows = "".join(
        f'<text x="0" y="{n * 22 + 15}">{escape(level["comparison"])}: {escape(level["level"])}</text>'
        f'<rect x="{600 + min(level["bits"], 0) * 180 / most:.1f}" y="{n * 22 + 3}"'
        f' width="{abs(level["bits"]) * 180 / most:.1f}" height="15" rx="2"/>'
        f'<text x="800" y="{n * 22 + 15}">{level["bits"]:+.1f}</text>'
        for n, level in enumerate(levels)
    )
    return f'<svg class="ours" role="img" width="860" height="{len(levels) * 22 + 8}">{rows}</svg>'


def _tile(name: str, number: str) -> str:
    return f'<div class="tile"><b>{escape(number)}</b>{escape(name)}</div>'


def _table(heads: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    head = "".join(f"<th{'' if n == 0 else ' class=n'}>{escape(text)}</th>" for n, text in enumerate(heads))
    body = "".join(f"<tr>{''.join(_cell(n, value) for n, value in enumerate(row))}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(place: int, value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return f"<td{'' if place == 0 else ' class=n'}>{escape(text)}</td>"


def _bars(counts: Mapping[str, int]) -> str:
    most = max(counts.values(), default=1)
    rows = "".join(
        f'<text x="0" y="{n * 24 + 16}">{escape(name)}</text>'
        f'<rect x="90" y="{n * 24 + 4}" width="{400 * count / most:.1f}" height="16" rx="2"/>'
        f'<text x="{96 + 400 * count / most:.1f}" y="{n * 24 + 16}">{count:,}</text>'
        for n, (name, count) in enumerate(counts.items())
    )
    return f'<svg class="ours" role="img" width="600" height="{len(counts) * 24 + 8}">{rows}</svg>'
