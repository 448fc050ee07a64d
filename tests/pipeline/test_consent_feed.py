"""A consent feed of receipts in a whole run: who confirmed is in, who withdrew, tested or mistyped is not."""

from __future__ import annotations

import json

import yaml

from consentry.connectors.consent_feeds import COLUMNS
from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.testing.memory import Audiences
from tests.conftest import TinyJob, email

# As docs/connectors/analytics.md has it.
ONETRUST = {
    "CONFIRMED": "granted",
    "ACTIVE": "granted",
    "WITHDRAWN": "withdrawn",
    "EXPIRED": "expired",
    "OPT_OUT": "denied",
}


def _receipt(number: int, status: str, *, day: int = 1, test: bool = False) -> dict[str, object]:
    return {
        "receiptId": f"{number}-{day}",
        "identifier": email(number),
        "identifierType": "email",
        "test": test,
        "collectionPointGuid": "cp-1",
        "collectionPointVersion": 3,
        "interactionDate": f"2026-01-{day:02d}T12:00:00Z",
        "purposes": [{"Id": "news", "TransactionType": status}],
    }


def test_only_a_confirmed_receipt_that_stands_lets_anybody_in(tiny: TinyJob) -> None:
    receipts = [
        _receipt(1, "CONFIRMED"),
        _receipt(2, "CONFIRMED"),
        _receipt(2, "WITHDRAWN", day=2),
        _receipt(3, "CONFIRMED", test=True),
        _receipt(4, "CONFIRMD"),
        _receipt(5, "OPT_OUT"),
    ]
    (tiny.folder / "receipts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in receipts))
    names = ("event_id", "identifier_type", "purpose", "state", "method", "mechanism", "effective_at", "expires_at")
    names += ("notice_id", "notice_version")
    tiny.spec["sources"]["form"]["streams"]["consents"] |= {
        "primary_key": ["event_id"],
        "options": {"path": "receipts.jsonl", "format": "onetrust"},
        "map": {
            **{name: name for name in names if name != "event_id"},
            "source_event_id": "event_id",
            "identifier_value": "identifier",
        },
    }
    columns = {name: {"dtype": "String", "nullable": True} for name in COLUMNS}
    columns["notice_version"]["dtype"] = "Int32"
    columns["effective_at"]["dtype"] = columns["expires_at"]["dtype"] = "Datetime"
    (tiny.folder / "contracts" / "consents.yaml").write_text(
        yaml.safe_dump({"name": "consents", "version": 1, "columns": columns})
    )
    tiny.policy["sources"]["form"] = {"trust": 2, "states": ONETRUST}
    tiny.write()
    summary = run(make_plan(load_job(tiny.path)), Silent())
    assert summary["status"] == "ok", summary["syncs"]
    assert Audiences.read(tiny.members_file).values("adults", "email") == {email(1)}
    assert summary["consent"]["new"] == 5
