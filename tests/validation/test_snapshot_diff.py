"""Two snapshots of a table: what came, went and changed, row by row and cell by cell."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.errors import ConfigError
from consentry.validation.contract import Contract
from consentry.validation.snapshot_diff import Comparison, SnapshotDiff
from consentry.validation.snapshots import Stage
from consentry.warehouse import DuckDBWarehouse

Make = Callable[[str], Contract]
SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string()), ("number", pa.float64()), ("whole", pa.int64())])
KEYS = st.sampled_from(["1", "1.0", "01", "é", "e\u0301", "x y", "Ö"])
TEXTS = (
    st.none()
    | st.sampled_from(["", " ", "1", "1.0", "null", "NaN", "é", "e\u0301", "日本", "a'b\"c"])
    | st.text(max_size=3)
)
CLEAN_TEXTS = TEXTS.filter(lambda text: text is None or "\0" not in text)
NUMBERS = st.none() | st.sampled_from([0.0, -0.0, 0.1, 1.0, math.nan, math.inf]) | st.floats(width=32)
VALUES = st.tuples(CLEAN_TEXTS, NUMBERS, st.none() | st.integers(-(2**63), 2**63 - 1))
SNAPSHOTS = st.dictionaries(KEYS, VALUES, max_size=6)
quick = settings(max_examples=20, deadline=None)


def rows_of(snapshot: Mapping[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [dict(zip(SCHEMA.names, (key, *values), strict=True)) for key, values in snapshot.items()]


def batch(rows: Sequence[Mapping[str, Any]], schema: pa.Schema | None = SCHEMA) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=schema)


@cache
def engine() -> DuckDBWarehouse:
    """Keep one warehouse for all comparisons of this file: opening one takes as long as comparing."""
    return DuckDBWarehouse()


@pytest.fixture(scope="module", autouse=True)
def closed() -> Iterator[None]:
    yield
    engine().close()
    engine.cache_clear()


def compared(old: list[pa.Table], new: list[pa.Table], contract: Contract | None = None, **more: Any) -> Comparison:
    tolerance, key = more.pop("tolerance", None), more.pop("key", ["id"])
    stage = Stage(engine(), key=key, contract=contract, **more)
    both = [stage.take(f"raw.{side}", them, label=side) for side, them in (("old", old), ("new", new))]
    return Comparison(stage, *both, tolerance=tolerance)


def diff(old: list[pa.Table], new: list[pa.Table], contract: Contract | None = None, **more: Any) -> SnapshotDiff:
    return compared(old, new, contract, **more).diff()


def cells(found: SnapshotDiff, column: str) -> tuple[int, ...]:
    it = next(it for it in found.columns if it.column == column)
    return it.changed, it.became_missing, it.became_known, it.within_tolerance, it.spelled


def counts(found: SnapshotDiff) -> tuple[int, ...]:
    return found.added, found.removed, found.changed, found.same


@quick
@given(a=SNAPSHOTS, b=SNAPSHOTS)
def test_the_mirrored_diff_is_the_diff_of_the_mirror(a: dict[str, Any], b: dict[str, Any]) -> None:
    one = diff([batch(rows_of(a))], [batch(rows_of(b))])
    other = diff([batch(rows_of(b))], [batch(rows_of(a))])
    assert counts(one) == (other.removed, other.added, other.changed, other.same)
    for it, mirrored in zip(one.columns, other.columns, strict=True):
        swapped = (mirrored.changed, mirrored.became_known, mirrored.became_missing)
        assert (it.changed, it.became_missing, it.became_known) == swapped
    assert one.differs == other.differs


@quick
@given(a=SNAPSHOTS)
def test_a_snapshot_differs_in_nothing_from_itself_in_another_order(a: dict[str, Any]) -> None:
    rows = rows_of(a)
    found = diff([batch(rows)], [batch(rows[::2]), batch(rows[1::2][::-1])])
    assert counts(found) == (0, 0, 0, len(a)) and not found.differs


def told(value: Any) -> str | None:
    return None if value is None else value if isinstance(value, str) else repr(value)


def read(text: str | None, kind: type) -> Any:
    return None if text is None else kind(text)


def canonical(snapshot: Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[str | None, ...]]:
    """Give values that are equal one spelling: NaN is NaN, and 0 has no sign."""
    zero = {
        key: (text, number + 0.0 if number is not None else None, whole)
        for key, (text, number, whole) in snapshot.items()
    }
    return {key: tuple(told(value) for value in values) for key, values in zero.items()}


@quick
@given(a=SNAPSHOTS, b=SNAPSHOTS)
def test_what_was_added_removed_and_changed_makes_the_new_one_of_the_old(a: dict[str, Any], b: dict[str, Any]) -> None:
    comparison = compared([batch(rows_of(a))], [batch(rows_of(b))])
    found = comparison.diff()
    listed = {kind: {key for (key,) in comparison.keys(kind, 99)} for kind in ("added", "removed", "changed")}
    made = {key: list(values) for key, values in a.items() if key not in listed["removed"]}
    made |= {key: list(b[key]) for key in listed["added"]}
    for row in comparison.rows(99):
        for column, (before, after) in row["cells"].items():
            at = SCHEMA.names.index(column) - 1
            kind = (str, float, int)[at]
            assert told(read(before, kind)) == told(a[row["key"][0]][at])
            made[row["key"][0]][at] = read(after, kind)
    assert canonical({key: tuple(values) for key, values in made.items()}) == canonical(b)
    assert [len(listed[kind]) for kind in ("added", "removed", "changed")] == [*counts(found)[:3]]


REPEATING = st.lists(st.tuples(st.sampled_from(["1", "2", "3", "", " ", None]), st.sampled_from("xy")), max_size=8)


@quick
@given(a=REPEATING, b=REPEATING)
def test_rows_without_a_key_of_their_own_are_counted_and_never_paired(a: list[Any], b: list[Any]) -> None:
    old, new = ([{"id": key, "text": text} for key, text in rows] for rows in (a, b))
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    found = diff([batch(old, schema)], [batch(new, schema)])
    named = [Counter(key for key, _ in rows if key and key.strip()) for rows in (a, b)]
    repeated = {key for counter in named for key, number in counter.items() if number > 1}
    alone = [
        {key: text for key, text in rows if key in counter and key not in repeated}
        for rows, counter in zip((a, b), named, strict=True)
    ]
    assert (found.old.keyless, found.new.keyless) == tuple(
        len(rows) - n.total() for rows, n in zip((a, b), named, strict=True)
    )
    assert (found.old.repeated, found.new.repeated) == tuple(sum(n[key] for key in repeated) for n in named)
    changed = sum(alone[0][key] != alone[1][key] for key in alone[0].keys() & alone[1].keys())
    assert counts(found)[:3] == (
        len(alone[1].keys() - alone[0].keys()),
        len(alone[0].keys() - alone[1].keys()),
        changed,
    )
    aside = len(a) + len(b) - len(alone[0]) - len(alone[1])
    assert found.differs or not aside


TYPED = """
columns:
  id: {dtype: Int64}
  price: {dtype: Float64, nullable: true}
  born: {dtype: Date, nullable: true, parse: [{date_formats: ["%Y-%m-%d", "%d.%m.%Y"]}]}
  email: {dtype: String, nullable: true, parse: [trim, {null_tokens: ["", "-"]}, email]}
