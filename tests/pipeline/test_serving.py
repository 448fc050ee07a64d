"""Memberships over HTTP: a sync learns of one person what it may know now, and nobody else learns anything."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from consentry.errors import ConfigError, StopRun
from consentry.pipeline.keyrings import rotate_keys
from consentry.pipeline.left import left_warehouse
from consentry.pipeline.load import load_job
from consentry.pipeline.lookup import Lookup
from consentry.pipeline.plan import make_plan
from consentry.pipeline.privacy import import_consents, ledger_of
from consentry.pipeline.progress import Silent
from consentry.pipeline.run import run
from consentry.pipeline.serving import lookup_server
from tests.conftest import PEOPLE, TinyJob, choice, email

SECRET = "an-0penly-known-secret-of-the-tests-7f3a"
BEARER = {"Authorization": f"Bearer {SECRET}"}
NO_MEMBER = {
    "sync": "adults",
    "segment": "adults",
    "member": False,
    "since": None,
    "evaluated_at": "2026-02-01T00:00:00.000000Z",
}
MEMBER = NO_MEMBER | {"member": True, "since": "2026-02-01T00:00:00.000000Z"}
Ask = Callable[..., httpx.Response]


@contextmanager
def asking(job: TinyJob) -> Iterator[Ask]:
    """Ask the application about a person, without a socket."""
    with closing(Lookup(load_job(job.path))) as lookup:
        app = lookup_server(lookup, variable="LOOKUP")

        def ask(person: str, sync: str = "adults", headers: dict[str, str] = BEARER) -> httpx.Response:
            async def get() -> httpx.Response:
                transport = httpx.ASGITransport(app=app)
                async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                    return await client.get(f"/people/{person}/syncs/{sync}", headers=headers)

            return asyncio.run(get())

        yield ask


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret, where the server looks for it."""
    monkeypatch.setenv("LOOKUP", SECRET)


@pytest.fixture
def ask(ran: TinyJob) -> Iterator[Ask]:
    """Ask about people of the job as its first run left it."""
    with asking(ran) as found:
        yield found


def people(job: TinyJob) -> dict[int, str]:
    """Return person ids by the number in their address."""
    with left_warehouse(load_job(job.path)) as warehouse:
        rows = warehouse.sql("SELECT person_id, email FROM identity.golden").to_pylist()
    ids = {row["email"]: row["person_id"] for row in rows}
    return {number: ids[email(number)] for number in range(PEOPLE)}


def say(job: TinyJob, number: int, state: str, *, day: int = 2) -> None:
    """Record what somebody says, beside whatever runs."""
    row = {**choice(number, state, day), "source_system": "form", "source_event_id": f"{day}-{number}"}
    feed = job.folder / "word.jsonl"
    feed.write_text(json.dumps(row | {"identifier_value": row["identifier"]}) + "\n")
    assert import_consents(load_job(job.path), feed, None)["new"] == 1


def suppress(job: TinyJob, number: int) -> None:
    """Put somebody on the suppression list."""
    with ledger_of(load_job(job.path)) as ledger:
        ledger.suppress("email", email(number), reason="objection", region=None, scope="*", since=datetime.now(UTC))


def change_segment(job: TinyJob, **keys: Any) -> None:
    path = job.folder / "segments" / "adults.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | keys))


def run_again(job: TinyJob) -> None:
    run(make_plan(load_job(job.path)), Silent())


def test_profile_lookup_over_http_tells_what_was_last_published(ran: TinyJob, ask: Ask) -> None:
    found = ask(people(ran)[3])
    assert (found.status_code, found.json()) == (200, MEMBER)
    assert found.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("person", [str(uuid.UUID(int=7)), "nobody", "%00", "x" * 3_000, email(3), "' OR 1=1 --"])
def test_who_is_unknown_gets_the_answer_of_who_is_no_member(ask: Ask, person: str) -> None:
    found = ask(person)
    assert (found.status_code, found.json()) == (200, NO_MEMBER)


