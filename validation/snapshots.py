"""Lay two snapshots of a table side by side, so that their cells can be compared: typed, with how they were written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl
import pyarrow as arrow

from consentry.errors import ConfigError
from consentry.model.names import did_you_mean, quoted_table
from consentry.validation.check import MALFORMED_COLUMN
from consentry.validation.contract import Column, Contract
from consentry.validation.parse import FAILED, parsed
from consentry.warehouse import Warehouse

# What consentry adds to the rows of a stream.
OURS: Final = frozenset({"_rid", "_run_id", "_extracted_at", "_deleted", "_merged_into", MALFORMED_COLUMN})


@dataclass(slots=True)
class Snapshot:
    """One snapshot as it was taken in; its table lacks the rows that are no records.

    rows: all of them. malformed: those that are no records; first_malformed: the number of the first, from 1.
    columns: those that are compared, in the order of the snapshot.
    """

    label: str
    table: str
    rows: int = 0
    malformed: int = 0
    first_malformed: int | None = None
    columns: list[str] = field(default_factory=list)


class Stage:
    """Where two snapshots lie: a table each, with the same name for the same column in both.

    Column number n of both together is `c<n>`; those of the key come first. Where a contract reads the column, `c<n>`
    is what it is read as, `f<n>` whether it cannot be read, and `t<n>` the text that there was, unless it says no more.
    A part of the key that is missing, blank or cannot be read is null.

    key: the columns that name a row. ignore: columns that are not compared. seen: all columns of either snapshot.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        *,
        key: Sequence[str],
        contract: Contract | None = None,
        ignore: Collection[str] = (),
    ) -> None:
        self.warehouse, self.key, self.contract = warehouse, tuple(key), contract
        self._ignored = (frozenset(ignore) - frozenset(key)) | OURS
        self._numbers = {name: number for number, name in enumerate(self.key)}
        self.seen: dict[str, None] = {}

    def number(self, column: str) -> int:
        """Return the number of a column, the next one for a new column."""
        return self._numbers.setdefault(column, len(self._numbers))

    def reads(self, column: str) -> bool:
        """Tell whether the contract says how a column is read."""
        return self.contract is not None and self.contract.column(column) is not None

    def take(
        self,
        table: str,
        batches: Iterable[arrow.Table],
        *,
        label: str,
        typed: bool = False,
        told: Callable[[int], None] = lambda rows: None,
    ) -> Snapshot:
        """Write a snapshot to a table of the warehouse and return what is known of it.

        label: what it is called in errors. typed: the contract has read these rows before. told: called with the rows
        of each batch. Raises ConfigError when the snapshot lacks a column of the key.
        """
        made = Snapshot(label, table)
        with self.warehouse.transaction():
            self.warehouse.drop(table)
            for batch in batches:
                frame = self._sound(batch, made)
                if frame.height or set(self.key) <= set(frame.columns):
                    self._append(table, self._cells(frame, typed=typed))
                made.rows += batch.num_rows
                told(batch.num_rows)
            if not self.warehouse.has(table):
                self._append(table, self._cells(pl.DataFrame(schema={MALFORMED_COLUMN: pl.String}), typed=typed))
        return made

    def _sound(self, batch: arrow.Table, made: Snapshot) -> pl.DataFrame:
        """Return the rows that are records, and count the others."""
        frame = pl.from_arrow(batch)
        assert isinstance(frame, pl.DataFrame)
        if MALFORMED_COLUMN in frame.columns:
            broken = frame[MALFORMED_COLUMN].is_not_null()
            if made.first_malformed is None and broken.any():
                made.first_malformed = made.rows + int(broken.arg_true()[0]) + 1
            made.malformed += int(broken.sum())
            frame = frame.filter(~broken)
        self.seen |= dict.fromkeys(name for name in frame.columns if name not in OURS)
        compared = [name for name in frame.columns if self._is_compared(name)]
        made.columns += [name for name in compared if name not in made.columns]
        for name in self.key if frame.height else ():
            if name not in compared:
                hint = did_you_mean(name, compared) or f". It has: {', '.join(compared)}."
                raise ConfigError(f"{made.label}: There is no column {name!r}, which is to name a row{hint}")
        return frame

    def _is_compared(self, name: str) -> bool:
        if name in self._ignored:
            return False
        filters = self.contract is not None and self.contract.strict == "filter"
        return not filters or name in self.key or self.reads(name)

    def _cells(self, frame: pl.DataFrame, *, typed: bool) -> pl.DataFrame:
        named = self.contract.columns if self.contract else ()
        columns = [column for column in named if self._is_compared(column.name)]
        reads = self._unread(frame, columns) if typed else self._read(frame, columns)
        cells = {series.name: series for series in reads}
        for name in (*self.key, *filter(self._is_compared, frame.columns)):
            place = f"c{self.number(name)}"
            if place not in cells:
                known = name in frame.columns
                cells[place] = frame[name].alias(place) if known else _nothing(place, pl.String(), len(frame))
        for place in (f"c{number}" for number in range(len(self.key))):
            cells[place] = _named(cells[place])
        return pl.DataFrame(list(cells.values()))

    def _read(self, frame: pl.DataFrame, columns: Sequence[Column]) -> Iterator[pl.Series]:
        """Yield what the contract makes of each column, whether it cannot be read, and the text where it says more."""
        if not columns or self.contract is None:
            return
        both = parsed(self.contract, frame)
        for column in columns:
            number, failed = self.number(column.name), both[FAILED + column.name]
            yield both[column.name].alias(f"c{number}")
            yield failed.alias(f"f{number}")
            if column.name not in frame.columns:
                yield _nothing(f"t{number}", pl.String(), len(frame))
                continue
            raw = frame[column.name]
            says_more = raw.is_not_null() if raw.dtype == pl.String and not _is_plain(column) else failed
            yield pl.select(pl.when(says_more).then(_as_text(raw))).to_series().alias(f"t{number}")

    def _unread(self, frame: pl.DataFrame, columns: Sequence[Column]) -> Iterator[pl.Series]:
        """Yield the same for rows that were read before: nothing but what a column is that they lack."""
        for column in columns:
            number, rows = self.number(column.name), len(frame)
            if column.name not in frame.columns:
                yield _nothing(f"c{number}", column.dtype, rows)
            yield _nothing(f"t{number}", pl.String(), rows)
            yield _nothing(f"f{number}", pl.Boolean(), rows)

    def _append(self, table: str, cells: pl.DataFrame) -> None:
        rows = cells.to_arrow()
        known = self.warehouse.columns(table)
        if fresh := [name for name in rows.schema.names if known and name not in known]:
            aside = f"{table}__fresh"
            self.warehouse.write(aside, (), schema=rows.select(fresh).schema)
            for name, kind in self.warehouse.columns(aside).items():
                self.warehouse.sql(f"ALTER TABLE {quoted_table(table)} ADD COLUMN {name} {kind}")
            self.warehouse.drop(aside)
        self.warehouse.write(table, rows.to_batches(), schema=rows.schema, mode="append")


def _nothing(name: str, dtype: pl.DataType, rows: int) -> pl.Series:
    return pl.Series(name, [None], dtype=dtype).new_from_index(0, rows)


def _is_plain(column: Column) -> bool:
    """Tell whether the text of a column is its value."""
    return column.dtype == pl.String and not column.parse


def _as_text(raw: pl.Series) -> pl.Series:
    return raw.bin.encode("hex") if raw.dtype == pl.Binary else raw.cast(pl.String)


def _named(values: pl.Series) -> pl.Series:
    """Return the values of a part of the key; what names nothing is null."""
    if values.dtype == pl.String:
        return pl.select(pl.when(values.str.strip_chars() != "").then(values)).to_series().alias(values.name)
    return values.fill_nan(None) if values.dtype.is_float() else values
