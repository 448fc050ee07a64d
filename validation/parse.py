"""Read the text of a source as the types of a contract: try-cast, with a mark where it failed.

Every text goes through a mask before its cast, so that engines and versions agree on what a number is: DuckDB
reads '1.5' as the integer 2 and '1_000' as 1000, Spark reads neither (shared measurements, DuckDB 2.0.0 and
Spark 4.3.0). What a mask turns away keeps its raw text in the quarantine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import polars as pl

from consentry.validation.addresses import as_country, as_currency, as_email, as_phone
from consentry.validation.compile import CONVERTERS, kind_of, step_name
from consentry.validation.contract import Column, Contract
from consentry.validation.dtypes import INSTANT
from consentry.validation.spec import BooleanSettings, NumberSettings, Step, TimestampSettings

FAILED: Final = "failed:"
_DATE_FIELDS: Final[Mapping[str, str]] = {
    "Y": r"[0-9]{4}",
    "m": r"[0-9]{1,2}",
    "d": r"[0-9]{1,2}",
    "e": r" ?[0-9]{1,2}",
} | {
    "H": r"[0-9]{1,2}",
    "M": r"[0-9]{2}",
    "S": r"[0-9]{2}",
    "y": r"[0-9]{2}",
    "j": r"[0-9]{3}",
}
_ISO_DATE: Final = "%Y-%m-%d"
_ISO_TIMES: Final = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M")
_EPOCH_US: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}


def parsed(contract: Contract, raw: pl.DataFrame) -> pl.DataFrame:
    """Return the contract's columns, typed, and for each a Boolean column `failed:<name>`.

    A cell that has a value and cannot be read is null and marked; NaN is null and not marked. A column that the
    raw frame lacks is null throughout.
    """
    schema = raw.schema
    reads = {column.name: _Reader(column, schema.get(column.name, pl.Null())) for column in contract.columns}
    typed = {name: reader.value(reads).alias(name) for name, reader in reads.items()}
    frame = raw.lazy().with_columns(reader.text().alias(f"text:{name}") for name, reader in reads.items())
    frame = frame.with_columns(value.alias(f"value:{name}") for name, value in typed.items())
    return frame.select(
        *(pl.col(f"value:{name}").alias(name) for name in reads),
        *(
            (pl.col(f"text:{name}").is_not_null() & pl.col(f"value:{name}").is_null()).alias(FAILED + name)
            for name in reads
        ),
    ).collect()


class _Reader:
    """How one column of a contract is read from raw values of one type."""

    def __init__(self, column: Column, source: pl.DataType) -> None:
        self.column = column
        self.name = column.name
        self.source = source
        self.converter = next((s for s in column.parse if step_name(s) in CONVERTERS), None)
        self.direct = self._is_direct()

    def _is_direct(self) -> bool:
        """Tell whether the raw values have such a type that no text need be read."""
        if self.source == pl.String or any(step_name(s) not in CONVERTERS for s in self.column.parse):
            return False
        word = step_name(self.converter) if self.converter else "number"
        kinds = {kind_of(self.source), kind_of(self.column.dtype)}
        if kinds == {"number", "instant"}:
            return word == "epoch"
        if word not in ("number", "timestamp", "date_formats"):
            return False
        return kinds == {"date", "instant"} or (len(kinds) == 1 and kinds != {"text"})

    def text(self) -> pl.Expr:
        """Return what there is to be read: null where the cell is missing."""
        raw = pl.col(self.name) if self.source != pl.Null() else pl.lit(None, pl.String)
        if self.source.is_float():
            raw = raw.fill_nan(None)
        if self.direct or self.source == pl.Null():
            return raw
        if self.source == pl.Binary:
            # Not null where the bytes are, even where they are no text.
            return raw
        text = _as_text(raw, self.source)
        for step in self.column.parse:
            text = _text_step(text, step)
        if self.converter is None and self.column.dtype == pl.String:
            return text
        # A cell of blanks in a column of numbers, dates or addresses is a missing cell.
        text = text.str.strip_chars()
        return pl.when(text != "").then(text)

    def value(self, reads: Mapping[str, _Reader]) -> pl.Expr:
        """Return the typed value of the prepared cell `text:<name>`, null where it cannot be read."""
        text = pl.col(f"text:{self.name}")
        if self.source == pl.Binary:
            text = text.map_batches(_decoded, return_dtype=pl.String)
        dtype = self.column.dtype
        if self.source == pl.Null():
            return text.cast(dtype, strict=False)
        if self.direct:
            return self._cast(text)
        step = self.converter or Step()
        if step.phone is not None:
            region = pl.lit(step.phone.region, pl.String)
            if column := step.phone.region_column:
                region = pl.coalesce(reads[column].value(reads).cast(pl.String, strict=False), region)
            return as_phone(text, region)
        return _converted(text, step, dtype)

    def _cast(self, raw: pl.Expr) -> pl.Expr:
        dtype, step = self.column.dtype, self.converter or Step()
        match kind_of(dtype):
            case "number":
                return _number(raw, self.source, dtype)
            case "instant" if self.source.is_numeric():
                return _epoch(raw, step)
            case "instant" if isinstance(self.source, pl.Datetime) and self.source.time_zone is not None:
                return _in_calendar(raw.dt.convert_time_zone("UTC").cast(INSTANT, strict=False))
            case "instant":
                return _in_calendar(_placed(raw.cast(pl.Datetime("us"), strict=False), step.timestamp))
            case "date":
                return _in_calendar(raw.cast(pl.Date, strict=False))
            case _:
                return raw.cast(dtype, strict=False)


def _decoded(series: pl.Series) -> pl.Series:
    """Read bytes as UTF-8, null where they are not: polars' own cast fails for the whole column."""
    return pl.Series(series.name, [_utf8(value) for value in series.to_list()], dtype=pl.String)


