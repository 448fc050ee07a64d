"""The reference connectors: what is written is there, what is planned to fail fails, a kill leaves its state."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.connectors.base import (
    Destination,
    LooksUp,
    Ok,
    Rejected,
    Removes,
    Retry,
    Skipped,
    Source,
    Unknown,
)
from consentry.errors import DestinationFailed, RetryLater, SourceFailed
from consentry.model.batch import Batch, Operation, Row
from consentry.testing.failing import Failing, FailingConfig
from consentry.testing.memory import Audiences, Memory, MemoryConfig
from consentry.testing.memory_source import MemorySource, MemorySourceConfig


def batch(count: int = 3, operation: Operation = "add") -> Batch:
    rows = tuple(Row(f"p{n}", {"email": f"person{n}@example.com"}, {}) for n in range(count))
    return Batch("b1", "memory", "Newsletter", "marketing", operation, rows)


def failing(*schedule: dict[str, Any], **config: Any) -> Failing:
    return Failing(FailingConfig.model_validate({"schedule": schedule, **config}))


def emails(*numbers: int) -> set[str]:
    return {f"person{n}@example.com" for n in numbers}


@pytest.mark.parametrize("make", [lambda: Memory(MemoryConfig()), failing])
def test_a_reference_destination_keeps_every_protocol(make: Any) -> None:
    destination = make()
    assert isinstance(destination, Destination)
    assert isinstance(destination, Removes)
    assert isinstance(destination, LooksUp)
    assert destination.check().ok


def test_the_reference_connectors_are_registered_like_any_other() -> None:
    found = {one.name: one.load() for one in entry_points(group="consentry.connectors") if "testing" in one.value}
    assert found == {"memory": Memory, "failing": Failing, "memory_source": MemorySource}


def test_who_is_written_is_in_and_who_is_removed_is_out() -> None:
    memory = Memory(MemoryConfig())
    outcomes = list(memory.write(batch()))
    ids = [one.remote_id for one in outcomes if isinstance(one, Ok) and one.remote_id]
    assert memory.audiences.values("Newsletter", "email") == emails(0, 1, 2)
    assert memory.lookup("Newsletter", [*ids[:1], "m-unknown"]) == {ids[0]}
    assert all(isinstance(one, Ok) for one in memory.remove(batch(2, "remove")))
    assert memory.audiences.values("Newsletter", "email") == emails(2)
    assert memory.api_calls == 3


def test_a_row_without_identifier_is_rejected_and_a_batch_too_large_fails() -> None:
    memory = Memory(MemoryConfig(batch_max=2))
    nobody = Batch("b", "memory", "Newsletter", "marketing", "add", (Row("p", {}, {}),))
    assert list(memory.write(nobody)) == [Rejected("no_identifier")]
    with pytest.raises(DestinationFailed, match="takes 2"):
        list(memory.write(batch(3)))


def test_chosen_rows_get_the_planned_outcomes() -> None:
    destination = failing(
        {"call": 1, "kind": "reject", "rows": [0], "code": "invalid_email"},
        {"call": 1, "kind": "retry", "rows": [1], "after": 2.5},
        {"call": 1, "kind": "unknown", "persons": ["p2"], "took_effect": True},
        {"call": 1, "kind": "unknown", "persons": ["p3"]},
        {"call": 1, "kind": "skip", "rows": [4], "code": "not_needed"},
    )
    outcomes = list(destination.write(batch(5)))
    assert outcomes == [Rejected("invalid_email"), Retry(2.5), Unknown(), Unknown(), Skipped("not_needed")]
    assert destination.audiences.values("Newsletter", "email") == emails(2)
    assert all(isinstance(one, Ok) for one in destination.write(batch(5)))


def test_an_error_in_the_middle_leaves_the_rows_before_it() -> None:
    destination = failing({"call": 1, "kind": "raise", "rows": [2]})
    with pytest.raises(DestinationFailed, match="broke off"):
        list(destination.write(batch()))
    assert destination.audiences.values("Newsletter", "email") == emails(0, 1)


def test_a_batch_with_a_poison_row_is_refused_whole_and_goes_through_without_it() -> None:
    destination = failing({"kind": "refuse_batch", "persons": ["p2"], "code": "poison"})
    with pytest.raises(DestinationFailed, match="as a whole"):
        list(destination.write(batch(3)))
    assert destination.audiences.members("Newsletter") == frozenset()
    assert all(isinstance(one, Ok) for one in destination.write(batch(2)))


def test_a_pause_is_asked_for_with_its_length() -> None:
    with pytest.raises(RetryLater) as caught:
        list(failing({"call": 1, "kind": "later", "after": 90}).write(batch()))
    assert caught.value.after == 90


def test_refused_credentials_are_a_check_that_fails() -> None:
    assert not failing(check_fails=True).check().ok


def test_a_killed_process_leaves_behind_exactly_what_it_did(tmp_path: Path) -> None:
    path = tmp_path / "audiences.jsonl"
    program = (
        "import os, signal, sys; from pathlib import Path;"
        "from consentry.model.batch import Batch, Row;"
        "from consentry.testing.memory import Memory, MemoryConfig;"
        "rows = tuple(Row(f'p{n}', {'email': f'person{n}@example.com'}, {}) for n in range(9));"
        "out = Memory(MemoryConfig(path=Path(sys.argv[1]))).write(Batch('b', 'm', 'Newsletter', 'x', 'add', rows));"
        "[next(out) for _ in range(4)]; os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], env=dict(os.environ), check=False)
    assert ended.returncode == -signal.SIGKILL
    with path.open("a") as file:
        file.write('{"kind": "add", "audi')  # a torn line
    left = Audiences.read(path)
    assert (left.values("Newsletter", "email"), left.calls) == (emails(0, 1, 2, 3), 1)


def test_an_add_repeated_and_a_removal_of_nobody_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "audiences.jsonl"
    list(Memory(MemoryConfig(path=path)).write(batch(2)))
    list(Memory(MemoryConfig(path=path)).write(batch(1)))
    assert [one.kind for one in Audiences.read(path).repeated()] == ["add"]


def source(count: int, times: int = 3, **config: Any) -> MemorySource:
    """`count` records that share few cursor values."""
    records = [{"id": str(n), "changed": n * times // max(count, 1)} for n in range(count)]
    streams = {"contacts": {"cursor": "changed", "records": records}}
    return MemorySource(MemorySourceConfig.model_validate({"streams": streams, **config}))


def test_the_memory_source_is_a_source_that_says_what_it_has() -> None:
    memory = source(3)
    assert isinstance(memory, Source)
    assert [(one.name, one.primary_key, one.cursor) for one in memory.discover()] == [("contacts", ("id",), "changed")]


@given(count=st.integers(0, 40), size=st.integers(1, 9), stop=st.integers(0, 9))
def test_reading_on_from_any_page_loses_and_repeats_nothing(count: int, size: int, stop: int) -> None:
    stream = source(count).discover()[0]
    state: Any = {}
    read: list[str] = []
    interrupted = source(count, page_size=size, fail_after_pages=stop)
    try:
        for page in interrupted.read(stream, state):
            read += page.records.column("id").to_pylist()
            state = page.state
    except SourceFailed:
        pass
    for page in source(count, page_size=size).read(stream, state):
        read += page.records.column("id").to_pylist()
    assert sorted(read, key=int) == [str(n) for n in range(count)]


def test_an_unknown_stream_is_a_sentence() -> None:
    memory = source(1)
    stream = memory.discover()[0]
    with pytest.raises(SourceFailed, match="no stream 'contacts'"):
        list(MemorySource(MemorySourceConfig()).read(stream, {}))
