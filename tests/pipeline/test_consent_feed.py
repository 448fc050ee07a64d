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


def _receipt(number: int, status: str, *, day: int = 1, test: bool = False) -> dict[str, object]:
    return {
        "receiptId": f"{number}-{day}",
        "identifier": email(number),
        "identifierType": "email",
        "test": test,
        "interactionDate": f"2026-01-{day:02d}T12:00:00Z",
        "purposes": [{"Id": "news", "TransactionType": status}],
    }


def test_consent_management_platform_only_a_confirmed_receipt_that_stands_lets_anybody_in(tiny: TinyJob) -> None:
    receipts = [
        _receipt(1, "CONFIRMED"),
        _receipt(2, "CONFIRMED"),
        _receipt(2, "WITHDRAWN", day=2),
        _receipt(3, "CONFIRMED", test=True),
        _receipt(4, "CONFIRMD"),
        _receipt(5, "OPT_OUT"),
    ]
    (tiny.folder / "receipts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in receipts))
    tiny.spec["sources"]["form"]["streams"]["consents"] |= {
        "primary_key": ["event_id"],
        "options": {"path": "receipts.jsonl", "format": "onetrust"},
        "signal": {"type": "onetrust", "regime": "gdpr", "notice_id": "site", "notice_version": 1},
        "map": {
            "payload": "payload",
            "source_event_id": "event_id",
            "identifier_type": "identifier_type",
            "identifier_value": "identifier",
        },
    }
    columns = {name: {"dtype": "String", "nullable": True} for name in COLUMNS}
    (tiny.folder / "contracts" / "consents.yaml").write_text(
        yaml.safe_dump({"name": "consents", "version": 1, "columns": columns})
    )
    tiny.policy["purposes"]["news"]["alias"] = ["onetrust:news"]
    tiny.write()
    summary = run(make_plan(load_job(tiny.path)), Silent())
    assert summary["status"] == "ok", summary["syncs"]
    assert Audiences.read(tiny.members_file).values("adults", "email") == {email(1)}
    assert summary["consent"]["new"] == 5
