"""What a platform is told of somebody's consent is what the ledger says, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from delivery_world import AUDIENCE, POLICY, World, email, sync

from consentry.config import Faults
from consentry.consent.gate import refusals
from consentry.consent.policy import read_policy
from consentry.testing.memory import Memory, MemoryConfig
from consentry.warehouse import DuckDBWarehouse

SIGNALS = """    signals: {ad_user_data: [newsletter], ad_personalization: [newsletter, ads]}
"""
WITH_ADS = POLICY.replace(
    "    basis: {gdpr: consent}\n",
    "    basis: {gdpr: consent}\n  ads:\n    basis: {gdpr: legitimate_interests}\n    lia_ref: L\n",
).replace("    min_segment: 0\n", "    min_segment: 0\n" + SIGNALS)


@pytest.fixture
def told(tmp_path: Path) -> Iterator[World]:
    """Return a world whose policy names signals."""
    world = World(tmp_path, warehouse=DuckDBWarehouse(threads=1), policy=WITH_ADS)
    yield world
    world.close()


def signals(destination: Memory) -> dict[str, tuple[object, object]]:
    """Return what the destination was last told of each member."""
    found: dict[str, tuple[object, object]] = {}
    for effect in destination.audiences.effects:
        if effect.kind in ("add", "change"):
            fields = effect.fields
            found[effect.identifiers["email"]] = (fields["ad_user_data"], fields["ad_personalization"])
    return found


def test_only_an_effective_grant_is_told_as_one(told: World) -> None:
    destination = Memory(MemoryConfig())
    told.fill(range(3))
    told.grant([0], purpose="ads")
    told.run(destination)
    # Legitimate interests let the purpose go on without a word, and are still no grant.
    assert signals(destination) == {
        email(0): ("granted", "granted"),
        email(1): ("granted", "denied"),
        email(2): ("granted", "denied"),
    }


def test_a_changed_answer_is_a_change_and_nothing_else_is(told: World) -> None:
    destination = Memory(MemoryConfig())
    told.fill(range(3))
    told.grant([0], purpose="ads")
    told.run(destination)
    again = told.run(destination)
    assert (again.adds, again.updates, again.removes, again.api_calls) == (0, 0, 0, 0)
    told.withdraw([0], purpose="ads")
    told.grant([2], purpose="ads")
    result = told.run(destination)
    assert (result.adds, result.updates, result.removes) == (0, 2, 0)
    assert signals(destination)[email(0)] == ("granted", "denied")
    assert signals(destination)[email(2)] == ("granted", "granted")


def test_a_withdrawal_after_the_decision_is_told_at_the_moment_of_sending(told: World) -> None:
    destination = Memory(MemoryConfig())
    told.fill(range(2))
    told.grant([0], purpose="ads")
    told.decide()
    told.withdraw([0], purpose="ads")
    told.deliver(destination)
    assert signals(destination)[email(0)] == ("granted", "denied")


def test_who_withdraws_what_the_platform_lives_on_is_taken_out(told: World) -> None:
    destination = Memory(MemoryConfig())
    told.fill(range(2))
    told.run(destination)
    told.withdraw([0])
    told.run(destination)
    assert destination.audiences.values(AUDIENCE, "email") == {email(1)}


def test_no_column_can_state_a_signal(told: World) -> None:
    target = sync(fields={"ad_user_data": "plan"}).target()
    assert "consent signal" in " ".join(refusals(told.gate.policy, target))


@pytest.mark.parametrize(
    ("signal", "said"),
    [("{ad_user_data: [ads]}", "purposes_all_of"), ("{ad_personalization: [adz]}", "did you mean 'ads'")],
)
def test_a_signal_without_its_purpose_is_a_fault_of_the_policy(tmp_path: Path, signal: str, said: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(WITH_ADS.replace(SIGNALS, f"    signals: {signal}\n"))
    faults = Faults()
    assert read_policy(path, faults) is None
    assert said in " ".join(faults.found)
