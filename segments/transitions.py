"""Who moved from one stage of a group to another: the changes of a group's segments, as one row a move."""

from __future__ import annotations

from collections.abc import Sequence

from consentry.segments.membership import CHANGE
from consentry.segments.segment import Segment
from consentry.warehouse import Warehouse

PLACE = "segment.place"
TRANSITION = "segment.transition"


def make_tables(warehouse: Warehouse) -> None:
    """Make the table of groups where it is not there yet, and the view segment.transition over their changes."""
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {PLACE} (segment TEXT, group_name TEXT)")
    moves = f'SELECT c.run_id, c.person_id, c."at", c.segment, p.group_name FROM {CHANGE} c'
    moves += f" JOIN {PLACE} p USING (segment)"
    warehouse.sql(
        f"CREATE OR REPLACE VIEW {TRANSITION} AS SELECT run_id, group_name, person_id, x.segment AS from_segment,"
        ' e.segment AS to_segment, coalesce(e."at", x."at") AS "at"'
        f" FROM ({moves} WHERE c.change = 'exit') AS x FULL JOIN ({moves} WHERE c.change = 'enter') AS e"
        " USING (run_id, group_name, person_id)"
    )


def note_groups(warehouse: Warehouse, segments: Sequence[Segment]) -> None:
    """Note which segments belong to which group."""
    places = {s.name: group for s in segments if (group := s.group.group if s.group else s.fallback_of)}
    warehouse.sql(f"DELETE FROM {PLACE} WHERE segment IN (SELECT unnest($names))", names=[s.name for s in segments])
    for name, group in places.items():
        warehouse.sql(f"INSERT INTO {PLACE} VALUES ($name, $group)", name=name, group=group)
