"""What a destination receives: rows that the consent gate let through, sealed by it.

A `Batch` carries a seal, a keyed hash over its contents. Only the gate holds the key, and delivery checks the
seal before any connector sees the batch, so that neither a segment nor a connector can make one of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Value = str | int | float | bool | None
Operation = Literal["add", "change", "remove"]


@dataclass(frozen=True, slots=True)
class Row:
    """One person in one batch; identifiers and fields stand as the policy transformed them.

    remote_id: what the destination called this person when it last acknowledged a row, if it did.
    decision: the reason code under which the gate let the row through.
    """

    person_id: str
    identifiers: Mapping[str, str] = field(repr=False)
    fields: Mapping[str, Value] = field(repr=False)
    remote_id: str | None = None
    decision: str = "allow"


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one operation for one audience of one destination."""

    batch_id: str
    destination: str
    audience: str
    purpose: str
    operation: Operation
    rows: tuple[Row, ...]
    seal: bytes = field(default=b"", repr=False)

    def digest(self, key: bytes) -> bytes:
        """Return the HMAC-SHA-256 of everything in the batch but its seal."""
        mac = hmac.new(key, digestmod=hashlib.sha256)
        head = [self.batch_id, self.destination, self.audience, self.purpose, self.operation]
        mac.update(json.dumps(head).encode())
        for row in self.rows:
            body = [row.person_id, dict(row.identifiers), dict(row.fields), row.remote_id, row.decision]
            mac.update(b"\n" + json.dumps(body, sort_keys=True).encode())
        return mac.digest()


def payload_hash(key: bytes, row: Row, mapping: str) -> str:
    """Name the content of a row for comparison with what was acknowledged.

    Keyed, because a plain hash of a payload with a phone number in it can be reversed by trying all numbers.
    mapping: a name of the field mapping in force; a changed mapping is a changed payload.
    """
    body = [dict(row.identifiers), dict(row.fields), mapping]
    return hmac.new(key, json.dumps(body, sort_keys=True).encode(), hashlib.sha256).hexdigest()[:32]
