"""The report with Splink's charts: drawn from the fitted model, offline, and without a value of anybody."""

from __future__ import annotations

import base64
import hashlib
import json
import re

from consentry.identity.charts import charts, libraries
from consentry.identity.config import IdentityConfig
from consentry.identity.evaluate import without_labels
from consentry.identity.report_html import identity_report
from consentry.testing.identity_records import Record, run
from consentry.warehouse import DuckDBWarehouse

NAMES = ("Robert", "Marianne", "Leopold", "Ottilie")


def person(source: str, number: int) -> Record:
    columns = {"given_name": NAMES[number % 4], "family_name": f"Pemberton{number}", "city": "Canterbury"}
    box = f"{columns['given_name']}{number}@example.{'com' if source == 'crm' else 'org'}"
    return Record(f"{source}:{number}", {"email": box}, columns=columns)


def test_the_page_draws_splinks_charts_without_a_network_and_without_a_value_of_anybody() -> None:
    warehouse, config = DuckDBWarehouse(threads=2), IdentityConfig.model_validate({"similar": {}})
    records = [person(source, n) for n in range(24) for source in ("crm", "shop")]
    run(warehouse, records, config)
    drawn, found = charts(warehouse, config), without_labels(warehouse, config)
    assert charts(warehouse, IdentityConfig()) == ()
    assert not [table for table in warehouse.tables("identity") if "staged" in table]
    warehouse.close()

    assert [chart.title for chart in drawn][:2] == ["What each agreement weighs", "How often records agree"]
    assert drawn[-1].title == "One person, the surest"
    specs = json.dumps([chart.spec for chart in drawn], default=float).lower()
    assert not any(word in specs for word in ("pemberton", "canterbury", "@example", *map(str.lower, NAMES)))
    weights = [level for level in found["likeness"]["weights"] if level["comparison"] == "given_name"]
    assert weights[0]["level"] == "equal" and weights[0]["bits"] > 0 > weights[-1]["bits"]

    page = identity_report(found, job="shop", made_at="2026-01-01", charts=drawn, libraries=libraries())
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    assert scripts[:3] == list(libraries()) and all(f"'sha256-{one}'" in page for one in hashes)
    assert page.count('class="chart"') == len(drawn)
    assert "default-src 'none'" in page and "connect-src" not in page
    assert "<script" not in identity_report(found, job="shop", made_at="2026-01-01")