def test_what_is_withdrawn_or_suppressed_after_the_run_holds_for_the_next_question(ran: TinyJob, ask: Ask) -> None:
    ids = people(ran)
    assert all(ask(ids[number]).json() == MEMBER for number in (3, 4, 5))
    say(ran, 3, "withdrawn")
    suppress(ran, 4)
    assert [ask(ids[number]).json() for number in (3, 4, 5)] == [NO_MEMBER, NO_MEMBER, MEMBER]


def test_whom_the_run_refused_is_not_served_until_another_run_decides(ran: TinyJob, ask: Ask) -> None:
    ids = people(ran)
    with left_warehouse(load_job(ran.path)) as warehouse:
        warehouse.sql("UPDATE ops.decision SET allow = false, reason = 'no_record' WHERE person_id = $id", id=ids[3])
        warehouse.sql("DELETE FROM ops.decision WHERE person_id = $id", id=ids[4])
    say(ran, 3, "granted")
    assert [ask(ids[number]).json() for number in (3, 4, 5)] == [NO_MEMBER, NO_MEMBER, MEMBER]


def test_who_is_served_is_whom_the_next_run_leaves_in_the_audience(tiny: TinyJob) -> None:
    change_segment(tiny, holdout={"share": "30%", "salt": "q4"})
    tiny.write_consents({number: "withdrawn" if number % 7 == 0 else "granted" for number in range(PEOPLE)})
    run_again(tiny)
    say(tiny, 11, "withdrawn")
    suppress(tiny, 12)
    with asking(tiny) as ask:
        served = {person for person in people(tiny).values() if ask(person).json()["member"]}
    run_again(tiny)
    with left_warehouse(load_job(tiny.path)) as warehouse:
        sent = warehouse.sql("SELECT person_id FROM delivery.ack WHERE sync = 'adults'")["person_id"].to_pylist()
        held_out = warehouse.count("segment.holdout")
    assert served == set(sent)
    assert 0 < held_out < PEOPLE - len(served)


def test_of_a_segment_on_hold_nobody_is_served(ran: TinyJob, ask: Ask) -> None:
    person = people(ran)[3]
    assert ask(person).json() == MEMBER
    with left_warehouse(load_job(ran.path)) as warehouse:
        warehouse.sql("INSERT INTO segment.hold VALUES ('adults', 'stale', 'Nothing came in for days.')")
    assert ask(person).json() == NO_MEMBER


@pytest.mark.parametrize("least", [{"min_segment": PEOPLE + 1}, {"min_size": PEOPLE + 1}])
def test_of_too_small_an_audience_nobody_is_served(ran: TinyJob, least: dict[str, int]) -> None:
    block = ran.policy["destinations"]["store"] if "min_segment" in least else ran.spec["syncs"]["adults"]
    block |= least
    ran.write()
    with asking(ran) as ask:
        assert ask(people(ran)[3]).json() == NO_MEMBER


def test_a_destination_that_must_not_see_single_changes_is_not_served(ran: TinyJob) -> None:
    ran.policy["destinations"]["store"]["min_change"] = 2
    ran.write()
    with asking(ran) as ask:
        found = [ask(person) for person in (people(ran)[3], "nobody")]
    assert {(one.status_code, one.json()["code"]) for one in found} == {(403, "small_change")}


def test_after_a_rotation_nobody_is_served_until_a_run_knows_people_by_the_new_key(ran: TinyJob, ask: Ask) -> None:
    person = people(ran)[3]
    assert ask(person).json() == MEMBER
    rotate_keys(load_job(ran.path))
    assert ask(person).json() == NO_MEMBER
    run_again(ran)
    assert ask(person).json() == MEMBER


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": SECRET},
        {"Authorization": f"bearer {SECRET}"},
        {"Authorization": f"Basic {SECRET}"},
        {"Authorization": f"Bearer {SECRET}x"},
        {"Authorization": f"Bearer {SECRET[:-1]}"},
        {"Authorization": "Bearer é"},
    ],
)
def test_without_the_secret_nothing_is_learnt(ran: TinyJob, ask: Ask, headers: dict[str, str]) -> None:
    sent = {name: value.encode("latin-1") for name, value in headers.items()}
    found = [ask(person, sync, sent) for person in (people(ran)[3], "nobody") for sync in ("adults", "none")]
    assert {one.status_code for one in found} == {401}
    assert len({one.text for one in found}) == 1


