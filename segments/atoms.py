"""Decide every atom that any rule uses, once, for the whole population: columns in, packed bits out.

Atoms are shared between rules. They are decided source by source (the attributes, then each event), a bounded
number of columns at a time; what memory holds grows with the number of atoms by one bit a person.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consentry.segments import ast
from consentry.segments.aggregates import SLICE_ROWS, Slice, is_quick, properties, read_slice
from consentry.segments.bits import Bits, Column, Mask
from consentry.segments.catalog import Catalog
from consentry.segments.clock import BEGINNING, Clock
from consentry.segments.features import (
    CHOSEN,
    Between,
    Layout,
    aggregate_query,
    attributes_query,
    event_table,
    rows_query,
    sequence_query,
)
from consentry.segments.masks import Panel, Words, compares_texts, inputs
from consentry.segments.people import NUMBER, PERSONS, everyone, number_people
from consentry.segments.scores import Figures, figures, score
from consentry.segments.spell import spell_value
from consentry.segments.tables import attributes_of, events_of, require, value_type
from consentry.segments.timers import NEVER, Timers
from consentry.warehouse import Warehouse

# Columns of 64-bit floats that stand in memory at one time: 32 of 2 million people are 512 MB.
_COLUMNS = 32
_NOTHING_IS_ZERO = frozenset({"count", "sum", "distinct", "days_active"})
Source = str | None  # an event, or None for the attributes


@dataclass(slots=True)
class Population:
    """Everyone who has a profile, and what was found out about them.

    alive: who that is, out of all ordinals, or everyone of the chosen. places: the ordinals of the chosen, ascending,
    when columns and bits hold these alone. bits: who each atom holds for. thresholds: the value of each percentile.
    figures: what each score knows of the population. kept: columns needed more than once. timers: everybody's, where
    they are wanted.
    """

    warehouse: Warehouse
    catalog: Catalog
    clock: Clock
    layout: Layout
    alive: Bits
    words: Words
    places: NDArray[np.int64] | None = None
    bits: dict[ast.Atom, Bits] = field(default_factory=dict)
    thresholds: dict[ast.Percentile, float | None] = field(default_factory=dict)
    figures: dict[str, Figures | None] = field(default_factory=dict)
    kept: dict[ast.Value, Column] = field(default_factory=dict)
    timers: Timers | None = None

    @property
    def size(self) -> int:
        return self.alive.size

    def value(self, value: ast.Value) -> Column:
        """Return everyone's value, of those that were asked for as `keep`."""
        return self._panel(self.kept).value(value)

    def holds(self, rule: ast.Rule, members: Mapping[str, Bits]) -> Bits:
        """Combine the bits of a rule's atoms. members: what `in segment` looks at."""
        match rule:
            case ast.And(parts):
                found = self.holds(parts[0], members)
                for part in parts[1:]:
                    found = found & self.holds(part, members)
                return found
            case ast.Or(parts):
                found = self.holds(parts[0], members)
                for part in parts[1:]:
                    found = found | self.holds(part, members)
                return found
            case ast.Not(part):
                return ~self.holds(part, members)
            case ast.InSegment(segment):
                return members[segment]
            case _:
                return self.bits[rule]

    def _panel(self, columns: Mapping[ast.Value, Column]) -> Panel:
        return Panel(columns, self.words, self.clock, self.size, self.thresholds)

    # --- deciding

    def decide(self, rules: Iterable[ast.Rule], *, keep: Iterable[ast.Value] = ()) -> None:
        """Fill `bits` and `thresholds` for the rules, and `kept` with the columns of the values in `keep`."""
        listed = list(dict.fromkeys(atom for rule in rules for atom in ast.atoms(rule)))
        kept = list(keep)
        scores = _scores([*listed, *kept])
        kept += [value for wanted in scores for value in _values(self.catalog, wanted)]
        percentiles = [found for found in _percentiles(listed) if found not in self.thresholds]
        wanted = dict.fromkeys(atom for rule in (*listed, *_populations(percentiles)) for atom in ast.atoms(rule))
        atoms = [atom for atom in wanted if not isinstance(atom, ast.InSegment | ast.Sequence)]
        sources = {atom: _sources(atom) for atom in atoms}
        late = [atom for atom in atoms if len(sources[atom]) > 1 or compares_with_everyone(atom)]
        keep_columns = _columns([*late, *kept, *(percentile.of for percentile in percentiles)])
        early: dict[Source, list[ast.Atom]] = {}
        constant: list[ast.Atom] = []
        for atom in set(atoms).difference(late):
            if sources[atom]:
                early.setdefault(next(iter(sources[atom])), []).append(atom)
            else:
                constant.append(atom)
        kept_by: dict[Source, list[ast.Value]] = {}
        for column in keep_columns:
            kept_by.setdefault(_source(column), []).append(column)
        for source in sorted({*early, *kept_by}, key=str):
            self._decide_source(source, early.get(source, []), kept_by.get(source, []))
        for rule in wanted:
            if isinstance(rule, ast.Sequence):
                self.bits[rule] = self._sequence(rule)
        self._decide(constant, {})
        for each in scores:
            self._score(each)
        for percentile in percentiles:
            if percentile not in self.thresholds:
                self.thresholds[percentile] = self._threshold(percentile)
        self._decide(late, self.kept)
        if self.timers is not None:
            for time in self.timers.unread:
                self._note_times(*time)

    def _score(self, wanted: ast.Score) -> None:
        """Keep everyone's score, and what it needed to know of the population."""
        definition = self.catalog.scored(wanted)
        if definition is None:
            self.kept[wanted] = self._served(wanted)
            return
        name = "rfm" if wanted.family == "rfm" else wanted.name
        values = [self.kept[value] for value in definition.values]
        if name not in self.figures:
            alive = self.alive.mask()
            self.figures[name] = figures(definition, [column[alive] for column in values], self.clock.now_us)
        self.kept[wanted] = score(definition, wanted, values, self.figures[name], self.clock.now_us, self.words.number)

    def _served(self, wanted: ast.Score) -> Column:
        """Return what a model or an experiment last said of everyone."""
        found = self.catalog.served[spell_value(wanted)]
        column = np.full(self.size, np.nan)
        for batch in found.rows(self.warehouse, among=CHOSEN if self.layout.chosen else None):
            self._put(column, batch, "value", is_text=found.type == "text")
        return column

    def _put(self, column: Column, batch: pa.RecordBatch, name: str, *, is_text: bool) -> None:
        """Put the values that arrived where their people stand."""
        places = batch.column("ordinal").to_numpy(zero_copy_only=False)
        arrived = batch.column(name)
        column[places] = self.words.column(arrived) if is_text else _floats(arrived)

    def score_again(self, scores: Iterable[ast.Score]) -> None:
        """Work out scores from the columns that are kept, by the clock and the figures that stand here."""
        for each in {*scores, *(value for value in self.kept if isinstance(value, ast.Score))}:
            if self.catalog.scored(each) is not None:
                self._score(each)

    def again(self, atom: ast.Atom) -> Bits:
        """Decide an atom from the columns that are kept."""
        return Bits.of(self._panel(self.kept).mask(atom))

    def _decide(self, atoms: Iterable[ast.Atom], columns: Mapping[ast.Value, Column]) -> None:
        panel = self._panel(columns)
        self.bits.update((atom, Bits.of(panel.mask(atom))) for atom in atoms)

    def _decide_source(self, source: Source, atoms: Sequence[ast.Atom], keep: Sequence[ast.Value]) -> None:
        quick = [atom for atom in atoms if source is not None and all(map(is_quick, _columns([atom])))]
        if source is not None and quick:
            self._decide_quickly(source, quick)
        for some in _chunks([atom for atom in atoms if atom not in self.bits]):
            self._decide(some, self._load(source, _columns(some)))
        for start in range(0, len(keep), _COLUMNS):
            self.kept.update(self._load(source, keep[start : start + _COLUMNS]))

    def _decide_quickly(self, event: str, atoms: Sequence[ast.Atom]) -> None:
        """Decide atoms for the people who have events, and once for all who have none."""
        columns = _columns(atoms)
        nothing = {value: _finished(value, np.full(1, np.nan)) for value in columns}
        absent = [Panel(nothing, self.words, self.clock, 1).mask(atom) for atom in atoms]
        eights = [slice(n, n + 8) for n in range(0, len(atoms), 8)]
        found: list[tuple[NDArray[np.int64], list[NDArray[np.uint8]]]] = []
        asked = [value for value in columns if isinstance(value, ast.Aggregate)]
        low = min(self.clock.bounds(value.window)[0] for value in asked)
        for whole in self._slices(event, properties(columns), low):
            some = whole.until_now()
            made = {value: _finished(value, column) for value, column in some.values(asked).items()}
            panel = Panel(made, self.words, self.clock, len(some.people))
            found.append((some.people, [_word([panel.mask(atom) for atom in atoms[eight]]) for eight in eights]))
        # Written over and over: new memory for each would take as long as all else here.
        word, one = np.empty(self.size, dtype=np.uint8), np.empty(self.size, dtype=np.uint8)
        for n, eight in enumerate(eights):
            word[:] = _word(absent[eight])[0]
            for people, words in found:
                word[people] = words[n]
            for place, atom in enumerate(atoms[eight]):
                self.bits[atom] = Bits.of(np.bitwise_and(word, 1 << place, out=one))

    def _slices(self, event: str, names: Sequence[str], low: int) -> Iterator[Slice]:
        """Yield the events of a name from `low` on, a bounded number of rows at a time where the table is sorted.

        Timers are set by their time, and by whatever happens only in the future.
        """
        texts = frozenset(name for name in names if self.catalog.events[event][name] == "text")
        time = (event, None)
        low = low if self.timers is None else min(low, self.timers.since(time))
        for between in self._ranges(event):
            query, params = rows_query(self.catalog, self.layout, event, names, low=low, between=between)
            found = read_slice(self.warehouse.sql(query, **params), names, texts, self.words, self.clock)
            if self.timers is not None:
                self.timers.note(time, found.people, found.person, found.times)
            yield found

    def _note_times(self, event: Source, column: str | None) -> None:
        """Set the timers by a time that no atom needed to read."""
        assert self.timers is not None
        if event is None:
            found = self._load(None, [ast.Name(str(column))])[ast.Name(str(column))]
            people = np.flatnonzero(~np.isnan(found))
            self.timers.note((None, column), people, np.arange(len(people)), found[people].astype(np.int64))
            return
        for some in self._slices(event, [column] if column else [], BEGINNING if column else NEVER):
            if column:
                times = some.columns[ast.Name(column)]
                known = ~np.isnan(times)
                self.timers.note((event, column), some.people, some.person[known], times[known].astype(np.int64))

    def _ranges(self, event: str) -> Iterator[Between]:
        """Yield ranges of ordinals with a bounded number of events each, none where they are not sorted."""
        cuts: list[int] = []
        if event in self.layout.numbered and self.places is None:
            table = event_table(event)
            rows = range(SLICE_ROWS, self.warehouse.count(table), SLICE_ROWS)
            query = f"SELECT DISTINCT {NUMBER} AS cut FROM {table} WHERE rowid IN (SELECT unnest($rows)) ORDER BY cut"
            cuts = self.warehouse.sql(query, rows=list(rows))["cut"].to_pylist() if rows else []
        yield from itertools.pairwise([0, *cuts, self.size]) if cuts else [None]

    def _threshold(self, percentile: ast.Percentile) -> float | None:
        found = self.value(percentile.of)
        over = self.alive if percentile.over is None else self.alive & self.holds(percentile.over, {})
        chosen = found[over.mask()]
        known = chosen[~np.isnan(chosen)]
        return float(np.quantile(known, percentile.percent / 100)) if len(known) else None

    # --- reading

    def _load(self, source: Source, wanted: Sequence[ast.Value]) -> dict[ast.Value, Column]:
        names = [value for value in wanted if isinstance(value, ast.Name)]
        made = [value for value in wanted if isinstance(value, ast.Aggregate)]
        params: Mapping[str, object] = {}
        if source is None:
            query = attributes_query(self.catalog, self.layout, [value.name for value in names])
        else:
            query, params = aggregate_query(self.catalog, self.clock, self.layout, source, made)
        asked: list[ast.Value] = [*names, *made]
        columns = {value: np.full(self.size, np.nan) for value in asked}
        for batch in stream(self.warehouse, query, params):
            for n, (value, column) in enumerate(columns.items()):
                self._put(column, batch, f"f{n}", is_text=value_type(self.catalog, value) == "text")
        return {value: _finished(value, column) for value, column in columns.items()}

    def _sequence(self, rule: ast.Sequence) -> Bits:
        mask = np.zeros(self.size, dtype=np.bool_)
        query, params = sequence_query(self.catalog, self.clock, self.layout, rule)
        for batch in stream(self.warehouse, query, params):
            mask[batch.column("ordinal").to_numpy(zero_copy_only=False)] = True
        return Bits.of(mask)


