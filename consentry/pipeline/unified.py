"""Do the sources that mean one name agree: the same type, and one unit or how to come to it?"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace

import polars as pl

from consentry.config import Document, Faults
from consentry.config.document import Where
from consentry.model.names import did_you_mean
from consentry.pipeline.canonical import event_column, is_called, streams_of
from consentry.pipeline.job import Job, StreamBlock
from consentry.segments.ast import Type
from consentry.validation.contract import Contract
from consentry.validation.units import Conversion, conversion, is_money, unit_fault


@dataclass(frozen=True, slots=True)
class Unified:
    """What the names of a job are measured in: of attributes, and of properties as `event.property`.

    conversions: by `source__stream` or `enrichment NAME`, and by name, how its values come into the unit of the name.
    """

    units: Mapping[str, str] = field(default_factory=dict)
    conversions: Mapping[str, Mapping[str, Conversion]] = field(default_factory=dict)


def rule_type(dtype: pl.DataType) -> Type:
    """Return the type of a contract's column as the rule language has it."""
    if dtype.is_integer():
        return "integer"
    if dtype.is_numeric():
        return "number"
    if dtype == pl.Boolean:
        return "boolean"
    if dtype == pl.Date:
        return "date"
    return "timestamp" if dtype.is_temporal() else "text"


def unify(
    document: Document, job: Job, contracts: Mapping[str, Contract], profile: Contract | None, faults: Faults
) -> Unified:
    """Return the unit of each name; refuse sources that mean different kinds of value by it, or different units."""
    return _Unifying(document, job, faults).all(contracts, profile)


@dataclass(frozen=True, slots=True)
class _Brought:
    """A column, or a field of an enrichment, that is brought under a name.

    of: as in `Unified.conversions`. label: what people call the place. said: where a unit of it would be stated.
    """

    name: str
    of: str
    label: str
    place: Where
    said: str
    type: Type | None = None
    unit: str | None = None


def _brought(job: Job, contracts: Mapping[str, Contract]) -> Iterator[_Brought]:
    for (source, stream), block in streams_of(job, "customer", "event").items():
        contract = contracts.get(f"{source}__{stream}")
        if contract is None:
            continue
        columns = {column.name: column for column in contract.columns}
        for name, where, column in _named(job, block, columns):
            place = ("sources", source, "streams", stream, *where)
            said = f"'unit' to {block.contract}"
            it = _Brought(name, f"{source}__{stream}", f"{source}.{stream}", place, said)
            if column in columns:
                yield replace(it, type=rule_type(columns[column].dtype), unit=columns[column].unit)
            elif column is None and block.properties_json:
                yield replace(it, said=f"a column to {block.contract}, with its 'unit'")
    for vendor, enrichment in job.enrichments.items():
        for name in enrichment.fields:
            of, place = f"enrichment {vendor}", ("enrichments", vendor, "fields", name)
            yield _Brought(name, of, of, place, "it to its 'units'", unit=enrichment.units.get(name))


def _named(job: Job, block: StreamBlock, columns: Container[str]) -> Iterator[tuple[str, Where, str | None]]:
    """Yield each name that a stream brings, where the job says so, and the column, if one holds it."""
    if block.entity == "customer":
        for name, column in block.map.items():
            yield name, ("map", name), column
    for event, properties in job.events.items():
        for prop in properties if is_called(block, event) else ():
            yield f"{event}.{prop}", ("properties", prop), event_column(block, prop, columns)


