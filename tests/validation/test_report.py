"""The quality report: one page that loads nothing and tells nothing about anybody."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from consentry.cli.main import app
from consentry.validation.contract import Contract
from consentry.validation.metrics import prometheus
from consentry.validation.report import quality, redacted
from consentry.validation.report_html import report_html
from consentry.validation.report_svg import bars
from consentry.warehouse import DuckDBWarehouse
from tests.conftest import TinyJob
from tests.validation.test_watch import PEOPLE, load, rows

Make = Callable[[str], Contract]
VOID = {"meta", "br", "circle", "rect", "line", "polyline"}


class Balanced(HTMLParser):
    """Notes tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture
def warehouse_with_loads(warehouse: DuckDBWarehouse, contract: Make) -> tuple[DuckDBWarehouse, Contract]:
    made = contract(PEOPLE % "")
    for n in range(5):
        data = rows(300, n, tiers="abc" if n < 4 else "a<")
        bad = pl.when(pl.col("id") % 30 == 0).then(pl.lit("canary<b>name")).otherwise(pl.col("tier"))
        load(warehouse, made, data.with_columns(bad.alias("tier")), str(n))
    return warehouse, made


def test_the_page_is_whole_loads_nothing_and_names_nobody(
    warehouse_with_loads: tuple[DuckDBWarehouse, Contract],
) -> None:
    warehouse, made = warehouse_with_loads
    found = quality(warehouse, {"crm__people": made, "shop__new": made})
    page = report_html(found, job="<shop>", made_at="now")
    reader = Balanced()
    reader.feed(page)
    assert reader.open == [] or reader.open == ["html"]
    assert reader.links == ["#crm.people", "#shop.new"] and "http" not in page.replace("http-equiv", "")
    assert "<script" not in page and "&lt;shop&gt;" in page and "a&lt;" in page
    assert "canary" not in page and "aaaaaa&lt;a&gt;aaaa" in page
    assert json.loads(json.dumps(found))["streams"][0]["scores"][-1]["validity"] < 100


def test_an_empty_report_is_a_page(warehouse: DuckDBWarehouse, contract: Make) -> None:
    found = quality(warehouse, {"crm__people": contract(PEOPLE % "")})
    assert "No load yet." in report_html(found, job="j", made_at="now")
    assert prometheus(found, job="j").endswith('consentry_streams_held{job_name="j"} 0\n')


def test_metrics_are_lines_that_prometheus_reads(warehouse_with_loads: tuple[DuckDBWarehouse, Contract]) -> None:
    warehouse, made = warehouse_with_loads
    text = prometheus(quality(warehouse, {"crm__people": made}), job='a "b"')
    sample = re.compile(r'[a-z_]+\{[a-z_]+="(?:[^"\\\n]|\\.)*"(?:,[a-z_]+="(?:[^"\\\n]|\\.)*")*\} -?[0-9.e+-]+')
    lines = text.splitlines()
    assert all(line.startswith("# ") or sample.fullmatch(line) for line in lines)
    assert len({line for line in lines if line.startswith("# TYPE")}) == sum(
        line.startswith("# TYPE") for line in lines
    )


@given(st.one_of(st.text(), st.integers(), st.floats(allow_nan=False), st.none(), st.lists(st.text())))
def test_nothing_is_left_of_a_value_but_its_shape(value: object) -> None:
    shape = redacted(value)
    assert len(shape) <= 32
    kept = {c for c in shape if c.isalnum() and c.isascii()} - set("aA9")
    assert not kept or shape in ("(missing)", "(blank)")


def test_the_commands_write_a_page_and_metrics(ran: TinyJob) -> None:
    out = ran.folder / "out" / "report.html"
    found = CliRunner().invoke(app, ["quality", "report", str(ran.path), "--out", str(out), "-o", "json"])
    told = json.loads(found.stdout)
    assert {stream["stream"] for stream in told["streams"]} == {"crm.people", "form.consents", "golden"}
    assert "canary" not in out.read_text().lower() + found.stdout.lower()
    shown = CliRunner().invoke(app, ["quality", "report", str(ran.path)])
    assert shown.exit_code == 0 and "crm.people" in shown.stdout
    metrics = CliRunner().invoke(app, ["quality", "metrics", str(ran.path)]).stdout
    assert 'consentry_load_rows{job_name="tiny",stream="crm.people"} 40' in metrics


def test_numbers_are_short_enough_for_their_place_and_a_year_has_no_comma(
    warehouse: DuckDBWarehouse, contract: Make
) -> None:
    drawn = bars([137_500, 1_234_567, 12], label="rows")
    labels = re.findall(r"text-anchor=\"end\">([^<]*)<", drawn)
    assert labels == ["0", "617k", "1.23M", ""]
    made = contract("columns: {id: {dtype: Int64}, birth_year: {dtype: Int64}}\n")
    load(warehouse, made, pl.DataFrame({"id": range(50), "birth_year": [1966] * 50}), "0")
    page = report_html(quality(warehouse, {"crm__people": made}), job="j", made_at="now")
    assert ">1966<" in page and "1,966" not in page
