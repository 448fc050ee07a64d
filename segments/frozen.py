"""Static segments: who is in them is decided once, and anew only when the rule changes.

Whoever leaves the profile is out of them; whoever comes back is in again. Nobody else ever enters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
from pyroaring import BitMap

from consentry.segments.atoms import Population
from consentry.segments.bits import Bits, ordinals_of
from consentry.segments.segment import Segment
from consentry.segments.spell import spell
from consentry.warehouse import Warehouse

FROZEN = "segment.frozen"


def frozen(warehouse: Warehouse, segments: Sequence[Segment]) -> dict[str, BitMap]:
    """Return who is in each static segment that was decided by the rule it has now, by ordinal."""
    if not warehouse.has(FROZEN):
        return {}
    rules = _rules(segments)
    rows = warehouse.sql(f"SELECT segment, rule, members FROM {FROZEN}").to_pylist()
    return {
        row["segment"]: BitMap.deserialize(row["members"]) for row in rows if rules.get(row["segment"]) == row["rule"]
    }


def freeze(warehouse: Warehouse, segments: Sequence[Segment], members: Mapping[str, BitMap], *, now: datetime) -> None:
    """Keep who is in the static segments that were decided just now; part of the transaction that publishes."""
    known, rules = frozen(warehouse, segments), _rules(segments)
    if not rules and not warehouse.has(FROZEN):
        return
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {FROZEN} (segment TEXT, rule TEXT, frozen_at TIMESTAMPTZ, members BLOB)")
    warehouse.sql(f"DELETE FROM {FROZEN} WHERE segment NOT IN (SELECT unnest($known))", known=list(known))
    for name in rules.keys() - known.keys():
        warehouse.sql(
            f"INSERT INTO {FROZEN} VALUES ($segment, $rule, $now, $members)",
            segment=name,
            rule=rules[name],
            now=now,
            members=members[name].serialize(),
        )


def bits_of(members: BitMap, population: Population) -> Bits:
    """Return the bits of people in a population, or of the chosen of it."""
    mask = np.zeros(population.size, dtype=np.bool_)
    ordinals = ordinals_of(members)
    if population.places is None:
        mask[ordinals[ordinals < population.size]] = True
    else:
        mask[:] = np.isin(population.places, ordinals)
    return Bits.of(mask)


def _rules(segments: Sequence[Segment]) -> dict[str, str]:
    return {segment.name: spell(segment.rule) for segment in segments if segment.static and segment.rule is not None}
