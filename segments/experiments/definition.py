"""What an experiment is once its file is read, and who is in which of its arms."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from consentry.segments import ast
from consentry.segments.catalog import Catalog
from consentry.segments.people import ORDINALS
from consentry.segments.segment import Segment
from consentry.segments.served import Served

ARMS = "segment.arm"
HELD, REACHED = "held_out", "reached"
# The same 52 bits of the same hash as the holdouts of segments: a share of 10 % is the same people in both.
_DIGITS = 13
_WHOLE = 16**_DIGITS


@dataclass(frozen=True, slots=True)
class Metric:
    """What is measured of a person: whether a rule holds, or how much a value is."""

    name: str
    rule: ast.Rule | None
    value: ast.Value | None


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment as its file says it.

    arms: with their shares, the first is the control; None takes the segment's own holdout. within: how long somebody
    is watched, in seconds. bandit: the metric by which arms get more people.
    """

    name: str
    description: str
    segment: str
    arms: Mapping[str, float] | None
    salt: str
    start: datetime
    end: datetime | None
    within: int | None
    metrics: tuple[Metric, ...]
    bandit: str | None
    place: tuple[Path, int]

    def split(self, segments: Iterable[Segment]) -> Split:
        """Return the arms and their salt. The holdout has to be there, which the reader checks."""
        if self.arms is not None:
            return Split.of(self.arms, self.salt)
        holdout = next(s.holdout for s in segments if s.name == self.segment)
        assert holdout is not None, "The reader lets no experiment on a missing holdout through."
        return Split.of({HELD: holdout.share, REACHED: 1 - holdout.share}, holdout.salt)

    def served(self) -> Mapping[str, Served]:
        """Return the arm as rules name it: `experiment.NAME`. A holdout serves none; syncs leave it out themselves."""
        if self.arms is None:
            return {}
        name = f"experiment.{self.name}"
        if self.bandit:  # the bounds move, so that they stand in a table
            bounds = f"(SELECT arm, low, high FROM {ARMS} WHERE experiment = $experiment)"
            params = {"experiment": self.name, "salt": self.salt}
            return {name: Served("text", _query(bounds), ARMS, params)}
        split = Split.of(self.arms, self.salt)
        bounds = "(SELECT unnest($arms) AS arm, unnest($lows) AS low, unnest($highs) AS high)"
        return {name: Served("text", _query(bounds), ORDINALS, {**split.columns(), "salt": self.salt})}


@dataclass(frozen=True, slots=True)
class Split:
    """Who is in which arm: those whose hash lies from the low bound up to, and without, the high one."""

    salt: str
    arms: tuple[str, ...]
    bounds: tuple[int, ...]

    @classmethod
    def of(cls, shares: Mapping[str, float], salt: str) -> Split:
        """Cut the range of hashes by shares that sum to 1."""
        total, bounds = 0.0, [0]
        for share in shares.values():
            total += share
            bounds.append(int(total * float(_WHOLE)))
        bounds[-1] = _WHOLE
        return cls(salt, tuple(shares), tuple(bounds))

    def arm(self, person_id: str) -> str:
        """Return the arm of a person; the same for ever, as long as salt and shares stay."""
        digest = hashlib.sha256(f"{self.salt}:{person_id}".encode()).hexdigest()
        point = int(digest[:_DIGITS], 16)
        return next(arm for arm, high in zip(self.arms, self.bounds[1:], strict=True) if point < high)

    def columns(self) -> dict[str, list[str] | list[int]]:
        """Return the arms as columns of a table."""
        return {"arms": list(self.arms), "lows": list(self.bounds[:-1]), "highs": list(self.bounds[1:])}

    def shares(self) -> dict[str, float]:
        """Return the share of each arm."""
        sizes = zip(self.arms, self.bounds, self.bounds[1:], strict=False)
        return {arm: (high - low) / _WHOLE for arm, low, high in sizes}


def with_arms(catalog: Catalog, experiments: Sequence[Experiment]) -> Catalog:
    """Return the catalogue with the arms of the experiments."""
    served = {name: entry for experiment in experiments for name, entry in experiment.served().items()}
    return replace(catalog, served={**catalog.served, **served})


def _query(bounds: str) -> str:
    point = f"CAST('0x' || substr(sha256($salt || ':' || person_id), 1, {_DIGITS}) AS BIGINT)"
    people = f"(SELECT person_id, {point} AS point FROM {ORDINALS})"
    own = "p.point >= a.low AND p.point < a.high"
    return f"SELECT p.person_id, a.arm AS value FROM {people} AS p JOIN {bounds} AS a ON {own}"