class _Unifying:
    """Work through the names of one job; what does not fit goes to the faults."""

    def __init__(self, document: Document, job: Job, faults: Faults) -> None:
        self._document, self._job, self._faults = document, job, faults
        self._units: dict[str, str] = {}
        self._conversions: dict[str, dict[str, Conversion]] = {}

    def all(self, contracts: Mapping[str, Contract], profile: Contract | None) -> Unified:
        by_name: dict[str, list[_Brought]] = {}
        for it in _brought(self._job, contracts):
            by_name.setdefault(it.name, []).append(it)
        understood = self._asked(by_name)
        for name, brought in by_name.items():
            if understood:
                self._unit(name, brought)
            if "." in name:
                self._property_type(name)
            else:
                self._attribute_type(name, brought)
        self._profile(profile)
        return Unified(self._units, self._conversions)

    def _fault(self, place: Where, sentence: str) -> None:
        self._faults.add(self._document.path, self._document.line(place), sentence)

    def _asked(self, by_name: Mapping[str, list[_Brought]]) -> bool:
        """Hold what the job itself says of units against what there is; tell whether all of it can be understood."""
        before = len(self._faults.found)
        for name, unit in self._job.units.items():
            if name not in by_name:
                self._fault(("units", name), f"No source brings {name!r}{did_you_mean(name, by_name) or '.'}")
            if fault := unit_fault(unit):
                self._fault(("units", name), fault)
        for vendor, enrichment in self._job.enrichments.items():
            for field_, unit in enrichment.units.items():
                place = ("enrichments", vendor, "units", field_)
                if field_ not in enrichment.fields:
                    hint = did_you_mean(field_, enrichment.fields) or "."
                    self._fault(place, f"The enrichment has no field {field_!r}{hint}")
                if fault := unit_fault(unit):
                    self._fault(place, fault)
        return len(self._faults.found) == before

    def _unit(self, name: str, brought: list[_Brought]) -> None:
        stated = [it for it in brought if it.unit is not None]
        wanted = self._job.units.get(name) or (stated[0].unit if stated else None)
        if wanted is None:
            return
        self._units[name] = wanted
        is_asked = name in self._job.units
        other = f"'units' wants it in {wanted}" if is_asked else f"in {stated[0].label} it is in {wanted}"
        for it in brought:
            if it.unit is None:
                sentence = f"{name!r} has no unit in {it.label}, and {other}. Add {it.said}."
                self._fault(it.place, sentence)
                continue
            found = conversion(it.unit, wanted)
            if found is None or (found.is_needed and not is_asked):
                self._fault(it.place, _disagree(it, wanted, other, convertible=found is not None))
            elif found.is_needed:
                self._conversions.setdefault(it.of, {})[name] = found

    def _attribute_type(self, name: str, brought: list[_Brought]) -> None:
        """Refuse two kinds of value under one name: what is merged has to be of one kind."""
        first: tuple[str, Type] | None = None
        for it in brought:
            kind: Type | None = "number" if name in self._conversions.get(it.of, {}) else it.type
            if kind is None:
                continue
            first = first or (it.label, kind)
            if kind != first[1]:
                sentence = f"{name!r} is {kind} here and {first[1]} in {first[0]}. Give both contracts one type."
                self._fault(it.place, sentence)

    def _property_type(self, name: str) -> None:
        event, _, prop = name.partition(".")
        declared, converted = self._job.events[event][prop], any(name in of for of in self._conversions.values())
        if name in self._units and declared not in ("number", "integer"):
            self._fault(("events", event, prop), f"{name!r} has a unit and is {declared}. Make it a number.")
        elif converted and declared == "integer":
            sentence = f"{name!r} is converted into {self._units[name]}, which gives fractions. Make it a number."
            self._fault(("events", event, prop), sentence)

    def _profile(self, profile: Contract | None) -> None:
        for column in profile.columns if profile else ():
            unit = self._units.get(column.name)
            if column.unit is None or (unit and (found := conversion(unit, column.unit)) and not found.is_needed):
                continue
            told = f"its sources give it in {unit}" if unit else "no source says its unit"
            sentence = f"The profile contract has {column.name!r} in {column.unit}, and {told}. State one unit in both."
            self._fault(("profile", "contract"), sentence)


def _disagree(it: _Brought, wanted: str, other: str, *, convertible: bool) -> str:
    told = f"{it.name!r} is in {it.unit} in {it.label}, and {other}."
    if convertible:
        return f"{told} Say under 'units' which it shall be, such as {it.name}: {wanted}; the others are converted."
    if is_money(wanted) and is_money(str(it.unit)):
        return f"{told} One currency never becomes another here: give each a name of its own."
    return f"{told} That measures something else: give each a name of its own."
