"""The `tests:` of a segment file: people who have to be in or out, and running them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

from consentry.config import Document
from consentry.model.names import did_you_mean
from consentry.segments import ast
from consentry.segments.ast import Type
from consentry.segments.catalog import Catalog
from consentry.segments.clock import Clock
from consentry.segments.person import Event, Judge, Person, Plain
from consentry.segments.segment import Example, ExampleEvent, Segment

_LENGTH = re.compile(r"\s*(\d{1,6})\s+(minute|hour|day|week)s?(\s+ago)?\s*")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
# Notes a mistake: where in the document, and the sentence.
Note = Callable[[tuple[str | int, ...], str], None]


@dataclass(frozen=True, slots=True)
class TestResult:
    """Whether one example came out as its file says."""

    segment: str
    number: int
    passed: bool
    sentence: str
    line: int = 0


def run_tests(segments: Sequence[Segment], now: datetime, *, time_zone: str = "UTC") -> list[TestResult]:
    """Decide every example of every segment by its rule, in process and before groups take effect."""
    clock = Clock(now if now.tzinfo else now.replace(tzinfo=UTC), ZoneInfo(time_zone))
    return [
        _run(segment, segment.rule, number, example, clock)
        for segment in segments
        if segment.rule is not None
        for number, example in enumerate(segment.examples, 1)
    ]


def person_of(example: Example, now: datetime) -> Person:
    """Return the person of an example, with the times counted back from now."""
    events = [
        Event(
            event.name,
            event.at if isinstance(event.at, datetime) else now - timedelta(seconds=event.at),
            event.properties,
        )
        for event in example.events
    ]
    return Person(example.attributes, events, example.segments, example.served)


def _run(segment: Segment, rule: ast.Rule, number: int, example: Example, clock: Clock) -> TestResult:
    found = Judge(person_of(example, clock.now), clock).holds(rule)
    meant, got = ("in", "out") if example.inside else ("out", "in")
    passed = found == example.inside
    outcome = "as it says" if passed else f"but comes out {got!r}"
    sentence = f"Example {number} of the segment {segment.name!r} has to be {meant!r}, {outcome}."
    return TestResult(segment.name, number, passed, sentence.replace(", as it says", " and is"), example.line)


def seconds_of(text: str) -> int | None:
    """Return the seconds of a length of time such as `15 minutes` or `2 days ago`; None when it is none."""
    found = _LENGTH.fullmatch(text)
    return int(found[1]) * ast.SECONDS[cast("ast.Unit", found[2] + "s")] if found else None


def read_examples(document: Document, catalog: Catalog, note: Note) -> tuple[Example, ...]:
    """Read a list of examples; mistakes are noted with their place and leave the example out."""
    found = [_Reader(catalog, note).example(n, entry, document.line((n,))) for n, entry in enumerate(document.data)]
    return tuple(example for example in found if example is not None)


class _Reader:
    """Read one example. YAML has no types of ours, so the catalogue says what each value is."""

    def __init__(self, catalog: Catalog, note: Note) -> None:
        self.catalog, self.note = catalog, note

    def example(self, number: int, entry: Any, line: int) -> Example | None:
        where = (number,)
        if not isinstance(entry, dict) or len(entry) != 1 or next(iter(entry)) not in ("in", "out"):
            self.note(where, "An example is 'in: {...}' or 'out: {...}', with attributes and events.")
            return None
        side, body = next(iter(entry.items()))
        if not isinstance(body, dict):
            self.note((*where, side), "An example lists attributes, 'events' and 'segments'.")
            return None
        values = {str(name): value for name, value in body.items() if name not in ("events", "segments")}
        known = {name: entry.type for name, entry in self.catalog.served.items()}
        attributes = {name: value for name, value in values.items() if "." not in name}
        served = {name: value for name, value in values.items() if "." in name}
        return Example(
            inside=side == "in",
            attributes=self._values(attributes, self.catalog.attributes, "attribute", (*where, side)),
            events=tuple(self._events(body.get("events") or {}, (*where, side, "events"))),
            segments=frozenset(str(name) for name in body.get("segments") or ()),
            served=self._values(served, known, "model output", (*where, side)),
            line=line,
        )

    def _values(
        self, given: Mapping[str, Any], known: Mapping[str, Type], what: str, where: tuple[str | int, ...]
    ) -> dict[str, Plain]:
        values: dict[str, Plain] = {}
        for name, value in given.items():
            if name not in known:
                self.note((*where, name), f"Unknown {what} {name!r}{did_you_mean(name, known) or '.'}")
            elif value is not None and not _fits(value, known[name]):
                self.note((*where, name), f"The {what} {name!r} is {known[name]}; this value is not.")
            else:
                values[name] = _typed(value, known[name])
        return values

    def _events(self, given: Any, where: tuple[str | int, ...]) -> Iterator[ExampleEvent]:
        if not isinstance(given, dict):
            self.note(where, "Events are a mapping from the event's name to a list of times.")
            return
        for name, entries in given.items():
            if name not in self.catalog.events:
                self.note((*where, name), f"Unknown event {name!r}{did_you_mean(name, self.catalog.events) or '.'}")
                continue
            for n, entry in enumerate(entries if isinstance(entries, list) else [entries]):
                event = self._event(name, entry, (*where, name, n))
                if event is not None:
                    yield event

    def _event(self, name: str, entry: Any, where: tuple[str | int, ...]) -> ExampleEvent | None:
        body = entry if isinstance(entry, dict) else {"at": entry}
        at = _moment(str(body.get("at", "")))
        if at is None:
            self.note(where, "An event needs a time: '2 days ago' or an instant like 2026-01-31T12:00:00Z.")
            return None
        properties = {key: value for key, value in body.items() if key != "at"}
        return ExampleEvent(name, at, self._values(properties, self.catalog.events[name], f"property of {name}", where))


def _moment(text: str) -> datetime | int | None:
    ago = seconds_of(text)
    return ago if ago is not None else _instant(text)


def _instant(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _fits(value: Any, kind: Type) -> bool:
    match kind:
        case "number" | "integer":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case "text":
            return isinstance(value, str)
        case "date":
            return isinstance(value, str) and bool(_DAY.fullmatch(value)) and _instant(value) is not None
        case "timestamp":
            return isinstance(value, str) and _instant(value) is not None


def _typed(value: Any, kind: Type) -> Plain:
    if value is None:
        return None
    if kind == "date":
        return date.fromisoformat(value)
    return _instant(value) if kind == "timestamp" else cast("Plain", value)
