"""The `similar` block of a job's `identity`: whether and how records that are alike become one person."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from consentry.config import Model, Name
from consentry.identity.roles import RoleName


class SimilarRules(Model):
    """How records that share no identifier are recognised as one person; an empty block is a working one.

    columns: which column of the customer records has which meaning; those called like a meaning need no mention.
    model: a file of trained weights; without it the default model is fitted to the records of each run.
    cut: the mean probability, over all pairs of records, from which two groups are one person.
    pair: the sum of these probabilities that joining takes at least, so the threshold for two single records.
    largest_block, pairs_per_record: records that one blocking key may have in common, and pairs that one blocking
    rule may give for each record; what is beyond is not compared.
    duplicate_free: sources in which nobody stands twice.
    """

    columns: dict[RoleName, Name] = Field(default_factory=dict)
    model: Path | None = None
    cut: float = Field(default=0.15, gt=0, le=1)
    pair: float = Field(default=0.5, gt=0, le=1)
    largest_block: int = Field(default=200, ge=2)
    pairs_per_record: int = Field(default=8, ge=1)
    duplicate_free: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _cut_is_the_lower(self) -> SimilarRules:
        if self.cut > self.pair:
            raise ValueError("'cut' is above 'pair': two records would merge more easily than two groups")
        return self