def _utf8(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _as_text(raw: pl.Expr, source: pl.DataType) -> pl.Expr:
    if source.is_nested():
        holder = raw if isinstance(source, pl.Struct) else pl.struct(value=raw)
        return pl.when(raw.is_not_null()).then(holder.struct.json_encode())
    return raw.cast(pl.String, strict=False)


def _strip_unit(text: pl.Expr, step: Step) -> pl.Expr:
    units = "|".join(re.escape(unit) for unit in sorted(step.strip_unit or [], key=len, reverse=True))
    return text.str.replace(rf"(?i)\s*(?:{units})\s*$", "")


def _text_step(text: pl.Expr, step: Step) -> pl.Expr:
    match step_name(step):
        case "trim":
            return text.str.strip_chars()
        case "lower":
            return text.str.to_lowercase()
        case "upper":
            return text.str.to_uppercase()
        case "null_tokens":
            return pl.when(~text.is_in(step.null_tokens or [])).then(text)
        case "strip_unit":
            return _strip_unit(text, step)
        case "map":
            return text.replace(step.map or {})
        case _:
            return text


def _number(raw: pl.Expr, source: pl.DataType, dtype: pl.DataType) -> pl.Expr:
    """Cast a number to another type of number; one that would change its value is null."""
    if dtype.is_integer() and (source.is_float() or isinstance(source, pl.Decimal)):
        raw = pl.when(raw == raw.floor()).then(raw)
    cast = raw.cast(dtype, strict=False)
    return pl.when(cast.is_finite()).then(cast) if dtype.is_float() else cast


def _number_text(text: pl.Expr, settings: NumberSettings, dtype: pl.DataType) -> pl.Expr:
    # [0-9], because \d is the digits of every script, and casts know ASCII's alone.
    point, group = re.escape(settings.decimal), re.escape(settings.thousands)
    whole = rf"(?:[0-9]+|[0-9]{{1,3}}(?:{group}[0-9]{{3}})+)" if settings.thousands else r"[0-9]+"
    if dtype.is_integer():
        mask = rf"^[+-]?{whole}(?:{point}0*)?$"
    elif isinstance(dtype, pl.Decimal):
        mask = rf"^[+-]?(?:{whole}(?:{point}[0-9]{{0,{dtype.scale}}}0*)?|{point}[0-9]{{1,{max(dtype.scale, 1)}}}0*)$"
    else:
        mask = rf"^[+-]?(?:{whole}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?$"
    masked: pl.Expr = pl.when(text.str.contains(mask)).then(text)
    if settings.thousands:
        masked = masked.str.replace_all(settings.thousands, "", literal=True)
    if dtype.is_integer():
        return masked.str.replace(rf"{point}0*$", "").str.strip_prefix("+").cast(dtype, strict=False)
    cast = masked.str.replace(settings.decimal, ".", literal=True).str.strip_prefix("+").cast(dtype, strict=False)
    return pl.when(cast.is_finite()).then(cast) if dtype.is_float() else cast


def _percent(text: pl.Expr, step: Step, dtype: pl.DataType) -> pl.Expr:
    settings = step.percent or NumberSettings()
    without = pl.when(text.str.ends_with("%")).then(text.str.strip_suffix("%").str.strip_chars_end())
    return (_number_text(without, settings, pl.Float64()) / 100).cast(dtype, strict=False)


def _boolean(text: pl.Expr, step: Step) -> pl.Expr:
    words = step.boolean or BooleanSettings(true=["true"], false=["false"])
    known = {word.lower(): True for word in words.true} | {word.lower(): False for word in words.false}
    return text.str.to_lowercase().replace_strict(known, default=None, return_dtype=pl.Boolean)


def _date(text: pl.Expr, step: Step) -> pl.Expr:
    forms = step.date_formats or [_ISO_DATE]
    return _in_calendar(pl.coalesce([_masked(text, form).str.to_date(form, strict=False) for form in forms]))


def _masked(text: pl.Expr, form: str) -> pl.Expr:
    """Keep the texts that have the digits a format asks for: the parser itself reads '24' as the year 24."""
    pieces = re.split(r"%(\.f|#z|.)", form)
    mask = "".join(
        _DATE_FIELDS.get(piece, r".*" if piece == ".f" else r".+?") if n % 2 else re.escape(piece)
        for n, piece in enumerate(pieces)
    )
    return pl.when(text.str.contains(f"(?s)^{mask}$")).then(text)


def _instant(text: pl.Expr, step: Step) -> pl.Expr:
    settings = step.timestamp or TimestampSettings()
    if settings.formats:
        found = [_with_format(text, form, settings) for form in settings.formats]
        return _in_calendar(pl.coalesce(found))
    iso = text.str.replace(r"^(\d{4}-\d{2}-\d{2}) ", "${1}T")
    found = [_aware(iso, f"{form}%#z") for form in _ISO_TIMES]
    if settings.zone is not None:
        found += [_with_format(iso, form, settings) for form in (*_ISO_TIMES, _ISO_DATE)]
    return _in_calendar(pl.coalesce(found))


def _aware(text: pl.Expr, form: str) -> pl.Expr:
    # "%#z" reads Z, +01, +0100 and +01:00.
    return _masked(text, form).str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False)


