"""What platforms send, as tests make it, and the policy that understands their words."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from consent_town import POLICY

from consentry.consent.policy import Policy
from consentry.consent.signals.read import read_signal
from consentry.consent.signals.rows import SignalBlock

SIGNALS = (
    POLICY.replace(
        "    ttl: P6M\n", "    ttl: P6M\n    sale_or_sharing: true\n    alias: [{tcf: [1, 3]}, 'cookiebot:marketing']\n"
    )
).replace(
    'alias: ["segment:Newsletter"]', 'alias: ["segment:Newsletter", "onetrust:p-1", "klaviyo:email", "hubspot:7"]'
)
ROW = {
    "identifier_type": "email",
    "identifier_value": "ann@example.com",
    "source_event_id": "e1",
    "source_system": "cmp",
}


def block(kind: str, **more: Any) -> SignalBlock:
    return SignalBlock.model_validate({"type": kind, **({"vendor": 12} if kind == "tcf" else {}), **more})


def said(ours: Policy, kind: str, payload: object, **row: object) -> dict[str, str]:
    """Return {purpose: state} of a payload."""
    text = payload if isinstance(payload, str) else json.dumps(payload)
    rows = list(read_signal({**ROW, **row, "payload": text}, block(kind), ours))
    return {str(one["purpose"]): str(one["state"]) for one in rows}


class Writer:
    """Write bit strings as the IAB does."""

    def __init__(self) -> None:
        self.bits = ""

    def add(self, *fields: tuple[int, int]) -> Writer:
        self.bits += "".join(f"{value:0{size}b}" for value, size in fields)
        return self

    def text(self) -> str:
        padded = self.bits + "0" * (-len(self.bits) % 6)
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        return "".join(letters[int(padded[n : n + 6], 2)] for n in range(0, len(padded), 6))


def tcf_string(
    created: datetime, purposes: Collection[int] = frozenset({1, 3}), vendors: tuple[int, ...] = (12,),
    disclosed: tuple[int, ...] | None = (12,),
) -> str:  # fmt: skip
    at = int(created.timestamp() * 10)
    field = sum(1 << (24 - number) for number in purposes)
    core = Writer().add((2, 6), (at, 36), (at, 36), (1, 12), (1, 12), (1, 6), (0, 12), (1, 12), (4, 6), (0, 2), (0, 12))
    core.add((field, 24), (0, 24), (0, 1), (0, 12), (20, 16), (0, 1), (sum(1 << (20 - v) for v in vendors), 20))
    segments = [core.text()]
    if disclosed is not None:
        ranges = Writer().add((1, 3), (20, 16), (1, 1), (len(disclosed), 12))
        for vendor in disclosed:
            ranges.add((0, 1), (vendor, 16))
        segments.append(ranges.text())
    return ".".join(segments)


OLD, BOUNDARY = datetime(2026, 2, 27, tzinfo=UTC), datetime(2026, 2, 28, tzinfo=UTC)
