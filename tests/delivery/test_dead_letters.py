"""Rows that a destination refuses wait as letters until they change, are replayed or discarded."""

from __future__ import annotations

from delivery_world import World, emails, failing, members, memory, person

from consentry.delivery import deadletters
from consentry.testing.failing import Failure


def test_a_rejected_row_waits_until_its_payload_changes(world: World) -> None:
    world.fill(range(4))
    destination = failing(Failure(kind="reject", persons=(person(2),), code="invalid_email"))
    first = world.run(destination)
    assert (first.acknowledged, first.rejected) == (3, 1)
    again = world.run(destination)
    assert (again.api_calls, again.dead_letters, again.adds) == (0, 1, 0)
    world.change([2], "gold")
    assert world.run(destination).rejected == 1
    (letter,) = deadletters.letters(world.store)
    assert (letter.person_id, letter.code, letter.attempts) == (person(2), "invalid_email", 2)


def test_a_replayed_letter_is_sent_again_and_gone_when_it_is_taken(world: World) -> None:
    world.fill(range(2))
    world.run(failing(Failure(kind="reject", persons=(person(1),))))
    assert deadletters.replay(world.store, "insiders_mail") == 1
    destination = memory()
    assert world.run(destination).acknowledged == 1
    assert deadletters.letters(world.store) == []
    assert members(destination) == emails(1)


def test_a_replayed_letter_is_decided_again(world: World) -> None:
    world.fill(range(2))
    world.run(failing(Failure(kind="reject", persons=(person(1),))))
    world.withdraw([1])
    deadletters.replay(world.store, "insiders_mail", [person(1)])
    destination = memory()
    world.run(destination)
    assert members(destination) == set()


def test_a_discarded_letter_is_not_listed_and_not_sent(world: World) -> None:
    world.fill(range(2))
    destination = failing(Failure(kind="reject", call=1, rows=(0,)))
    world.run(destination)
    assert deadletters.discard(world.store, "insiders_mail") == 1
    assert world.run(destination).api_calls == 0
    assert deadletters.letters(world.store) == []
    (letter,) = deadletters.letters(world.store, discarded=True)
    assert deadletters.show(world.store, "insiders_mail", letter.person_id) == letter
