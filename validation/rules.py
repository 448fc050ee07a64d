"""What a rule is: its id, the rows it speaks of, what a failing row is told, and what happens to it.

Reason codes are a small fixed vocabulary, so that reports of all streams can be added up; the rule id and the
sentence say the rest. A sentence never quotes a value of the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import polars as pl
from pandera.polars import Check

from consentry.validation.spec import DependsSettings, Scalar, Severity, TypoSettings

CODES: Final[Mapping[str, str]] = {
    "malformed": "The line could not be parsed at all.",
    "missing_key": "The primary key is missing, empty or null.",
    "duplicate_key": "Another row of the load has the same primary key; the reason names the row that stays.",
    "duplicate_row": "The stream has no primary key, and another row of the load has exactly this content.",
    "duplicate_value": "Another row has the same value in columns that must be unique.",
    "missing": "A value is required here.",
    "not_text": "The value is no UTF-8 text.",
    "not_a_number": "The value cannot be read as a number of the contract's type.",
    "not_a_date": "The value cannot be read as a date in the declared formats, or its year is not 1 to 9999.",
    "not_a_time": "The value cannot be read as an instant, or names no time zone and the contract declares none.",
    "not_a_boolean": "The value is none of the declared words for true and false.",
    "not_an_email": "The value has not the form of an e-mail address.",
    "not_a_phone": "The value is no possible phone number of its region, or its region is unknown.",
    "not_a_country": "The value is no ISO 3166 code and no declared name.",
    "not_a_currency": "The value is no ISO 4217 code and no declared name.",
    "unknown_reference": "Another stream has no row with this value.",
    "out_of_range": "The value is too small or too large.",
    "not_allowed": "The value is not among the allowed ones, or among the forbidden ones.",
    "wrong_format": "The text has not the required form.",
    "wrong_length": "The text is too short or too long.",
    "inconsistent": "Columns of the row contradict each other.",
    "outvoted": "Most rows with the same value in another column say something else here.",
    "near_miss": "The value is rare, and nearly one that is frequent.",
    "failed_check": "A check of your own failed.",
    "table": "The rows together are not as the contract expects; no single row is at fault.",
}

Kind = Literal["malformed", "key", "type", "missing", "check", "compare", "unique", "reference", "other_rows"]


@dataclass(frozen=True, slots=True)
class Condition:
    """Rows whose column equals one of the values (None: is missing)."""

    column: str
    values: tuple[Scalar, ...]

    def mask(self) -> pl.Expr:
        """Tell for each row whether the condition holds."""
        given = [value for value in self.values if value is not None]
        holds = pl.col(self.column).is_in(given).fill_null(False) if given else pl.lit(False)
        return holds | pl.col(self.column).is_null() if None in self.values else holds


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that every row must satisfy.

    check: Pandera's check for the kinds `check` and `compare`; no other kind has one.
    columns: for `unique` and `compare`, the columns it speaks of.
    keep: for `unique`: which of the rows stays. None is the latest that passes everything else; the others are
    Pandera's `report_duplicates`.
    expression: for `compare`, SQL over the row in place of two columns and an operator.
    refers: for `reference`, the table that must have the values, and its columns.
    decided: for `other_rows`, by what the other rows decide.
    """

    rule_id: str
    kind: Kind
    code: str
    sentence: str
    severity: Severity = "quarantine"
    column: str | None = None
    columns: tuple[str, ...] = ()
    operator: str = ""
    expression: str = ""
    when: tuple[Condition, ...] = ()
    keep: Literal["all", "exclude_first", "exclude_last"] | None = None
    refers: tuple[str, tuple[str, ...]] | None = None
    decided: DependsSettings | TypoSettings | None = None
    check: Check | None = field(default=None, compare=False)

    def applies(self) -> pl.Expr | None:
        """Tell for each row whether the rule speaks of it; None when it speaks of all."""
        if not self.when:
            return None
        return pl.all_horizontal([condition.mask() for condition in self.when])


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing that the rows of clean must be together: an aggregate between two bounds, both allowed.

    aggregate: its SQL over the clean table. column: what it is about, None for the rows as such.
    """

    rule_id: str
    sentence: str
    aggregate: str
    column: str | None
    low: Scalar
    high: Scalar
    when: tuple[Condition, ...] = ()
    severity: Literal["warn", "fail"] = "fail"


MALFORMED: Final = Rule("malformed", "malformed", "malformed", "The line could not be parsed.")


def key_rules(primary_key: tuple[str, ...]) -> tuple[Rule, Rule]:
    """Return the rules that the primary key of a stream brings: it is there, and it names one row.

    A stream without one is held to have no row twice.
    """
    shown = ", ".join(primary_key)
    missing = Rule("missing_key", "key", "missing_key", f"The primary key ({shown}) is missing.", columns=primary_key)
    if not primary_key:
        sentence = "Another row has exactly this content."
        return missing, Rule("duplicate_row", "unique", "duplicate_row", sentence)
    sentence = f"Another row has the same primary key ({shown})."
    return missing, Rule("duplicate_key", "unique", "duplicate_key", sentence, columns=primary_key)
