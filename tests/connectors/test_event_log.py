"""The log of events: what was acknowledged survives a crash at any byte, and readers find whole files alone."""

from __future__ import annotations

import stat
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.connectors.event_log import EventLog
from consentry.errors import StopRun

LINES = st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b" ") + b"\n"), max_size=6)


def closed(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("events-*.jsonl"))]


def test_a_file_is_seen_when_it_is_closed_and_not_before(tmp_path: Path) -> None:
    with closing(EventLog(tmp_path, max_age_s=3_600)) as log:
        log.append([b"1\n", b"2\n"])
        log.close_if_due()
        assert closed(tmp_path) == []
        assert (tmp_path / "events.part").read_bytes() == b"1\n2\n"
    assert closed(tmp_path) == [b"1\n2\n"]
    assert not (tmp_path / "events.part").exists()


@pytest.mark.parametrize(("age", "size"), [(0, 1_000), (3_600, 1)])
def test_a_file_that_is_old_or_large_is_closed_and_another_begun(age: float, size: int, tmp_path: Path) -> None:
    with closing(EventLog(tmp_path, max_age_s=age, max_bytes=size)) as log:
        for line in (b"1\n", b"2\n", b"3\n"):
            log.append([line])
            log.close_if_due()
        assert closed(tmp_path) == [b"1\n", b"2\n", b"3\n"]


def test_a_log_to_which_nothing_is_written_leaves_no_file(tmp_path: Path) -> None:
    with closing(EventLog(tmp_path, max_age_s=0)) as log:
        log.close_if_due()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@given(acknowledged=LINES, more=LINES, data=st.data())
@settings(deadline=None, max_examples=60)
def test_after_a_crash_at_any_byte_every_acknowledged_line_is_there_and_no_half_one(
    acknowledged: list[bytes], more: list[bytes], data: st.DataObject
) -> None:
    rest = b"".join(more)
    torn = rest[: data.draw(st.integers(0, len(rest)))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "events.part").write_bytes(b"".join(acknowledged) + torn)
        EventLog(folder, max_age_s=1).close()
        found = b"".join(closed(folder))
    assert found == b"".join(acknowledged) + torn[: torn.rfind(b"\n") + 1]


def test_half_a_line_that_is_longer_than_a_block_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "events.part").write_bytes(b"1\n" + b"x" * 200_000)
    EventLog(tmp_path, max_age_s=1).close()
    assert closed(tmp_path) == [b"1\n"]


def test_a_closed_file_is_never_written_over(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / "events.part").write_bytes(b"%d\n" % number)
        EventLog(tmp_path, max_age_s=1).close()
    assert sorted(closed(tmp_path), key=int) == [b"%d\n" % number for number in range(50)]


def test_files_are_readable_by_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    with closing(EventLog(folder, max_age_s=1)) as log:
        log.append([b"1\n"])
    (path,) = folder.glob("events-*.jsonl")
    assert [stat.S_IMODE(one.stat().st_mode) for one in (folder, path)] == [0o700, 0o600]


def test_a_second_writer_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    with closing(EventLog(tmp_path, max_age_s=1)), pytest.raises(StopRun, match="Another collector") as caught:
        EventLog(tmp_path, max_age_s=1)
    assert caught.value.code == "folder_in_use"
    EventLog(tmp_path, max_age_s=1).close()


def test_a_folder_that_cannot_be_one_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StopRun, match="Name a folder that can be written to") as caught:
        EventLog(tmp_path / "file" / "events", max_age_s=1)
    assert caught.value.code == "folder_unwritable"
