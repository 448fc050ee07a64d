"""Files as a source: nothing is guessed, nothing is lost, and a file is read once."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentry.connectors import file_formats
from consentry.connectors.base import State, Stream
from consentry.connectors.files import Files, FilesConfig, FileStream
from consentry.errors import ConfigError, ConsentryError, SourceFailed

Rows = list[dict[str, Any]]


def _files(folder: Path, **options: Any) -> tuple[Files, Stream]:
    source = Files(FilesConfig(), streams={"s": FileStream(**options)}, base=folder)
    return source, Stream("s", (), pa.schema([]))


def _read(folder: Path, state: State | None = None, **options: Any) -> tuple[Rows, State]:
    source, stream = _files(folder, **options)
    rows: Rows = []
    last: State = state or {}
    for page in source.read(stream, state or {}):
        rows += page.records.to_pylist()
        last = page.state
    return rows, last


def _malformed(rows: Rows) -> list[str]:
    return [row["_malformed"] for row in rows if row["_malformed"] is not None]


def test_csv_cells_come_as_text_whatever_they_look_like(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfid,when\r\n007,2020-01-01\r\n1e5,\r\n")
    rows, _ = _read(tmp_path, path="a.csv")
    assert rows == [
        {"id": "007", "when": "2020-01-01", "_malformed": None},
        {"id": "1e5", "when": "", "_malformed": None},
    ]


def test_a_malformed_csv_line_comes_as_a_record_with_its_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'id,name\n1,a\n2,b,c\n3\n4,"x"y\n5,\xff\n6,n\0l\n7,ok\n')
    rows, _ = _read(tmp_path, path="a.csv")
    assert [row["id"] for row in rows] == ["1", None, None, None, None, None, "7"]
    assert _malformed(rows) == ["2,b,c", "3", '4,"x"y', "5,\\udcff", "6,n\\x00l"]


@pytest.mark.parametrize("lines_behind", [3, 2000])
def test_a_lost_closing_quote_costs_its_own_line_only(lines_behind: int, tmp_path: Path) -> None:
    rest = "".join(f"{n},ok\n" for n in range(lines_behind))
    (tmp_path / "a.csv").write_text('id,name\n1,"lost\n' + rest)
    rows, _ = _read(tmp_path, path="a.csv")
    assert _malformed(rows) == ['1,"lost']
    assert [row["id"] for row in rows][1:] == [str(n) for n in range(lines_behind)]


def test_a_quoted_cell_may_hold_lines_quotes_and_commas(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,name\n1,"a ""b"",\nc"\n', newline="")
    rows, _ = _read(tmp_path, path="a.csv")
    assert rows == [{"id": "1", "name": 'a "b",\nc', "_malformed": None}]


_cell = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.lists(st.tuples(_cell, _cell), max_size=20), delimiter=st.sampled_from(",;\t|"))
def test_trap_20_hostile_csv_comes_back_as_it_was_written(
    table: list[tuple[str, str]], delimiter: str, tmp_path: Path
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b"), *table])
    (tmp_path / "a.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
    rows, _ = _read(tmp_path, path="a.csv", delimiter=delimiter)
    assert [(row["a"], row["b"]) for row in rows] == table


def test_a_declared_encoding_and_gzip_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress("id;name\n1;Zoë\n".encode("cp1252")))
    rows, _ = _read(tmp_path, path="a.csv.gz", encoding="cp1252", delimiter=";")
    assert rows[0]["name"] == "Zoë"


def test_jsonl_keeps_text_and_spells_the_rest_as_json(tmp_path: Path) -> None:
    lines = ['{"a": "3", "b": 3, "c": {"d": [1, "é"]}, "e": null, "f": true}', "not json", "[1]", '{"a": NaN}', "", "{"]
    lines.append('{"a": "\\ud800"}')
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    rows, _ = _read(tmp_path, path="a.jsonl")
    assert rows[0] == {"a": "3", "b": "3", "c": '{"d":[1,"é"]}', "e": None, "f": "true", "_malformed": None}
    assert _malformed(rows) == ["not json", "[1]", '{"a": NaN}', "{", '{"a": "\\ud800"}']


def test_segment_events_are_laid_out_in_columns(tmp_path: Path) -> None:
    event = {
        "messageId": "m1",
        "type": "track",
        "event": "Order Completed",
        "anonymousId": "anon",
        "timestamp": "2011-01-01T00:00:00Z",
        "properties": {"value": 3},
        "context": {
            "traits": {"email": "ada@example.com", "plan": "a"},
            "consent": {"categoryPreferences": {"ads": False}},
        },
        "traits": {"plan": "b"},
    }
    (tmp_path / "e.jsonl").write_text(json.dumps(event) + "\n{broken\n")
    rows, _ = _read(tmp_path, path="e.jsonl", format="segment")
    assert rows[0] == {
        "message_id": "m1",
        "type": "track",
        "event": "Order Completed",
        "user_id": None,
        "anonymous_id": "anon",
        "timestamp": "2011-01-01T00:00:00Z",
        "properties": '{"value":3}',
        "traits": '{"email":"ada@example.com","plan":"b"}',
        "email": "ada@example.com",
        "consent": '{"categoryPreferences":{"ads":false}}',
        "_malformed": None,
    }
    assert _malformed(rows) == ["{broken"]


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1, 2], "s": ["a", None]}), tmp_path / "a.parquet")
    rows, _ = _read(tmp_path, path="a.parquet")
    assert rows == [{"n": 1, "s": "a"}, {"n": 2, "s": None}]
    source, _ = _files(tmp_path, path="a.parquet")
    assert source.discover()[0].schema.names == ["n", "s"]


def test_an_unchanged_file_is_not_read_again_and_a_new_one_alone(tmp_path: Path) -> None:
    (tmp_path / "a1.csv").write_text("id\n1\n")
    _, state = _read(tmp_path, path="a*.csv")
    assert _read(tmp_path, state, path="a*.csv") == ([], state)
    (tmp_path / "a2.csv").write_text("id\n2\n")
    rows, state = _read(tmp_path, state, path="a*.csv")
    assert [row["id"] for row in rows] == ["2"]
    source, stream = _files(tmp_path, path="a*.csv")
    assert not source.changed(stream, state)
    (tmp_path / "a1.csv").write_text("id\n1\n3\n")
    assert source.changed(stream, state)
    rows, _ = _read(tmp_path, state, path="a*.csv")
    assert [row["id"] for row in rows] == ["1", "3"]


def test_a_file_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    for name in ("a1.csv", "a2.csv"):
        (tmp_path / name).write_text("id\n1\n")
    _, state = _read(tmp_path, path="a*.csv")
    (tmp_path / "a1.csv").unlink()
    rows, state = _read(tmp_path, state, path="a*.csv")
    assert (rows, list(state["files"])) == ([], ["a2.csv"])


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_read_resumes_at_every_page_boundary(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_formats, "BATCH_ROWS", 7)
    for part in range(2):
        rows = [{"id": str(n)} for n in range(part * 20, part * 20 + 20)]
        path = tmp_path / f"a{part}.{kind}"
        if kind == "csv":
            path.write_text("id\n" + "".join(row["id"] + "\n" for row in rows))
        elif kind == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            pq.write_table(pa.Table.from_pylist(rows), path)
    source, stream = _files(tmp_path, path=f"a*.{kind}")
    pages = list(source.read(stream, {}))
    for stop in range(len(pages) + 1):
        state: State = json.loads(json.dumps(pages[stop - 1].state)) if stop else {}
        ids = [row["id"] for page in [*pages[:stop], *source.read(stream, state)] for row in page.records.to_pylist()]
        assert ids == [str(n) for n in range(40)]


def test_a_missing_file_an_odd_name_and_a_way_out_are_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.csv").write_text("id\n1\n")
    (tmp_path / "in" / "a.dat").write_text("id\n1\n")
    os.symlink(tmp_path / "secret.csv", tmp_path / "in" / "link.csv")
    cases: list[tuple[str, type[ConsentryError], str]] = [
        ("no.csv", SourceFailed, "does not exist"),
        ("../secret.csv", ConfigError, "leads out of the folder"),
        (str(tmp_path / "secret.csv"), ConfigError, "leads out of the folder"),
        ("link.csv", SourceFailed, "link out of the folder"),
        ("a.dat", ConfigError, "does not tell its format"),
    ]
    for path, error, words in cases:
        with pytest.raises(error, match=words):
            _read(tmp_path / "in", path=path)


def test_a_file_that_is_not_of_its_format_is_named_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("canary@example.com")
    (tmp_path / "b.csv").write_text("canary,canary\n1,2\n")
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"id\n" + b"1\n" * 9999)[:-20])
    for path in ("a.parquet", "b.csv", "c.csv.gz"):
        with pytest.raises(SourceFailed, match=path) as caught:
            _read(tmp_path, path=path)
        assert "canary" not in f"{caught.value}{caught.value.__context__!r}"


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    assert _read(tmp_path, path="a.csv")[0] == []


def test_check_says_what_is_missing(tmp_path: Path) -> None:
    assert not _files(tmp_path / "no", path="a.csv")[0].check().ok
    assert "a.csv" in _files(tmp_path, path="a.csv")[0].check().sentence
    (tmp_path / "a.csv").write_text("id\n")
    assert _files(tmp_path, path="a.csv")[0].check().ok


def test_words_that_other_tools_take_for_nothing_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,name\n#N/A,NULL\nnan,\n")
    rows, _ = _read(tmp_path, path="a.csv")
    assert [(row["id"], row["name"]) for row in rows] == [("#N/A", "NULL"), ("nan", "")]


def test_utf_16_is_read_when_declared_and_named_when_not(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("id,name\n1,Zoë\n".encode("utf-16"))
    assert _read(tmp_path, path="a.csv", encoding="utf-16")[0][0]["name"] == "Zoë"
    with pytest.raises(SourceFailed, match="encoding: utf-16"):
        _read(tmp_path, path="a.csv")


def _remote(url: str, **options: Any) -> Files:
    return Files(FilesConfig(url=url), streams={"s": FileStream(**options)})


def test_files_behind_a_url_are_read_like_those_of_a_folder() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/in/a.csv", b"id\n1\n")
    memory.pipe("/bucket/in/b.csv.gz", gzip.compress(b"id\n2\n"))
    source = _remote("memory://bucket/in", path="*.csv*")
    (stream,) = source.discover()
    assert source.check().ok
    pages = list(source.read(stream, {}))
    assert [row["id"] for page in pages for row in page.records.to_pylist()] == ["1", "2"]
    assert not source.changed(stream, pages[-1].state)
    memory.pipe("/bucket/in/c.csv", b"id\n3\n")
    again = [row["id"] for page in source.read(stream, pages[-1].state) for row in page.records.to_pylist()]
    assert again == ["3"]


def test_what_is_wrong_with_a_url_ends_in_a_sentence() -> None:
    assert "does not exist" in _remote("memory://nowhere", path="a.csv").check().sentence
    with pytest.raises(ConfigError, match=r"Install consentry\[s3\]"):
        _remote("s3://bucket/in", path="a.csv")
    with pytest.raises(ConfigError, match="not understood"):
        _remote("nothing://bucket", path="a.csv")
    with pytest.raises(ConfigError, match="leads out"):
        _remote("memory://bucket", path="../a.csv").discover()
    assert "canary" not in repr(FilesConfig.model_validate({"url": "s3://b", "storage": {"secret": "canary"}}))


@pytest.mark.parametrize("header", ["id,café".encode("latin-1"), "id,name".encode("utf-16-le"), b"id,na\0me"])
def test_a_header_of_another_encoding_is_named(header: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(header + b"\n1,2\n")
    with pytest.raises(SourceFailed, match="add 'encoding: cp1252'"):
        _read(tmp_path, path="a.csv")


def test_a_column_that_is_called_like_ours_is_kept_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,_malformed\n1,yes\n")
    (tmp_path / "b.jsonl").write_text('{"id": "1", "_malformed": "yes"}\n')
    for path in ("a.csv", "b.jsonl"):
        assert _read(tmp_path, path=path)[0] == [{"id": "1", "_malformed_2": "yes", "_malformed": None}]


def test_a_name_that_no_table_can_hold_makes_its_line_malformed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1, "\\ud800": 2}\n{"id": 2}\n')
    rows, _ = _read(tmp_path, path="a.jsonl")
    assert [row["id"] for row in rows] == [None, "2"]
