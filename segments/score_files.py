"""Read the scores of segment files: `scores:` and `rfm:`, each value in the language of rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from consentry.config import Document, Faults, Model, Name, bind, read_document
from consentry.segments import ast
from consentry.segments.catalog import Catalog
from consentry.segments.check import value_faults
from consentry.segments.files import segment_files
from consentry.segments.parse import RuleError, parse_value
from consentry.segments.scores import Rfm, Scored, Term, Weighted


class WeightBlock(Model):
    """A weighted term. scale: `minmax` and `zscore` compare with everybody, `none` takes the value as it is."""

    value: str
    weight: float
    scale: Literal["none", "minmax", "zscore"] = "minmax"
    lower_is_better: bool = False


class PointsBlock(Model):
    """Whole points for each unit of a value."""

    value: str
    points: int


class ScoreBlock(Model):
    """One entry of `scores:`: weights that sum to 1, or whole points."""

    score: Name
    description: str = Field(min_length=1)
    weights: list[WeightBlock] = Field(default_factory=list)
    points: list[PointsBlock] = Field(default_factory=list)
    bands: dict[Name, float] = Field(default_factory=dict)


class RfmBlock(Model):
    """`rfm:`: the time of the last order, the number of orders, and what they were worth."""

    recency: str
    frequency: str
    monetary: str


def read_scores(paths: Path | Iterable[Path], catalog: Catalog, faults: Faults) -> Catalog:
    """Return the catalogue with the scores that segment files declare; every fault is added to `faults`."""
    found: dict[str, Scored] = {}
    for path in segment_files(paths):
        document = read_document(path, Faults())  # what is wrong with the file itself, read_segments tells
        if document is None or not isinstance(document.data, dict):
            continue
        reader = _Reader(catalog, faults)
        entries = document.data.get("scores")
        for n in range(len(entries) if isinstance(entries, list) else 0):
            part = document.at("scores", n)
            made = reader.weighted(part)
            if made is not None and f"score.{made.name}" in found:
                faults.add(path, part.line(("score",)), f"The score {made.name!r} is declared twice. Rename one.")
            elif made is not None:
                found[f"score.{made.name}"] = made
        if "rfm" in document.data:
            rfm = reader.rfm(document.at("rfm"))
            if rfm is not None and "rfm" in found:
                faults.add(path, document.line(("rfm",)), "'rfm' is declared twice. Keep one of them.")
            elif rfm is not None:
                found["rfm"] = rfm
    return replace(catalog, scores=found)


class _Reader:
    """Turn what is written into scores, noting faults on the way."""

    def __init__(self, catalog: Catalog, faults: Faults) -> None:
        self.catalog, self.faults = catalog, faults

    def weighted(self, document: Document) -> Weighted | None:
        block = bind(document, ScoreBlock, self.faults)
        if block is None:
            return None
        before = len(self.faults.found)
        if bool(block.weights) == bool(block.points):
            self.note(document, ("score",), f"The score {block.score!r} has either 'weights' or 'points'.")
        if block.weights and abs(sum(term.weight for term in block.weights) - 1) > 1e-9:
            total = sum(term.weight for term in block.weights)
            self.note(document, ("weights",), f"The weights of {block.score!r} sum to {total:g}, and not to 1.")
        terms = [
            self.term(document, ("weights", n), term.value, term.weight, term.scale, term.lower_is_better)
            for n, term in enumerate(block.weights)
        ]
        terms += [
            self.term(document, ("points", n), term.value, float(term.points), "none", False)
            for n, term in enumerate(block.points)
        ]
        bands = tuple(sorted(block.bands.items(), key=lambda band: band[1]))
        if len({low for _, low in bands}) < len(bands):
            self.note(document, ("bands",), "Two bands begin at the same value.")
        if len(self.faults.found) > before:
            return None
        return Weighted(block.score, tuple(term for term in terms if term), bool(block.points), bands)

    def term(
        self,
        document: Document,
        where: tuple[str | int, ...],
        text: str,
        weight: float,
        scale: Literal["none", "minmax", "zscore"],
        lower: bool,
    ) -> Term | None:
        found = self.value(document, (*where, "value"), text)
        if found is None:
            return None
        value, kind = found
        return Term(value, weight, scale, kind == "time", lower)

    def rfm(self, document: Document) -> Rfm | None:
        block = bind(document, RfmBlock, self.faults)
        if block is None:
            return None
        values = []
        for name, needed in (("recency", "time"), ("frequency", "number"), ("monetary", "number")):
            found = self.value(document, (name,), getattr(block, name))
            if found is not None and found[1] != needed:
                self.note(document, (name,), f"'{name}' has to be a {needed}, such as last(purchase).")
            values.append(found and found[0])
        recency, frequency, monetary = values
        if recency is None or frequency is None or monetary is None:
            return None
        return Rfm(recency, frequency, monetary)

    def value(self, document: Document, where: tuple[str | int, ...], text: str) -> tuple[ast.Value, str] | None:
        """Read a number or a time, told apart by "number" and "time"."""
        try:
            value = parse_value(text)
        except RuleError as error:
            mistakes, kind = error.mistakes, None
        else:
            kind, listed = value_faults(value, self.catalog)
            mistakes = tuple(listed)
            if not mistakes and kind is not None:
                return value, kind
        for mistake in mistakes:
            self.note(document, where, mistake.shown(text).replace("The rule", "The value", 1))
        return None

    def note(self, document: Document, where: tuple[str | int, ...], sentence: str) -> None:
        self.faults.add(document.path, document.line(where), sentence)
