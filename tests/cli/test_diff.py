"""consentry diff: files and clean streams compared as an engineer would from the shell."""

from __future__ import annotations

import csv
import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.pipeline.comparing import Wanted, compare_snapshots
from consentry.pipeline.progress import Silent
from tests.cli.conftest import Cli, told
from tests.conftest import PEOPLE, TinyJob, email

CONTRACT = """
columns:
  id: {dtype: Int64}
  name: {dtype: String, nullable: true, parse: [{null_tokens: [""]}]}
  price: {dtype: Float64, nullable: true}
  day: {dtype: Date, nullable: true}
"""
OLD = "id,name,price,day\n1,Ann,1.0,2026-01-01\n2,Bea,2,2026-01-02\n3,Cleo,3,2026-01-03\n"
NEW = "id,name,price,day\n 3,Cleo,3.0,2026-01-03\n1,Anna,1,2026-01-01\n4,Dora,4,\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("old.csv", OLD), ("new.csv", NEW), ("contract.yaml", CONTRACT)):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_data_diffing_two_snapshots_row_by_row_and_cell_by_cell(files: Path, cli: Cli) -> None:
    call = ("diff", "old.csv", "new.csv", "--key", "id", "--contract", "contract.yaml")
    found = told(cli(*call, "--output", "json"))
    assert [found[name] for name in ("added", "removed", "changed", "same")] == [1, 1, 1, 1]
    by_name = {it["column"]: it for it in found["columns"]}
    assert (by_name["name"]["changed"], by_name["price"]["changed"], by_name["price"]["spelled"]) == (1, 0, 2)
    assert "keys" not in found and "rows" not in found
    code, out, err = cli(*call, "--detailed-exitcode")
    assert code == 2 and "Ann" not in out + err and "1 added, 1 removed, 1 changed" in err
    code, out, _ = cli(*call, "--keys", 5, "--show", 5)
    assert code == 0 and "added: 4\nremoved: 2\nchanged: 1\n" in out and "name: 'Ann' -> 'Anna'" in out
    code, out, _ = cli("diff", "old.csv", "old.csv", "--key", "id", "--detailed-exitcode")
    assert code == 0 and "Both say the same." in out
    (files / "[red]odd.csv").write_text("id,name,price,day\n\x1b[2J,x,,\n")
    code, out, _ = cli("diff", "old.csv", "[red]odd.csv", "--key", "id", "--keys", 9)
    assert code == 0 and "[red]odd.csv" in out and "added: '\\x1b[2J'" in out


def test_the_report_is_a_page_without_a_value(files: Path, cli: Cli) -> None:
    (files / "odd.csv").write_text(OLD + "5,<b>,5,\n5,x,5,\nbroken\n,y,1,\n", encoding="utf-8")
    found = told(cli("diff", "odd.csv", "new.csv", "--key", "id", "--show", 9, "--out", "out/r.html", "-o", "json"))
    assert (found["old"]["repeated"], found["old"]["keyless"], found["old"]["first_malformed"]) == (2, 1, 6)
    page = (files / "out" / "r.html").read_text("utf-8")
    assert "key occurs more than once" in page and "<code>name</code>" in page
    assert not [word for word in ("Ann", "Bea", "<script", "http:", "2026-01") if word in page]


def test_a_snapshot_may_be_several_files_packed_and_in_another_format(files: Path, cli: Cli) -> None:
    frame = pl.read_csv(files / "old.csv", try_parse_dates=True)
    frame.head(1).write_parquet(files / "part-1.parquet")
    frame.tail(2).write_parquet(files / "part-2.parquet")
    (files / "old.jsonl.gz").write_bytes(
        gzip.compress("".join(json.dumps(row) + "\n" for row in csv.DictReader(OLD.splitlines())).encode())
    )
    for other in ("part-*.parquet", "old.jsonl.gz"):
        found = told(cli("diff", "old.csv", other, "--key", "id", "--contract", "contract.yaml", "-o", "json"))
        assert (found["same"], found["differs"]) == (3, False), other


NAMES = st.none() | st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=5
)
PRICES = st.none() | st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.tuples(NAMES, PRICES, st.none() | st.dates()), max_size=5)


