"""What was known of people at one instant, and what became of them afterwards: the only door to a model's data.

It reads the profile and nothing else, so that whoever may not be profiled is in no model. The present is the cut-off of
a scoring, the past that of a training; both go through the same code as rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from consentry.segments import ast
from consentry.segments.atoms import Population, open_population
from consentry.segments.bits import Bits, Column, Mask, Ordinals
from consentry.segments.catalog import Catalog
from consentry.segments.clock import Clock, micros
from consentry.segments.masks import Words
from consentry.segments.models.definition import Definition, Feature, Target
from consentry.segments.people import ORDINALS
from consentry.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Observed:
    """Features of people as of one instant.

    people: their ordinals, ascending. columns: one number a person, NaN where it is missing; a text is its place in
    `words`, an instant counts microseconds since 1970.
    """

    at: datetime
    people: Ordinals
    features: tuple[Feature, ...]
    columns: Mapping[str, Column]
    words: Sequence[str]

    def __len__(self) -> int:
        return len(self.people)

    def some(self, chosen: NDArray[np.intp]) -> Observed:
        """Return the people at some places."""
        columns = {name: column[chosen] for name, column in self.columns.items()}
        return replace(self, people=self.people[chosen], columns=columns)


def observe(warehouse: Warehouse, catalog: Catalog, definition: Definition, *, at: datetime) -> Observed:
    """Return the features of the model's people as they were at `at`: events later than that do not exist for it."""
    values = [feature.value for feature in definition.features]
    rule = definition.population if definition.population is not None else _known(values)
    rules = [] if rule is None else [rule]
    population = _opened(warehouse, catalog, at, [*rules, *values])
    population.decide(rules, keep=values)
    inside = population.alive if rule is None else population.alive & population.holds(rule, {})
    people = inside.ordinals()
    columns = {f.name: _not_later(population.value(f.value)[people], f, at) for f in definition.features}
    return Observed(at, people, definition.features, columns, list(population.words.numbers))


def outcome(warehouse: Warehouse, catalog: Catalog, target: Target, observed: Observed) -> Mask:
    """Return whether the target holds for the people observed, over the events after the cut-off and none before."""
    end = observed.at + timedelta(seconds=target.within)
    population = _opened(warehouse, catalog, end, [target.rule])
    population.layout = replace(population.layout, after=micros(observed.at))
    population.decide([target.rule])
    held: Bits = population.holds(target.rule, {})
    return held.mask()[observed.people]


def person_ids(warehouse: Warehouse, people: Ordinals) -> list[str]:
    """Return the ids of people by their ordinals, in that order."""
    rows = warehouse.sql(f"SELECT person_id FROM {ORDINALS} ORDER BY ordinal")["person_id"].to_numpy(False)
    return list(rows[people])


def _opened(warehouse: Warehouse, catalog: Catalog, at: datetime, nodes: Sequence[ast.Node]) -> Population:
    population = open_population(warehouse, catalog, Clock(at, catalog.zone()), nodes)
    population.words = Words(closed=False)
    population.words.learn(nodes)
    return population


def _known(values: Sequence[ast.Value]) -> ast.Rule | None:
    """Return the rule that someone had any of the events that features read; None when they read none."""
    events = {node.event for value in values for node, _ in ast.walk(value) if isinstance(node, ast.Aggregate)}
    if not events:
        return None
    one = ast.Literal(1, "integer")
    return ast.Or(tuple(ast.Compare(ast.Aggregate("count", event), ">=", one) for event in sorted(events)))


def _not_later(column: Column, feature: Feature, at: datetime) -> Column:
    """Take out instants after the cut-off: what was not yet known is missing."""
    if feature.type not in ("date", "timestamp"):
        return column
    return np.where(column > micros(at), np.nan, column)
