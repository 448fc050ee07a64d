"""Consent feeds: rows of what was said, never a grant that was not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import read

from consentry.connectors.consent_feeds import COLUMNS, cookiebot, event_consent, one_trust
from consentry.connectors.files import Files, FilesConfig, FileStream

ADDRESS = "person1@example.com"
RECEIPT = {
    "identifier": ADDRESS,
    "identifierType": "Email",
    "receiptId": "r1",
    "test": False,
    "interactionDate": "2026-03-02T10:00:00Z",
    "consentDate": "2026-03-01T10:00:00Z",
    "withdrawnDate": "2026-03-02T11:00:00Z",
    "purposes": [{"Id": "news", "TransactionType": "CONFIRMED"}, {"Id": "ads", "TransactionType": "WITHDRAWN"}],
}
# The published example of the cookie's form (sprtags.io, read-cookiebot-consent-state-sgtm), with a method.
COOKIE = (
    "{stamp:'abcd1234',necessary:true,preferences:false,statistics:true,marketing:true,"
    "method:'explicit',ver:1,utc:1740000000000,region:'fr'}"
)


def _said(rows: Any) -> list[tuple[Any, ...]]:
    return [(row.get("identifier_type"), row.get("purpose"), row.get("state")) for row in rows]


def test_a_receipt_gives_a_row_a_purpose_with_the_date_of_what_was_done() -> None:
    granted, withdrawn = one_trust(RECEIPT)
    assert (granted["purpose"], granted["state"], granted["effective_at"]) == (
        "news",
        "CONFIRMED",
        "2026-03-01T10:00:00Z",
    )
    assert (withdrawn["state"], withdrawn["effective_at"]) == ("WITHDRAWN", "2026-03-02T11:00:00Z")
    assert (granted["identifier_type"], granted["identifier"]) == ("email", ADDRESS)
    assert granted["event_id"] != withdrawn["event_id"]


def test_a_receipt_speaks_for_every_identifier_it_names() -> None:
    rows = one_trust({**RECEIPT, "additionalIdentifiers": {"Phone": "+447700900001"}})
    assert {(row["identifier_type"], row["purpose"]) for row in rows} == {
        (kind, purpose) for kind in ("email", "phone") for purpose in ("news", "ads")
    }


def test_a_test_receipt_is_dropped_and_a_status_that_is_read_is_understood() -> None:
    assert list(one_trust({**RECEIPT, "test": True})) == []
    rows = one_trust({**RECEIPT, "purposes": [{"purposeId": "news", "Status": "ACTIVE"}]})
    assert _said(rows) == [("email", "news", "ACTIVE")]


def test_a_purpose_that_cannot_be_read_does_not_take_a_withdrawal_with_it() -> None:
    rows = one_trust({**RECEIPT, "purposes": ["?", {"Id": "ads", "TransactionType": "WITHDRAWN"}]})
    assert _said(rows) == [("email", None, None), ("email", "ads", "WITHDRAWN")]


@pytest.mark.parametrize("value", [COOKIE, quote(COOKIE)])
def test_a_cookie_gives_its_categories_and_necessary_is_none(value: str) -> None:
    rows = list(cookiebot({"cookie": value}))
    assert _said(rows) == [
        ("cookiebot_stamp", "preferences", "declined"),
        ("cookiebot_stamp", "statistics", "accepted"),
        ("cookiebot_stamp", "marketing", "accepted"),
    ]
    assert {(row["effective_at"], row["region"], row["method"]) for row in rows} == {
        ("2025-02-19T21:20:00.000Z", "fr", "explicit")
    }
    (first, *_) = cookiebot({"cookie": value, "identifier": "42", "identifier_type": "customer_number"})
    assert (first["identifier_type"], first["identifier"]) == ("customer_number", "42")


@pytest.mark.parametrize("method", ["method:'implied',", "", "method:'EXPLICIT',"])
def test_what_was_not_chosen_explicitly_is_never_accepted(method: str) -> None:
    rows = cookiebot({"cookie": COOKIE.replace("method:'explicit',", method)})
    assert {row["state"] for row in rows} == {"declined", "accepted_implied"}


def test_a_region_that_asks_for_no_consent_gives_none() -> None:
    assert list(cookiebot({"cookie": "-1"})) == []


@given(st.text(max_size=60))
def test_no_text_is_taken_for_a_cookie_by_mistake(text: str) -> None:
    with pytest.raises(ValueError):
        list(cookiebot({"cookie": "{" + text}))


def test_events_carry_categories_lists_and_strings() -> None:
    event = {
        "messageId": "m1",
        "userId": "u1",
        "timestamp": "2026-03-01T00:00:00Z",
        "context": {
            "consent": {"categoryPreferences": {"Advertising": True, "Analytics": False}, "tcString": "CPXxRfAPXxRfA"},
            "consentManagement": {
                "allowedConsentIds": ["C1", "C2"],
                "deniedConsentIds": ["C2"],
                "provider": "oneTrust",
            },
            "gpp": "DBABM",
        },
    }
    rows = list(event_consent(event))
    assert [(row.get("purpose"), row.get("state")) for row in rows] == [
        ("Advertising", "true"),
        ("Analytics", "false"),
        ("C2", "denied"),
        ("C1", "allowed"),
        (None, None),
        (None, None),
    ]
    assert [(row.get("signal_kind"), row.get("signal")) for row in rows[4:]] == [
        ("tcf", "CPXxRfAPXxRfA"),
        ("gpp", "DBABM"),
    ]
    assert len({row["event_id"] for row in rows}) == 6
    assert {(row["identifier_type"], row["effective_at"]) for row in rows} == {("user_id", "2026-03-01T00:00:00Z")}


def test_an_event_that_says_nothing_gives_nothing_and_mparticle_is_understood() -> None:
    assert list(event_consent({"userId": "u1", "event": "viewed"})) == []
    gdpr = {"ads": {"consented": True, "timestamp_unixtime_ms": 1_740_000_000_000}}
    rows = list(event_consent({"mpid": "7", "consent_state": {"gdpr": gdpr}}))
    assert _said(rows) == [("mpid", "ads", "true")]
    assert rows[0]["effective_at"] == "2025-02-19T21:20:00.000Z"


def test_files_of_feeds_are_read_and_resumed_like_any_other(tmp_path: Path) -> None:
    lines = [json.dumps({**RECEIPT, "receiptId": f"r{n}"}) for n in range(5)] + ['{"identifier": 5}', "no json"]
    (tmp_path / "receipts.jsonl").write_text("\n".join(lines))
    stream = FileStream.model_validate({"path": "receipts.jsonl", "format": "onetrust"})
    source = Files(FilesConfig(folder=tmp_path), streams={"receipts": stream})
    assert set(COLUMNS) <= set(source.discover()[0].schema.names)
    rows, _ = read(source, "receipts")
    assert [row["_malformed"] for row in rows] == [None] * 10 + ['{"identifier": 5}', "no json"]
    assert {row["event_id"] for row in rows[:10]} == {f"r{n}:{p}:email" for n in range(5) for p in ("news", "ads")}
