"""A tiny job that tests change to their needs: two files, one destination that keeps its members in a file."""

from __future__ import annotations

import csv
import gc
import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from consentry.pipeline.load import load_job
from consentry.pipeline.plan import make_plan
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run

PEOPLE = 40
BEGUN = time.monotonic()
CONSENT_COLUMNS = (
    "identifier_type", "purpose", "state", "method", "mechanism", "notice_id", "notice_version", "regime",
    "effective_at",
)  # fmt: skip
GIVEN = ("Arlo", "Bryn", "Cato", "Dela", "Enno", "Faye", "Gwen", "Hale")


@dataclass
class TinyJob:
    """A job folder; `write` puts it on the disk, `spec` and `policy` may be changed before."""

    folder: Path
    spec: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.folder / "job.yaml"

    @property
    def members_file(self) -> Path:
        return self.folder / "members.json"

    def write(self) -> Path:
        self.path.write_text(yaml.safe_dump(self.spec, sort_keys=False))
        policy = deepcopy(self.policy)
        for name, block in policy["destinations"].items():
            block.setdefault("connector", self.spec["destinations"].get(name, {}).get("type", "memory"))
        (self.folder / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
        return self.path

    def write_people(self, numbers: range) -> None:
        rows = [person(number) for number in numbers]
        with (self.folder / "people.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(person(0)))
            writer.writeheader()
            writer.writerows(rows)

    def write_consents(self, states: Mapping[int, str], *, day: int = 1) -> None:
        lines = [json.dumps(choice(number, state, day)) for number, state in states.items()]
        (self.folder / f"consents-{day}.jsonl").write_text("".join(line + "\n" for line in lines))


def email(number: int) -> str:
    return f"canary.person{number}@example.com"


def person(number: int) -> dict[str, Any]:
    return {
        "id": str(number),
        "email": email(number),
        "phone": f"+447700900{number:03d}",
        "given_name": f"Canary{GIVEN[number % len(GIVEN)]}",
        "age": str(20 + number),
        "updated_at": "2026-01-01T00:00:00Z",
    }


def choice(number: int, state: str, day: int) -> dict[str, Any]:
    return {
        "event_id": f"{day}-{number}",
        "source": "form",
        "identifier_type": "email",
        "identifier": email(number),
        "purpose": "news",
        "state": state,
        "method": "explicit",
        "mechanism": "checkbox",
        "notice_id": "n",
        "notice_version": 1,
        "regime": "gdpr",
        "effective_at": f"2026-01-{day:02d}T12:00:00Z",
    }


def _columns(**kinds: str) -> dict[str, Any]:
    return {name: {"dtype": kind, "nullable": True} for name, kind in kinds.items()}


def _spec(folder: Path) -> dict[str, Any]:
    return {
        "version": 1,
        "job": "tiny",
        "state": str(folder / "state"),
        "as_of": "2026-02-01T00:00:00Z",
        "keys": {"provider": "file", "path": "keys.json", "create": True},
        "policy": "policy.yaml",
        "sources": {
            "crm": {
                "type": "files",
                "connection": {"folder": "."},
                "streams": {
                    "people": {
                        "entity": "customer",
                        "contract": "contracts/people.yaml",
                        "primary_key": "id",
                        "mode": "snapshot",
                        "options": {"path": "people.csv"},
                        "updated_at": "updated_at",
                        "identifiers": {"email": "email", "phone": "phone"},
                        "map": {"given_name": "given_name", "age": "age"},
                    }
                },
            },
            "form": {
                "type": "files",
                "connection": {"folder": "."},
                "streams": {
                    "consents": {
                        "entity": "consent",
                        "contract": "contracts/consents.yaml",
                        "primary_key": ["source", "event_id"],
                        "options": {"path": "consents-*.jsonl"},
                        "map": {
                            "source_system": "source",
                            "source_event_id": "event_id",
                            "identifier_value": "identifier",
                            **{name: name for name in CONSENT_COLUMNS},
                        },
                    }
                },
            },
        },
        "profile": {"contract": "contracts/profile.yaml"},
        "segments": "segments",
        "destinations": {"store": {"type": "memory", "connection": {"path": str(folder / "members.json")}}},
        "syncs": {
            "adults": {
                "segment": "adults",
                "destination": "store",
                "audience": "adults",
                "purpose": "news",
                "identifiers": ["email"],
                "fields": {"name": "given_name"},
                "batch_size": 10,
            }
        },
    }


def _policy() -> dict[str, Any]:
    return {
        "version": 1,
        "policy_id": "tiny",
        "default": "deny",
        "purposes": {
            "news": {"basis": {"gdpr": "consent"}},
            "profiling": {"basis": {"gdpr": "legitimate_interests"}, "lia_ref": "LIA-1"},
        },
        "destinations": {
            "store": {
                "role": "processor",
                "dpa_ref": "DPA-1",
                "transfer": {"mechanism": "none"},
                "purposes_all_of": ["news"],
                "identifiers": {"email": {"transform": "pass"}},
                "fields": {"given_name": {"transform": "pass"}},
                "min_segment": 0,
                "on_withdraw": ["remove_member"],
            }
        },
        "merge": {"conflict": "most_restrictive", "identifier_scope": "strict", "skew": "PT5M"},
        "sources": {"form": {"trust": 2}},
        "profiling": {"purpose": "profiling"},
    }


@pytest.fixture
def tiny(tmp_path: Path) -> TinyJob:
    """A job of 40 people, all of whom allow news; nothing is wrong with it."""
    return make_tiny(tmp_path)


@pytest.fixture(scope="session")
def ran_before(tmp_path_factory: pytest.TempPathFactory) -> TinyJob:
    """The tiny job after its first run; for looking at, and to be copied."""
    job = make_tiny(tmp_path_factory.mktemp("ran"))
    run(make_plan(load_job(job.path)), Silent())
    return job


@pytest.fixture
def ran(ran_before: TinyJob, tmp_path: Path) -> TinyJob:
    """The tiny job after its first run."""
    return copy_of(ran_before, tmp_path)


def copy_of(job: TinyJob, folder: Path) -> TinyJob:
    """Copy a job with everything that its runs left."""
    shutil.copytree(job.folder, folder, dirs_exist_ok=True)
    spec = json.loads(json.dumps(job.spec).replace(str(job.folder), str(folder)))
    copy = TinyJob(folder, spec, deepcopy(job.policy))
    copy.write()
    return copy


def make_tiny(folder: Path) -> TinyJob:
    """Write the tiny job into an empty folder."""
    job = TinyJob(folder, _spec(folder), _policy())
    (folder / "contracts").mkdir()
    (folder / "segments").mkdir()
    contracts: dict[str, dict[str, Any]] = {
        "people": _columns(id="String", email="String", phone="String", given_name="String", age="Int32"),
        "consents": _columns(**dict.fromkeys(choice(0, "granted", 1), "String")),
        "profile": _columns(age="Int32"),
    }
    contracts["people"]["updated_at"] = {"dtype": "Datetime", "nullable": True}
    contracts["consents"]["notice_version"]["dtype"] = "Int32"
    contracts["consents"]["effective_at"] = {"dtype": "Datetime", "nullable": True}
    for name, columns in contracts.items():
        (folder / "contracts" / f"{name}.yaml").write_text(
            yaml.safe_dump({"name": name, "version": 1, "columns": columns}, sort_keys=False)
        )
    segment = {"segment": "adults", "description": "People of 18 or more", "purpose": "news", "rule": "age >= 18"}
    (folder / "segments" / "adults.yaml").write_text(yaml.safe_dump(segment))
    job.write_people(range(PEOPLE))
    job.write_consents(dict.fromkeys(range(PEOPLE), "granted"))
    job.write()
    return job


def pytest_addoption(parser: pytest.Parser) -> None:
    """Bound a selection of long tests by time."""
    parser.addoption("--minutes", type=float, help="skip what would begin later; each day begins with other tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each test its turn: in a selection that is bounded, the order is that of the day."""
    if config.getoption("--minutes"):
        items.sort(key=lambda item: hashlib.sha256(f"{date.today()}{item.nodeid}".encode()).digest())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what would begin after the time is up."""
    minutes = item.config.getoption("--minutes")
    if minutes and time.monotonic() - BEGUN > minutes * 60:
        pytest.skip("The time for long tests is up; another day begins with others.")


def pytest_collection_finish() -> None:
    """Spare what was imported from every later collection of garbage, of which runs of a job ask for some."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let go of what was spared."""
    gc.unfreeze()
