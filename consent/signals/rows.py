"""What every reader of a signal gets and gives: settings of a stream, and rows shaped like clean.consent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from consentry.config import Model
from consentry.consent.policy import Policy
from consentry.consent.rules import CHILD

MAX_PAYLOAD = 200_000
MAX_PURPOSES = 200
# No policy names this purpose: such a row is kept as a denial for no purpose, and counted.
UNREADABLE = "#unreadable"
Kind = Literal[
    "onetrust", "cookiebot", "tcf", "gpp", "gpc", "segment", "rudderstack", "mparticle", "hubspot", "klaviyo"
]
Row = dict[str, object]


class SignalBlock(Model):
    """How a consent stream's column `payload` is read.

    vendor: our id in the Global Vendor List, for TCF. What the payload does not say is filled from here: the regime,
    and the notice that people were shown, without which a grant has no effect. keep: the payload itself is kept as
    evidence, under a key of the person alone.
    """

    type: Kind
    vendor: int | None = Field(default=None, ge=1, le=65_535)
    regime: str | None = Field(default=None, max_length=16)
    notice_id: str | None = Field(default=None, max_length=255)
    notice_version: int | None = Field(default=None, ge=1)
    mechanism: str | None = Field(default=None, max_length=255)
    keep: bool = False

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.type == "tcf" and self.vendor is None:
            raise ValueError("a TCF signal needs 'vendor': our id in the Global Vendor List")
        return self


@dataclass(frozen=True, slots=True)
class Sent:
    """One payload as it came: the stream's canonical columns, its settings, and the policy whose purposes it means."""

    row: Mapping[str, object]
    payload: str
    block: SignalBlock
    policy: Policy

    def __repr__(self) -> str:
        return f"Sent({self.block.type}, {len(self.payload)} characters)"

    @property
    def event_id(self) -> str:
        """Return the source's id of the payload, or a hash of it and of whose it is."""
        given = self.row.get("source_event_id")
        if given:
            return str(given)
        whose = [self.payload, *(str(self.row.get(name)) for name in ("identifier_value", "effective_at"))]
        return hashlib.sha256("\x1f".join(whose).encode("utf-8", "replace")).hexdigest()[:32]

    @property
    def sold_for(self) -> list[str]:
        """Return the purposes that an opt-out of sale, sharing or targeted advertising ends."""
        return [name for name, purpose in self.policy.purposes.items() if purpose.sale_or_sharing]

    def says(self, purpose: str, state: str, **facts: object) -> Row:
        """Return one row of the ledger; facts that are None are taken from the stream's row or its settings."""
        told = {name: value for name, value in facts.items() if value is not None}
        base: Row = {
            "method": "explicit",
            "mechanism": self.block.mechanism or self.block.type,
            "regime": self.block.regime,
            "notice_id": self.block.notice_id,
            "notice_version": self.block.notice_version,
        }
        if self.block.keep:
            base["evidence"] = self.payload
        base |= {name: value for name, value in self.row.items() if value is not None and name != "payload"}
        name = f"{self.event_id}:{purpose}"
        return {**base, **told, "purpose": purpose, "state": state, "source_event_id": name}

    def unreadable(self) -> Iterator[Row]:
        """Yield the row of a payload that cannot be read: a denial for no purpose, which is counted."""
        yield self.says(UNREADABLE, "denied")

    def child(self) -> Row:
        """Return the row that says that this is a child."""
        return self.says(CHILD, "objected")

    # JSON holds anything until a reader has looked.
    def json(self) -> Any:
        """Return the payload as JSON, or None when it is none."""
        try:
            return json.loads(self.payload)
        except (ValueError, RecursionError):
            return None


def at_millis(value: object) -> str | None:
    """Write an instant given in milliseconds since 1970, None for what is not that."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 10**14:
        return None
    return datetime.fromtimestamp(value / 1000, UTC).isoformat()


def only_text(value: object) -> str | None:
    """Return a text, None for anything else."""
    return value if isinstance(value, str) and value else None
