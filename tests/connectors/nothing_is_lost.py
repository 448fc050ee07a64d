"""Nothing is lost: whatever goes wrong, in whatever order, the reads that follow end in the same table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from consentry.connectors.base import State
from consentry.connectors.landing import StreamSpec, land
from consentry.errors import ConsentryError
from consentry.testing import SourceContract
from consentry.warehouse import DuckDBWarehouse

# What passes is met once or twice; what stays is met more often than a client tries, and ends the read.
FAULTS: list[dict[str, Any]] = [
    {"kind": "rate_limited", "retry_after": "1"},
    {"kind": "rate_limited", "retry_after": "date"},
    {"kind": "rate_limited", "retry_after": "3600"},
    {"kind": "rate_limited", "retry_after": None},
    {"kind": "rate_limited", "retry_after": None, "times": 20},
    {"kind": "daily_limit", "times": 20},
    {"kind": "server_error", "status": 503, "times": 20},
    {"kind": "server_error", "status": 500},
    {"kind": "reset"},
    {"kind": "reset", "times": 20},
    {"kind": "lost_answer", "seconds": 0.01},
    {"kind": "truncated"},
    {"kind": "truncated", "times": 20},
    {"kind": "garbage"},
    {"kind": "garbage", "times": 20},
    {"kind": "expired_token"},
    {"kind": "expired_token", "times": 20},
    {"kind": "repeated_cursor", "times": 20},
]
# Each read of a schedule meets one fault, after so many requests that went well.
Schedule = list[tuple[dict[str, Any], int]]
_schedules = st.lists(st.tuples(st.sampled_from(FAULTS), st.integers(0, 6)), min_size=1, max_size=4)
_calm = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors, HealthCheck.too_slow]
_unhurried = settings(deadline=None, suppress_health_check=_calm)
# To look for a shorter schedule would take minutes of landings.
_landed = settings(_unhurried, max_examples=6, phases=[Phase.explicit, Phase.generate])
Rows = list[dict[str, Any]]


class NothingIsLost(SourceContract):
    """The contract of sources, and that no schedule of faults and no interrupt changes what they give in the end."""

    def plan(self, **fault: Any) -> None:
        """Plan a fault, whether or not this vendor can have it."""
        self.inject(**fault)

    @settings(_unhurried, max_examples=8)
    @given(schedule=_schedules)
    def test_whatever_goes_wrong_the_reads_that_follow_give_every_record_once(self, schedule: Schedule) -> None:
        whole = self._read_on([], {})[0]
        rows, state, ended = Rows(), dict[str, Any](), False
        for fault, after in schedule:
            self.plan(**fault, after=after)
            rows, state, ended = self._read_on(rows, state)
            self.clear()
            if ended:
                break
        rows = rows if ended else self._read_on(rows, state)[0]
        assert _sorted(rows) == _sorted(whole)

    @settings(_landed, max_examples=1)
    @given(cut=st.integers(1, 8))
    def test_a_landing_that_is_interrupted_at_a_request_and_run_again_has_the_same_table(
        self, cut: int, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        self._land_after_interrupts([cut], tmp_path_factory)

    @pytest.mark.slow
    @settings(_landed)
    @given(cuts=st.lists(st.integers(0, 12), min_size=1, max_size=3))
    def test_a_landing_that_is_interrupted_again_and_again_has_the_same_table(
        self, cuts: list[int], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        self._land_after_interrupts(cuts, tmp_path_factory)

    @pytest.mark.slow
    @settings(_landed)
    @given(schedule=_schedules)
    def test_whatever_goes_wrong_the_landings_that_follow_end_in_the_same_table(
        self, schedule: Schedule, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        folder = tmp_path_factory.mktemp("landed")
        for fault, after in schedule:
            self.plan(**fault, after=after)
            try:
                self._land(folder)
            except ConsentryError:
                continue
            finally:
                self.clear()
            break
        else:
            self._land(folder)
        assert _table(folder) == _sorted(self._read_on([], {})[0])

    def _read_on(self, rows: Rows, state: State) -> tuple[Rows, dict[str, Any], bool]:
        """Read on behind a state; return the rows, the state, and whether the read came to its end."""
        source = self.make()
        try:
            for page in source.read(self._stream(source), state):
                rows, state = [*rows, *page.records.to_pylist()], json.loads(json.dumps(dict(page.state)))
        except ConsentryError:
            return rows, dict(state), False
        return rows, dict(state), True

    def _land_after_interrupts(self, cuts: list[int], folders: pytest.TempPathFactory) -> None:
        folder = folders.mktemp("landed")
        for cut in cuts:
            with suppress(KeyboardInterrupt), _interrupted_at(cut):
                self._land(folder)
                break
        else:
            self._land(folder)
        assert _table(folder) == _sorted(self._read_on([], {})[0])

    def _land(self, folder: Path) -> None:
        source = self.make()
        specs, warehouse = [StreamSpec(self._stream(source).name)], DuckDBWarehouse(folder / "w.duckdb")
        try:
            land(source, name="there", streams=specs, warehouse=warehouse, folder=folder / "dlt", run_id="run")
        finally:
            warehouse.close()


@contextmanager
def _interrupted_at(request: int) -> Iterator[None]:
    """Let the user press Ctrl-C when so many requests were sent."""
    sent, send = 0, httpx.HTTPTransport.handle_request

    def interrupted(self: httpx.HTTPTransport, asked: httpx.Request) -> httpx.Response:
        nonlocal sent
        sent += 1
        if sent > request:
            raise KeyboardInterrupt
        return send(self, asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx.HTTPTransport, "handle_request", interrupted)
        yield


def _table(folder: Path) -> list[str]:
    warehouse = DuckDBWarehouse(folder / "w.duckdb")
    try:
        (table,) = (name for name in warehouse.tables("raw") if name.startswith("raw.there__"))
        rows = warehouse.sql(f"SELECT * EXCLUDE (_run_id, _extracted_at) FROM {table}").to_pylist()
    finally:
        warehouse.close()
    assert len({row.pop("_rid") for row in rows}) == len(rows)
    return _sorted(rows)


def _sorted(rows: Rows) -> list[str]:
    """Return rows as they compare: a column that a table has and a page has not is null in both."""
    known = ({name: value for name, value in row.items() if value is not None} for row in rows)
    return sorted(json.dumps(row, sort_keys=True, default=str) for row in known)
