"""Every source of ours keeps the contract that yours is asked to keep."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.pool import NullPool

from consentry.connectors import file_formats, sql_read
from consentry.connectors.base import Source
from consentry.connectors.files import Files, FilesConfig, FileStream
from consentry.connectors.hubspot import HubSpot, HubSpotConfig, HubSpotStream
from consentry.connectors.rest import Rest
from consentry.connectors.rest_config import RestConfig, RestStream
from consentry.connectors.sql_source import Sql, SqlConfig, SqlStream
from consentry.testing import SourceContract
from consentry.testing.memory_source import MemorySource, MemorySourceConfig
from consentry.testing.sandbox import Sandbox
from tests.connectors.nothing_is_lost import NothingIsLost

_accounts = count()
TOKEN = "sandbox-hubspot"


class TestMemorySource(SourceContract):
    @pytest.fixture(autouse=True)
    def _columns(self) -> None:
        self.more: dict[str, str] = {}

    def change_schema(self) -> str:
        self.more["shoe"] = "44"
        return "shoe"

    def make(self) -> Source:
        records = [{"id": str(n), "at": n // 3, **self.more} for n in range(20)]
        settings = {"page_size": 3, "streams": {"people": {"cursor": "at", "records": records}}}
        return MemorySource(MemorySourceConfig.model_validate(settings))

    def expected(self) -> set[tuple[str, ...]]:
        return {(str(n),) for n in range(20)}


class TestFiles(SourceContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(file_formats, "BATCH_ROWS", 3)
        self.folder = tmp_path
        for part in range(2):
            lines = (json.dumps({"id": n}) + "\n" for n in range(part * 10, part * 10 + 10))
            (tmp_path / f"people-{part}.jsonl").write_text("".join(lines))

    def make(self) -> Source:
        return Files(FilesConfig(), streams={"people": FileStream(path="people-*.jsonl")}, base=self.folder)

    def expected(self) -> set[tuple[str, ...]]:
        return {(str(n),) for n in range(20)}

    def change_schema(self) -> str:
        path = self.folder / "people-1.jsonl"
        path.write_text("".join(json.dumps({"id": n, "shoe": "44"}) + "\n" for n in range(10, 20)))
        return "shoe"


class TestSql(SourceContract):
    @pytest.fixture(autouse=True)
    def _database(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sql_read, "PAGE_ROWS", 3)
        self.path = tmp_path / "crm.db"
        self.path.touch()
        self._run("CREATE TABLE people (id INTEGER PRIMARY KEY, at INTEGER)")
        for n in range(20):
            self._run("INSERT INTO people VALUES (:n, :at)", n=n, at=n // 4)

    def make(self) -> Source:
        url = SecretStr(f"sqlite:///{self.path}")
        return Sql(SqlConfig(url=url), streams={"people": SqlStream(cursor="at")}, keep=self.path.parent)

    def expected(self) -> set[tuple[str, ...]]:
        return {(str(n),) for n in range(20)}

    def change_schema(self) -> str:
        self._run("ALTER TABLE people ADD COLUMN shoe TEXT")
        return "shoe"

    def _run(self, statement: str, **values: Any) -> None:
        engine = sa.create_engine(f"sqlite:///{self.path}", poolclass=NullPool)
        with engine.begin() as connection:
            connection.execute(sa.text(statement), values)


class _AgainstSandbox(NothingIsLost):
    """A source that reads contacts from the HubSpot simulator."""

    stream = "contacts"
    secrets = (TOKEN,)

    @pytest.fixture(autouse=True)
    def _sandbox(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    def expected(self) -> set[tuple[str, ...]]:
        return {(str(n),) for n in range(1, 251) if n % 50}

    def inject(self, **fault: Any) -> None:
        self.sandbox.fault(match="/hubspot/crm/objects/*", **fault)

    def clear(self) -> None:
        self.sandbox.clear_faults()

    def requests(self) -> int:
        return sum("/crm/objects/" in seen.path for seen in self.sandbox.requests)

    def make_empty(self) -> Source:
        self.sandbox.hubspot.reset()
        return self.make()

    def change_while_paging(self) -> None:
        contact = self.sandbox.hubspot.contacts.find("7")
        assert contact
        self.sandbox.hubspot.contacts.put(contact)


class TestHubSpot(_AgainstSandbox):
    def change_schema(self) -> str:
        self.sandbox.hubspot.contacts.declare(["shoe"])
        return "shoe"

    def make(self) -> Source:
        return HubSpot(
            HubSpotConfig(base_url=self.sandbox.url("hubspot"), token=SecretStr(TOKEN)),
            streams={"contacts": HubSpotStream(archived=False)},
            account=f"contract-{next(_accounts)}",
            sleep=lambda seconds: None,
        )


class TestRest(_AgainstSandbox):
    def change_schema(self) -> str:
        self.sandbox.hubspot.contacts.declare(["shoe"])
        return ""  # this API keeps all that is known of a record in one column

    def make(self) -> Source:
        config = {
            "base_url": self.sandbox.url("hubspot"),
            "auth": {"kind": "bearer", "token": TOKEN},
            "errors": [{"status": 429, "at": "policyName", "equals": "DAILY", "means": "later"}],
        }
        stream = {
            "path": "/crm/objects/2026-09/contacts",
            "params": {"limit": "100"},
            "records": "results",
            "key": ["id"],
            "paging": {"kind": "cursor", "param": "after", "at": "paging.next.after"},
        }
        return Rest(
            RestConfig.model_validate(config),
            streams={"contacts": RestStream.model_validate(stream)},
            account=f"contract-{next(_accounts)}",
            sleep=lambda seconds: None,
        )
