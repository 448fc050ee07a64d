"""The contract, held by the destinations that come with consentry."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest

from consentry.connectors.base import Destination, Ok, Outcome
from consentry.connectors.files import Files, FilesConfig
from consentry.connectors.klaviyo import Klaviyo, KlaviyoConfig
from consentry.model.batch import Batch
from consentry.testing.destination_contract import DestinationContract, Kind
from consentry.testing.failing import Failing, FailingConfig
from consentry.testing.memory import Audiences, Memory, MemoryConfig
from consentry.testing.sandbox import Sandbox

_accounts = count()


class FolderSimulator:
    """A folder in which a destination keeps what it was told."""

    audience = "insiders"
    faults: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())

    def reset(self) -> None:
        self.folder = Path(tempfile.mkdtemp())

    def fault(self, kind: Kind, **how: Any) -> None:
        raise AssertionError("nothing can be planned here")

    def members(self) -> set[str]:
        path = self.folder / "insiders.csv"
        if not path.exists():
            return set()
        with path.open(newline="") as file:
            return {row["email"] for row in csv.DictReader(file)}


class NotedSimulator(FolderSimulator):
    """The destinations in memory, which note what happened in a file."""

    def members(self) -> set[str]:
        return Audiences.read(self.folder / "effects.jsonl").values(self.audience, "email")


class FailingSimulator(NotedSimulator):
    """The destination that fails on request; its schedule is what was planned."""

    faults = frozenset(
        {"rate_limited", "server_error", "lost_answer", "partial", "refused_batch", "expired_token", "delay"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.schedule: list[dict[str, Any]] = []

    def reset(self) -> None:
        super().reset()
        self.schedule = []

    def fault(self, kind: Kind, *, retry_after: str | None = None, times: int = 1, **how: Any) -> None:
        after = 3600.0 if retry_after == "3600" else 0.0
        meant: dict[Kind, dict[str, Any]] = {
            "rate_limited": {"kind": "later" if after else "retry", "after": after},
            "server_error": {"kind": "retry"},
            "lost_answer": {"kind": "unknown", "took_effect": True},
            "partial": {"kind": "reject", "rows": [0]},
            "refused_batch": {"kind": "reject", "code": "invalid_batch"},
            "expired_token": {"kind": "refuse_batch"},
            "delay": {"kind": "pending", "polls": 4},
        }
        self.schedule += [{"call": call, **meant[kind]} for call in range(1, times + 1)]


class KlaviyoSimulator:
    """Klaviyo's simulator, with one empty list."""

    faults = frozenset(
        {"rate_limited", "server_error", "lost_answer", "partial", "refused_batch", "expired_token", "delay"}
    )

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox, self.audience = sandbox, ""

    def reset(self) -> None:
        self.sandbox.reset()
        self.sandbox.clear_faults()
        with self.sandbox.klaviyo.lock:
            self.audience = self.sandbox.klaviyo.account.make_list("Contract").id

    def members(self) -> set[str]:
        return self.sandbox.klaviyo.member_values("Contract")

    def fault(self, kind: Kind, **how: Any) -> None:
        if kind == "delay":
            self.sandbox.klaviyo.polls_to_complete = 5
            return
        seconds = 0.01 if kind == "lost_answer" else 1.0
        self.sandbox.fault(kind, match="profile-bulk-import-jobs", method="POST", seconds=seconds, **how)


NOTED, FAILING, FOLDER = NotedSimulator(), FailingSimulator(), FolderSimulator()


class TestMemory(DestinationContract):
    simulator = NOTED

    def make(self) -> Destination:
        return Memory(MemoryConfig(path=NOTED.folder / "effects.jsonl"))


class TestFailing(DestinationContract):
    simulator = FAILING

    def make(self) -> Destination:
        path = FAILING.folder / "effects.jsonl"
        return Failing(FailingConfig.model_validate({"path": path, "schedule": FAILING.schedule}))


class TestFiles(DestinationContract):
    simulator = FOLDER

    def make(self) -> Destination:
        return Files(FilesConfig(), base=FOLDER.folder)


class TestKlaviyo(DestinationContract):
    playing: ClassVar[KlaviyoSimulator]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _sandbox(cls) -> Iterator[None]:
        with Sandbox() as sandbox:
            cls.playing = cls.simulator = KlaviyoSimulator(sandbox)
            yield

    def make(self) -> Destination:
        url = self.playing.sandbox.url("klaviyo")
        config = KlaviyoConfig.model_validate({"base_url": url, "token": "sandbox-klaviyo", "patience_seconds": 60})
        return Klaviyo(config, account=f"contract-{next(_accounts)}", sleep=lambda seconds: None)


class Forgetful(Memory):
    """A destination that calls everything Ok and keeps nothing."""

    def write(self, batch: Batch) -> Iterator[Outcome]:
        return iter([Ok() for _ in batch.rows])


def test_the_contract_notices_a_destination_that_says_ok_and_keeps_nothing() -> None:
    class Check(DestinationContract):
        simulator = NOTED

        def make(self) -> Destination:
            return Forgetful(MemoryConfig(path=NOTED.folder / "effects.jsonl"))

    with pytest.raises(AssertionError, match="not there"):
        Check().test_who_is_written_is_in_the_audience()
