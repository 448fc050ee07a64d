"""Landing: each record exactly once in raw, whatever breaks on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentry.connectors import landing
from consentry.connectors.base import Check, ConnectorConfig, NoOptions, Page, State, Stream
from consentry.connectors.landing import Landed, StreamSpec, land
from consentry.errors import SourceFailed
from consentry.warehouse import DuckDBWarehouse


class Pages:
    """A source that gives the pages it was made with, and fails where it is told to."""

    Config: ClassVar[type[ConnectorConfig]] = NoOptions

    def __init__(
        self, pages: Sequence[Mapping[str, list[Any]]], *, fail_at: int | None = None, error: Exception | None = None
    ) -> None:
        self.pages, self.fail_at = list(pages), fail_at
        self.error = error or SourceFailed("It broke off.", code="broke_off")

    def check(self) -> Check:
        return Check(True, "It can be read.")

    def discover(self) -> list[Stream]:
        return [Stream("people", ("id",), pa.schema([("id", pa.string())]))]

    def read(self, stream: Stream, state: State) -> Iterator[Page]:
        for number in range(state.get("page", 0), len(self.pages)):
            if number == self.fail_at:
                raise self.error
            yield Page(pa.RecordBatch.from_pydict(dict(self.pages[number])), {"page": number + 1})


def _land(source: Any, folder: Path, mode: Any = "append", warehouse: DuckDBWarehouse | None = None) -> list[Landed]:
    own = warehouse or DuckDBWarehouse(folder / "w.duckdb")
    try:
        spec = StreamSpec("people", mode)
        return land(source, name="crm", streams=[spec], warehouse=own, folder=folder / "dlt", run_id="run-1")
    finally:
        if warehouse is None:
            own.close()


def _ids(folder: Path) -> list[str]:
    warehouse = DuckDBWarehouse(folder / "w.duckdb")
    found = warehouse.sql("SELECT id FROM raw.crm__people ORDER BY _rid")["id"].to_pylist()
    rids = warehouse.sql("SELECT count(DISTINCT _rid) AS n, count(*) AS rows FROM raw.crm__people")
    warehouse.close()
    assert rids["n"] == rids["rows"]
    return found


def _page(*ids: int) -> dict[str, list[Any]]:
    return {"id": [str(id) for id in ids]}


def test_a_second_landing_goes_on_behind_the_first(tmp_path: Path) -> None:
    source = Pages([_page(1, 2), _page(3)])
    assert _land(source, tmp_path) == [Landed("people", 3)]
    source.pages.append(_page(4))
    assert _land(source, tmp_path) == [Landed("people", 1)]
    assert _land(source, tmp_path) == [Landed("people", 0)]
    assert _ids(tmp_path) == ["1", "2", "3", "4"]


def test_what_was_read_before_a_failure_is_kept_with_its_state(tmp_path: Path) -> None:
    source = Pages([_page(1), _page(2), _page(3)], fail_at=2)
    with pytest.raises(SourceFailed, match="It broke off"):
        _land(source, tmp_path)
    source.fail_at = None
    assert _land(source, tmp_path) == [Landed("people", 1)]
    assert _ids(tmp_path) == ["1", "2", "3"]


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(failures=st.lists(st.integers(0, 5), max_size=3))
def test_any_schedule_of_failures_gives_the_same_table(
    failures: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("schedule")
    pages = [_page(2 * n, 2 * n + 1) for n in range(6)]
    for at in failures:
        with suppress(SourceFailed):
            _land(Pages(pages, fail_at=at), folder)
    _land(Pages(pages), folder)
    assert _ids(folder) == [str(n) for n in range(12)]


def test_a_fault_of_a_connector_is_a_sentence_without_values(tmp_path: Path) -> None:
    source = Pages([_page(1)], fail_at=0, error=KeyError("canary@example.com"))
    with pytest.raises(SourceFailed, match="failed with KeyError") as caught:
        _land(source, tmp_path)
    assert "canary" not in f"{caught.value!r} {caught.value.__context__!r}"


def test_a_snapshot_replaces_and_half_a_snapshot_does_not(tmp_path: Path) -> None:
    _land(Pages([_page(1, 2, 3)]), tmp_path, "snapshot")
    with pytest.raises(SourceFailed):
        _land(Pages([_page(2), _page(4)], fail_at=1), tmp_path, "snapshot")
    _land(Pages([_page(2), _page(4)]), tmp_path, "snapshot")
    assert _ids(tmp_path) == ["2", "4"]
    _land(Pages([]), tmp_path, "snapshot")
    assert _ids(tmp_path) == []


def test_an_empty_source_makes_an_empty_table(tmp_path: Path) -> None:
    _land(Pages([]), tmp_path)
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb")
    columns = warehouse.columns("raw.crm__people")
    assert columns["id"] == "VARCHAR"
    assert columns["_rid"] == "BIGINT"
    assert columns["_extracted_at"] == "TIMESTAMP WITH TIME ZONE"


def test_names_stay_readable_and_nested_values_become_json(tmp_path: Path) -> None:
    page = {"First Name": ["Ada"], "first name": ["x"], "_rid": ["mine"], "nested": [{"a": [1]}], "none": [None]}
    later = {"FIRST NAME": ["Bea"], "Späť": ["new"], "none": [7]}
    _land(Pages([page, later]), tmp_path)
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb")
    rows = warehouse.sql("SELECT * FROM raw.crm__people ORDER BY _rid").to_pylist()
    assert rows[0]["First Name"] == "Ada" and rows[0]["first name_2"] == "x" and rows[0]["_rid_2"] == "mine"
    assert rows[0]["nested"] == '{"a":[1]}' and rows[0]["none"] is None and rows[0]["Späť"] is None
    assert rows[1]["First Name"] == "Bea" and rows[1]["none"] == "7" and rows[1]["Späť"] == "new"
    assert [row["_rid"] for row in rows] == [1, 2]


def test_names_that_no_table_can_hold_are_mended_the_same_way_each_time(tmp_path: Path) -> None:
    page = {" id ": ["1"], " ": ["x"], 'say "hi"\n': ["y"], "a\0b": ["z"]}
    _land(Pages([page]), tmp_path)
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb")
    source, freeze = Pages([page, page]), StreamSpec("people", drift="freeze")
    land(source, name="crm", streams=[freeze], warehouse=warehouse, folder=tmp_path / "dlt", run_id="run-2")
    rows = warehouse.sql('SELECT id, column_2, "say _hi_", a_b FROM raw.crm__people').to_pylist()
    assert rows == [{"id": "1", "column_2": "x", "say _hi_": "y", "a_b": "z"}] * 2
    warehouse.close()


def test_a_column_that_changed_its_type_is_named(tmp_path: Path) -> None:
    _land(Pages([{"id": ["1"], "age": [41]}]), tmp_path)
    source = Pages([{}, {"id": ["2"], "age": ["forty"]}])
    with pytest.raises(SourceFailed, match="Column 'age' of stream 'people' was BIGINT and is now VARCHAR"):
        _land(source, tmp_path)


def test_a_lost_warehouse_is_filled_again(tmp_path: Path) -> None:
    source = Pages([_page(1, 2)])
    _land(source, tmp_path)
    (tmp_path / "w.duckdb").unlink()
    _land(source, tmp_path)
    assert _ids(tmp_path) == ["1", "2"]


def test_lost_working_files_are_restored_from_the_warehouse(tmp_path: Path) -> None:
    source = Pages([_page(1, 2)])
    _land(source, tmp_path)
    (tmp_path / "dlt").rename(tmp_path / "gone")
    assert _land(source, tmp_path) == [Landed("people", 0)]
    assert _ids(tmp_path) == ["1", "2"]


def test_no_record_stays_in_the_working_folder(tmp_path: Path) -> None:
    _land(Pages([{"id": ["canary-7"]}]), tmp_path)
    for path in (tmp_path / "dlt").rglob("*"):
        assert path.is_dir() or b"canary-7" not in path.read_bytes(), path


def test_what_is_landed_in_bulk_is_let_go_of_and_waits_in_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "TABLE_ROWS", 2)
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb")
    _land(Pages([_page(1, 200)]), tmp_path, warehouse=warehouse)
    log = tmp_path / "w.duckdb.wal"
    assert not log.exists() or log.stat().st_size == 0


def test_an_unknown_stream_is_named_with_the_nearest(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse()
    with pytest.raises(SourceFailed, match="did you mean 'people'"):
        land(
            Pages([]),
            name="crm",
            streams=[StreamSpec("peolpe")],
            warehouse=warehouse,
            folder=tmp_path,
            run_id="r",
        )


_CHILD = """
import os, signal, sys, threading, time
from pathlib import Path
import pyarrow as pa
from consentry.connectors import landing
from consentry.connectors.base import NoOptions, Page, Stream, Check
from consentry.connectors.landing import StreamSpec, land
from consentry.warehouse import DuckDBWarehouse

