"""Judge a batch of rows: Pandera's polars backend, eagerly, every failure of every row.

Reading and judging happen in one Arrow batch function, the same in-process and on Spark. What comes out are the
typed rows, each with the numbers of the rules it failed; nothing is dropped here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import pandera.polars as pa
import polars as pl
import pyarrow as arrow
from pandera.config import ValidationDepth, config_context
from pandera.errors import SchemaError, SchemaErrors

from consentry.errors import ConfigError, StopRun
from consentry.validation.contract import Contract
from consentry.validation.parse import FAILED, parsed
from consentry.validation.rules import Rule

MALFORMED_COLUMN: Final = "_malformed"
# What the judge adds to a row: the numbers of the rules it failed, and whether one of them keeps it from clean.
FAILED_RULES: Final = "_failed"
BAD: Final = "_bad"
_COMPARED: Final = "_rule:"
# One call of Pandera costs 20 to 80 ms whatever its size; batches of half a million rows and more are 10 times
# faster than those of 10,000 (measured, pandera 0.35, DuckDB 2.0).
BATCH_ROWS: Final = 500_000
BATCH_BYTES: Final = 192_000_000
# Text leaves polars as it lies there, and is not copied into Arrow's older form.
_NEWEST: Final = pl.CompatLevel.newest()


def coalesced(batches: Iterable[arrow.RecordBatch]) -> Iterator[arrow.Table]:
    """Join batches until they are worth a call: half a million rows, fewer when the rows are wide."""
    held: list[arrow.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(b.num_rows for b in held) >= BATCH_ROWS or sum(b.nbytes for b in held) >= BATCH_BYTES:
            yield arrow.Table.from_batches(held)
            held = []
    if held:
        yield arrow.Table.from_batches(held)


class Judge:
    """A contract made ready for batches.

    rules: all rules by number, the stream's own before the contract's. carried: raw columns that pass as they
    are. key: columns that must not be missing, because they name the row.
    """

    def __init__(
        self, contract: Contract, rules: Sequence[Rule], *, key: Sequence[str], carried: Sequence[str]
    ) -> None:
        if os.environ.get("PANDERA_USE_NARWHALS_BACKEND", "").lower() in ("1", "true", "yes"):
            sentence = "PANDERA_USE_NARWHALS_BACKEND is set, and that backend finds a part of the bad rows only."
            raise ConfigError(f"{sentence} Unset it.")
        self.contract, self.rules, self.key, self.carried = contract, tuple(rules), tuple(key), tuple(carried)
        self._checks = self._numbers("check")
        self._compares = [(number, rule) for number, rule in enumerate(rules) if rule.kind == "compare"]
        self._schema = self._pandera()

    def __call__(self, batch: arrow.Table) -> arrow.Table:
        """Return the batch typed, with `_failed` (list of rule numbers, or null) and `_bad`."""
        return self._table(batch, *self._judged(batch))

    def parted(self, batch: arrow.Table) -> tuple[arrow.Table, arrow.Table]:
        """Return the rows that broke no rule, and the others; both as `__call__` does."""
        typed, flags = self._judged(batch)
        sound = flags[FAILED_RULES].is_null()
        if sound.all():
            return self._table(batch, typed, flags), self._table(batch[:0], typed.clear(), flags.clear())
        return self._filtered(batch, typed, flags, sound), self._filtered(batch, typed, flags, ~sound)

    def _filtered(self, batch: arrow.Table, typed: pl.DataFrame, flags: pl.DataFrame, mask: pl.Series) -> arrow.Table:
        kept = batch.select(list(self.carried)).filter(mask.to_arrow())
        return self._table(kept, typed.filter(mask), flags.filter(mask))

    def _table(self, batch: arrow.Table, typed: pl.DataFrame, flags: pl.DataFrame) -> arrow.Table:
        table = typed.to_arrow(compat_level=_NEWEST)
        for name in self.carried:
            table = table.append_column(batch.schema.field(name), batch.column(name))
        marks = flags.to_arrow()
        for name in marks.column_names:
            table = table.append_column(marks.schema.field(name), marks.column(name))
        return table

    def _judged(self, batch: arrow.Table) -> tuple[pl.DataFrame, pl.DataFrame]:
        named = [name for name in (*self._contract_names(), *self.key, MALFORMED_COLUMN) if name in batch.column_names]
        raw = _frame(batch.select(list(dict.fromkeys(named))))
        both = parsed(self.contract, raw)
        typed = both.select(self._contract_names())
        failures = list(self._failures(raw, typed, both))
        failed, bad = self._gathered(failures, len(raw))
        return typed, pl.DataFrame({FAILED_RULES: failed, BAD: bad})

    def empty(self, raw: arrow.Schema) -> arrow.Schema:
        """Return the schema of what comes out for raw rows of a schema."""
        return self(raw.empty_table()).schema

    def _contract_names(self) -> list[str]:
        return [column.name for column in self.contract.columns]

    def _numbers(self, kind: str) -> dict[str | None, list[int]]:
        found: dict[str | None, list[int]] = {}
        for number, rule in enumerate(self.rules):
            if rule.kind == kind:
                found.setdefault(rule.column, []).append(number)
        return found

    def _pandera(self) -> pa.DataFrameSchema:
        required = {rule.column for rule in self.rules if rule.kind == "missing"}
        columns = {
            column.name: pa.Column(
                column.dtype, self._made(column.name), nullable=column.name not in required, coerce=False
            )
            for column in self.contract.columns
        }
        for number, rule in self._compares:
            error = pa.Check.equal_to(True, name=rule.rule_id)
            columns[f"{_COMPARED}{number}"] = pa.Column(pl.Boolean(), [error], nullable=True, coerce=False)
        return pa.DataFrameSchema(columns, checks=self._made(None), strict=False, coerce=False)

    def _made(self, column: str | None) -> list[pa.Check]:
        made = [self.rules[number].check for number in self._checks.get(column, [])]
        return [check for check in made if check is not None]

    def _failures(self, raw: pl.DataFrame, typed: pl.DataFrame, both: pl.DataFrame) -> Iterator[tuple[int, pl.Series]]:
        """Yield each failed rule's number with a mask of the rows that failed it."""
        sound = pl.Series([True]).new_from_index(0, len(raw))
        if MALFORMED_COLUMN in raw.columns:
            sound = raw[MALFORMED_COLUMN].is_null()
        unread = {name: both[FAILED + name] for name in typed.columns}
        found = self._broken(typed)
        for number, rule in enumerate(self.rules):
            match rule.kind:
                case "malformed":
                    yield number, ~sound
                    continue
                case "key":
                    mask = self._keyless(raw, typed, unread)
                case "type":
                    mask = unread[rule.columns[0]]
                case "missing" if rule.column in self.key:
                    continue  # missing_key says it
                case "missing":
                    # A cell that could not be read is not missing: the reason names the true fault.
                    mask = found.get(number) & ~unread[rule.columns[0]] if number in found else None
                case _:
                    mask = found.get(number)
            if mask is None:
                continue
            applies = rule.applies()
            mask = mask & sound if applies is None else mask & sound & typed.select(applies).to_series()
            if mask.any():
                yield number, mask

    def _keyless(self, raw: pl.DataFrame, typed: pl.DataFrame, unread: Mapping[str, pl.Series]) -> pl.Series | None:
        quarantines = {r.columns[0] for r in self.rules if r.kind == "type" and r.severity != "warn" and not r.when}
        mask = pl.Series([False]).new_from_index(0, len(raw))
        for name in self.key:
            cell = typed[name] if name in typed.columns else raw[name]
            lacking = cell.is_null()
            if cell.dtype == pl.String:
                lacking = lacking | (cell.str.strip_chars() == "").fill_null(True)
            mask = mask | (lacking & ~unread[name] if name in quarantines else lacking)
        return mask

    def _broken(self, typed: pl.DataFrame) -> dict[int, pl.Series]:
        """Run Pandera once over the frame; return a mask of failing rows for each rule that has some."""
        if typed.is_empty():
            return {}
        frame = typed.with_columns(self._compared(typed))
        # A LazyFrame would be checked for its types alone, and bad rows pass.
        assert isinstance(frame, pl.DataFrame)
        try:
            with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA):
                self._schema.validate(frame, lazy=True)
        except SchemaErrors as errors:
            masks = (self._mask(error, len(frame)) for error in errors.schema_errors)
            return dict(masks)
        return {}

    def _compared(self, typed: pl.DataFrame) -> list[pl.Series]:
        refused = None
        answers: list[pl.Series] = []
        for number, rule in self._compares:
            try:
                answers.append(typed.select(_agreement(rule).alias(f"{_COMPARED}{number}")).to_series())
            except pl.exceptions.PolarsError:
                refused = rule
        # Raised here, because the error of polars may quote values of rows and must not be its context.
        if refused is not None:
            sentence = f"The rule {refused.rule_id} of {self.contract.name} cannot be worked out for every row."
            raise StopRun(f"{sentence} Use TRY_CAST where a text may be no number.", code="contract_check")
        return answers

    def _mask(self, error: SchemaError, rows: int) -> tuple[int, pl.Series]:
        number = self._number(error)
        output = error.check_output
        if number is None or output is None or output.height != rows:
            at = (
                f"the check {error.check} of {error.schema.name or 'the row'}"
                if number is None
                else self.rules[number].rule_id
            )
            sentence = f"The contract {self.contract.name} cannot be judged: {at} gives no answer for each row."
            raise StopRun(f"{sentence} Mend the check.", code="contract_check")
        return number, ~output.to_series()

    def _number(self, error: SchemaError) -> int | None:
        name = error.schema.name if isinstance(error.schema, pa.Column) else None
        if name is not None and name.startswith(_COMPARED):
            return int(name.removeprefix(_COMPARED))
        if error.check_index is not None:
            numbers = self._checks.get(name, [])
            return numbers[error.check_index] if error.check_index < len(numbers) else None
        missing = (n for n, rule in enumerate(self.rules) if rule.kind == "missing" and rule.column == name)
        return next(missing, None) if "NULL" in str(error.reason_code) else None

    def _gathered(self, failures: Sequence[tuple[int, pl.Series]], rows: int) -> tuple[pl.Series, pl.Series]:
        """Turn masks by rule into the list of failed rules by row, and the mark of the bad rows."""
        parts = [
            pl.DataFrame(
                {"row": mask.arg_true(), "rule": pl.Series([number], dtype=pl.Int32).new_from_index(0, int(mask.sum()))}
            )
            for number, mask in failures
        ]
        pairs = pl.concat([pl.DataFrame(schema={"row": pl.UInt32, "rule": pl.Int32}), *parts])
        lists = pairs.group_by("row").agg(pl.col("rule").sort())
        all_rows = pl.DataFrame({"row": pl.int_range(rows, dtype=pl.UInt32, eager=True)})
        failed = all_rows.join(lists, on="row", how="left", maintain_order="left")["rule"]
        bad = pl.Series([False]).new_from_index(0, rows)
        for number, mask in failures:
            if self.rules[number].severity != "warn":
                bad = bad | mask
        return failed, bad


def _agreement(rule: Rule) -> pl.Expr:
    """Tell for each row whether its columns agree."""
    if rule.expression:
        return pl.sql_expr(rule.expression)
    left, right = pl.col(rule.columns[0]), pl.col(rule.columns[1])
    return {
        "<": left < right,
        "<=": left <= right,
        "==": left == right,
        "!=": left != right,
        ">=": left >= right,
        ">": left > right,
    }[rule.operator]


def _frame(table: arrow.Table) -> pl.DataFrame:
    found = pl.from_arrow(table)
    assert isinstance(found, pl.DataFrame)
    return found