@settings(max_examples=8, deadline=None)
@given(rows=ROWS, chance=st.randoms(use_true_random=False))
def test_neither_the_order_of_rows_nor_the_format_of_the_file_matters(rows: dict[int, Any], chance: Any) -> None:
    names = ("id", "name", "price", "day")
    listed = [dict(zip(names, (key, *values), strict=True)) for key, values in rows.items()]
    with tempfile.TemporaryDirectory() as folder:
        contract, text, typed = (Path(folder) / name for name in ("c.yaml", "a.csv", "b.parquet"))
        contract.write_text(CONTRACT)
        with text.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names, quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(listed)
        chance.shuffle(listed)
        schema = {"id": pl.Int64, "name": pl.String, "price": pl.Float64, "day": pl.Date}
        pl.DataFrame(listed, schema=schema, orient="row").write_parquet(typed)
        found = compare_snapshots(Wanted(str(text), str(typed), key=("id",), contract=str(contract)), Silent())
    assert (found["same"], found["differs"]) == (len(rows), False)


def test_a_file_is_compared_with_what_is_clean_of_a_stream(ran: TinyJob, cli: Cli) -> None:
    people = ran.folder / "people.csv"
    same = told(cli("diff", "crm.people", people, "--job", ran.path, "-o", "json"))
    assert (same["same"], same["differs"], same["key"]) == (PEOPLE, False, ["id"])
    ran.write_people(range(1, PEOPLE + 1))
    people.write_text(people.read_text().replace("CanaryBryn", "CanaryBrynn", 1))
    found = told(cli("diff", "crm.people", people, "--job", ran.path, "-o", "json"))
    assert [found[name] for name in ("added", "removed", "changed", "same")] == [1, 1, 1, PEOPLE - 2]
    (log,) = (ran.folder / "state" / "audit").glob("0*.jsonl")
    assert "diff.shown" not in log.read_text()
    code, out, _ = cli("diff", "crm.people", people, "--job", ran.path, "--keys", 2)
    assert code == 0 and f"added: {PEOPLE}\nremoved: 0\nchanged: 1\n" in out
    last = log.read_text().splitlines()[-1]
    assert json.loads(last)["action"] == "diff.shown" and '"keys":3' in last
    code, out, err = cli("diff", people, "crm.peopel", "--job", ran.path)
    assert code == 1 and "did you mean 'crm.people'" in err and email(1) not in out + err
    contract = ran.folder / "contracts" / "people.yaml"
    contract.write_text(contract.read_text().replace("dtype: Int32", "dtype: Int64"))
    assert "has changed since its rows were checked" in cli("diff", "crm.people", people, "--job", ran.path)[2]


def test_nothing_is_left_of_the_copies(files: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    room = files / "room"
    room.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(room))
    assert cli("diff", "old.csv", "new.csv", "--key", "id")[0] == 0
    assert cli("diff", "old.csv", "new.csv", "--key", "nope")[0] == 1
    assert list(room.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["old.csv", "new.csv"], "Name the column that tells rows apart with --key"),
        (["old.csv", "none.csv", "--key", "id"], "none.csv: There is no such file."),
        (["old.csv", "none-*.csv", "--key", "id"], "none-*.csv: There is no file of this pattern."),
        (["old.csv", ".", "--key", "id"], ".: This is a folder."),
        (["old.csv", "contract.yaml", "--key", "id"], "contract.yaml: The name does not tell the format. Add --format"),
        (["old.csv", "new.csv", "--key", "idd"], "old.csv: There is no column 'idd', which is to name a row; did you"),
        (["old.csv", "new.csv", "--key", "id", "--ignore", "nam"], "no column 'nam' to ignore; did you mean 'name'?"),
        (["old.csv", "new.csv", "--key", "id", "--encoding", "utf-9"], "old.csv: The file cannot be read so. encoding"),
        (["old.csv", "new.csv", "--key", "id", "--tolerance", "x"], "Write a number of 0 or more"),
        (["old.csv", "new.csv", "--key", "id", "--memory-limit", "lots"], "Write it as 512MB or 2GB"),
        (["old.csv", "twice.csv", "--key", "id"], "twice.csv' is no use: its header line names a column twice"),
        (["old.csv", "new.csv", "--key", "id", "--contract", "bad.yaml"], "bad.yaml:3: "),
    ],
)
def test_what_cannot_be_compared_is_refused_with_what_to_do(
    files: Path, cli: Cli, arguments: list[str], sentence: str
) -> None:
    (files / "twice.csv").write_text("id,id\n1,2\n")
    (files / "bad.yaml").write_text("columns:\n  id:\n    dtype: Int65\n")
    code, out, err = cli("diff", *arguments)
    assert code == 1 and sentence in err and out == ""
