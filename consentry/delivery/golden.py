"""Which golden records does a sync work with, and which imputed values leave where an observed one is missing?

The profile leaves what its contract serves imputed in `identity.golden_served`, of people who may be profiled. An
imputed value was learnt from the golden records that profiling sees, those of other people among them. So only a
destination that sees the same ones gets any: where linking tells its purposes apart from profiling, it gets none.
"""

from __future__ import annotations

from dataclasses import dataclass

from consentry.consent.gate import Gate, Target
from consentry.consent.payload import imputed
from consentry.consent.policy import Policy
from consentry.identity.golden_for import GOLDEN, golden_rows, same_view, told_apart
from consentry.model.names import quoted
from consentry.warehouse import Warehouse

SERVED = "identity.golden_served"


@dataclass(frozen=True, slots=True)
class Golden:
    """The golden records of a sync: a relation to stand in SQL in place of a table, and its columns."""

    relation: str
    columns: tuple[str, ...]


def golden_of(warehouse: Warehouse, gate: Gate, target: Target) -> Golden:
    """Return the golden records for what the destination of a target serves, with imputed values beside them."""
    rows = golden_rows(warehouse, gate.policy.destinations[target.destination].purposes_all_of)
    columns, filled = tuple(warehouse.columns(GOLDEN)), imputed_columns(warehouse, gate.policy, target)
    if not filled:
        return Golden(rows, columns)
    beside = ", ".join(f"i.{quoted(name)} AS {quoted(imputed(name))}" for name in filled)
    relation = f"(SELECT g.*, {beside} FROM {rows} g LEFT JOIN {SERVED} i ON i.person_id = g.person_id)"
    return Golden(relation, (*columns, *map(imputed, filled)))


def imputed_columns(warehouse: Warehouse, policy: Policy, target: Target) -> tuple[str, ...]:
    """Return the columns of a target's fields that may leave with an imputed value, as the last profile was made."""
    profiling, served = policy.file.profiling, warehouse.columns(SERVED)
    if profiling is None or not served:
        return ()
    purposes = policy.destinations[target.destination].purposes_all_of
    if not same_view(told_apart(warehouse), purposes, [profiling.purpose]):
        return ()
    wanted = set(target.fields.values()) - {"person_id"}
    return tuple(name for name in warehouse.columns(GOLDEN) if name in wanted and name in served)