def _with_format(text: pl.Expr, form: str, settings: TimestampSettings) -> pl.Expr:
    if "%z" in form or "%#z" in form:
        return _aware(text, form.replace("%z", "%#z"))
    if not re.search(r"%[HIkTRXcrs]", form):
        return _placed(_masked(text, form).str.to_date(form, strict=False).cast(pl.Datetime("us")), settings)
    return _placed(_masked(text, form).str.to_datetime(form, time_unit="us", strict=False), settings)


def _placed(local: pl.Expr, settings: TimestampSettings | None) -> pl.Expr:
    """Turn a time on the wall into an instant: the first of two in autumn, none for the hour skipped in spring."""
    if settings is None or settings.zone is None:
        return pl.when(False).then(local.dt.replace_time_zone("UTC"))
    placed = local.dt.replace_time_zone(settings.zone, ambiguous="earliest", non_existent="null")
    return placed.dt.convert_time_zone("UTC")


def _epoch(text: pl.Expr, step: Step) -> pl.Expr:
    ticks = text.cast(pl.Int64, strict=False) * _EPOCH_US[step.epoch or "s"]
    return _in_calendar(ticks.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))


def _in_calendar(value: pl.Expr) -> pl.Expr:
    # Beyond these years Python and SQL have no dates, and a value nobody can read back is no value.
    return pl.when(value.dt.year().is_between(1, 9999)).then(value)


def _converted(text: pl.Expr, step: Step, dtype: pl.DataType) -> pl.Expr:
    """Read text by the step that is declared, else by the type."""
    match step_name(step) if step != Step() else kind_of(dtype):
        case "number":
            return _number_text(text, step.number or NumberSettings(), dtype)
        case "percent":
            return _percent(text, step, dtype)
        case "boolean":
            return _boolean(text, step)
        case "date" | "date_formats":
            return _date(text, step)
        case "instant" | "timestamp":
            return _instant(text, step)
        case "epoch":
            return _epoch(pl.when(text.str.contains(r"^-?[0-9]{1,16}$")).then(text), step)
        case "email":
            return as_email(text)
        case "country":
            return as_country(text, step.country.names if step.country else {})
        case "currency":
            return as_currency(text, step.currency.names if step.currency else {})
        case _:
            return text
