"""One HTML page of model cards: quality, calibration, gain, importance, clusters, drift and versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from consentry.segments.html import COLOURS, document, table, tile
from consentry.segments.models.card import said, settings_said
from consentry.segments.models.charts import bars, calibration, lift

Card = Mapping[str, Any]  # plain JSON
_MOST_BARS = 15


def write_page(title: str, cards: Sequence[Card], path: Path, *, shown_from: int) -> None:
    """Write the page to a file of its own. shown_from: counts below it are shown as `<k`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(title, cards, shown_from=shown_from), encoding="utf-8")


def render(title: str, cards: Sequence[Card], *, shown_from: int) -> str:
    """Return the page as HTML."""
    body = [f"<h1>{escape(title)}</h1>"]
    for card in cards:
        body += ["<section>", *_card(card, shown_from), "</section>"]
    return document(title, body)


def _card(card: Card, k: int) -> Iterator[str]:
    report = card["report"]
    used = f"version {card['in_use']} in use" if card["in_use"] else "no version in use"
    yield f"<h2>{escape(card['model'])} <small>({escape(used)})</small></h2>"
    yield f"<p>{escape(card['description'].rstrip('.'))}. Learnt as of {card['cutoff'][:10]}, for the purpose "
    yield f"<code>{escape(card['purpose'])}</code>. {escape(card['reason'])}</p>"
    yield from (f'<p class="alarm">{escape(note)}</p>' for note in card["notes"])
    yield from {"classify": _classify, "cluster": _cluster, "clv": _clv}[card["kind"]](report, k)
    yield from _impact(report)
    yield from _drift(card["drift"])
    yield from _about(card)


def _count(count: int, k: int) -> str:
    return f"<{k}" if 0 < count < k else f"{count:,}"


def _tiles(figures: Mapping[str, object]) -> str:
    return f'<div class="tiles">{"".join(tile(name, value) for name, value in figures.items())}</div>'


def _classify(report: Card, k: int) -> Iterator[str]:
    test = report["test"]
    yield _tiles(
        {
            "people": _count(report["people"], k),
            "it happened to": _count(report["happened"], k),
            "ROC-AUC": test["roc_auc"],
            "spread of the folds": report["spread"],
            "precision": test["precision"],
            "recall": test["recall"],
            "calibration error": test["calibration_error"],
        }
    )
    yield f'<div class="pair">{calibration(test["calibration"])}{lift(test["lift"])}</div>'
    best = test["lift"][0]
    yield f"<p>Judged on {_count(test['people'], k)} people set aside. The best tenth has {best['lift']} times the "
    yield f"usual rate and holds {best['captured']:.0%} of those it happens to. Precision and recall from a score of "
    yield f"{test['cut']}.</p>"
    ranked = [(row["feature"], row["fall"]) for row in report["importance"]][:_MOST_BARS]
    yield bars("Importance: how much ROC-AUC falls when a feature is shuffled", ranked)
    yield f"<h3>Methods tried, {report['folds']} folds</h3>"
    yield table(
        ["method", "#ROC-AUC", "#spread", "settings"],
        (
            (_named(row, report["algorithm"]), row["mean"], row["spread"], settings_said(row["settings"]))
            for row in report["cross_validation"]
        ),
    )


def _named(row: Card, taken: str) -> str:
    name = str(row["algorithm"]).replace("_", " ")
    return f"{name} (taken)" if row["algorithm"] == taken else name


def _cluster(report: Card, k: int) -> Iterator[str]:
    yield _tiles(
        {
            "people": _count(report["people"], k),
            "clusters": report["k"],
            "in none": f"{report['noise']:.1%}",
            "repeated": f"{report['repeated']:.0%}",
        }
    )
    yield f"<p>{escape(report['reason'])}</p>"
    yield bars("Share of people", [(row["cluster"] or "(none)", row["share"]) for row in report["profiles"]])
    yield "<h3>What their people are like</h3><p>Means in the units of the features, or the most frequent word. Colour:"
    yield " how far from everybody, in standard deviations.</p>"
    yield _profiles(report["profiles"], k)
    yield "<h3>Numbers of clusters tried</h3>"
    rows = ((o["k"], o["wcss"], o["silhouette"], o["stability"], o["smallest"]) for o in report["options"])
    yield table(["#clusters", "#squares within", "#silhouette", "#stability", "#smallest share"], rows)
    if report["explained"]:
        yield f"<p>Principal components explain {', '.join(f'{share:.0%}' for share in report['explained'])}.</p>"