def test_a_sync_that_is_not_there_is_not_found_whoever_is_asked_about(ran: TinyJob, ask: Ask) -> None:
    found = [ask(person, "none") for person in (people(ran)[3], "nobody")]
    assert {(one.status_code, one.json()["code"]) for one in found} == {(404, "unknown_sync")}


@pytest.mark.parametrize("guessed", ["", "short", "a" * 64])
def test_a_secret_that_can_be_guessed_refuses_to_start(
    ran: TinyJob, monkeypatch: pytest.MonkeyPatch, guessed: str
) -> None:
    monkeypatch.setenv("LOOKUP", guessed)
    with closing(Lookup(load_job(ran.path))) as lookup, pytest.raises(StopRun, match="holds no secret") as caught:
        lookup_server(lookup, variable="LOOKUP")
    assert not guessed or guessed not in str(caught.value)


def test_a_job_that_has_not_run_has_nobody_to_look_up(tiny: TinyJob) -> None:
    with pytest.raises(ConfigError, match="has not run yet, so that nobody can be looked up"):
        Lookup(load_job(tiny.path))


def test_a_job_that_cannot_be_read_any_more_is_asked_again_later(ran: TinyJob, ask: Ask) -> None:
    person = people(ran)[3]
    ran.path.write_text("version: 1\n")
    assert ask(person).json() == MEMBER
    with left_warehouse(load_job(ran.write())) as warehouse:
        warehouse.sql("INSERT INTO segment.hold VALUES ('none', 'stale', '')")
    ran.path.write_text("version: 1\n")
    found = ask(person)
    assert (found.status_code, found.json()["code"], found.headers["Retry-After"]) == (503, "config", "10")


@contextmanager
def served(job: TinyJob, log: Path) -> Iterator[httpx.Client]:
    """Run the command in a process of its own, and yield a client of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "consentry.cli", "segment", "serve", str(job.path), "--port", str(port)]
    with (
        log.open("w") as out,
        subprocess.Popen(
            [*command, "--secret-variable", "LOOKUP"], stdout=out, stderr=out, env=dict(os.environ)
        ) as process,
    ):
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=BEARER, trust_env=False) as client:
                _await(client, process)
                yield client
        finally:
            process.terminate()


def _await(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        try:
            client.get("/people/nobody/syncs/adults")
        except httpx.TransportError:
            time.sleep(0.02)
        else:
            return
    pytest.fail("The server did not start.")


def test_runs_go_on_beside_the_server_and_it_tells_what_they_published(ran: TinyJob, tmp_path: Path) -> None:
    ids, log = people(ran), tmp_path / "served.txt"
    with served(ran, log) as client:

        def ask(number: int) -> httpx.Response:
            return client.get(f"/people/{ids[number]}/syncs/adults")

        assert ask(3).json() == MEMBER
        # Held, with nothing written: what was published last is what is in memory. Written to: nobody can tell.
        with left_warehouse(load_job(ran.path)) as warehouse:
            assert ask(3).json() == MEMBER
            warehouse.sql("INSERT INTO segment.hold VALUES ('none', 'stale', '')")
            busy = ask(3)
            assert (busy.status_code, busy.json()["code"], busy.headers["Retry-After"]) == (
                503,
                "warehouse_locked",
                "10",
            )
        assert ask(3).json() == MEMBER
        change_segment(ran, rule="age >= 30")
        run_again(ran)
        assert [ask(number).json() for number in (3, 30)] == [NO_MEMBER, MEMBER]
        assert client.get(f"/people/{ids[3]}/syncs/adults", headers={"Authorization": "Bearer x"}).status_code == 401
    told = log.read_text()
    assert "Answering on http://127.0.0.1:" in told
    assert not [word for word in (SECRET, "Traceback", "canary", *ids.values()) if word in told]