landing.TABLE_ROWS, landing.PACKAGE_ROWS = 100, 300
folder, die_after = Path(sys.argv[1]), float(sys.argv[2])

class Slow:
    Config = NoOptions
    def check(self): return Check(True, "")
    def discover(self): return [Stream("people", ("id",), pa.schema([("id", pa.string())]))]
    def read(self, stream, state):
        for n in range(state.get("page", 0), 30):
            time.sleep(0.02)
            yield Page(pa.RecordBatch.from_pydict({"id": [str(i) for i in range(n*50, n*50+50)]}), {"page": n + 1})

def kill():
    time.sleep(die_after)
    os.kill(os.getpid(), signal.SIGKILL)

warehouse = DuckDBWarehouse(folder / "w.duckdb")
print("started", flush=True)
threading.Thread(target=kill, daemon=True).start()
streams = [StreamSpec("people", sys.argv[3])]
land(Slow(), name="crm", streams=streams, warehouse=warehouse, folder=folder / "dlt", run_id="r")
warehouse.close()
os._exit(0)
"""


@pytest.mark.parametrize("mode", ["append", pytest.param("snapshot", marks=pytest.mark.slow)])
def test_a_landing_killed_again_and_again_has_every_record_once(mode: str, tmp_path: Path) -> None:
    delays = [0.3, 0.6, 0.9, 1.2] if mode == "append" else [0.5, 1.0]
    ended = [_run_child(tmp_path, delay, mode) for delay in delays]
    assert -signal.SIGKILL in ended
    assert _run_child(tmp_path, 60, mode) == 0
    assert sorted(_ids(tmp_path), key=int) == [str(n) for n in range(1500)]


def _run_child(folder: Path, die_after: float, mode: str) -> int:
    command = [sys.executable, "-c", textwrap.dedent(_CHILD), str(folder), str(die_after), mode]
    return subprocess.run(command, env=dict(os.environ), capture_output=True, check=False).returncode


def test_a_file_that_dlt_loads_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _land(Pages([_page(1, 2)]), tmp_path)
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb")
    warehouse.sql("INSERT INTO raw.crm__people SELECT * FROM raw.crm__people")
    place = landing._Place("crm", warehouse, tmp_path / "dlt")
    monkeypatch.setattr(type(place._pipeline), "has_pending_data", property(lambda self: True))
    monkeypatch.setattr(place, "_finish", lambda: None)
    place.recover(["people"])
    assert warehouse.count("raw.crm__people") == 2