def _profiles(rows: Sequence[Card], k: int) -> str:
    head = "".join(f'<th class="n">{escape(row["cluster"] or "(none)")}</th>' for row in rows)
    counts = "".join(f'<td class="n">{escape(_count(row["people"], k))}</td>' for row in rows)
    lines = [f"<tr><th>people</th>{counts}</tr>"]
    for feature in rows[0]["features"]:
        cells = "".join(_shaded(row["features"][feature], hidden=row["people"] < k) for row in rows)
        lines.append(f"<tr><th>{escape(feature)}</th>{cells}</tr>")
    return f'<div class="scroll"><table><tr><th></th>{head}</tr>{"".join(lines)}</table></div>'


def _shaded(value: Card, *, hidden: bool) -> str:
    if hidden:
        return '<td class="n">&ndash;</td>'
    distance = value.get("distance") or 0.0
    strength = min(abs(distance) / 2, 1) * 45
    colour = f"color-mix(in srgb,{COLOURS[0] if distance > 0 else COLOURS[1]} {strength:.0f}%,transparent)"
    return f'<td class="n" style="background:{colour}">{escape(said(value))}</td>'


def _clv(report: Card, k: int) -> Iterator[str]:
    held = report["held_back"]
    figures: dict[str, object] = {"customers": _count(report["people"], k), "came back": _count(report["came_back"], k)}
    if "expected" in held:
        figures |= {"purchases expected": f"{held['expected']:,}", "purchases that came": f"{held['came']:,}"}
        figures |= {"mean error": held["error"], "error of going on as before": held["error_of_going_on_as_before"]}
    yield _tiles(figures)
    if "sentence" in held:
        yield f"<p>{escape(held['sentence'])}</p>"
    else:
        yield f"<p>Expectation and outcome of the last {held['days']:g} days, fitted on the time before.</p>"
    yield "<h3>Parameters</h3>"
    yield table([f"#{name}" for name in report["parameters"]], [report["parameters"].values()])


def _impact(report: Card) -> Iterator[str]:
    if report.get("impact"):
        yield "<h3>What each feature has to do with it</h3>"
        rows = (
            (row["feature"], row["test"], row["statistic"], row["p"], row["effect"], row["information"])
            for row in report["impact"]
        )
        yield table(["feature", "test", "#statistic", "#p", "#effect", "#information"], rows)
        yield "<p>Effect: Cramér's V of a chi-square test, eta squared of an ANOVA. With many people a small p means "
        yield "little.</p>"
    for item in report.get("dropped", ()):
        yield f"<p>{escape(item['feature'])} was dropped: correlation {item['correlation']} with "
        yield f"{escape(item['like'])}.</p>"


def _drift(rows: Sequence[Card]) -> Iterator[str]:
    if rows:
        yield "<h3>Drift since the training</h3>"
        listed = ((r["feature"], r["d"], r["psi"], "moved" if r["alarm"] else "") for r in rows)
        yield table(["feature", "#D", "#PSI", ""], listed)
        yield "<p>Moved: D from 0.1 or PSI from 0.2 on.</p>"


def _about(card: Card) -> Iterator[str]:
    yield "<h3>Versions</h3>"
    rows = ((row["version"], row["as_of"][:10], row["people"], row["reason"]) for row in card["history"])
    yield table(["#version", "#as of", "#people", "why"], rows)
    if card["features"]:
        yield "<h3>Features</h3>"
        yield table(["name", "value"], card["features"].items())
    if card["target"]:
        days = card["target"]["within_s"] // 86_400
        yield f"<p>Foretold: <code>{escape(card['target']['rule'])}</code> within {days} days after the cut-off.</p>"
