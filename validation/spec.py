"""What a contract file may hold: Pandera's own YAML keys, and consentry's beside them.

Pandera reads such a file too: it passes over the keys that it does not know.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from consentry.config import Model
from consentry.model.names import did_you_mean

Severity = Literal["warn", "quarantine", "fail"]
Scalar = str | int | float | bool | None
# A condition on the same row: each named column equals one of the values.
When = dict[str, Scalar | list[Scalar]]


class RuleSettings(Model):
    """What one rule does when a row fails it."""

    rule_id: str | None = None
    severity: Severity | None = None
    when: When = Field(default_factory=dict)


class NumberSettings(Model):
    """How numbers are written in a source."""

    decimal: Literal[".", ","] = "."
    thousands: Literal["", ".", ",", " ", "'", "_"] = ""


class BooleanSettings(Model):
    """The words that mean true and false, compared without regard to case."""

    true: list[str] = Field(min_length=1)
    false: list[str] = Field(min_length=1)


class TimestampSettings(Model):
    """How instants are written: formats to try in order, and the zone of those that name none."""

    formats: list[str] = Field(default_factory=list)
    zone: str | None = None


class PhoneSettings(Model):
    """Where a national number gets its region: a column with ISO 3166 codes, or one region for all."""

    region_column: str | None = None
    region: str | None = None


class CountrySettings(Model):
    """Names that stand for an ISO 3166 code in this source."""

    names: dict[str, str] = Field(default_factory=dict)


class CurrencySettings(Model):
    """Signs and names that stand for an ISO 4217 code in this source."""

    names: dict[str, str] = Field(default_factory=dict)


class Step(Model):
    """One coercion; exactly one key is set."""

    trim: Literal[True] | None = None
    lower: Literal[True] | None = None
    upper: Literal[True] | None = None
    null_tokens: list[str] | None = None
    strip_unit: list[str] | None = None
    map: dict[str, str] | None = None
    number: NumberSettings | None = None
    percent: NumberSettings | None = None
    boolean: BooleanSettings | None = None
    date_formats: list[str] | None = None
    timestamp: TimestampSettings | None = None
    epoch: Literal["s", "ms", "us"] | None = None
    email: Literal[True] | None = None
    phone: PhoneSettings | None = None
    country: CountrySettings | None = None
    currency: CurrencySettings | None = None


_BARE_WITH_SETTINGS = {"number", "percent", "timestamp", "phone", "country", "currency"}


def _as_step(value: object) -> object:
    """Read a bare word as a step without settings."""
    word = value if isinstance(value, str) else next(iter(value), "") if isinstance(value, dict) else ""
    if isinstance(word, str) and word and word not in Step.model_fields:
        hint = did_you_mean(word, Step.model_fields) or f"; the steps are: {', '.join(Step.model_fields)}"
        raise ValueError(f"the step {word!r} is not known here{hint.removesuffix('?')}")
    if isinstance(value, str):
        return {value: {} if value in _BARE_WITH_SETTINGS else True}
    if isinstance(value, dict) and len(value) != 1:
        raise ValueError("a step of 'parse' has exactly one key; begin a new list item for the next step")
    return value


class ImputeSettings(Model):
    """How a missing value is filled: the first group that knows an answer gives it, at last the whole table.

    by: columns that form the group, finest first; the last column is left out until an answer is found. order: for
    `forward`, the column by which the value before is found, within the group. using: for `knn` and `model`, the
    columns from which the value is told; where they tell none, the group does. donors: for `knn`, how many rows are
    searched for the `neighbours` nearest ones.
    """

    method: Literal["constant", "median", "mean", "mode", "forward", "knn", "model"]
    value: Scalar = None
    by: list[str] = Field(default_factory=list)
    order: str | None = None
    using: list[str] = Field(default_factory=list)
    donors: int = Field(default=5_000, ge=10, le=20_000)
    neighbours: int = Field(default=5, ge=1, le=50)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Columns = Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]


class DependsSettings(Model):
    """Rows with the same values in `on` have one value here: the majority's.

    share: what part of such rows must agree, at least, to be the majority (more than it). rows: how many such rows
    there must be.
    """

    on: Columns
    share: float = Field(default=0.5, ge=0, lt=1)
    rows: int = Field(default=3, ge=2)


def _as_dependencies(value: object) -> object:
    """Read column names as one dependency, and one dependency as a list of them."""
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        return [{"on": value}] if value else []
    return [value] if isinstance(value, dict) else value


class TypoSettings(Model):
    """A rare value that is nearly a frequent one is a slip.

    distance: letters that differ, at most, and at most one of four. times: how much more frequent the other value is.
    """

    distance: int = Field(default=2, ge=1, le=5)
    times: float = Field(default=10, ge=2)


class ColumnSpec(Model):
    """One column of a contract."""

    dtype: str
    nullable: bool = False
    unique: bool = False
    required: bool = True
    coerce: Literal[False] = False
    title: str | None = None
    description: str | None = None
    # Any: a check's arguments are its own; they are tried when the check is built.
    checks: dict[str, Any] = Field(default_factory=dict)
    report_duplicates: Literal["all", "exclude_first", "exclude_last"] | None = None
    parse: list[Annotated[Step, BeforeValidator(_as_step)]] = Field(default_factory=list)
    severity: Severity | None = None
    rule_id: str | None = None
    when: When = Field(default_factory=dict)
    rules: dict[str, RuleSettings] = Field(default_factory=dict)
    depends_on: Annotated[list[DependsSettings], BeforeValidator(_as_dependencies)] = Field(default_factory=list)
    typos: TypoSettings | None = None
    impute: ImputeSettings | None = None
    serve: Literal["observed", "imputed"] = "observed"
    unit: str | None = None
    holds: Literal["identifier", "email", "phone", "consent"] | None = None


class RowSpec(RuleSettings):
    """Columns of one row that must agree: `compare: [starts_at, "<=", ends_at]`, or any `expression` of SQL.

    sentence: what a row that fails is told.
    """

    compare: tuple[str, Literal["<", "<=", "==", "!=", ">=", ">"], str] | None = None
    expression: str | None = None
    sentence: str | None = None


class ReferenceSpec(RuleSettings):
    """Values that another stream must have: `columns: customer_id, stream: shop.customers, to: id`."""

    columns: Columns
    stream: str = Field(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*$")
    to: Annotated[list[str] | None, BeforeValidator(_listed)] = None


class ExpectSpec(Model):
    """A rule about the whole of clean: an aggregate that lies between `min` and `max`.

    rows and share count rows (share: those that `when` takes, of all); the others look at a `column`.
    """

    aggregate: Literal[
        "rows", "share", "distinct", "null_rate", "sum", "mean", "median", "stddev", "min", "max"
    ]  # fmt: skip
    column: str | None = None
    min: Scalar = None
    max: Scalar = None
    when: When = Field(default_factory=dict)
    severity: Literal["warn", "fail"] = "fail"
    rule_id: str | None = None


class ExampleSpec(Model):
    """A row and what must become of it: `clean`, the rules or codes that it breaks, or the values it is read as."""

    given: dict[str, Scalar] = Field(min_length=1)
    expect: Literal["clean"] | list[str] | dict[str, Scalar]
    name: str | None = None


class FreshnessSpec(Model):
    """How old the newest value of a column may be when a load is checked."""

    column: str
    max_hours: float = Field(gt=0)
    severity: Severity = "warn"


class ChangesSpec(Model):
    """How much of a snapshot may be other than it was: rows that are new, gone or changed, as a share of all."""

    max_share: float = Field(ge=0, lt=1)
    severity: Literal["warn", "fail"] = "fail"


WatchSeverity = Literal["ignore", "warn", "fail"]


class WatchSpec(Model):
    """What is watched from load to load, and what an alarm does.

    volume: the rows of a load; null_rate, drift, outliers: each column; categories: values that are new or gone.
    changes: how much of a snapshot may be other than the one before; only for streams of mode `snapshot`.
    agreement: in the contract of the merged profile, whether sources say the same about a person; max_disagree: by
    attribute, the share of people of whom they may say different things. ignore: columns that are not watched.
    """

    freshness: FreshnessSpec | None = None
    changes: ChangesSpec | None = None
    volume: WatchSeverity = "warn"
    null_rate: WatchSeverity = "warn"
    categories: WatchSeverity = "warn"
    drift: WatchSeverity = "warn"
    outliers: WatchSeverity = "warn"
    agreement: WatchSeverity = "warn"
    max_disagree: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    ignore: list[str] = Field(default_factory=list)


class ContractSpec(Model):
    """A contract file."""

    schema_type: Literal["dataframe", "polars_dataframe"] | None = None
    version: str | int | float | None = None
    api: str | None = None
    name: str | None = None
    title: str | None = None
    description: str | None = None
    columns: dict[str, ColumnSpec] = Field(min_length=1)
    strict: bool | Literal["filter"] = False
    unique: list[str] | None = None
    report_duplicates: Literal["all", "exclude_first", "exclude_last"] | None = None
    severity: Severity = "quarantine"
    survivor: str | None = None
    rules: list[RowSpec] = Field(default_factory=list)
    references: list[ReferenceSpec] = Field(default_factory=list)
    expect: list[ExpectSpec] = Field(default_factory=list)
    watch: WatchSpec = Field(default_factory=WatchSpec)
    tests: list[ExampleSpec] = Field(default_factory=list)
