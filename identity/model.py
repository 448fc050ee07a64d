"""A Fellegi-Sunter model of people: which comparisons it makes, and what each level of agreement weighs.

The weight of a level is log2(m / u): how often two records of one person stand there against how often two strangers
do. It is read from and written as Splink's settings, so that either can use what the other trained.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from consentry.errors import ConfigError
from consentry.identity.roles import NAMES, ROLES, SWAPPED, Role

VERSION = "people-1"
# A value seen once in ten million says no more than one seen once in a million: samples do not reach further.
_RAREST = 1e-6


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a comparison: SQL over COLUMN_l and COLUMN_r ('ELSE' for what is left), and its m and u.

    missing: the level of pairs that say nothing. rare: the column whose rarer values weigh more, None for none;
    rare_weight and rare_floor as Splink's tf_adjustment_weight and tf_minimum_u_value.
    """

    label: str
    condition: str
    m: float | None = None
    u: float | None = None
    missing: bool = False
    rare: str | None = None
    rare_weight: float = 1.0
    rare_floor: float = 0.0

    @property
    def weight(self) -> float:
        """Return the weight in bits; 0 while m or u are unknown."""
        return math.log2(self.m / self.u) if self.m and self.u else 0.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one property of two records is compared: its levels, the first that holds counts."""

    name: str
    levels: tuple[Level, ...]

    @property
    def told(self) -> tuple[Level, ...]:
        """Return the levels of pairs that say something; the first has the number len - 1, the last 0, as in Splink."""
        return tuple(level for level in self.levels if not level.missing)

    def level(self, number: int) -> Level | None:
        """Return the level of a number, None for a pair that says nothing."""
        return self.told[len(self.told) - 1 - number] if number >= 0 else None


@dataclass(frozen=True, slots=True)
class Model:
    """All comparisons. prior: the probability that two records at random are one person, None when not known yet."""

    comparisons: tuple[Comparison, ...]
    prior: float | None = None
    version: str = VERSION

    @property
    def is_fitted(self) -> bool:
        """Tell whether every level has its m and u."""
        return all(level.m and level.u for comparison in self.comparisons for level in comparison.told)

    def settings(self) -> dict[str, Any]:
        """Return the model as Splink's settings."""
        return {
            "link_type": "dedupe_only",
            "sql_dialect": "duckdb",
            "unique_id_column_name": "r",
            "probability_two_random_records_match": self.prior or 0.0001,
            "blocking_rules_to_generate_predictions": [],
            "comparisons": [_comparison_settings(comparison) for comparison in self.comparisons],
            "retain_matching_columns": False,
            "retain_intermediate_calculation_columns": True,
        }

    def with_u(self, shares: Mapping[str, Iterable[float]]) -> Model:
        """Return the model with these u, per comparison from its first told level to the last."""
        return replace(self, comparisons=tuple(_with_u(c, list(shares[c.name])) for c in self.comparisons))


def people(columns: Iterable[str]) -> Model:
    """Return the default model for the columns that there are; its u and its prior wait for the data."""
    there = set(columns)
    both = set(NAMES) <= there
    return Model(tuple(_comparison(role, both) for name, role in ROLES.items() if name in there))


def save(model: Model, path: Path, *, about: Mapping[str, object] | None = None) -> None:
    """Write a model as JSON: Splink's settings, with its version beside them."""
    content = {"version": model.version, **(about or {}), "settings": model.settings()}
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load(path: Path) -> Model:
    """Read a model that `save` or Splink wrote.

    Raises ConfigError when there is none, or it is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        model = read_settings(content.get("settings", content), version=str(content.get("version", "own")))
    except OSError:
        raise ConfigError(f"There is no model at {path}. Train one, or leave out 'identity.similar.model'.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is not a model of consentry or Splink ({type(error).__name__}: {error}). Train it again."
        ) from None
    return model


def read_settings(settings: Mapping[str, Any], *, version: str) -> Model:
    """Read Splink's settings, trained or not."""
    comparisons = tuple(_read_comparison(item) for item in settings["comparisons"])
    return Model(comparisons, settings.get("probability_two_random_records_match"), version)


def _comparison(role: Role, both_names: bool) -> Comparison:
    column = f'"{role.name}'
    rare = role.name if role.rare else None
    between = [step for step in role.between if both_names or step[1] != SWAPPED]
    m = [share for n, share in enumerate(role.m) if not (n == 1 and role.name in NAMES and not both_names)]
    levels = [
        Level("missing", f'{column}_l" IS NULL OR {column}_r" IS NULL', missing=True),
        Level("equal", f'{column}_l" = {column}_r"', m[0] / sum(m), rare=rare, rare_floor=_RAREST if rare else 0.0),
        *(Level(label, condition, m[n] / sum(m)) for n, (label, condition) in enumerate(between, 1)),
        Level("different", "ELSE", m[-1] / sum(m)),
    ]
    return Comparison(role.name, tuple(levels))


def _with_u(comparison: Comparison, shares: list[float]) -> Comparison:
    rest = iter(shares)
    levels = (level if level.missing else replace(level, u=next(rest)) for level in comparison.levels)
    return replace(comparison, levels=tuple(levels))


def _comparison_settings(comparison: Comparison) -> dict[str, Any]:
    return {
        "output_column_name": comparison.name,
        "comparison_description": comparison.name,
        "comparison_levels": [_level_settings(level) for level in comparison.levels],
    }


def _level_settings(level: Level) -> dict[str, Any]:
    found: dict[str, Any] = {"sql_condition": level.condition, "label_for_charts": level.label}
    if level.missing:
        return found | {"is_null_level": True}
    found |= {name: share for name, share in (("m_probability", level.m), ("u_probability", level.u)) if share}
    if level.rare:
        found |= {"tf_adjustment_column": level.rare, "tf_adjustment_weight": level.rare_weight}
        found["tf_minimum_u_value"] = level.rare_floor
    return found


def _read_comparison(item: Mapping[str, Any]) -> Comparison:
    return Comparison(item["output_column_name"], tuple(_read_level(level) for level in item["comparison_levels"]))


def _read_level(item: Mapping[str, Any]) -> Level:
    return Level(
        label=item.get("label_for_charts", item["sql_condition"]),
        condition=item["sql_condition"],
        m=item.get("m_probability"),
        u=item.get("u_probability"),
        missing=bool(item.get("is_null_level", False)),
        rare=item.get("tf_adjustment_column"),
        rare_weight=float(item.get("tf_adjustment_weight", 1.0)),
        rare_floor=float(item.get("tf_minimum_u_value", 0.0)),
    )
