"""Sum up each customer's orders as the models of repeat purchases want them, as of one instant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from consentry.model.names import quoted
from consentry.segments.bits import Ordinals
from consentry.segments.catalog import Catalog
from consentry.segments.features import event_table
from consentry.segments.models.asof import observe
from consentry.segments.models.clv import Customers
from consentry.segments.models.definition import Clv, Definition
from consentry.segments.people import ORDINALS
from consentry.warehouse import Warehouse

_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Summed:
    """Customers and their ordinals, in the same order. days: from the first order of all to the instant."""

    people: Ordinals
    customers: Customers
    days: float


def summed(warehouse: Warehouse, catalog: Catalog, definition: Definition, *, at: datetime) -> Summed:
    """Return the customers of a model at `at`. Orders of one day are one; what is worth nothing is no order."""
    assert definition.clv is not None, "The reader lets no other model of this kind through."
    rows = warehouse.sql(_query(definition.clv), at=at, day=_DAY_US)
    columns = {name: rows[name].to_numpy() for name in rows.column_names}
    people = columns["ordinal"].astype(np.uint32)
    if definition.population is not None:
        asked = replace(definition, features=())
        chosen = np.isin(people, observe(warehouse, catalog, asked, at=at).people)
        columns, people = {name: column[chosen] for name, column in columns.items()}, people[chosen]
    day = int(at.timestamp() * 1_000_000) // _DAY_US
    first, last = columns["first_day"].astype(np.float64), columns["last_day"].astype(np.float64)
    x, m = columns["again"].astype(np.float64), np.nan_to_num(columns["worth"].astype(np.float64))
    return Summed(people, Customers(x, last - first, day - first, m), float(max(day - first, default=0.0)))


def _query(clv: Clv) -> str:
    value = f"CAST({quoted(clv.value)} AS DOUBLE)"
    days = (
        f"SELECT person_id, epoch_us(occurred_at) // $day AS day, sum({value}) AS worth FROM {event_table(clv.event)}"
        f" WHERE occurred_at <= $at AND isfinite({value}) AND {value} > 0 GROUP BY ALL"
    )
    firsts = f"SELECT *, min(day) OVER (PARTITION BY person_id) AS first_day FROM ({days})"
    return (
        "SELECT o.ordinal, count(*) - 1 AS again, any_value(d.first_day) AS first_day, max(d.day) AS last_day,"
        f" avg(d.worth) FILTER (WHERE d.day > d.first_day) AS worth FROM ({firsts}) AS d"
        f" JOIN {ORDINALS} AS o ON o.person_id = CAST(d.person_id AS VARCHAR) GROUP BY o.ordinal ORDER BY o.ordinal"
    )
