"""How segments fare: figures by day, cohorts by month, and an alarm when a figure falls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
from pyroaring import BitMap

from consentry.segments.bits import bitmap, ordinals_of
from consentry.segments.catalog import Catalog
from consentry.segments.experiments.definition import Metric
from consentry.segments.experiments.files import Kpi
from consentry.segments.experiments.measure import after
from consentry.segments.experiments.statistics import declined
from consentry.segments.features import event_table
from consentry.segments.membership import CHANGE, MEMBERSHIP, rosters
from consentry.segments.people import ORDINALS
from consentry.warehouse import Warehouse

KPI = "segment.kpi"
_WEEK, _MONTH = 7, 28


def keep_days(
    warehouse: Warehouse,
    catalog: Catalog,
    kpis: Sequence[Kpi],
    *,
    now: datetime,
    days: int,
    members_of_now: bool = False,
) -> int:
    """Write the figures of the last whole days to segment.kpi, one row a day, segment and figure; return how many.

    A day belongs to who was a member at its end, so that days before the first run have none. members_of_now: look at
    today's members on every day instead, which shows the past of a segment as if it had always been the same people.
    """
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {KPI} (day DATE, segment TEXT, kpi TEXT, members BIGINT, total DOUBLE)")
    today = now.astimezone(catalog.zone()).date()
    written = 0
    for back in range(days, 0, -1):
        day = today - timedelta(days=back)
        begin, end = (_midnight(catalog, day + timedelta(days=n)) for n in (0, 1))
        members = rosters(warehouse) if members_of_now else members_at(warehouse, end)
        written += _write_day(warehouse, catalog, kpis, members, day, begin, end)
    return written


def _midnight(catalog: Catalog, day: date) -> datetime:
    return datetime.combine(day, time(), catalog.zone()).astimezone(UTC)


def members_at(warehouse: Warehouse, at: datetime) -> dict[str, BitMap]:
    """Return who was in each segment at an instant, from the changes that runs noted."""
    if not warehouse.has(CHANGE):
        return {}
    query = (
        f'SELECT c.segment, c.change, c."at", list(o.ordinal) AS ordinals FROM {CHANGE} AS c'
        f' JOIN {ORDINALS} AS o USING (person_id) WHERE c."at" <= $at GROUP BY ALL ORDER BY c."at", c.change DESC'
    )
    found: dict[str, BitMap] = {}
    for batch in warehouse.sql(query, at=at).to_batches():
        names, changes = batch.column("segment").to_pylist(), batch.column("change").to_pylist()
        for n, (name, change) in enumerate(zip(names, changes, strict=True)):
            people = bitmap(batch.column("ordinals")[n].values.to_numpy(zero_copy_only=False).astype(np.uint32))
            inside = found.get(name, BitMap())
            found[name] = inside | people if change == "enter" else inside - people
    return found


def _write_day(
    warehouse: Warehouse,
    catalog: Catalog,
    kpis: Sequence[Kpi],
    members: dict[str, BitMap],
    day: date,
    begin: datetime,
    end: datetime,
) -> int:
    some = {name: inside for name, inside in members.items() if inside}
    for kpi in kpis if some else ():
        # After midnight less a microsecond: the first event of the day may lie at midnight itself.
        moment = timedelta(microseconds=1)
        values = after(warehouse, catalog, Metric(kpi.name, None, kpi.value), since=begin - moment, until=end - moment)
        for name, inside in some.items():
            total = round(float(np.nansum(values[ordinals_of(inside)])), 6)
            row = {"day": day, "segment": name, "kpi": kpi.name}
            warehouse.sql(f"DELETE FROM {KPI} WHERE day = $day AND segment = $segment AND kpi = $kpi", **row)
            warehouse.sql(
                f"INSERT INTO {KPI} VALUES ($day, $segment, $kpi, $members, $total)",
                members=len(inside),
                total=total,
                **row,
            )
    return len(kpis) * len(some)


# Rows are plain JSON.
def table_of(warehouse: Warehouse, *, days: int) -> list[dict[str, Any]]:
    """Return the figures of the last days that have any, newest first."""
    if not warehouse.has(KPI):
        return []
    query = (
        f"SELECT day, segment, kpi, members, total, total / members AS a_member FROM {KPI}"
        f" WHERE day > (SELECT max(day) FROM {KPI}) - CAST($days AS INTEGER) ORDER BY day DESC, segment, kpi"
    )
    rows = warehouse.sql(query, days=days).to_pylist()
    return [{**row, "day": row["day"].isoformat(), "a_member": round(row["a_member"], 6)} for row in rows]


def alarms(warehouse: Warehouse, kpis: Sequence[Kpi]) -> Iterator[str]:
    """Yield a sentence for each segment in which a figure a member fell: the last week against the four before it."""
    if not warehouse.has(KPI):
        return
    query = f"SELECT segment, kpi, list(total / members ORDER BY day) AS days FROM {KPI} GROUP BY ALL ORDER BY ALL"
    limits = {kpi.name: kpi.drop for kpi in kpis}
    for row in warehouse.sql(query).to_pylist():
        values = np.array(row["days"][-(_WEEK + _MONTH) :])
        month, week = values[:-_WEEK], values[-_WEEK:]
        if row["kpi"] in limits and declined(month, week, drop=limits[row["kpi"]]):
            fall = 1 - float(week.mean()) / float(month.mean())
            yield (
                f"{row['kpi']} a member of {row['segment']} fell by {fall:.0%}: {week.mean():.4g} a day in the last"
                f" week, {month.mean():.4g} in the four before."
            )


def cohorts(warehouse: Warehouse, segment: str, event: str, *, months: int) -> list[dict[str, Any]]:
    """Return, for the members of a segment by the month of their first event, which share came back in later months.

    event: a name of the catalogue. Month 0 is the month of the first event, and always 1.
    """
    query = (
        "WITH own AS (SELECT e.person_id, date_trunc('month', e.occurred_at) AS month"
        f" FROM {event_table(event)} AS e SEMI JOIN (SELECT person_id FROM {MEMBERSHIP} WHERE segment = $segment) AS m"
        " ON m.person_id = CAST(e.person_id AS VARCHAR) GROUP BY ALL),"
        " first AS (SELECT person_id, min(month) AS cohort FROM own GROUP BY ALL)"
        " SELECT strftime(f.cohort, '%Y-%m') AS cohort, date_diff('month', f.cohort, o.month) AS later,"
        " count(*) AS people FROM own AS o JOIN first AS f USING (person_id) GROUP BY ALL ORDER BY ALL"
    )
    found: dict[str, dict[int, int]] = {}
    for row in warehouse.sql(query, segment=segment).to_pylist():
        found.setdefault(row["cohort"], {})[row["later"]] = row["people"]
    return [
        {
            "cohort": name,
            "people": counts[0],
            "came_back": [round(counts.get(n, 0) / counts[0], 4) for n in range(min(max(counts) + 1, months + 1))],
        }
        for name, counts in found.items()
    ]
