"""Faults happen when and as often as asked, over a real socket."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from consentry.errors import ConfigError
from consentry.testing.sandbox import Sandbox

CONTACTS = "/crm/objects/2026-09/contacts"


def statuses(client: httpx.Client, times: int, path: str = CONTACTS) -> list[int]:
    return [client.get(path).status_code for _ in range(times)]


def test_a_fault_begins_after_some_requests_and_ends_after_some(sandbox: Sandbox, hubspot: httpx.Client) -> None:
    sandbox.fault("server_error", match="/hubspot/*", status=502, after=2, times=2)
    assert statuses(hubspot, 6) == [200, 200, 502, 502, 200, 200]


def test_a_fault_meets_only_the_paths_and_methods_it_names(sandbox: Sandbox, hubspot: httpx.Client) -> None:
    sandbox.fault("server_error", match="/contacts/search", method="post", times=5)
    assert statuses(hubspot, 1) == [200]
    assert hubspot.post(f"{CONTACTS}/search", json={}).status_code == 503


@pytest.mark.parametrize("form", ["2", "date", None, "3600"])
def test_a_429_carries_retry_after_in_every_form(sandbox: Sandbox, hubspot: httpx.Client, form: str | None) -> None:
    sandbox.fault("rate_limited", retry_after=form, seconds=5)
    answer = hubspot.get(CONTACTS)
    assert (answer.status_code, answer.json()["policyName"]) == (429, "TEN_SECONDLY_ROLLING")
    given = answer.headers.get("Retry-After")
    if form == "date":
        assert given is not None
        assert 2 < (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds() <= 5
    else:
        assert given == form


def test_the_daily_limit_is_told_from_the_short_one(
    sandbox: Sandbox, hubspot: httpx.Client, klaviyo: httpx.Client
) -> None:
    sandbox.fault("daily_limit", times=2)
    assert hubspot.get(CONTACTS).json()["policyName"] == "DAILY"
    assert int(klaviyo.get("/api/lists").headers["Retry-After"]) > 3600


def test_an_expired_token_is_a_401_that_goes_away(sandbox: Sandbox, hubspot: httpx.Client) -> None:
    sandbox.fault("expired_token")
    assert hubspot.get(CONTACTS).json()["category"] == "EXPIRED_AUTHENTICATION"
    assert statuses(hubspot, 1) == [200]


@pytest.mark.parametrize("kind", ["reset", "truncated", "lost_answer"])
def test_the_connection_breaks_and_the_next_request_goes_well(
    sandbox: Sandbox, hubspot: httpx.Client, kind: str
) -> None:
    sandbox.fault(kind, seconds=0.05)
    with pytest.raises(httpx.RemoteProtocolError):
        hubspot.get(CONTACTS)
    assert statuses(hubspot, 1) == [200]


def test_a_reset_comes_before_the_effect_and_a_lost_answer_after_it(sandbox: Sandbox, hubspot: httpx.Client) -> None:
    for number, kind in enumerate(["reset", "lost_answer"]):
        sandbox.fault(kind, seconds=0.05)
        with pytest.raises(httpx.RemoteProtocolError):
            hubspot.post(CONTACTS, json={"properties": {"email": f"new{number}@example.com"}})
    assert sandbox.hubspot.contacts.by_email("new0@example.com") is None
    assert sandbox.hubspot.contacts.by_email("new1@example.com") is not None


def test_a_delayed_answer_runs_into_the_clients_timeout(sandbox: Sandbox, hubspot: httpx.Client) -> None:
    sandbox.fault("delay", seconds=30)
    with pytest.raises(httpx.ReadTimeout):
        hubspot.get(CONTACTS, timeout=0.1)


def test_garbage_is_a_200_that_is_not_json(sandbox: Sandbox, hubspot: httpx.Client) -> None:
    sandbox.fault("garbage")
    answer = hubspot.get(CONTACTS)
    assert answer.status_code == 200
    with pytest.raises(ValueError):
        answer.json()


def test_a_repeated_cursor_names_this_page_as_the_next(
    sandbox: Sandbox, hubspot: httpx.Client, klaviyo: httpx.Client
) -> None:
    sandbox.fault("repeated_cursor", times=2)
    body = hubspot.get(CONTACTS, params={"after": "20"}).json()
    assert body["paging"]["next"]["after"] == "20"
    assert hubspot.get(CONTACTS).json()["paging"]["next"]["after"] == "10"  # the first page has no cursor to repeat
    for number in range(5):
        attributes = {"email": f"person{number}@example.com"}
        klaviyo.post("/api/profiles", json={"data": {"type": "profile", "attributes": attributes}})
    second = klaviyo.get("/api/profiles", params={"page[size]": 2}).json()["links"]["next"]
    sandbox.fault("repeated_cursor")
    assert klaviyo.get(second).json()["links"]["next"] == second


def test_a_whole_batch_is_refused_and_nothing_takes_effect(
    sandbox: Sandbox, hubspot: httpx.Client, klaviyo: httpx.Client
) -> None:
    sandbox.fault("refused_batch", times=2)
    body = {"inputs": [{"id": "1", "properties": {"country": "FR"}}]}
    assert hubspot.post(f"{CONTACTS}/batch/update", json=body).status_code == 400
    list_body = {"data": {"type": "list", "attributes": {"name": "x"}}}
    assert klaviyo.post("/api/lists", json=list_body).status_code == 400
    assert (sandbox.hubspot.contacts.rows[1].properties["country"], sandbox.klaviyo.members()) == ("GB", {})


def test_an_unknown_fault_is_refused_when_it_is_planned(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="kind"):
        sandbox.fault("earthquake")


def test_the_controls_do_over_http_what_the_methods_do(sandbox: Sandbox, hubspot: httpx.Client) -> None:
    with httpx.Client(base_url=sandbox.url("_sandbox")) as controls:
        assert {"hubspot", "klaviyo"} <= set(controls.get("/health").json()["vendors"])
        assert controls.post("/faults", json={"kind": "server_error", "match": "/hubspot/*"}).status_code == 204
        assert controls.post("/faults", json={"kind": "earthquake"}).status_code == 400
        assert statuses(hubspot, 2) == [503, 200]
        assert len(controls.get("/faults").json()) == 1
        assert controls.get("/requests").json()[-1] == {"method": "GET", "path": f"/hubspot{CONTACTS}"}
        line = '{"id":"9001","createdAt":"2026-01-01T00:00:00Z","updatedAt":"2026-01-01T00:00:00Z","properties":{}}'
        assert controls.post("/load/hubspot", content=line).json() == {"loaded": 1}
        assert hubspot.get(f"{CONTACTS}/9001").status_code == 200
        assert controls.post("/load/hubspot", content="{").status_code == 400
        assert controls.get("/members/klaviyo").json() == {}
        assert controls.get("/members/nobody").status_code == 404
        assert controls.post("/reset").status_code == 204
        assert hubspot.get(f"{CONTACTS}/1").status_code == 404


def test_what_was_requested_is_noted_without_query_or_body(sandbox: Sandbox, hubspot: httpx.Client) -> None:
    hubspot.get(f"{CONTACTS}/person1@example.com", params={"idProperty": "email", "properties": "canary"})
    sandbox.forget_requests()
    hubspot.get(CONTACTS, params={"properties": "canary"})
    assert [(one.method, one.path) for one in sandbox.requests] == [("GET", f"/hubspot{CONTACTS}")]


def test_a_taken_port_is_a_sentence(sandbox: Sandbox) -> None:
    with pytest.raises(ConfigError, match=f"Port {sandbox.port} .* is in use"):
        Sandbox(sandbox.port).start()


def test_an_impossible_port_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match="99999 is no port"):
        Sandbox(99_999).start()


def test_an_answer_does_not_wait_for_delayed_acknowledgements(hubspot: httpx.Client) -> None:
    """With Nagle's algorithm on, each of these would take 40 ms."""
    begun = time.monotonic()
    statuses(hubspot, 25)
    assert time.monotonic() - begun < 25 * 0.04


