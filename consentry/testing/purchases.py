"""Where do the purchases come from: the committed sample of UCI Online Retail, or a larger draw from it.

The sample (CC BY 4.0, see configs/quickstart/data/README.md) is the only real data here.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow.parquet as pq

SAMPLE_CUSTOMERS = 1_600
SAMPLE_ANONYMOUS = 400
CHUNK = 5_000
FIRST_SCALED_NUMBER = 1_000_000
# Lines of the shop's own bookkeeping have no customer; the sample keeps some, because real feeds have them.
_SAMPLE = """
    with lines as (
        select file_row_number as line_id, InvoiceNo as invoice_no, StockCode as stock_code,
            Description as description, Quantity::INTEGER as quantity, UnitPrice as unit_price,
            round(Quantity * UnitPrice, 2) as amount, strftime(InvoiceDate, '%Y-%m-%d %H:%M:%S') as invoice_date,
            CustomerID::INTEGER::VARCHAR as customer_id, Country as country,
            case when InvoiceNo like 'C%' then 'cancellation_line' else 'order_line' end as line_type
        from read_parquet($path, file_row_number = true)
    ), chosen as (
        select customer_id from (select distinct customer_id from lines where customer_id is not null)
        order by md5('consentry:' || customer_id) limit $customers
    ), nobody as (
        select line_id from lines where customer_id is null order by md5('consentry:' || line_id) limit $anonymous
    )
    select * from lines
    where customer_id in (from chosen) or line_id in (from nobody) order by line_id
"""
_SHOPPERS = """
    select customer_id, min(country) as country,
        coalesce(sum(amount) filter (line_type = 'order_line' and unit_price > 0), 0) as spent,
        min(invoice_date) as first_line,
        max(invoice_date) filter (line_type = 'order_line' and unit_price > 0) as last_order
    from read_parquet($path) where customer_id is not null group by customer_id order by customer_id
"""


@dataclass(frozen=True, slots=True)
class Shopper:
    """One customer number of the shop, and what the purchases say of it.

    spent: GBP over all order lines that have a price. first_line, last_order: `YYYY-MM-DD HH:MM:SS`, Europe/London.
    """

    customer_number: str
    country: str
    spent: float
    first_line: str
    last_order: str | None


def sample_path() -> Path:
    """Return the place of the committed sample."""
    return Path(str(files("consentry.configs") / "quickstart" / "data" / "purchases.parquet"))


def take_sample(full: Path, out: Path) -> int:
    """Cut the sample from the full UCI file (Parquet with UCI's column names); return its number of lines.

    The customers with the smallest md5 of 'consentry:<CustomerID>' are taken, each with all lines.
    """
    with duckdb.connect() as connection:
        arguments = {"path": str(full), "customers": SAMPLE_CUSTOMERS, "anonymous": SAMPLE_ANONYMOUS}
        table = connection.sql(_SAMPLE, params=arguments).to_arrow_table()
    pq.write_table(table, out, compression="zstd", compression_level=19)
    return int(table.num_rows)


def shoppers(purchases: Path) -> list[Shopper]:
    """Read the customers out of a purchases file, in the order of their numbers."""
    with duckdb.connect() as connection:
        rows = connection.execute(_SHOPPERS, {"path": str(purchases)}).fetchall()
    return [Shopper(*row) for row in rows]


def count_faults(purchases: Path) -> dict[str, int]:
    """Count the lines that a contract must refuse: without a customer, or with one but without a price."""
    query = (
        "select count(*) filter (customer_id is null), count(*) filter (customer_id is not null and unit_price <= 0)"
        " from read_parquet($path)"
    )
    with duckdb.connect() as connection:
        found = connection.execute(query, {"path": str(purchases)}).fetchall()
    return {"purchases_without_customer": found[0][0], "purchases_without_price": found[0][1]}


def write_purchases(out: Path, *, customers: int | None, lines_each: int, rng: np.random.Generator) -> int:
    """Write the sample itself, or `lines_each` lines for each of `customers`; return the number of lines."""
    if customers is None:
        if not (out.exists() and out.samefile(sample_path())):
            shutil.copyfile(sample_path(), out)
        return int(pq.read_metadata(out).num_rows)
    sample = pl.read_parquet(sample_path()).drop_nulls("customer_id").sort("customer_id", "line_id")
    rows = 0
    writer: pq.ParquetWriter | None = None
    for drawn in _draw(sample, customers=customers, lines_each=lines_each, rng=rng):
        table = drawn.with_columns(pl.int_range(rows, rows + drawn.height, dtype=pl.Int64).alias("line_id")).to_arrow()
        writer = writer or pq.ParquetWriter(out, table.schema, compression="zstd")
        writer.write_table(table)
        rows += table.num_rows
    if writer:
        writer.close()
    return rows


def _draw(sample: pl.DataFrame, *, customers: int, lines_each: int, rng: np.random.Generator) -> Iterator[pl.DataFrame]:
    """Give every new customer the habits of one in the sample: lines drawn from that one's, with replacement."""
    _, starts, counts = np.unique(sample["customer_id"].to_numpy(), return_index=True, return_counts=True)
    for begin in range(0, customers, CHUNK):
        size = min(CHUNK, customers - begin)
        like = np.repeat(rng.integers(0, len(starts), size), lines_each)
        rows = starts[like] + (rng.random(len(like)) * counts[like]).astype(np.int64)
        numbers = np.repeat(np.arange(begin, begin + size) + FIRST_SCALED_NUMBER, lines_each).astype(str)
        yield sample[rows].with_columns(pl.Series("customer_id", numbers.tolist(), dtype=pl.String))
