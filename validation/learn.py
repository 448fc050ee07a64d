"""Tell missing values from the row's other columns: by a model, or by the nearest rows.

Both learn from a bounded sample and answer only for the gaps, batch by batch, so that the work grows with the rows
and not with their square (scikit-learn's own KNNImputer on all rows: exponent 2.1, about 10 h for a million rows).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as arrow

from consentry.errors import ConfigError
from consentry.model.names import quoted
from consentry.validation.contract import Column
from consentry.validation.spec import ImputeSettings
from consentry.warehouse import Warehouse

TRAINING_ROWS: Final = 50_000
# HistGradientBoosting takes categories below 255; the rare ones are missing to it.
MOST_CATEGORIES: Final = 250
_ONE_HOT: Final = 20
BATCH_ROWS: Final = 100_000
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the columns that tell become numbers: words by their place, numbers as they are, NaN for what is missing."""

    columns: tuple[str, ...]
    words: Mapping[str, Mapping[str, int]]

    def matrix(self, frame: pl.DataFrame) -> Matrix:
        """Return one row of numbers for each row of a frame."""
        parts = [
            frame[name].cast(pl.String).replace_strict(self.words[name], default=None, return_dtype=pl.Float64)
            if name in self.words
            else _number(frame[name])
            for name in self.columns
        ]
        return np.column_stack([part.fill_null(np.nan).to_numpy() for part in parts]).astype(np.float64)


def _number(series: pl.Series) -> pl.Series:
    return (series.to_physical() if series.dtype.is_temporal() else series).cast(pl.Float64)


def encoding(frame: pl.DataFrame, columns: list[str]) -> Encoding:
    """Learn from a sample which words each column has."""
    words: dict[str, dict[str, int]] = {}
    for name in columns:
        if frame[name].dtype.is_numeric() or frame[name].dtype.is_temporal():
            continue
        counted = frame[name].cast(pl.String).drop_nulls().value_counts(sort=True).head(MOST_CATEGORIES)
        # In the order of the words, so that equal counts give no chance.
        words[name] = {word: place for place, word in enumerate(sorted(counted[name].to_list()))}
    return Encoding(tuple(columns), words)


def learn(warehouse: Warehouse, column: Column, *, missing: str, table_in: str, into: str, key: str) -> None:
    """Write (key, answer) for each gap of a column for which there is one.

    missing: the SQL that tells a gap. Too few observed rows, or one value alone, give no answer. Raises ConfigError
    when scikit-learn is not installed.
    """
    it = column.impute
    assert it is not None
    zone, _, name = table_in.partition(".")
    source = f"{quoted(zone)}.{quoted(name)}"
    told = list(dict.fromkeys(it.using))
    listed = ", ".join(map(quoted, told))
    most = it.donors if it.method == "knn" else TRAINING_ROWS
    # The same rows every time, and no particular ones: the order of a hash of their key.
    order = f"md5('learn' || CAST({quoted(key)} AS VARCHAR))"
    sample = warehouse.sql(
        f"SELECT {listed}, {quoted(column.name)} AS answer FROM {source} WHERE NOT ({missing})"
        f" ORDER BY {order} LIMIT {most}"
    )
    train = pl.from_arrow(sample)
    assert isinstance(train, pl.DataFrame)
    kind = sample.schema.field("answer").type
    schema = arrow.schema(
        [
            ("key", warehouse.sql(f"SELECT {quoted(key)} AS key FROM {source} LIMIT 0").schema.field("key").type),
            ("answer", kind),
        ]
    )
    gaps = warehouse.stream(
        f"SELECT {quoted(key)} AS key, {listed} FROM {source} WHERE {missing}", batch_rows=BATCH_ROWS
    )
    predict = _fitted(train, told, it, column)
    batches = _answered(gaps, predict, schema) if predict is not None else iter(())
    warehouse.write(into, batches, schema=schema)


# A fitted model of scikit-learn, which has no types.
def _fitted(train: pl.DataFrame, told: list[str], it: ImputeSettings, column: Column) -> Any:
    if len(train) < 20 or train["answer"].n_unique() < 2:
        return None
    encoded = encoding(train, told)
    matrix = encoded.matrix(train)
    numeric = column.dtype.is_numeric()
    target = train["answer"].cast(pl.Float64).to_numpy() if numeric else train["answer"].cast(pl.String).to_numpy()
    fit = _neighbours if it.method == "knn" else _boosted
    model = fit(matrix, target, encoded, it, numeric)

    def predict(frame: pl.DataFrame) -> pl.Series:
        found = pl.Series("answer", model(encoded.matrix(frame)))
        if column.dtype.is_integer():
            found = found.round()
        return (found == "true") if column.dtype == pl.Boolean else found

    return predict


def _boosted(matrix: Matrix, target: Any, encoded: Encoding, it: ImputeSettings, numeric: bool) -> Any:
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    except ImportError:
        raise ConfigError("Install consentry[ml] to impute with a model.") from None
    words = [name in encoded.words for name in encoded.columns]
    # Any: scikit-learn's own annotations know the one word of this argument, not its list of marks.
    made: Any = HistGradientBoostingRegressor if numeric else HistGradientBoostingClassifier
    return made(categorical_features=words, random_state=0).fit(matrix, target).predict


def _neighbours(matrix: Matrix, target: Any, encoded: Encoding, it: ImputeSettings, numeric: bool) -> Any:
    try:
        from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    except ImportError:
        raise ConfigError("Install consentry[ml] to impute with the nearest rows.") from None
    words = [name in encoded.words for name in encoded.columns]
    seen = np.isfinite(matrix)
    centre = np.where(seen.any(axis=0), np.nanmean(np.where(seen, matrix, np.nan), axis=0, where=seen), 0.0)
    width = np.nanstd(np.where(seen, matrix, np.nan), axis=0, where=seen)

    def placed(rows: Matrix) -> Matrix:
        parts = []
        for n, is_word in enumerate(words):
            if is_word:
                parts.append(rows[:, [n]] == np.arange(_ONE_HOT))
            else:
                scale = width[n] if width[n] > 0 else 1.0
                parts.append(np.nan_to_num((rows[:, [n]] - centre[n]) / scale))
        return np.column_stack(parts).astype(np.float64)

    made = KNeighborsRegressor if numeric else KNeighborsClassifier
    model = made(n_neighbors=min(it.neighbours, len(target)), weights="distance").fit(placed(matrix), target)
    return lambda rows: model.predict(placed(rows))


def _answered(gaps: Iterator[arrow.RecordBatch], predict: Any, schema: arrow.Schema) -> Iterator[arrow.RecordBatch]:
    for batch in gaps:
        if batch.num_rows:
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            told = frame.select("key").with_columns(answer=predict(frame)).to_arrow()
            yield from told.cast(schema).to_batches()
