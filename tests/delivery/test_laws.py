"""Laws of delivery: whatever fails in whatever order, the audience ends as decided."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from delivery_world import AUDIENCE, World, email, failing, sync
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentry.delivery import SyncResult, deadletters
from consentry.testing.failing import Failing, Failure
from consentry.testing.memory import Memory, MemoryConfig
from consentry.warehouse import DuckDBWarehouse

PEOPLE = range(9)
groups = st.frozensets(st.sampled_from(PEOPLE), max_size=5)
failures = st.builds(
    Failure,
    kind=st.sampled_from(["reject", "retry", "unknown", "raise", "refuse_batch", "later"]),
    call=st.integers(1, 8),
    rows=st.sampled_from([(), (0,), (1,), (0, 2)]),
    after=st.sampled_from([0.0, 30.0, 900.0]),
    took_effect=st.booleans(),
)
plain = settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@dataclass(frozen=True)
class Step:
    """What happens to people before a run."""

    grant: frozenset[int]
    withdraw: frozenset[int]
    join: frozenset[int]
    leave: frozenset[int]
    change: frozenset[int]
    plan: str


steps = st.lists(
    st.builds(
        Step, grant=groups, withdraw=groups, join=groups, leave=groups, change=groups, plan=st.sampled_from("abc")
    ),
    min_size=1,
    max_size=3,
)


class Story:
    """A world in which people change their minds, and what is true of them after each step."""

    def __init__(self, folder: str) -> None:
        self.world = World(Path(folder), warehouse=DuckDBWarehouse(threads=1))
        self.world.people(PEOPLE)
        self.granted: set[int] = set()
        self.inside: set[int] = set()
        self.plans = dict.fromkeys(PEOPLE, "basic")

    def tell(self, step: Step) -> None:
        self.world.grant(step.grant)
        self.world.withdraw(step.withdraw)
        self.granted = (self.granted | step.grant) - step.withdraw
        self.world.join(step.join - self.inside)
        self.world.leave(step.leave)
        self.inside = (self.inside | step.join) - step.leave
        self.world.change(step.change, step.plan)
        self.plans |= dict.fromkeys(step.change, step.plan)

    @property
    def decided(self) -> set[int]:
        return self.granted & self.inside

    def run(self, destination: Failing | Memory) -> SyncResult:
        return self.world.run(destination, sync(batch_size=4), allow=["insiders_mail.empty_segment"])


def held(destination: Failing | Memory) -> dict[str, str]:
    """Return who is in the audience, and with which plan."""
    members = destination.audiences._members.get(AUDIENCE, {}).values()
    return {one.identifiers["email"]: str(one.fields["plan_name"]) for one in members}


def sent_without_consent(destination: Failing | Memory, allowed: set[str], since: int) -> set[str]:
    effects = destination.audiences.effects[since:]
    return {one.identifiers["email"] for one in effects if one.kind in ("add", "change")} - allowed


@plain
@given(story=steps, schedule=st.lists(failures, max_size=6))
def test_after_any_faults_the_audience_is_what_was_decided(story: list[Step], schedule: list[Failure]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        told = Story(folder)
        destination = failing(*schedule)
        for step in story:
            told.tell(step)
            before = len(destination.audiences.effects)
            result = told.run(destination)
            assert not sent_without_consent(destination, {email(n) for n in told.decided}, before)
            assert result.status in ("ok", "paused", "failed")
        _end(told, destination)
        assert held(destination) == {email(n): told.plans[n] for n in told.decided}
        assert told.run(destination).api_calls == 0
        told.world.close()


def _end(told: Story, destination: Failing) -> None:
    """Run once more without faults; what was refused for good meanwhile is replayed."""
    destination._config = destination._config.model_copy(update={"schedule": ()})
    deadletters.replay(told.world.store, "insiders_mail")
    assert told.run(destination).status == "ok"


@plain
@given(story=steps, schedule=st.lists(failures, max_size=6))
def test_where_a_repetition_would_be_noticed_no_add_is_repeated(story: list[Step], schedule: list[Failure]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        told = Story(folder)
        destination = failing(*schedule)
        destination.capabilities = replace(destination.capabilities, idempotent=False)
        for step in story:
            told.tell(step)
            told.run(destination)
        told.run(destination)
        assert [one for one in destination.audiences.repeated() if one.kind == "add"] == []
        told.world.close()


@plain
@given(story=steps)
def test_without_faults_every_run_ends_as_decided_and_the_next_makes_no_call(story: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        told = Story(folder)
        destination = Memory(MemoryConfig())
        for step in story:
            told.tell(step)
            result = told.run(destination)
            assert result.acknowledged == result.adds + result.updates + result.removes
            assert held(destination) == {email(n): told.plans[n] for n in told.decided}
            assert told.run(destination).api_calls == 0
        assert destination.audiences.repeated() == []
        told.world.close()
