"""What a destination accepts and applies later is journalled, followed to its end, and taken up by a later run."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from delivery_world import World, email, failing, members

from consentry.delivery import deadletters, follow, journal
from consentry.delivery.exchange import notes
from consentry.testing.failing import Failing, FailingConfig, Failure


def slow(polls: int = 3, *, wait: float = 60.0, call: int | None = None, rows: tuple[int, ...] = ()) -> Failing:
    """Return a destination whose rows pend until they were asked about so often."""
    late = Failure(kind="pending", polls=polls, call=call, rows=rows)
    return Failing(FailingConfig(schedule=(late,), wait_seconds=wait))


def test_rows_that_pend_are_asked_about_until_they_are_applied(world: World) -> None:
    world.fill(range(5))
    destination, slept = slow(3), list[float]()
    result = world.run(destination, sleep=slept.append)
    assert (result.status, result.acknowledged, result.pending) == ("ok", 5, 0)
    assert slept == [0.5, 1.0, 2.0], "one question a pause, and the pauses grow"
    assert world.warehouse.count("delivery.ack") == 5
    assert world.run(destination).api_calls == 0


def test_a_job_slower_than_the_wait_pauses_the_sync_and_a_later_run_takes_it_up(world: World) -> None:
    world.fill(range(5))
    destination = slow(6, wait=10)
    first = world.run(destination)
    assert (first.status, first.acknowledged, first.pending) == ("paused", 0, 5)
    assert "5 rows" in first.message and first.after >= 30
    sent = destination.audiences.calls
    second = world.run(destination)
    assert (second.status, second.acknowledged, second.pending) == ("ok", 5, 0)
    assert destination.audiences.calls == sent, "what is under way is asked about, and not sent again"
    assert destination.audiences.repeated() == []


def test_nothing_is_sent_while_an_add_is_under_way_so_that_no_removal_is_overtaken(world: World) -> None:
    world.fill(range(5))
    destination = slow(6, wait=3, call=1)
    world.run(destination)
    world.withdraw([2])
    waiting = world.run(destination)
    assert (waiting.status, waiting.removes) == ("paused", 0)
    assert world.run(destination).removes == 1
    assert members(destination) == {email(n) for n in range(5) if n != 2}


def test_a_removal_that_pends_is_followed_too(world: World) -> None:
    world.fill(range(5))
    destination = slow(2)
    world.run(destination)
    world.withdraw([0])
    world.leave([1])
    assert world.run(destination).removes == 2
    assert world.warehouse.count("delivery.ack") == 3
    assert members(destination) == {email(n) for n in (2, 3, 4)}


def test_some_rows_pend_and_others_do_not(world: World) -> None:
    world.fill(range(5))
    destination = slow(9, wait=1, rows=(1, 3))
    first = world.run(destination)
    assert (first.acknowledged, first.pending, world.warehouse.count("delivery.ack")) == (3, 2, 3)
    assert world.run(slow(1, wait=10)).status in ("ok", "paused")


class Sulking(Failing):
    """A destination that breaks off when it is asked."""

    def poll(self, job: str, batch: object) -> None:
        raise KeyError("canary@example.com")


def test_a_destination_that_breaks_off_while_it_is_asked_loses_nothing(world: World) -> None:
    world.fill(range(3))
    late = FailingConfig(schedule=(Failure(kind="pending"),))
    result = world.run(Sulking(late))
    assert (result.status, result.pending) == ("failed", 3)
    assert "KeyError" in result.message and "canary" not in result.message


def test_a_job_that_takes_days_is_unknown_and_its_people_are_sent_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill(range(3))
    destination = slow(1000, wait=1, call=1)
    assert world.run(destination).pending == 3
    monkeypatch.setattr(follow, "GIVEN_UP", timedelta(seconds=-1))
    result = world.run(destination)
    assert (result.status, result.pending, world.warehouse.count("delivery.ack")) == ("ok", 0, 3)
    assert len(members(destination)) == 3


def test_a_job_of_a_destination_that_cannot_be_asked_any_more_is_unknown(world: World) -> None:
    world.fill(range(3))
    world.run(slow(1000, wait=1))
    assert world.run(failing()).status == "ok"
    assert world.warehouse.count("delivery.ack") == 3


def test_what_a_job_refuses_is_a_dead_letter(world: World) -> None:
    world.fill(range(3))
    world.run(slow(1000, wait=1))
    (job,) = journal.under_way(world.store, "insiders_mail")
    assert [line["person_id"] for line in job.rows] == sorted(line["person_id"] for line in job.rows)
    assert job.job == "1/1000" and "canary" not in repr(notes)
    assert deadletters.letters(world.store) == []


def test_the_log_says_accepted_first_and_applied_later(world: World) -> None:
    world.fill(range(3))
    world.run(slow(2))
    events = [json.loads(line) for line in world.log().splitlines()]
    egress = [
        (event["action"], event.get("counts"), event["result"]) for event in events if "egress" in event["action"]
    ]
    assert [one[0] for one in egress] == ["egress.decide", "egress.accepted", "egress.sent"]
    assert egress[1][1] == {"pending": 3} and egress[2][1:] == ({"ok": 3}, "applied")
