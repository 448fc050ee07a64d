"""The log keeps what was written, in order, and shows any change to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.audit import AuditLog, flows, verify
from consentry.audit.log import GENESIS, canonical, line_hash
from consentry.errors import StopRun


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    log = AuditLog(tmp_path / "audit", actor="test")
    for n in range(5):
        log.append("egress.decide", run="r-1", counts={"in": n}, reasons=["no_record"])
    log.close()
    return tmp_path / "audit"


def edit(folder: Path, change: str) -> None:
    path = folder / "000001.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    match change:
        case "flip":
            lines[2] = lines[2].replace(b'"in":2', b'"in":3')
        case "delete":
            del lines[2]
        case "swap":
            lines[1], lines[2] = lines[2], lines[1]
        case "duplicate":
            lines.insert(2, lines[2])
        case "insert":
            forged = json.loads(lines[2]) | {"action": "forged"}
            lines.insert(2, canonical(forged) + b"\n")
        case "respell":
            lines[2] = json.dumps(json.loads(lines[2])).encode() + b"\n"
        case "truncate":
            lines = lines[:-2]
    path.write_bytes(b"".join(lines))


def test_a_log_that_nobody_touched_is_whole(folder: Path) -> None:
    verdict = verify(folder)
    assert (verdict.code, verdict.events) == (0, 5)


def test_a_log_begun_before_events_said_their_purposes_is_verified_as_one(folder: Path) -> None:
    path = folder / "000001.jsonl"
    previous, older = GENESIS, b""
    for line in path.read_bytes().splitlines():
        event = canonical(json.loads(line) | {"v": 1, "prev": previous})
        previous, older = line_hash(event), older + event + b"\n"
    path.write_bytes(older)
    log = AuditLog(folder, actor="test", serves=lambda action, facts: {"purposes": ["news", str(facts["stream"])]})
    log.append("contract.applied", stream="crm.people")
    log.append("contract.applied", stream="crm.people")
    log.close()
    assert (verify(folder).code, verify(folder).events) == (0, 7)
    told = [(flow.purpose, flow.action, flow.of, flow.actor, flow.events) for flow in flows(folder)]
    assert told == [
        ("crm.people", "contract.applied", "crm.people", "test", 2),
        ("news", "contract.applied", "crm.people", "test", 2),
        (None, "egress.decide", None, "test", 5),
    ]


@pytest.mark.parametrize(
    ("change", "code"),
    [("flip", 2), ("delete", 3), ("swap", 2), ("duplicate", 2), ("insert", 2), ("respell", 2)],
)
def test_t76_a_change_is_found_at_its_event(folder: Path, change: str, code: int) -> None:
    edit(folder, change)
    verdict = verify(folder)
    # A changed line is seen at once when its spelling broke, else by the line after it.
    assert verdict.code == code
    assert verdict.event in (1, 2, 3)


def test_t76_a_cut_off_end_shows_against_the_noted_head(folder: Path) -> None:
    head = verify(folder)
    edit(folder, "truncate")
    assert verify(folder).code == 0
    assert verify(folder, expect=(head.events, head.head)).code == 3


def test_t76_a_rewritten_log_shows_against_the_noted_head(folder: Path) -> None:
    head = verify(folder)
    path = folder / "000001.jsonl"
    previous, lines = "0" * 64, []
    for line in path.read_bytes().splitlines():
        forged = canonical(json.loads(line) | {"prev": previous, "actor": "forger"})
        lines.append(forged)
        previous = line_hash(forged)
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert verify(folder).code == 0
    assert verify(folder, expect=(head.events, head.head)).code == 2


def test_a_line_that_a_crash_cut_short_is_dropped_and_recorded(folder: Path) -> None:
    with (folder / "000001.jsonl").open("ab") as file:
        file.write(b'{"action":"half')
    log = AuditLog(folder)
    log.append("run.started")
    log.close()
    actions = [json.loads(line)["action"] for line in (folder / "000001.jsonl").read_bytes().splitlines()]
    assert actions[-2:] == ["log.recovered_partial", "run.started"]
    assert verify(folder).ok


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    first = AuditLog(tmp_path / "audit")
    with pytest.raises(StopRun, match="another run"):
        AuditLog(tmp_path / "audit")
    first.close()
    AuditLog(tmp_path / "audit").close()


def test_a_log_goes_on_in_the_next_file_when_one_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consentry.audit.log.SEGMENT_BYTES", 300)
    for _ in range(3):
        log = AuditLog(tmp_path)
        log.append("a")
        log.append("b")
        log.close()
    assert len(list(tmp_path.glob("*.jsonl"))) > 2
    assert verify(tmp_path).events == 6


@given(st.text())
def test_t66_one_event_is_one_line_whatever_its_text(text: str) -> None:
    line = canonical({"text": text.encode("utf-8", "replace").decode()})
    assert len(line.decode().splitlines()) == 1


def test_a_float_is_refused() -> None:
    with pytest.raises(TypeError):
        canonical({"a": {"b": [0.5]}})  # type: ignore[dict-item]


def test_an_empty_folder_is_unreadable(tmp_path: Path) -> None:
    assert verify(tmp_path).code == 5
