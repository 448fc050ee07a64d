"""Intercom as a source, against the sandbox: each contact exactly once, in words that the description allows."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import httpx
import pytest

from consentry.connectors.base import NoOptions, State
from consentry.connectors.intercom import VERSION, Intercom, IntercomConfig
from consentry.errors import RetryLater, SourceFailed
from consentry.testing.sandbox import Sandbox
from consentry.testing.sandbox.intercom import Intercom as Workspace

_accounts = count()
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=2)


@pytest.fixture
def workspace(sandbox: Sandbox) -> Iterator[Workspace]:
    vendor = sandbox.vendors["intercom"]
    assert isinstance(vendor, Workspace)
    yield vendor


def _source(
    sandbox: Sandbox,
    stream: str = "contacts",
    *,
    now: datetime = NOON,
    token: str = "sandbox-intercom",
    transport: httpx.BaseTransport | None = None,
) -> Intercom:
    return Intercom(
        IntercomConfig.model_validate({"base_url": sandbox.url("intercom"), "token": token}),
        streams={stream: NoOptions()},
        account=f"workspace-{next(_accounts)}",
        transport=transport,
        sleep=lambda seconds: None,
        now=lambda: now,
    )


def _contact(number: int, at: datetime = NOON - timedelta(hours=1), **more: Any) -> dict[str, Any]:
    email = f"person{number}@example.com"
    return {"id": f"{number:024d}", "email": email, "updated_at": int(at.timestamp()), **more}


def _read(source: Intercom, state: State | None = None) -> tuple[list[dict[str, Any]], State]:
    rows: list[dict[str, Any]] = []
    last: State = state or {}
    for page in source.read(source.discover()[0], state or {}):
        rows += page.records.to_pylist()
        last = json.loads(json.dumps(page.state))
    return rows, last


def _numbers(rows: list[dict[str, Any]]) -> list[int]:
    return [int(row["id"]) for row in rows]


def test_the_first_read_gives_every_contact_once(sandbox: Sandbox, workspace: Workspace) -> None:
    workspace.attributes["contact"] = {"plan": "string"}
    workspace.put(_contact(n, custom_attributes={"plan": "gold"}) for n in range(1, 402))
    rows, state = _read(_source(sandbox))
    assert Counter(_numbers(rows)) == Counter(range(1, 402))
    assert rows[0]["custom_attributes.plan"] == "gold"
    assert rows[0]["updated_at"] == "2026-03-02T11:00:00Z"
    assert rows[0]["unsubscribed_from_emails"] == "false"
    assert state["phase"] == "done"


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Europe/Berlin"])
def test_a_change_is_found_whatever_day_the_workspace_thinks_it_is(
    sandbox: Sandbox, workspace: Workspace, zone: str
) -> None:
    """A search takes dates by the day, in the workspace's zone; `>` begins with the next day."""
    workspace.time_zone = zone
    workspace.put(_contact(n) for n in range(1, 6))
    _, state = _read(_source(sandbox))
    for hour in range(0, 48, 3):
        changed = NOON + timedelta(hours=hour, minutes=30)
        workspace.put([_contact(3, changed, name=f"Changed {hour}")])
        rows, state = _read(_source(sandbox, now=changed + timedelta(hours=1)), state)
        assert [(row["id"], row["name"]) for row in rows] == [(_contact(3)["id"], f"Changed {hour}")]


def test_trap_6_a_contact_that_is_found_late_is_picked_up_once(sandbox: Sandbox, workspace: Workspace) -> None:
    workspace.put([_contact(1, NOON - timedelta(minutes=2))])
    _, state = _read(_source(sandbox))
    workspace.put([_contact(2, NOON - timedelta(minutes=6))])
    rows, state = _read(_source(sandbox, now=NOON + timedelta(minutes=5)), state)
    assert _numbers(rows) == [2]
    assert _read(_source(sandbox, now=NOON + timedelta(minutes=6)), state)[0] == []


