"""A sandbox on a free port, and clients that are logged in to its vendors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from consentry.testing.sandbox import Sandbox

CONTACTS = 250


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 250 contacts, ids 1 to 250, changed one minute apart."""
    folder = tmp_path_factory.mktemp("data")
    with (folder / "crm_contacts.jsonl").open("w") as file:
        for number in range(CONTACTS, 0, -1):  # out of order on purpose
            changed = f"2026-03-01T{number // 60:02d}:{number % 60:02d}:00Z"
            properties = {
                "email": f"person{number}@example.com",
                "firstname": f"First{number}",
                "country": "GB" if number % 2 else "DE",
                "birthdate": f"{1950 + number % 50}-01-01",
            }
            record = {"id": str(number), "createdAt": "2026-01-01T00:00:00Z", "updatedAt": changed, "archived": False}
            file.write(json.dumps(record | {"properties": properties}) + "\n")
    return folder


@pytest.fixture(scope="module")
def running(data_folder: Path) -> Iterator[Sandbox]:
    with Sandbox(data_folder=data_folder) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    running.enforce_limits(False)
    return running


@pytest.fixture
def hubspot(sandbox: Sandbox) -> Iterator[httpx.Client]:
    headers = {"Authorization": "Bearer sandbox-hubspot"}
    with httpx.Client(base_url=sandbox.url("hubspot"), headers=headers, timeout=5) as client:
        yield client


@pytest.fixture
def klaviyo(sandbox: Sandbox) -> Iterator[httpx.Client]:
    headers = {
        "Authorization": "Klaviyo-API-Key sandbox-klaviyo",
        "revision": "2026-07-15",
        "Accept": "application/vnd.api+json",
        "Content-Type": "application/vnd.api+json",
    }
    with httpx.Client(base_url=sandbox.url("klaviyo"), headers=headers, timeout=5) as client:
        yield client
