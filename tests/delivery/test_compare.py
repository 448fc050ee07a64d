"""Comparing with the ledger, in numbers, finds what comparing person by person finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import md5
from pathlib import Path
from typing import Any, Literal

import pytest
from delivery_world import World, person, sync
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from consentry.delivery import deadletters
from consentry.delivery.denied import UNPROVEN
from consentry.delivery.diff import difference
from consentry.testing.memory import Memory, MemoryConfig
from consentry.warehouse import DuckDBWarehouse
from consentry.warehouse.people import make_table

PEOPLE = range(6)
TABLES = (
    "ops.decision",
    "segment.membership",
    "segment.holdout",
    "delivery.ack",
    "delivery.unsure",
    "identity.payload",
)
remotes = st.sampled_from([None, "r1", "r2"])


@dataclass(frozen=True)
class One:
    """What is the case for one person.

    reason: of the decision, None when there is none. acked: whether the same or another payload was acknowledged.
    unsure: whether what was sent last had no answer. known: whether the payload hash is remembered. letter: the code
    of a dead letter about the payload of now.
    """

    member: bool
    reason: Literal["allow", "withdrawn", "no_record"] | None
    held_out: bool
    acked: Literal["same", "other"] | None
    unsure: bool
    known: bool
    letter: Literal["unknown", "rejected"] | None
    remote: str | None

    @property
    def desired(self) -> bool:
        return self.member and self.reason == "allow" and not self.held_out

    @property
    def held(self) -> bool:
        return self.acked is not None or self.unsure

    @property
    def denied(self) -> bool:
        return self.held and self.reason not in ("allow", None)


ones = st.builds(
    One,
    member=st.booleans(),
    reason=st.sampled_from(["allow", "allow", "allow", "withdrawn", "no_record", None]),
    held_out=st.sampled_from([False, False, True]),
    acked=st.sampled_from([None, "same", "same", "other"]),
    unsure=st.sampled_from([False, False, True]),
    known=st.booleans(),
    letter=st.sampled_from([None, None, "unknown", "rejected"]),
    remote=remotes,
)
STAYS = One(True, "allow", False, "same", False, True, None, "r1")
MODES = ("mirror", "upsert", "update_only")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("compared"), warehouse=DuckDBWarehouse(threads=1))
    made.people(PEOPLE)
    made.decide()
    yield made
    made.close()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ones, min_size=len(PEOPLE), max_size=len(PEOPLE)), st.sampled_from(MODES))
@example([STAYS] * 5 + [replace(STAYS, member=False)], "mirror")
@example([STAYS] * 5 + [replace(STAYS, reason="withdrawn")], "upsert")
def test_comparing_in_numbers_finds_what_comparing_person_by_person_finds(
    world: World, people: list[One], mode: str
) -> None:
    put(world, people)
    found = difference(world.warehouse, world.store, world.gate, sync(mode=mode))
    todo = world.warehouse.sql("SELECT person_id, operation, cause FROM delivery.todo").to_pylist()
    expected = naive(people, mode)
    assert {(row["person_id"], row["operation"], row["cause"]) for row in todo} == expected
    assert len(todo) == len(expected)
    assert (found.members, found.desired, found.held) == (
        sum(one.member for one in people),
        sum(one.desired for one in people),
        sum(one.held for one in people),
    )
    refusals = [one.reason or "no_decision" for one in people if one.member and one.reason != "allow"]
    assert found.refused == {reason: refusals.count(reason) for reason in sorted(set(refusals))}


def naive(people: list[One], mode: str) -> set[tuple[str, str, str]]:
    """Work out what is to be done, one person after the other."""
    denied = {one.remote for one in people if one.denied and one.remote}
    staying = {one.remote for one in people if one.held and one.desired and one.remote}
    todo: set[tuple[str, str, str]] = set()
    for n, one in enumerate(people):
        again = one.held and one.remote in denied
        if one.desired:
            new = not one.held and mode != "update_only"
            if new or one.unsure or again or one.acked == "other":
                waits = one.letter == "unknown" or (one.letter == "rejected" and not one.unsure)
                operation = "wait" if waits else "add" if not one.held or one.unsure or again else "change"
                todo.add((person(n), operation, "decided"))
        elif one.held and (one.denied or mode == "mirror"):
            operation = "release" if one.remote in staying and not one.denied else "remove"
            todo.add((person(n), operation, "consent" if one.denied and one.reason not in UNPROVEN else "left"))
    return todo


def put(world: World, people: list[One]) -> None:
    """Make it so."""
    warehouse = world.warehouse
    for table in TABLES:
        warehouse.sql(f"DELETE FROM {table}")
    now = _payloads(world)
    name = sync().name
    letters = []
    for n, one in enumerate(people):
        who = {"person": person(n), "sync": name}
        other = md5(b"another").hexdigest()
        if one.reason:
            decision = "SELECT $person, $sync, $allow, $reason, $kinds"
            kinds, allow = ("email", True) if one.reason == "allow" else ("", False)
            warehouse.sql(f"INSERT INTO ops.decision {decision}", **who, allow=allow, reason=one.reason, kinds=kinds)
        if one.member:
            warehouse.sql("INSERT INTO segment.membership SELECT 'insiders', $person, now()", person=person(n))
        if one.held_out:
            warehouse.sql("INSERT INTO segment.holdout SELECT 'insiders', $person", person=person(n))
        if one.acked:
            sent = {"payload": now[person(n)] if one.acked == "same" else other, "remote": one.remote}
            warehouse.sql(
                "INSERT INTO delivery.ack SELECT $sync, $person, $payload, $remote, 'b', now()", **who, **sent
            )
        if one.unsure:
            sent = {"payload": other, "remote": one.remote}
            warehouse.sql(
                "INSERT INTO delivery.unsure SELECT $sync, $person, 'add', $payload, $remote, 'b', now()", **who, **sent
            )
        if one.letter:
            letters.append({"person_id": person(n), "code": one.letter, "field": None, "payload_hash": now[person(n)]})
    with world.store.begin() as connection:
        deadletters.clear(connection, name, [person(n) for n in PEOPLE])
        deadletters.note(connection, letters, sync=name, operation="add", at="2026-01-01T00:00:00.000000Z")
    _remember(world, [person(n) for n, one in enumerate(people) if one.known])


def _payloads(world: World) -> dict[str, str]:
    """Return the payload hash that everybody has now, if all are allowed."""
    world.warehouse.sql(
        "INSERT INTO ops.decision BY NAME SELECT person_id, $sync AS target, true AS allow, 'allow' AS reason,"
        " 'email' AS identifiers FROM identity.golden",
        sync=sync().name,
    )
    hashed = world.gate.payload_hashes(world.warehouse, sync().target(), "SELECT * FROM identity.golden")
    found = {row["person_id"]: row["payload_hash"] for batch in hashed for row in batch.to_pylist()}
    world.warehouse.sql("DELETE FROM ops.decision")
    return found


def _remember(world: World, people: list[str]) -> None:
    """Let a difference remember the payloads of some people, as one before this would have."""
    difference(world.warehouse, world.store, world.gate, sync())
    rest: dict[str, Any] = {"rest": [person(n) for n in PEOPLE if person(n) not in people]}
    world.warehouse.sql("DELETE FROM identity.payload WHERE person_id IN (SELECT unnest($rest::UUID[]))", **rest)
    world.warehouse.sql("DELETE FROM delivery.todo")


def test_what_is_remembered_of_the_acknowledged_spares_work_and_changes_nothing(tmp_path: Path) -> None:
    made = World(tmp_path, warehouse=DuckDBWarehouse(threads=1))
    made.fill(range(12))
    memory = Memory(MemoryConfig())
    made.run(memory)
    made.leave([0])
    made.run(memory)
    remembered = "SELECT person_id, payload_hash FROM identity.payload ORDER BY 1"
    acknowledged = made.warehouse.sql("SELECT person_id, payload_hash FROM delivery.ack ORDER BY 1")
    assert made.warehouse.sql(remembered) == acknowledged and acknowledged.num_rows == 11
    made.leave([1, 2])
    made.change([3, 4], "gold")
    made.withdraw([5])
    made.fill([12, 13])
    made.decide()
    found = [_todo(made)]
    for forgotten in ("person_id = (SELECT max(person_id) FROM delivery.ack)", "true"):
        made.warehouse.sql(f"DELETE FROM identity.payload WHERE {forgotten}")
        found.append(_todo(made))
    assert found[0] == found[1] == found[2]
    assert sorted(operation for _, operation, _, _ in found[0]) == ["add"] * 2 + ["change"] * 2 + ["remove"] * 3
    made.close()


def _todo(world: World) -> list[tuple[str, str, str, str]]:
    difference(world.warehouse, world.store, world.gate, sync())
    rows = world.warehouse.sql("SELECT person_id, operation, cause, payload_hash FROM delivery.todo ORDER BY 1")
    return [tuple(row.values()) for row in rows.to_pylist()]


def test_ids_that_an_earlier_version_kept_as_text_become_numbers(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    warehouse.sql("CREATE TABLE delivery.ack (sync TEXT, person_id TEXT, payload_hash TEXT)")
    warehouse.sql("INSERT INTO delivery.ack VALUES ('s', $person, $hash)", person=person(1), hash="0f" * 16)
    for _ in range(2):
        make_table(warehouse, "delivery.ack", "sync TEXT, person_id UUID, payload_hash UUID")
    assert warehouse.columns("delivery.ack") == {"sync": "VARCHAR", "person_id": "UUID", "payload_hash": "UUID"}
    found = warehouse.sql("SELECT person_id, payload_hash FROM delivery.ack").to_pylist()
    assert found == [{"person_id": person(1), "payload_hash": "0f0f0f0f-0f0f-0f0f-0f0f-0f0f0f0f0f0f"}]
    warehouse.close()