"""


def typed(*rows: tuple[str, str | None, str | None, str | None]) -> list[pa.Table]:
    names = ("id", "price", "born", "email")
    return [batch([dict(zip(names, row, strict=True)) for row in rows], pa.schema([(n, pa.string()) for n in names]))]


def test_cells_are_compared_as_the_contract_reads_them(contract: Make) -> None:
    old = typed(
        ("1", "1", "2001-02-03", "a@EXAMPLE.com"), ("2", "2", "2001-02-03", "-"), ("3", "3", None, "b@example.com")
    )
    new = typed(
        (" 3", "3.5", "2001-01-01", "-"), (" 1 ", "1.0", "03.02.2001", " a@example.com"), ("2", "2", "2001-02-03", "")
    )
    found = diff(old, new, contract(TYPED))
    assert counts(found) == (0, 0, 1, 2)
    assert cells(found, "id") == (0, 0, 0, 0, 2)
    assert cells(found, "price") == (1, 0, 0, 0, 1)
    assert cells(found, "born") == (0, 0, 1, 0, 1)
    assert cells(found, "email") == (0, 1, 0, 0, 2)
    unread = diff(old, new)
    assert counts(unread) == (2, 2, 1, 0) and unread.differs


def test_what_the_contract_cannot_read_is_held_against_its_text(contract: Make) -> None:
    old = typed(("1", "soon", None, None), ("2", "soon", None, None), ("3", "soon", None, None), ("4", "4", None, None))
    new = typed(("1", "soon", None, None), ("2", "later", None, None), ("3", "", None, None), ("4", "four", None, None))
    found = diff(old, new, contract(TYPED))
    price = next(it for it in found.columns if it.column == "price")
    assert (price.changed, price.became_missing, price.became_known, price.unreadable) == (2, 1, 0, (3, 3))
    assert diff(typed(("x", None, None, None)), [], contract(TYPED)).old.keyless == 1


def test_numbers_within_the_tolerance_do_not_change_their_row() -> None:
    old = [batch([{"id": str(n), "number": value} for n, value in enumerate((1.00, 5.0, None, math.nan))])]
    new = [batch([{"id": str(n), "number": value} for n, value in enumerate((1.01, 5.1, 1.0, 1.0))])]
    assert cells(diff(old, new), "number") == (3, 0, 1, 0, 0)
    assert cells(diff(old, new, tolerance={"": 0.01}), "number") == (2, 0, 1, 1, 0)
    assert cells(diff(old, new, tolerance={"number": 0.1}), "number") == (1, 0, 1, 2, 0)
    with pytest.raises(ConfigError, match="'text' has a tolerance and is no number"):
        diff(old, new, tolerance={"text": 1})
    with pytest.raises(ConfigError, match="did you mean 'number'"):
        diff(old, new, tolerance={"numer": 1})


def test_columns_that_came_went_or_changed_their_type_are_told() -> None:
    old = [pa.table({"id": ["1", "2"], "gone": ["x", "y"], "kind": [1, 2], "more": [1, 2]})]
    new = [
        pa.table({"id": ["1"], "kind": ["1"], "more": [1.0]}),
        pa.table({"id": ["2"], "came": ["z"], "kind": ["3"], "more": [2.5]}),
    ]
    found = diff(old, new)
    assert (found.columns_added, found.columns_removed) == (("came",), ("gone",))
    assert {it.column: it.types for it in found.columns} == {
        "id": None,
        "kind": ("BIGINT", "VARCHAR"),
        "more": ("BIGINT", "DOUBLE"),
    }
    assert (cells(found, "kind")[0], cells(found, "more")[0], found.changed) == (1, 1, 1)
    assert diff(old, new, ignore=["kind", "more", "came"]).changed == 0
    assert diff(old, [new[0].slice(0, 0)]).columns_added == ()


def test_a_column_that_the_contract_names_is_missing_throughout_where_it_lacks(contract: Make) -> None:
    old = typed(("1", "1", None, "a@example.com"))
    found = diff(old, [old[0].drop_columns(["born", "email"])], contract(TYPED))
    assert found.columns_removed == ("born", "email") and cells(found, "email")[1] == 1 and found.differs
    assert not diff(old, [old[0].drop_columns(["born"])], contract(TYPED)).differs
    filtered = contract(TYPED + "strict: filter\n")
    more = old[0].append_column("other", pa.array(["x"]))
    assert not diff(old, [more], filtered).differs and diff(old, [more], contract(TYPED)).differs


def test_a_key_must_be_there_and_of_one_type(contract: Make) -> None:
    texts, numbers = [pa.table({"id": ["1"], "a": ["x"]})], [pa.table({"id": [1], "a": ["x"]})]
    with pytest.raises(ConfigError, match=r"VARCHAR in old and BIGINT in new.*contract"):
        diff(texts, numbers)
    assert not diff(texts, numbers, contract("columns: {id: {dtype: Int64}}\n")).differs
    assert counts(diff([], numbers)) == (1, 0, 0, 0) and counts(diff(numbers, [])) == (0, 1, 0, 0)
    with pytest.raises(ConfigError, match=r"new: There is no column 'id'.*did you mean 'idd'"):
        diff(texts, [pa.table({"idd": ["1"]})])
    longer = [pa.table({"id": ["1", "1"], "n": [1, 2], "a": ["x", "y"]})]
    assert counts(diff(longer, longer, key=["id", "n"])) == (0, 0, 0, 2)


def test_lines_that_are_no_records_are_counted_and_the_first_is_named() -> None:
    whole = pa.table({"id": ["1", None, "2"], "_malformed": [None, "junk", None]})
    found = diff([whole], [pa.table({"id": ["1", "2"], "_malformed": pa.array([None, None], pa.string())})])
    assert (found.old.malformed, found.old.first_malformed, found.new.malformed) == (1, 2, 0)
    assert counts(found) == (0, 0, 0, 2) and found.differs


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"plain"])
def test_bytes_are_compared(raw: bytes, contract: Make) -> None:
    old, new = [pa.table({"id": [1], "a": [raw]})], [pa.table({"id": [1], "a": [b"\xff\xff"]})]
    assert diff(old, new).changed == 1 and not diff(old, old).differs
    named = contract("columns: {id: {dtype: Int64}, a: {dtype: String}}\n")
    assert diff(old, new, named).changed == 1 and not diff(old, old, named).differs
