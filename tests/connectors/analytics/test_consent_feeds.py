"""Consent feeds: what a platform sent is found and handed on as it came."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from reading import read

from consentry.connectors.consent_feeds import COLUMNS, FEEDS
from consentry.connectors.files import Files, FilesConfig, FileStream

ADDRESS = "person1@example.com"
RECEIPT = {
    "identifier": ADDRESS,
    "identifierType": "Email",
    "receiptId": "r1",
    "interactionDate": "2026-03-02T10:00:00Z",
    "purposes": [{"Id": "news", "TransactionType": "CONFIRMED"}, {"Id": "ads", "TransactionType": "WITHDRAWN"}],
}
EVENT = {
    "messageId": "m1",
    "userId": "u1",
    "anonymousId": "a1",
    "timestamp": "2026-03-01T00:00:00Z",
    "properties": {"page": "secret", "gpp": "DBABM"},
    "context": {
        "consent": {"categoryPreferences": {"Advertising": True}, "tcString": "CPXxRfAPXxRfA"},
        "consentManagement": {"allowedConsentIds": ["C1"], "deniedConsentIds": ["C2"]},
    },
}


def _rows(feed: str, line: dict[str, Any]) -> list[dict[str, str | None]]:
    return list(FEEDS[feed](line))


def test_a_receipt_is_handed_on_whole_for_every_identifier_it_names() -> None:
    rows = _rows("onetrust", {**RECEIPT, "additionalIdentifiers": {"Phone": "+447700900001"}})
    assert [(row["identifier_type"], row["identifier"]) for row in rows] == [
        ("email", ADDRESS),
        ("phone", "+447700900001"),
    ]
    assert {row["event_id"] for row in rows} == {"r1:email", "r1:phone"}
    assert json.loads(rows[0]["payload"] or "")["purposes"] == RECEIPT["purposes"]


def test_a_cookie_is_handed_on_as_it_came() -> None:
    (row,) = _rows(
        "cookiebot", {"cookie": "%7Bstamp:%27a%27%7D", "identifier": "42", "identifier_type": "customer_number"}
    )
    assert (row["payload"], row["identifier_type"], row["identifier"]) == (
        "%7Bstamp:%27a%27%7D",
        "customer_number",
        "42",
    )
    (anonymous,) = _rows("cookiebot", {"cookie": "-1"})
    assert anonymous["identifier"] is None and anonymous["event_id"]


@pytest.mark.parametrize(
    ("feed", "payload"),
    [
        ("segment_consent", {"context": {"consent": EVENT["context"]["consent"]}}),  # type: ignore[index]
        ("rudderstack_consent", {"context": {"consentManagement": EVENT["context"]["consentManagement"]}}),  # type: ignore[index]
    ],
)
def test_of_an_event_only_its_consent_object_goes_on(feed: str, payload: dict[str, Any]) -> None:
    user, anonymous = _rows(feed, EVENT)
    assert (user["identifier_type"], anonymous["identifier_type"]) == ("user_id", "anonymous_id")
    assert user["event_id"] != anonymous["event_id"]
    assert json.loads(user["payload"] or "") == {**payload, "timestamp": "2026-03-01T00:00:00Z"}
    assert user["effective_at"] == "2026-03-01T00:00:00Z"


def test_strings_are_found_in_every_place_that_events_have_for_them() -> None:
    assert [row["payload"] for row in _rows("tcf", EVENT)] == ["CPXxRfAPXxRfA"] * 2
    assert [row["payload"] for row in _rows("gpp", EVENT)] == ["DBABM"] * 2


def test_mparticle_is_found_by_its_own_id() -> None:
    state = {"gdpr": {"ads": {"consented": True, "timestamp_unixtime_ms": 1_740_000_000_000}}}
    (row,) = _rows("mparticle_consent", {"mpid": "7", "consent_state": state})
    assert (row["identifier_type"], json.loads(row["payload"] or "")) == ("mpid", {"consent_state": state})


@pytest.mark.parametrize("feed", ["segment_consent", "rudderstack_consent", "mparticle_consent", "tcf", "gpp"])
def test_an_event_that_says_nothing_of_consent_gives_nothing(feed: str) -> None:
    assert _rows(feed, {"userId": "u1", "event": "viewed", "context": {"page": {}}}) == []


@pytest.mark.parametrize(
    ("feed", "line"),
    [
        ("onetrust", {"identifier": 5}),
        ("onetrust", {"purposes": [{"Id": "news"}]}),
        ("cookiebot", {"cookie": 5}),
        ("segment_consent", {"context": {"consent": {}}}),
    ],
)
def test_a_line_that_is_not_of_the_feed_is_not_taken(feed: str, line: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        _rows(feed, line)


def test_files_of_feeds_are_read_and_resumed_like_any_other(tmp_path: Path) -> None:
    lines = [json.dumps({**RECEIPT, "receiptId": f"r{n}"}) for n in range(5)] + ['{"identifier": 5}', "no json"]
    (tmp_path / "receipts.jsonl").write_text("\n".join(lines))
    stream = FileStream.model_validate({"path": "receipts.jsonl", "format": "onetrust"})
    source = Files(FilesConfig(folder=tmp_path), streams={"receipts": stream})
    assert set(COLUMNS) <= set(source.discover()[0].schema.names)
    rows, _ = read(source, "receipts")
    assert [row["_malformed"] for row in rows] == [None] * 5 + ['{"identifier": 5}', "no json"]
    assert {row["event_id"] for row in rows[:5]} == {f"r{n}:email" for n in range(5)}
