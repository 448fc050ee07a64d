"""Write a model card for people: what the model is for, how good it is, and what is to be known before it is used.

The sections follow Mitchell et al. (2019), Model Cards for Model Reporting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

TEXT = "card.md"
Card = Mapping[str, Any]  # plain JSON


def written(card: Card) -> str:
    """Return a card as Markdown."""
    parts = [*_head(card), *_KINDS[card["kind"]](card["report"]), *_features(card)]
    return "\n".join(parts) + "\n"


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield f"| {' | '.join(column.replace('_', ' ') for column in columns)} |"
    yield f"|{'|'.join('---' for _ in columns)}|"
    for row in rows:
        yield f"| {' | '.join(_cell(row.get(column)) for column in columns)} |"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value).replace("|", "\\|")


def _head(card: Card) -> Iterator[str]:
    yield f"# {card['model']}"
    yield ""
    yield card["description"]
    yield ""
    about = {
        "kind": card["kind"],
        "purpose": card["purpose"],
        "learnt as of": card["cutoff"],
        "people": f"{card['report']['people']:,}",
        "population": card["population"],
        "target": card["target"] and f"{card['target']['rule']}, within {card['target']['within_s'] // 86_400} days",
        "outputs": ", ".join(f"model.{card['model']}.{name}" for name in card["outputs"]),
        "seed": card["seed"],
        "scikit-learn": card["library"],
    }
    yield from (f"* {name}: {value}" for name, value in about.items() if value is not None)
    yield ""
    yield f"**{'In use' if card['promoted'] else 'Not put into use'}.** {card['reason']}"
    yield from ("", *(f"* {note}" for note in card["notes"])) if card["notes"] else ()
    yield ""


def _classify(report: Card) -> Iterator[str]:
    test = report["test"]
    yield "## How good it is"
    yield ""
    yield f"It happened to {report['happened']:,} of {report['people']:,}. Judged on {test['people']:,} set aside:"
    yield ""
    yield f"* ROC-AUC {test['roc_auc']}, Brier score {test['brier']}, calibration error {test['calibration_error']}"
    yield f"* precision {test['precision']} and recall {test['recall']} from a score of {test['cut']}"
    yield f"* the best tenth has {test['lift'][0]['lift']} times the usual rate"
    yield ""
    yield "## Methods tried"
    yield ""
    yield f"{report['folds']} folds; taken: {report['algorithm']}, calibrated by {report['calibrated_by']}."
    yield ""
    rows = [{**row, "settings": settings_said(row["settings"])} for row in report["cross_validation"]]
    yield from table(rows, ["algorithm", "mean", "spread", "settings"])
    yield ""
    yield "## What it goes by"
    yield ""
    yield from table(report["importance"], ["feature", "fall", "spread"])
    yield ""
    yield "`fall` is how much ROC-AUC falls when the feature is shuffled."
    yield ""
    yield from _impact(report)


def _cluster(report: Card) -> Iterator[str]:
    yield "## Clusters"
    yield ""
    yield f"{report['k']} by {report['method']}. {report['reason']} In none: {report['noise']:.1%}."
    yield ""
    names = [entry["cluster"] or "(none)" for entry in report["profiles"]]
    rows: list[dict[str, Any]] = [
        {"": "people", **dict(zip(names, [p["people"] for p in report["profiles"]], strict=True))}
    ]
    for feature in report["profiles"][0]["features"]:
        rows.append(
            {"": feature, **{n: said(p["features"][feature]) for n, p in zip(names, report["profiles"], strict=True)}}
        )
    yield from table(rows, ["", *names])
    yield ""
    yield "Means, or the most frequent word with its share."
    yield ""
    yield "## Numbers of clusters tried"
    yield ""
    yield from table(report["options"], ["k", "wcss", "silhouette", "stability", "smallest"])
    yield ""
    yield from _impact(report)


def settings_said(settings: Mapping[str, object]) -> str:
    """Say the settings of a method."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())


def said(value: Mapping[str, Any]) -> str:
    """Say what the people of a cluster have of a feature."""
    if "word" in value:
        return "" if value["word"] is None else f"{value['word']} ({value['share']:.0%})"
    return "" if value["mean"] is None else f"{value['mean']:,.4g}"


def _clv(report: Card) -> Iterator[str]:
    yield "## How good it is"
    yield ""
    held = report["held_back"]
    if "sentence" in held:
        yield f"It could not be tried on the past. {held['sentence']}"
    else:
        yield f"Fitted on the time before, it expected {held['expected']:,} purchases of {held['people']:,} customers"
        yield f"in {held['days']:g} days; {held['came']:,} came. Mean error {held['error']} a customer, against"
        yield f"{held['error_of_going_on_as_before']} if everybody went on as before."
    yield ""
    yield "## Parameters"
    yield ""
    yield from table([report["parameters"]], list(report["parameters"]))
    yield ""


def _impact(report: Card) -> Iterator[str]:
    yield "## What each feature has to do with it"
    yield ""
    yield from table(report["impact"], ["feature", "test", "statistic", "p", "effect", "information"])
    yield ""
    yield "`effect` is Cramér's V of a chi-square test, or eta squared of an ANOVA."
    yield ""
    for item in report["dropped"]:
        yield f"* {item['feature']} was dropped: correlation {item['correlation']} with {item['like']}."


def _features(card: Card) -> Iterator[str]:
    if card["features"]:
        yield ""
        yield "## Features"
        yield ""
        yield from (f"* {name}: `{value}`" for name, value in card["features"].items())


_KINDS = {"classify": _classify, "cluster": _cluster, "clv": _clv}
