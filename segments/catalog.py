"""What rules may name: the attributes of a person, and the events with their properties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from consentry.errors import ConfigError
from consentry.model.names import did_you_mean, is_name
from consentry.segments.ast import Score, Type
from consentry.segments.scores import Scored, Weighted, part_type
from consentry.segments.served import Served

TYPES: tuple[Type, ...] = ("number", "integer", "text", "boolean", "date", "timestamp")


@dataclass(frozen=True)
class Catalog:
    """Names and types that a rule can use; nothing else exists for it.

    attributes: columns of profile.person. events: one table profile.event__<event> each, with its properties.
    scores: by `score.NAME` or `rfm`. served: what models and experiments say of people, by the name that rules use.
    time_zone: where days begin for `calendar days`, `since` and `days_active`.
    Raises ConfigError for a name that is not plain, an unknown type and an unknown time zone.
    """

    attributes: Mapping[str, Type]
    events: Mapping[str, Mapping[str, Type]] = field(default_factory=dict)
    time_zone: str = "UTC"
    scores: Mapping[str, Scored] = field(default_factory=dict)
    served: Mapping[str, Served] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = [*_faults("attribute", self.attributes)]
        for event, properties in self.events.items():
            if not is_name(event):
                faults.append(f"The event {event!r} is not a plain lower-case name.")
            faults += _faults(f"property of {event}", properties)
        try:
            self.zone()
        except (ValueError, OSError, LookupError):
            faults.append(f"The time zone {self.time_zone!r} is not known. Write it as in 'Europe/Berlin'.")
        if faults:
            raise ConfigError(*faults)

    def scored(self, wanted: Score) -> Scored | None:
        """Return what a score of a rule is made of; None when there is no such score."""
        if wanted.family not in ("rfm", "score", "band"):
            return None
        return self.scores.get("rfm" if wanted.family == "rfm" else f"score.{wanted.name}")

    def score_type(self, wanted: Score) -> Type | None:
        """Return the type of a score, None when there is none of this name."""
        found = self.scored(wanted)
        if found is not None:
            return part_type(found, wanted.family, wanted.name)
        served = self.served.get(f"{wanted.family}.{wanted.name}")
        return None if served is None else served.type

    def score_names(self) -> list[str]:
        """Name every score that a rule can use."""
        parts = [f"rfm.{part}" for part in ("r", "f", "m", "segment")] if "rfm" in self.scores else []
        bands = [f"band.{found.name}" for found in self.scores.values() if isinstance(found, Weighted) and found.bands]
        return [*parts, *bands, *(name for name in self.scores if name != "rfm"), *self.served]

    def zone(self) -> ZoneInfo:
        """Return the time zone in which days begin."""
        return ZoneInfo(self.time_zone)


def _faults(what: str, names: Mapping[str, Type]) -> list[str]:
    bad_names = [f"The {what} {name!r} is not a plain lower-case name." for name in names if not is_name(name)]
    bad_types = [
        f"The {what} {name!r} has the unknown type {kind!r}{did_you_mean(kind, TYPES)}."
        for name, kind in names.items()
        if kind not in TYPES
    ]
    return bad_names + bad_types