def test_trap_9_a_merged_contact_is_named_with_the_one_that_stands_for_it(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    workspace.put(_contact(n) for n in range(1, 5))
    rows, state = _read(_source(sandbox, "contacts_merged"))
    assert rows == []
    first, second, third = (_contact(n)["id"] for n in (1, 2, 3))
    workspace.merge(first, second, int((NOON + timedelta(minutes=30)).timestamp()))
    workspace.merge(second, third, int((NOON + timedelta(minutes=40)).timestamp()))
    rows, _ = _read(_source(sandbox, "contacts_merged", now=LATER), state)
    assert {(row["id"], row["merged_id"]) for row in rows} == {(third, second), (third, first)}
    assert rows[0]["merged_at"] == "2026-03-02T12:40:00Z"
    rows, _ = _read(_source(sandbox, now=LATER))
    gone = {row["id"]: row["_merged_into"] for row in rows if row["_deleted"]}
    assert gone == {first: third, second: third}
    assert _numbers([row for row in rows if not row["_deleted"]]) == [4, 3]


def test_a_read_resumes_at_every_page_boundary(sandbox: Sandbox, workspace: Workspace) -> None:
    workspace.put(_contact(n) for n in range(1, 402))
    source = _source(sandbox)
    stream = source.discover()[0]
    pages = list(source.read(stream, {}))
    assert len(pages) == 3
    for stop in (1, 2):
        state = json.loads(json.dumps(pages[stop - 1].state))
        ids = [id for page in [*pages[:stop], *source.read(stream, state)] for id in page.records["id"].to_pylist()]
        assert len(ids) == len(set(ids)) == 401


def test_a_search_cursor_that_ran_out_is_replaced_by_the_last_change(sandbox: Sandbox, workspace: Workspace) -> None:
    workspace.put(_contact(n, NOON - timedelta(days=9) + timedelta(minutes=n)) for n in range(1, 402))
    source = _source(sandbox)
    stream = source.discover()[0]
    pages = list(source.read(stream, {}))
    behind = list(source.read(stream, {**pages[0].state, "cursor": "of yesterday"}))
    ids = {id for page in [pages[0], *behind] for id in page.records["id"].to_pylist()}
    rows = sum(page.records.num_rows for page in [pages[0], *behind])
    assert len(ids) == 401 and rows <= 402


def test_companies_come_whole_by_scroll(sandbox: Sandbox, workspace: Workspace) -> None:
    workspace.put_companies({"id": str(n), "name": f"Company {n}"} for n in range(1, 251))
    source = _source(sandbox, "companies")
    assert Counter(_numbers(_read(source)[0])) == Counter(range(1, 251))
    assert Counter(_numbers(_read(source)[0])) == Counter(range(1, 251))


def test_a_scroll_that_ran_out_is_begun_anew(sandbox: Sandbox, workspace: Workspace) -> None:
    workspace.put_companies({"id": str(n)} for n in range(1, 251))
    rows, _ = _read(_source(sandbox, "companies"), {"scroll": "scroll-of-yesterday"})
    assert Counter(_numbers(rows)) == Counter(range(1, 251))


def test_a_scroll_of_somebody_else_pauses(sandbox: Sandbox, workspace: Workspace) -> None:
    workspace.put_companies({"id": str(n)} for n in range(1, 251))
    stream = _source(sandbox, "companies").discover()[0]
    workspace.scrolls["of somebody else"] = (100, time.monotonic())
    with pytest.raises(RetryLater, match="scroll") as caught:
        list(_source(sandbox, "companies").read(stream, {}))
    assert caught.value.after == 60


def test_trap_20_a_repeated_cursor_raises(sandbox: Sandbox, workspace: Workspace) -> None:
    workspace.put(_contact(n) for n in range(1, 602))
    sandbox.fault("repeated_cursor", match="/contacts/search", after=1, times=100)
    with pytest.raises(SourceFailed, match="never end"):
        _read(_source(sandbox))


def test_a_wrong_token_is_a_sentence(sandbox: Sandbox) -> None:
    source = _source(sandbox, token="canary-token")
    check = source.check()
    assert not check.ok and "401" in check.sentence
    with pytest.raises(SourceFailed) as caught:
        source.discover()
    assert "canary" not in f"{caught.value!r}{check!r}{source.http!r}"


def test_requests_and_answers_fit_the_published_description(sandbox: Sandbox, workspace: Workspace) -> None:
    """Intercom-OpenAPI @8889625a, 2.16; the same version goes out with every request."""
    pytest.importorskip("jsonschema", reason="Install the dependency group `reference`.")
    from tests.connectors.analytics.described import Described
    from tests.connectors.analytics.reading import Wire

    description = Described("intercom/api.intercom.io-2.16.yaml")
    workspace.attributes["contact"] = {"plan": "string"}
    workspace.put(_contact(n) for n in range(1, 302))
    workspace.put_companies({"id": str(n), "name": f"Company {n}", "company_id": str(n)} for n in range(1, 151))
    workspace.merge(_contact(1)["id"], _contact(2)["id"], int(NOON.timestamp()) - 60)
    wire = Wire()
    for stream in ("contacts", "contacts_merged", "companies"):
        source = _source(sandbox, stream, transport=wire)
        assert source.check().ok
        _read(source)
    assert not _source(sandbox, token="wrong", transport=wire).check().ok
    checked = set()
    for request, answer in wire.passed:
        path = request.url.path.removeprefix("/intercom")
        assert request.headers["intercom-version"] == VERSION
        if answer.status_code == 401:
            # /me describes no refusal of its own; the schema is the same everywhere.
            description.validate(answer.json(), description.document["components"]["schemas"]["error"])
        else:
            description.check(request, answer, path)
        checked.add(path)
    assert checked == {"/me", "/data_attributes", "/contacts/search", "/companies/scroll"}