def stream(warehouse: Warehouse, query: str, params: Mapping[str, object]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a query; its parameters are all named v0, v1, ... and never clash with an option."""
    # The protocol's own keyword has another type than a bound value, which the checker cannot tell apart.
    return warehouse.stream(query, **params)  # type: ignore[arg-type]


def open_population(warehouse: Warehouse, catalog: Catalog, clock: Clock, rules: Sequence[ast.Node]) -> Population:
    """Number the people and make ready to decide rules.

    Raises StopRun when a table or column that the rules need is not there, and when a person stands in the
    profile table twice.
    """
    rules = [*rules, *(value for wanted in _scores(rules) for value in _values(catalog, wanted))]
    carries = NUMBER in require(warehouse, PERSONS, ["person_id", *sorted(attributes_of(rules))])
    numbered: set[str] = set()
    for event, needed in events_of(catalog, rules).items():
        found = require(warehouse, event_table(event), ["person_id", "occurred_at", *needed])
        numbered |= {event} if NUMBER in found else set()
    if not carries:
        number_people(warehouse)
    words = Words(closed=not compares_texts(rules, lambda value: value_type(catalog, value) == "text"))
    words.learn(rules)
    layout = Layout(frozenset(numbered), carries)
    return Population(warehouse, catalog, clock, layout, everyone(warehouse, numbered=carries), words)


def _percentiles(rules: Iterable[ast.Rule]) -> list[ast.Percentile]:
    found = (node for rule in rules for node, _ in ast.walk(rule) if isinstance(node, ast.Percentile))
    return list(dict.fromkeys(found))


def _populations(percentiles: Iterable[ast.Percentile]) -> list[ast.Rule]:
    return [percentile.over for percentile in percentiles if percentile.over is not None]


def _source(column: ast.Value) -> Source:
    return column.event if isinstance(column, ast.Aggregate) else None


def _columns(nodes: Iterable[ast.Node]) -> list[ast.Value]:
    found = (column for node in nodes for column in inputs(node) if isinstance(column, ast.Name | ast.Aggregate))
    return list(dict.fromkeys(found))


def _sources(atom: ast.Atom) -> set[Source]:
    return {_source(column) for column in _columns([atom])}


def compares_with_everyone(atom: ast.Atom) -> bool:
    """Tell whether an atom has a percentile or a score: then what others do can change it."""
    return any(isinstance(column, ast.Percentile | ast.Score) for column in inputs(atom))


def _values(catalog: Catalog, wanted: ast.Score) -> Sequence[ast.Value]:
    definition = catalog.scored(wanted)
    return () if definition is None else definition.values


def _scores(nodes: Iterable[ast.Node]) -> list[ast.Score]:
    return list(dict.fromkeys(node for root in nodes for node, _ in ast.walk(root) if isinstance(node, ast.Score)))


def _chunks(atoms: Sequence[ast.Atom]) -> Iterator[list[ast.Atom]]:
    """Cut atoms so that each piece needs a bounded number of columns; the same columns stay together."""
    piece: list[ast.Atom] = []
    columns: set[ast.Value] = set()
    for atom in sorted(atoms, key=lambda atom: repr(_columns([atom]))):
        needed = set(_columns([atom]))
        if piece and len(columns | needed) > _COLUMNS:
            yield piece
            piece, columns = [], set()
        piece.append(atom)
        columns |= needed
    if piece:
        yield piece


def _word(masks: Sequence[Mask]) -> NDArray[np.uint8]:
    """Put up to eight answers about a person into one byte, so that they are brought to their place together."""
    word = np.zeros(len(masks[0]), dtype=np.uint8)
    for place, mask in enumerate(masks):
        word |= mask.view(np.uint8) << place
    return word


def _floats(array: pa.Array) -> Column:
    return np.asarray(array.cast("double").to_numpy(zero_copy_only=False))  # a null becomes NaN


def _finished(value: ast.Value, column: Column) -> Column:
    if not isinstance(value, ast.Aggregate):
        return column
    if value.function in ("sum", "avg"):
        column = settled(column)
    if value.function in _NOTHING_IS_ZERO:
        column[np.isnan(column)] = 0.0
    return column


def settled(column: Column) -> Column:
    """Round sums and averages to the sixth decimal, so that the order of adding never decides a rule."""
    with np.errstate(over="ignore"):
        rounded = column * 10**6
    np.rint(rounded, out=rounded)
    rounded /= 10**6
    lost = ~np.isfinite(rounded)
    rounded[lost] = column[lost]
    return rounded