def test_a_folder_without_contacts_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no crm_contacts\.jsonl"):
        Sandbox(data_folder=tmp_path)


def test_it_stops_within_a_second_even_with_a_request_under_way(data_folder: Path) -> None:
    sandbox = Sandbox(data_folder=data_folder).start()
    sandbox.fault("delay", seconds=60)
    headers = {"Authorization": "Bearer sandbox-hubspot"}
    with httpx.Client(headers=headers) as client, pytest.raises(httpx.ReadTimeout):
        client.get(sandbox.url("hubspot") + CONTACTS, timeout=0.1)
    begun = time.monotonic()
    sandbox.stop()
    assert time.monotonic() - begun < 1


def test_serve_announces_itself_and_ends_on_sigterm(data_folder: Path) -> None:
    program = (
        "import json, sys; from pathlib import Path; from consentry.testing.sandbox import serve;"
        "serve(0, Path(sys.argv[1]), lambda environment: print(json.dumps(dict(environment)), flush=True))"
    )
    command = [sys.executable, "-c", program, str(data_folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        environment: dict[str, Any] = httpx.Response(200, text=process.stdout.readline()).json()
        headers = {"Authorization": f"Bearer {environment['HUBSPOT_TOKEN']}"}
        assert httpx.get(environment["HUBSPOT_BASE_URL"] + CONTACTS, headers=headers).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0
