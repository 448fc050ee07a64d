"""Read the experiments and figures of segment files: `experiments:` and `kpis:`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field

from consentry.config import Document, Faults, Model, Name, bind, read_document
from consentry.model.names import did_you_mean
from consentry.segments import ast
from consentry.segments.catalog import Catalog
from consentry.segments.check import check, check_number
from consentry.segments.experiments.definition import Experiment, Metric
from consentry.segments.faults import RuleFault
from consentry.segments.files import segment_files
from consentry.segments.limits import Seconds, Share
from consentry.segments.parse import RuleError, parse, parse_value
from consentry.segments.segment import Segment

Where = tuple[str | int, ...]


class ExperimentBlock(Model):
    """One entry of `experiments:`.

    arms: each with its share, the first is the control; `holdout` takes the segment's own. metrics: rules or numbers
    of the language of rules, over what happens after somebody came in. bandit: a metric that is a rule.
    """

    experiment: Name
    description: str = Field(min_length=1)
    segment: Name
    arms: dict[Name, Share] | Literal["holdout"] = "holdout"
    salt: str | None = Field(default=None, min_length=1)
    start: AwareDatetime
    end: AwareDatetime | None = None
    within: Seconds | None = None
    metrics: dict[Name, str] = Field(min_length=1)
    bandit: Name | None = None


class KpiBlock(Model):
    """One entry of `kpis:`. drop: how far it may fall, week against month, before it is an alarm."""

    kpi: Name
    description: str = Field(min_length=1)
    value: str
    drop: Share = 0.2


@dataclass(frozen=True, slots=True)
class Kpi:
    """A figure of each person and day, added up over the members of a segment."""

    name: str
    description: str
    value: ast.Value
    drop: float


def read_experiments(paths: Path | Iterable[Path], catalog: Catalog, faults: Faults) -> tuple[Experiment, ...]:
    """Return the experiments that segment files declare, by name; every fault is added to `faults`."""
    found: dict[str, Experiment] = {}
    for part in _parts(paths, "experiments"):
        block = bind(part, ExperimentBlock, faults)
        made = None if block is None else _Reader(part, catalog, faults).experiment(block)
        if made is not None and made.name in found:
            faults.add(part.path, part.line(("experiment",)), f"The experiment {made.name!r} is declared twice.")
        elif made is not None:
            found[made.name] = made
    return tuple(found[name] for name in sorted(found))


def read_kpis(paths: Path | Iterable[Path], catalog: Catalog, faults: Faults) -> tuple[Kpi, ...]:
    """Return the figures that segment files declare, by name; every fault is added to `faults`."""
    found: dict[str, Kpi] = {}
    for part in _parts(paths, "kpis"):
        block = bind(part, KpiBlock, faults)
        value = None if block is None else _Reader(part, catalog, faults).number(("value",), block.value)
        if block is not None and block.kpi in found:
            faults.add(part.path, part.line(("kpi",)), f"The figure {block.kpi!r} is declared twice. Rename one.")
        elif block is not None and value is not None:
            found[block.kpi] = Kpi(block.kpi, block.description, value, block.drop)
    return tuple(found[name] for name in sorted(found))


def check_segments(experiments: Iterable[Experiment], segments: Iterable[Segment], faults: Faults) -> None:
    """Note the experiments whose segment is not there, or has no holdout to look at."""
    known: Mapping[str, Segment] = {segment.name: segment for segment in segments}
    for experiment in experiments:
        path, line = experiment.place
        if experiment.segment not in known:
            hint = did_you_mean(experiment.segment, known) or "."
            faults.add(path, line, f"There is no segment {experiment.segment!r}{hint}")
        elif experiment.arms is None and known[experiment.segment].holdout is None:
            sentence = f"The segment {experiment.segment!r} has no 'holdout'. Give it one, or the experiment 'arms'."
            faults.add(path, line, sentence)


def _parts(paths: Path | Iterable[Path], key: str) -> Iterator[Document]:
    for path in segment_files(paths):
        document = read_document(path, Faults())  # what is wrong with the file itself, read_segments tells
        if document is not None and isinstance(document.data, dict):
            entries = document.data.get(key)
            for n in range(len(entries) if isinstance(entries, list) else 0):
                yield document.at(key, n)


class _Reader:
    """Turn what is written into an experiment, noting faults on the way."""

    def __init__(self, document: Document, catalog: Catalog, faults: Faults) -> None:
        self.document, self.catalog, self.faults = document, catalog, faults

    def experiment(self, block: ExperimentBlock) -> Experiment | None:
        before = len(self.faults.found)
        arms = None if block.arms == "holdout" else dict(block.arms)
        self._check_arms(block, arms)
        if block.end is not None and block.end <= block.start:
            self.note(("end",), "'end' is not after 'start'.")
        metrics = [self._metric(name, text) for name, text in block.metrics.items()]
        rules = [metric.name for metric in metrics if metric and metric.rule is not None]
        if block.bandit is not None and (arms is None or block.bandit not in rules):
            self.note(("bandit",), "A bandit needs 'arms', and a metric that is a rule, such as count(order) >= 1.")
        if len(self.faults.found) > before:
            return None
        return Experiment(
            name=block.experiment,
            description=block.description,
            segment=block.segment,
            arms=arms,
            salt=block.salt or block.experiment,
            start=block.start,
            end=block.end,
            within=block.within,
            metrics=tuple(metric for metric in metrics if metric),
            bandit=block.bandit,
            place=(self.document.path, self.document.line(("segment",))),
        )

    def _check_arms(self, block: ExperimentBlock, arms: Mapping[str, float] | None) -> None:
        if arms is None and block.salt is not None:
            self.note(("salt",), "An experiment on a holdout has the salt of the holdout. Take it out.")
        elif arms is not None and len(arms) < 2:
            self.note(("arms",), "An experiment has two arms or more; the first is the control.")
        elif arms is not None and abs(sum(arms.values()) - 1) > 1e-9:
            self.note(("arms",), f"The shares of the arms sum to {sum(arms.values()):.0%}, and not to 100%.")

    def _metric(self, name: str, text: str) -> Metric | None:
        where = ("metrics", name)
        try:
            value = parse_value(text)
        except RuleError:
            rule = self._rule(where, text)
            return None if rule is None else Metric(name, rule, None)
        mistakes = check_number(value, self.catalog)
        self._mistakes(where, text, mistakes)
        return None if mistakes else Metric(name, None, value)

    def number(self, where: Where, text: str) -> ast.Value | None:
        """Read a value that is a number."""
        try:
            value = parse_value(text)
        except RuleError as error:
            self._mistakes(where, text, error.mistakes)
            return None
        mistakes = check_number(value, self.catalog)
        self._mistakes(where, text, mistakes)
        return None if mistakes else value

    def _rule(self, where: Where, text: str) -> ast.Rule | None:
        try:
            rule = parse(text)
        except RuleError as error:
            self._mistakes(where, text, error.mistakes)
            return None
        mistakes = check(rule, self.catalog, segments=())
        self._mistakes(where, text, mistakes)
        return None if mistakes else rule

    def _mistakes(self, where: Where, text: str, mistakes: Iterable[RuleFault]) -> None:
        for mistake in mistakes:
            self.note(where, mistake.shown(text).replace("The rule", "The metric", 1))

    def note(self, where: Where, sentence: str) -> None:
        self.faults.add(self.document.path, self.document.line(where), sentence)
