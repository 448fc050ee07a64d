"""A sandbox on a free port, and a folder of contacts for it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from consentry.testing.sandbox import Sandbox

CONTACTS = 250


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("data")
    with (folder / "crm_contacts.jsonl").open("w") as file:
        for number in range(1, CONTACTS + 1):
            changed = f"2026-03-01T{number // 60:02d}:{number % 60:02d}:00Z"
            record = {"id": str(number), "createdAt": changed, "updatedAt": changed, "archived": number % 50 == 0}
            file.write(json.dumps(record | {"properties": {"email": f"person{number}@example.com"}}) + "\n")
    with Sandbox(data_folder=folder) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    running.enforce_limits(False)
    running.forget_requests()
    return running
