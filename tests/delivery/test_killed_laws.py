"""Laws under real kills: withdrawals, opt-outs, the ladder, jobs under way and re-runs, mixed as they come.

Whatever happens, who did not say yes at that moment is never sent, and what the destination holds in the end is what
was decided.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from delivery_world import AUDIENCE, World, email, person
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from killed_story import LADDER, SYNC, How, destination

from consentry.audit import verify
from consentry.delivery import deadletters
from consentry.testing.memory import Audiences

PEOPLE = range(7)
groups = st.frozensets(st.sampled_from(PEOPLE), max_size=4)
points = st.sampled_from(
    [
        "",
        "after egress.decide",
        "before effect",
        "amid effect",
        "after effect",
        "after egress.sent",
        "after egress.accepted",
        "before poll",
        "after poll",
        "amid fold",
        "after fold",
    ]
)
hows = st.builds(
    How,
    point=points,
    number=st.integers(1, 3),
    stubborn=st.lists(st.sampled_from([person(n) for n in PEOPLE]), max_size=2, unique=True).map(tuple),
    polls=st.sampled_from([0, 0, 2]),
)


@dataclass(frozen=True)
class Step:
    """What happens to people, and then how the run goes wrong."""

    grant: frozenset[int]
    withdraw: frozenset[int]
    opt_out: frozenset[int]
    join: frozenset[int]
    leave: frozenset[int]
    change: frozenset[int]
    how: How


stories = st.lists(
    st.builds(Step, grant=groups, withdraw=groups, opt_out=groups, join=groups, leave=groups, change=groups, how=hows),
    min_size=2,
    max_size=4,
)
# A story that fails is told as it is: each shorter one that shrinking tries takes a process a step.
as_it_is = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.explicit, Phase.generate]
)
few, many = settings(as_it_is, max_examples=2), settings(as_it_is, max_examples=15)


class Story:
    """People who change their minds, and what is true of them after each step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.granted: set[int] = set()
        self.inside: set[int] = set()
        with self.opened() as world:
            world.people(PEOPLE)

    @contextmanager
    def opened(self) -> Iterator[World]:
        world = World(self.folder, policy=LADDER)
        try:
            yield world
        finally:
            world.close()

    def tell(self, step: Step) -> None:
        with self.opened() as world:
            world.grant(step.grant)
            world.withdraw(step.withdraw)
            # What a destination is told itself is read into the ledger before anything is pushed (pipeline.optouts).
            world.withdraw(step.opt_out)
            world.join(step.join - self.inside)
            world.leave(step.leave)
            world.change(step.change, "gold")
        self.granted = (self.granted | step.grant) - step.withdraw - step.opt_out
        self.inside = (self.inside | step.join) - step.leave

    @property
    def decided(self) -> set[str]:
        return {email(n) for n in self.granted & self.inside}

    def run(self, how: How) -> None:
        """Run in a process of its own; check that nobody was sent who did not say yes."""
        before = len(self.effects.effects)
        script = Path(__file__).parent / "killed_story.py"
        command = [sys.executable, str(script), str(self.folder), json.dumps(asdict(how))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        sent = {one.identifiers["email"] for one in self.effects.effects[before:] if one.kind in ("add", "change")}
        assert sent <= self.decided, "somebody was sent who did not say yes"

    def end(self) -> None:
        """Run on without kills until all is done, as the next runs do; what waits for a word is replayed."""
        with self.opened() as world:
            deadletters.replay(world.store, SYNC.name)
            for _ in range(4):
                result = world.run(destination(self.folder, How()), SYNC, allow=["insiders_mail.empty_segment"])
                if not result.api_calls:
                    return
        raise AssertionError("it never comes to an end")

    @property
    def effects(self) -> Audiences:
        return Audiences.read(self.folder / "effects.jsonl")


def _told(story: list[Step], *, noticing: bool = False) -> None:
    with tempfile.TemporaryDirectory() as folder:
        told = Story(Path(folder))
        for step in story:
            told.tell(step)
            told.run(How(**{**asdict(step.how), "noticing": noticing}))
        if noticing:
            assert [one for one in told.effects.repeated() if one.kind == "add"] == []
            return
        told.end()
        assert told.effects.values(AUDIENCE, "email") == told.decided
        assert len(told.effects.members(AUDIENCE)) == len(told.decided)
        assert verify(Path(folder) / "audit").ok


@few
@given(story=stories)
def test_whatever_kills_it_the_audience_ends_as_decided_and_nobody_is_sent_without_a_yes(story: list[Step]) -> None:
    _told(story)


@pytest.mark.slow
@many
@given(story=stories)
def test_many_stories_end_as_decided(story: list[Step]) -> None:
    _told(story)


@pytest.mark.slow
@many
@given(story=stories)
def test_where_a_repetition_would_be_noticed_no_kill_repeats_an_add(story: list[Step]) -> None:
    _told(story, noticing=True)
