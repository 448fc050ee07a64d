"""Files as a destination: an audience is a file kept exactly in step."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from consentry.connectors.base import Ok
from consentry.connectors.files import Files, FilesConfig
from consentry.errors import DestinationFailed
from consentry.model.batch import Batch, Operation, Row


def _batch(operation: Operation, *rows: Row, audience: str = "vips") -> Batch:
    return Batch("b", "shop", audience, "news", operation, rows)


def _row(person: str, remote_id: str | None = None, **fields: Any) -> Row:
    return Row(person, {"email": f"{person}@example.com"}, fields, remote_id)


def _members(path: Path) -> dict[str, dict[str, Any]]:
    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
    elif path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {row["email"]: row for row in rows}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_adds_changes_and_removals_are_kept_in_step(kind: Any, tmp_path: Path) -> None:
    files = Files(FilesConfig(format=kind), base=tmp_path)
    path = tmp_path / f"vips.{kind}"
    outcomes = list(files.write(_batch("add", _row("ada", city="Ulm"), _row("bea", city=None), _row("cyd"))))
    assert all(isinstance(outcome, Ok) and outcome.remote_id for outcome in outcomes)
    ids = [outcome.remote_id for outcome in outcomes if isinstance(outcome, Ok)]
    list(files.write(_batch("change", _row("ada", ids[0], city="Bonn"))))
    assert list(files.remove(_batch("remove", _row("bea", ids[1])))) == [Ok(ids[1])]
    members = _members(path)
    assert set(members) == {"ada@example.com", "cyd@example.com"}
    assert members["ada@example.com"]["city"] == "Bonn"
    assert files.api_calls == 3
    assert files.lookup("vips", [str(id) for id in ids]) == {ids[0], ids[2]}


def test_the_same_batch_twice_is_noticed_by_nobody(tmp_path: Path) -> None:
    files = Files(FilesConfig(), base=tmp_path)
    list(files.write(_batch("add", _row("ada"))))
    before = (tmp_path / "vips.csv").read_bytes()
    list(files.write(_batch("add", _row("ada"))))
    assert (tmp_path / "vips.csv").read_bytes() == before


def test_a_removal_of_nobody_writes_nothing(tmp_path: Path) -> None:
    files = Files(FilesConfig(), base=tmp_path)
    assert isinstance(next(iter(files.remove(_batch("remove", _row("ada"))))), Ok)
    assert files.api_calls == 0 and not list(tmp_path.iterdir())


def test_cells_are_unaltered_for_machines_and_formula_safe_for_people(tmp_path: Path) -> None:
    values = ["=1+1", "+44 7700 900123", "-2", "@x", "'quoted", "plain", "\ttab"]
    rows = [_row(f"p{n}", name=value) for n, value in enumerate(values)]
    machines, people = tmp_path / "m", tmp_path / "p"
    list(Files(FilesConfig(folder=machines)).write(_batch("add", *rows)))
    for_people = Files(FilesConfig(folder=people, written_for="people"))
    list(for_people.write(_batch("add", *rows)))
    list(for_people.write(_batch("change", _row("p5", name="changed"))))
    assert [row["name"] for row in _members(machines / "vips.csv").values()] == values
    written = [row["name"] for row in _members(people / "vips.csv").values()]
    assert written == ["'=1+1", "'+44 7700 900123", "'-2", "'@x", "''quoted", "changed", "'\ttab"]


def test_the_file_is_readable_by_its_owner_alone_and_nothing_else_stays(tmp_path: Path) -> None:
    list(Files(FilesConfig(), base=tmp_path).write(_batch("add", _row("ada"))))
    assert [path.name for path in tmp_path.iterdir()] == ["vips.csv"]
    assert (tmp_path / "vips.csv").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("audience", ["../out", "a/b", ".hidden"])
def test_an_audience_outside_the_folder_is_refused(audience: str, tmp_path: Path) -> None:
    with pytest.raises(DestinationFailed, match="not a plain file name"):
        Files(FilesConfig(), base=tmp_path).write(_batch("add", _row("ada"), audience=audience))


def test_a_file_that_somebody_changed_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "vips.csv").write_text("nothing of ours\n1\n")
    with pytest.raises(DestinationFailed, match="not as it was written"):
        Files(FilesConfig(), base=tmp_path).write(_batch("add", _row("ada")))


HOSTILE = [
    "a\nb",
    "c\r\nd",
    "e\0f",
    "\0=1",
    'g"h',
    "#N/A",
    "'",
    "''x",
    "\u2028",
    "Ж",
    "=cmd|' /C calc'!A0",
    "\uff1d1",
    "+447700900123",
]


@pytest.mark.parametrize("written_for", ["machines", "people"])
def test_trap_20_hostile_cells_come_back_as_they_were(written_for: Any, tmp_path: Path) -> None:
    files = Files(FilesConfig(written_for=written_for), base=tmp_path)
    rows = [_row(f"p{n}", name=value) for n, value in enumerate(HOSTILE)]
    list(files.write(_batch("add", *rows)))
    list(files.write(_batch("add", _row("another", name="x"))))  # reads what was written, and writes it again
    cells = [row["name"] for row in _members(tmp_path / "vips.csv").values()]
    if written_for == "machines":
        assert cells == [*HOSTILE, "x"]
    else:
        assert [cell[1:] if cell.startswith("'") else cell for cell in cells] == [*HOSTILE, "x"]
        dangerous = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "\uff1d")
        assert not any(cell.startswith(dangerous) for cell in cells)


def test_t65_numbers_begin_with_a_plus_for_machines_and_with_a_mark_for_people(tmp_path: Path) -> None:
    row = Row("ada", {"phone": "+447700900123"}, {})
    for written_for, wanted in (("machines", "+447700900123"), ("people", "'+447700900123")):
        config = FilesConfig.model_validate({"folder": tmp_path / written_for, "written_for": written_for})
        list(Files(config).write(_batch("add", row)))
        assert (tmp_path / written_for / "vips.csv").read_text().splitlines()[1].endswith(f",{wanted}")


def test_a_folder_for_audiences_may_have_to_be_made_yet(tmp_path: Path) -> None:
    assert Files(FilesConfig(folder=Path("out/new")), base=tmp_path).check().ok
    (tmp_path / "file").touch()
    assert not Files(FilesConfig(folder=Path("file/new")), base=tmp_path).check().ok
    assert "folder of this machine" in Files(FilesConfig(url="memory://bucket")).check().sentence
