"""Ids are UUIDv7: unique, and sorted as they were made."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from consentry.model.ids import uuid7s


@given(st.integers(0, 200), st.integers(0, 2**48 - 1))
def test_ids_are_version_7_and_sorted(count: int, millis: int) -> None:
    ids = uuid7s(count, at_ms=millis)
    assert len(set(ids)) == count
    assert ids == sorted(ids)
    for text in ids:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, parsed.int >> 80) == (7, uuid.RFC_4122, millis)
