"""An imputed value leaves where the profile serves it and nothing was observed, of people who may be profiled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivery_world import POLICY, World, email, memory, person, sync

from consentry.delivery.golden import SERVED, Golden, golden_of
from consentry.identity.golden_for import STRICT
from consentry.testing.memory import Memory
from consentry.warehouse import DuckDBWarehouse

PROFILED = POLICY.replace(
    "    basis: {gdpr: consent}\n",
    "    basis: {gdpr: consent}\n  profiling:\n    basis: {gdpr: consent}\n",
).replace("destinations:\n", "profiling: {purpose: profiling}\ndestinations:\n")
BANDED = PROFILED.replace("plan: {transform: pass}", "plan: {transform: truncate, length: 2}")


def opened(folder: Path, policy: str) -> World:
    """Return a world of two people whose plan nobody knows, and for whom the profile imputes one."""
    world = World(folder, warehouse=DuckDBWarehouse(threads=1), policy=policy)
    world.fill(range(2))
    world.grant(range(2), purpose="profiling")
    world.warehouse.sql("UPDATE identity.golden SET plan = NULL")
    world.warehouse.sql(f"CREATE TABLE {SERVED} AS SELECT person_id, 'gold' AS plan FROM identity.golden")
    return world


@pytest.fixture
def profiled(tmp_path: Path) -> Iterator[World]:
    """Return such a world whose policy lets people be profiled, and passes the plan as it is."""
    world = opened(tmp_path, PROFILED)
    yield world
    world.close()


def plans(destination: Memory) -> dict[str, object]:
    """Return the plan that the destination was last told of each member."""
    return {
        effect.identifiers["email"]: effect.fields["plan_name"]
        for effect in destination.audiences.effects
        if effect.kind in ("add", "change")
    }


def test_an_imputed_value_leaves_in_place_of_a_missing_one_and_never_of_an_observed_one(profiled: World) -> None:
    destination = memory()
    profiled.change([1], "silver")
    profiled.run(destination)
    assert plans(destination) == {email(0): "gold", email(1): "silver"}


def test_a_changed_imputed_value_is_a_change_and_a_second_run_sends_nothing(profiled: World) -> None:
    destination = memory()
    profiled.run(destination)
    again = profiled.run(destination)
    assert (again.adds, again.updates, again.removes, again.api_calls) == (0, 0, 0, 0)
    profiled.warehouse.sql(f"UPDATE {SERVED} SET plan = 'copper' WHERE person_id = $one", one=person(1))
    result = profiled.run(destination)
    assert (result.adds, result.updates, result.removes) == (0, 1, 0)
    assert plans(destination) == {email(0): "gold", email(1): "copper"}


def test_an_observed_value_that_arrives_is_a_change_unless_it_is_what_was_imputed(profiled: World) -> None:
    destination = memory()
    profiled.run(destination)
    profiled.change([0], "silver")
    profiled.change([1], "gold")
    profiled.warehouse.sql(f"DELETE FROM {SERVED}")
    result = profiled.run(destination)
    assert (result.adds, result.updates, result.removes) == (0, 1, 0)
    assert plans(destination) == {email(0): "silver", email(1): "gold"}


def test_who_refuses_profiling_after_the_decision_is_sent_without_the_imputed_value(profiled: World) -> None:
    destination = memory()
    profiled.decide()
    profiled.withdraw([0], purpose="profiling")
    profiled.deliver(destination)
    assert plans(destination) == {email(0): None, email(1): "gold"}
    profiled.warehouse.sql(f"DELETE FROM {SERVED} WHERE person_id = $one", one=person(0))
    again = profiled.run(destination)
    assert (again.adds, again.updates, again.api_calls) == (0, 0, 0)


def test_the_log_names_the_imputed_fields_and_never_their_values(profiled: World) -> None:
    profiled.change([0], "silver")
    profiled.run(memory(size=1))
    decided = [json.loads(line) for line in profiled.log().splitlines() if '"egress.decide"' in line]
    told = sorted(json.dumps(entry["fields"].get("imputed")) for entry in decided)
    assert told == ['["plan_name"]', "null"]
    assert "gold" not in profiled.log()


def test_an_imputed_value_leaves_as_the_policy_transforms_it(tmp_path: Path) -> None:
    world = opened(tmp_path, BANDED)
    destination = memory()
    world.run(destination)
    assert set(plans(destination).values()) == {"go"}
    world.close()


def test_a_destination_whose_purposes_are_linked_apart_from_profiling_gets_no_imputed_value(profiled: World) -> None:
    destination = memory()
    profiled.warehouse.sql(f"CREATE TABLE {STRICT} AS SELECT unnest(['profiling', '*']) AS purpose")
    profiled.warehouse.sql("CREATE TABLE identity.left_out (purpose TEXT, person_id UUID, record_id TEXT)")
    profiled.run(destination)
    assert set(plans(destination).values()) == {None}


def test_without_profiling_in_the_policy_nothing_imputed_leaves(tmp_path: Path) -> None:
    world = opened(tmp_path, PROFILED.replace("profiling: {purpose: profiling}\n", ""))
    destination = memory()
    world.run(destination)
    assert set(plans(destination).values()) == {None}
    world.close()


def test_a_sync_that_sends_no_imputed_column_reads_the_golden_records_alone(profiled: World) -> None:
    columns = ("person_id", "email", "country", "plan")
    target = sync(fields={}).target()
    assert golden_of(profiled.warehouse, profiled.gate, target) == Golden("identity.golden", columns)
    profiled.warehouse.drop(SERVED)
    assert golden_of(profiled.warehouse, profiled.gate, sync().target()) == Golden("identity.golden", columns)
