"""Calls of the tracking API: what is taken reads back as it was sent, what is malformed is refused with a sentence."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.connectors.file_formats import MALFORMED, read_file
from consentry.connectors.segment_calls import MAX_BATCH, MAX_CALL, Malformed, lines_of
from consentry.connectors.segment_events import flatten

NOW = datetime(2026, 11, 23, 4, 30, tzinfo=UTC)
TRACK: dict[str, Any] = {"type": "track", "messageId": "m-1", "userId": "7", "event": "Order Completed"}


def batch(*calls: object, **more: object) -> bytes:
    return json.dumps({"batch": calls, **more}).encode()


def taken(body: bytes, kind: str | None = None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines_of(body, kind, now=NOW)]


def test_a_call_is_kept_as_it_was_sent_but_for_the_write_key() -> None:
    sent = TRACK | {"timestamp": "2026-11-01T10:00:00Z", "properties": {"value": 12.5, "name": "Grüße"}, "extra": [1]}
    assert taken(json.dumps(sent | {"writeKey": "secret"}).encode(), "track") == [sent]


def test_the_address_tells_the_type_of_a_single_call() -> None:
    assert taken(json.dumps({"messageId": "m", "userId": 7}).encode(), "identify")[0]["type"] == "identify"


@pytest.mark.parametrize(
    ("given_time", "kept"),
    [
        ({}, "2026-11-23T04:30:00.000+00:00"),
        ({"timestamp": None}, "2026-11-23T04:30:00.000+00:00"),
        ({"originalTimestamp": "2026-11-01T10:00:00Z"}, "2026-11-01T10:00:00Z"),
        ({"originalTimestamp": "2026-11-01T10:00:00Z", "timestamp": "2026-11-02T10:00:00+02:00"},
         "2026-11-02T10:00:00+02:00"),
    ],
)  # fmt: skip
def test_a_call_without_a_time_gets_that_of_its_arrival(given_time: dict[str, Any], kept: str) -> None:
    assert taken(batch(TRACK | given_time))[0]["timestamp"] == kept


def test_the_context_of_a_batch_is_that_of_its_calls_where_they_have_no_other() -> None:
    own = TRACK | {"context": {"ip": "192.0.2.1"}}
    found = taken(batch(TRACK, own, context={"ip": "192.0.2.9", "locale": "de"}))
    assert [call["context"] for call in found] == [
        {"ip": "192.0.2.9", "locale": "de"},
        {"ip": "192.0.2.1", "locale": "de"},
    ]


def call(**changes: Any) -> dict[str, Any]:
    """Return a call with changes; what is changed to ... is left out."""
    return {name: value for name, value in (TRACK | changes).items() if value is not ...}


BAD_BODIES = [b"", b"{", b"[]", b"null", b"7", b'"x"', b"\xff{}", b"[" * 100_000, b"{} {}"]
BAD_BATCHES = [
    {}, {"batch": None}, {"batch": []}, {"batch": {}}, {"batch": TRACK}, {"batch": [TRACK], "context": "x"},
    {"batch": [TRACK, None]}, {"batch": [[TRACK]]}, {"batch": ["canary@example.com"]},
]  # fmt: skip
BAD_CALLS = [
    call(type=...), call(type="Track"), call(type=7), call(type=["track"]), call(type="delete"),
    call(messageId=...), call(messageId=None), call(messageId=""), call(messageId=7), call(messageId="m" * 101),
    call(userId=...), call(userId=None), call(userId=""), call(userId=True), call(userId=1.5), call(userId=["7"]),
    call(userId={"id": "canary@example.com"}), call(anonymousId=["a"]),
    call(event=...), call(event=""), call(event=None), call(event=7), call(event={}),
    call(timestamp="yesterday"), call(timestamp="2015-2-02T00:30:12Z"), call(timestamp=1_700_000_000),
    call(timestamp=""), call(originalTimestamp="canary@example.com"), call(timestamp={}),
    call(properties="x"), call(properties=[1]), call(traits="canary@example.com"), call(context=[1]), call(context="x"),
    call(event="a\0b"), call(properties={"a": "\0"}), call(properties={"a\0": 1}), call(userId="\ud800"),
    call(properties={"a": {"\udfff": 1}}), call(properties={"a": float("nan")}), call(properties={"a": float("inf")}),
    call(properties={"text": "x" * MAX_CALL}),
]  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [*BAD_BODIES, *(json.dumps(message).encode() for message in BAD_BATCHES), *(batch(bad) for bad in BAD_CALLS)],
)
def test_what_is_malformed_is_refused_with_a_sentence_that_quotes_nothing(body: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        lines_of(body, None, now=NOW)
    assert str(caught.value).endswith(".")
    assert "canary" not in str(caught.value)


def test_one_bad_call_refuses_its_whole_batch_and_is_named_by_its_place() -> None:
    with pytest.raises(Malformed, match=r"Call 3 of the batch needs a 'messageId'"):
        lines_of(batch(TRACK, TRACK, call(messageId=...), TRACK), None, now=NOW)


def test_a_number_that_no_float_holds_is_refused() -> None:
    with pytest.raises(Malformed, match="cannot spell"):
        lines_of(batch(call(properties={"a": 0})).replace(b'"a": 0', b'"a": 1e999'), None, now=NOW)


def test_the_largest_call_of_the_libraries_is_taken() -> None:
    room = MAX_CALL - len(json.dumps(TRACK | {"timestamp": "2026-11-01T10:00:00.000+00:00", "properties": {"x": ""}}))
    sent = TRACK | {"timestamp": "2026-11-01T10:00:00.000+00:00", "properties": {"x": "x" * room}}
    assert len(json.dumps(sent)) == MAX_CALL
    assert taken(batch(sent)) == [sent]


def test_the_context_of_a_batch_cannot_make_much_of_little() -> None:
    with pytest.raises(Malformed, match="longer than"):
        lines_of(batch(*[TRACK] * 1_000, context={"x": "x" * (MAX_BATCH // 500)}), None, now=NOW)


TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {"messageId": TEXT, "userId": TEXT | st.integers(), "type": st.sampled_from(["track", "page", "identify"])},
        optional={
            "event": TEXT, "name": JSON, "anonymousId": TEXT, "properties": st.dictionaries(TEXT, JSON, max_size=3),
            "traits": st.dictionaries(TEXT | st.just("email"), JSON, max_size=3), "context": JSON, "other": JSON,
        },
    )
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_what_is_taken_is_read_back_as_what_was_sent(sent: dict[str, Any]) -> None:
    try:
        lines = lines_of(batch(sent), None, now=NOW)
    except Malformed:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events-1.jsonl"
        path.write_bytes(b"".join(lines))
        (row,) = [row for records in read_file(path, "segment") for row in records.to_pylist()]
    assert row.pop(MALFORMED) is None
    assert row == flatten(sent | {"timestamp": "2026-11-23T04:30:00.000+00:00"})
