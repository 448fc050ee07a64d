"""Read one report of Google Analytics 4, window of days by window of days, so that a later read replaces this one.

Figures change for about three days (airbyte #26054, #21153), and with them the combinations of dimensions that
there are. A state remembers the combinations of the last days; those that do not come again are withdrawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from consentry.connectors.base import Page, State
from consentry.connectors.ga4_report import FLAGS, Report, rows_of
from consentry.errors import SourceFailed

# Combinations of the last days that are remembered.
KEYS_MAX = 50_000
# How often a window is begun anew because rows moved between its pages.
RESTARTS = 5
# Runs the report over some days, from an offset.
Run = Callable[[date, date, int], Report]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A report: its stream's name, its dimensions (date first), its metrics, and how its days are read.

    last: the last day that is over. refetch: how many days before it may still change. window: days of one request.
    """

    name: str
    dimensions: tuple[str, ...]
    metrics: tuple[str, ...]
    start: date
    last: date
    refetch: int
    window: int

    def schema(self) -> pa.Schema:
        """Return the columns of a row."""
        return report_schema(self.dimensions, self.metrics)


def report_schema(dimensions: tuple[str, ...], metrics: tuple[str, ...]) -> pa.Schema:
    """Return the columns of a report: dimensions, metrics, what is incomplete about it, whether it is withdrawn."""
    text = [(name, pa.string()) for name in (*dimensions, *metrics)]
    return pa.schema([*text, *FLAGS.items(), ("withdrawn", pa.bool_())])


class Read:
    """One read of one report; its state is plain JSON and stands in every page.

    until: the last day of a read that ended. keys: the combinations it left for days that may change.
    next: the first day of the window. to, offset, rows: how far the window is read. fresh: the combinations of this
    read up to the window, seen: those of the window.
    """

    def __init__(self, wanted: Wanted, state: State, run: Run) -> None:
        self._wanted, self._run = wanted, run
        self._state: dict[str, Any] = {"keys": [], "fresh": [], "seen": [], **state}
        self._compared = {key[0] for key in self._state["keys"]}
        if "next" not in self._state:
            self._state["next"] = self._first(state).isoformat()

    def _first(self, state: State) -> date:
        if "until" not in state:
            return self._wanted.start
        behind = date.fromisoformat(state["until"]) + timedelta(days=1)
        return max(behind - timedelta(days=self._wanted.refetch), self._wanted.start)

    def pages(self) -> Iterator[Page]:
        """Go through the windows that are left up to the last day."""
        while (first := date.fromisoformat(self._state["next"])) <= self._wanted.last:
            known = self._state.get("to")
            end = min(
                date.fromisoformat(known) if known else first + timedelta(days=self._wanted.window - 1),
                self._wanted.last,
            )
            self._state["to"] = end.isoformat()
            yield from self._window(first, end)
            yield self._closed(first, end)

    def _window(self, first: date, end: date) -> Iterator[Page]:
        begun = 0
        while "rows" not in self._state or self._state["offset"] < self._state["rows"]:
            report = self._run(first, end, self._state.get("offset", 0))
            if self._state.get("rows", report.total) != report.total:
                begun += 1
                if begun > RESTARTS:
                    raise self._failed("changes faster than it can be read. Make window_days smaller", "moving_rows")
                # What the window gave so far is given again, and replaces itself by its key.
                del self._state["rows"], self._state["offset"]
                self._state["seen"] = []
                continue
            yield self._page(report)

    def _page(self, report: Report) -> Page:
        rows = rows_of(report)
        offset = self._state.get("offset", 0) + len(rows)
        if not rows and offset < report.total:
            raise self._failed("came with rows left out. Run again", "short_page")
        keys = [[row[name] for name in self._wanted.dimensions] for row in rows if self._is_kept(row["date"])]
        self._state |= {"offset": offset, "rows": report.total, "seen": [*self._state["seen"], *keys]}
        if len(self._state["seen"]) + len(self._state["fresh"]) > KEYS_MAX:
            raise self._failed(
                f"has more than {KEYS_MAX:,} combinations in the days that may change, too many to notice which of "
                "them vanish. Take dimensions out, or lower refetch_days",
                "too_many_keys",
            )
        return self._as_page(rows, self._state, withdrawn=False)

    def _may_change(self, day: str) -> bool:
        return day > (self._wanted.last - timedelta(days=self._wanted.refetch)).isoformat()

    def _is_kept(self, day: str) -> bool:
        """Tell whether the combinations of a day are needed: for this window's comparison, or for the next read."""
        return self._may_change(day) or day in self._compared

    def _closed(self, first: date, end: date) -> Page:
        """End a window: withdraw what the last read left in it and this one did not find."""
        found = {tuple(key) for key in self._state["seen"]}
        zeros = dict.fromkeys(self._wanted.metrics, "0")
        window = (first.isoformat(), end.isoformat())
        gone = [key for key in map(tuple, self._state["keys"]) if window[0] <= key[0] <= window[1] and key not in found]
        fresh = [*self._state["fresh"], *(key for key in self._state["seen"] if self._may_change(key[0]))]
        rows = [{**dict(zip(self._wanted.dimensions, key, strict=True)), **zeros} for key in gone]
        following = (end + timedelta(days=1)).isoformat()
        if end >= self._wanted.last:
            page = self._as_page(rows, {"until": end.isoformat(), "keys": fresh}, withdrawn=True)
        else:
            page = self._as_page(rows, {"keys": self._state["keys"], "fresh": fresh, "next": following}, withdrawn=True)
        self._state = {"keys": [], "fresh": [], "seen": [], "next": following, **page.state}
        return page

    def _as_page(self, rows: Sequence[Mapping[str, Any]], state: State, *, withdrawn: bool) -> Page:
        marked = [{**row, "withdrawn": withdrawn} for row in rows]
        return Page(pa.RecordBatch.from_pylist(marked, self._wanted.schema()), dict(state))

    def _failed(self, what: str, code: str) -> SourceFailed:
        return SourceFailed(f"The Google Analytics report {self._wanted.name!r} {what}.", code=code)
