"""What a sync is: which segment is kept in step with which audience, how, and within which limits."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from consentry.config import Model, Name
from consentry.consent.gate import Target

Mode = Literal["mirror", "upsert", "update_only"]


class Guards(Model):
    """How much one run may change before it stops and asks; removals for want of consent are never held back.

    max_creates, max_deletes: people added, or taken out because they left the segment. max_delete_pct: the same
    in per cent of the people the audience holds, looked at once more than `delete_floor` people would go.
    """

    max_creates: int | None = Field(default=None, ge=0)
    max_deletes: int | None = Field(default=None, ge=0)
    max_delete_pct: float = Field(default=30, ge=0, le=100)
    delete_floor: int = Field(default=10, ge=0)


class Sync(Model):
    """One segment kept in step with one audience of one destination, for one purpose.

    mode: `mirror` adds, changes and removes; `upsert` never removes who left the segment; `update_only` adds
    nobody. Whoever takes consent back is removed in every mode.
    identifiers: canonical columns by which the destination knows a person. fields: its name of a field -> ours.
    batch_size: rows in one call, when fewer than the destination takes. min_size: the smallest audience to send.
    """

    name: Name
    segment: Name
    destination: Name
    audience: str = Field(min_length=1, max_length=255)
    purpose: str = Field(min_length=1, max_length=255)
    mode: Mode = "mirror"
    identifiers: tuple[str, ...] = Field(min_length=1)
    fields: dict[str, str] = Field(default_factory=dict)
    guards: Guards = Guards()
    batch_size: int | None = Field(default=None, ge=1)
    min_size: int = Field(default=0, ge=0)

    def target(self) -> Target:
        """Name this sync to the consent gate."""
        return Target(
            name=self.name,
            destination=self.destination,
            purpose=self.purpose,
            audience=self.audience,
            identifiers=self.identifiers,
            fields=self.fields,
        )
