"""Tests of a sync from difference to ledger, with the destination in memory and the one that fails on request."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from delivery_world import World, email, emails, failing, members, memory, person, sync

from consentry.connectors.base import ConnectorConfig, Ok, Rejected
from consentry.delivery import deadletters, difference
from consentry.store.tables import delivery_batch, delivery_row
from consentry.testing.failing import Failure
from consentry.testing.memory import Memory, MemoryConfig


def test_the_audience_is_the_segment_and_the_consent(world: World) -> None:
    world.people(range(6))
    world.join(range(5))
    world.grant([0, 1, 2, 5])
    destination = memory()
    result = world.run(destination)
    assert members(destination) == emails(0, 1, 2)
    assert (result.status, result.adds, result.acknowledged) == ("ok", 3, 3)
    assert result.refused == {"no_record": 2}


def test_a_run_without_change_makes_no_call(world: World) -> None:
    world.fill(range(5))
    destination = memory()
    world.run(destination)
    again = world.run(destination)
    assert (again.adds, again.updates, again.removes, again.api_calls) == (0, 0, 0, 0)
    assert destination.api_calls == 1


def test_a_changed_field_is_a_change_and_an_unmapped_one_is_none(world: World) -> None:
    world.fill(range(5))
    destination = memory()
    world.run(destination)
    world.change([3], "gold")
    world.warehouse.sql("UPDATE identity.golden SET country = 'DE'")
    result = world.run(destination)
    assert (result.adds, result.updates, result.removes, result.acknowledged) == (0, 1, 0, 1)


def test_a_changed_mapping_sends_everybody_again(world: World) -> None:
    world.fill(range(5))
    destination = memory()
    world.run(destination)
    assert world.run(destination, sync(fields={"tier": "plan"})).updates == 5


def test_who_leaves_and_who_withdraws_is_removed(world: World) -> None:
    world.fill(range(5))
    destination = memory()
    world.run(destination)
    world.leave([0])
    world.withdraw([1])
    result = world.run(destination)
    assert members(destination) == emails(2, 3, 4)
    assert (result.removes, result.refused) == (2, {"withdrawn": 1})


def test_who_withdraws_between_decision_and_sending_is_not_sent(world: World) -> None:
    world.fill(range(5))
    world.decide()
    world.withdraw([2])
    destination = memory()
    result = world.deliver(destination)
    assert members(destination) == emails(0, 1, 3, 4)
    assert result.refused == {"withdrawn": 1}


def test_who_withdraws_before_a_change_is_sent_is_taken_out_in_the_same_run(world: World) -> None:
    world.fill(range(5))
    destination = memory()
    world.run(destination)
    world.change(range(5), "gold")
    world.decide()
    world.withdraw([2])
    result = world.deliver(destination)
    assert members(destination) == emails(0, 1, 3, 4)
    assert result.removes == 1
    assert world.run(destination).api_calls == 0


def test_who_is_held_out_is_not_sent(world: World) -> None:
    world.fill(range(3))
    world.warehouse.sql("INSERT INTO segment.holdout VALUES ('insiders', $who)", who=person(1))
    destination = memory()
    world.run(destination)
    assert members(destination) == emails(0, 2)


def test_upsert_keeps_who_left_and_removes_who_withdrew(world: World) -> None:
    world.fill(range(4))
    destination, upsert = memory(), sync(mode="upsert")
    world.run(destination, upsert)
    world.leave([0])
    world.withdraw([1])
    world.run(destination, upsert)
    assert members(destination) == emails(0, 2, 3)


def test_update_only_changes_whom_it_holds_and_adds_nobody(world: World) -> None:
    world.fill(range(2))
    destination = memory()
    world.run(destination)
    world.fill([2])
    world.change([0], "gold")
    result = world.run(destination, sync(mode="update_only"))
    assert (result.adds, result.updates) == (0, 1)
    assert members(destination) == emails(0, 1)


def test_only_whom_we_added_is_ever_removed(world: World) -> None:
    destination = memory()
    stranger = World(world.folder / "other")
    stranger.fill([9])
    stranger.run(destination)
    stranger.close()
    world.fill(range(2))
    world.run(destination)
    world.leave([0, 1])
    world.run(destination, allow=["insiders_mail.empty_segment"])
    assert members(destination) == emails(9)


def test_a_merged_person_is_let_go_without_taking_out_the_one_who_stays(world: World) -> None:
    world.fill(range(2))
    destination = memory()
    world.run(destination)
    world.warehouse.sql("UPDATE delivery.ack SET remote_id = 'm-same'")
    world.leave([1])
    result = world.run(destination)
    assert (result.removes, result.api_calls) == (0, 0)
    assert world.warehouse.count("delivery.ack") == 1


def test_batches_are_as_large_as_both_sides_allow(world: World) -> None:
    world.fill(range(10))
    destination = memory(4)
    assert world.run(destination).api_calls == 3
    other = memory(4)
    assert world.run(other, sync(name="second", batch_size=2)).api_calls == 5


def test_a_batch_refused_as_a_whole_is_halved_until_the_poison_stands_alone(world: World) -> None:
    world.fill(range(16))

    class Picky(Memory):
        """Refuses every batch with person 5 in it, as HubSpot does for one bad property value."""

        def write(self, batch):  # type: ignore[no-untyped-def]
            if any(row.person_id == person(5) for row in batch.rows):
                self.api_calls += 1
                return iter([Rejected("bad_batch")] * len(batch.rows))
            return super().write(batch)

    destination = Picky(MemoryConfig())
    result = world.run(destination)
    assert (result.acknowledged, result.rejected) == (15, 1)
    assert members(destination) == emails(*(n for n in range(16) if n != 5))
    assert [letter.person_id for letter in deadletters.letters(world.store)] == [person(5)]
    assert result.api_calls <= 2 * 4 + 1


def test_too_few_outcomes_fail_loudly_and_leave_nobody_uncertain_for_good(world: World) -> None:
    world.fill(range(3))

    class Short(Memory):
        def write(self, batch):  # type: ignore[no-untyped-def]
            return iter(list(super().write(batch))[:-1])

    result = world.run(Short(MemoryConfig()))
    assert (result.status, result.unknown, result.acknowledged) == ("failed", 3, 0)
    assert "2 outcomes for 3 rows" in result.message
    destination = memory()
    assert world.run(destination).acknowledged == 3


def test_a_person_perhaps_added_is_removed_when_consent_ends(world: World) -> None:
    world.fill(range(3))
    destination = failing(Failure(kind="unknown", call=1, took_effect=True))
    assert world.run(destination).unknown == 3
    world.withdraw([0])
    world.run(destination)
    assert members(destination) == emails(1, 2)


def test_an_unknown_row_is_not_repeated_where_that_would_be_noticed(world: World) -> None:
    world.fill(range(2))
    destination = failing(Failure(kind="unknown", call=1, took_effect=True))
    destination.capabilities = replace(destination.capabilities, idempotent=False)
    assert world.run(destination).unknown == 2
    assert [letter.code for letter in deadletters.letters(world.store)] == ["unknown", "unknown"]
    assert world.run(destination).api_calls == 0
    world.change([0], "gold")
    assert world.run(destination).api_calls == 0
    world.withdraw([0])
    world.run(destination)
    assert members(destination) == emails(1)


def test_rows_to_retry_go_again_within_the_run(world: World) -> None:
    world.fill(range(4))
    slept: list[float] = []
    destination = failing(Failure(kind="retry", call=1, rows=(0, 1), after=7))
    result = world.run(destination, sleep=slept.append)
    assert (result.status, result.acknowledged, slept) == ("ok", 4, [7.0])


def test_a_wait_beyond_the_patience_pauses_the_sync(world: World) -> None:
    world.fill(range(4))
    result = world.run(failing(Failure(kind="retry", rows=(0,), after=3600)))
    assert (result.status, result.acknowledged, result.waiting, result.after) == ("paused", 3, 1, 3600)


def test_a_pause_of_the_destination_keeps_what_was_acknowledged(world: World) -> None:
    world.fill(range(9))
    destination = failing(Failure(kind="later", call=2, after=90), size=4)
    paused = world.run(destination)
    assert (paused.status, paused.acknowledged, paused.after) == ("paused", 4, 90)
    resumed = world.run(destination)
    assert (resumed.status, resumed.adds, resumed.acknowledged) == ("ok", 5, 5)


def test_a_destination_that_fails_ends_its_sync_with_a_sentence(world: World) -> None:
    world.fill(range(3))
    destination = failing(Failure(kind="refuse_batch", call=1))
    result = world.run(destination)
    assert result.status == "failed" and result.message and result.acknowledged == 0
    assert world.run(destination).acknowledged == 3


def test_a_connector_that_breaks_leaves_no_traceback_and_no_personal_value(world: World) -> None:
    world.fill(range(3))

    class Broken(Memory):
        def write(self, batch):  # type: ignore[no-untyped-def]
            yield from list(super().write(batch))[:1]
            raise ValueError(f"cannot send {email(0)}")

    result = world.run(Broken(MemoryConfig()))
    assert (result.status, result.acknowledged, result.unknown) == ("failed", 1, 2)
    assert "example.com" not in result.message + world.log()
    destination = memory()
    assert world.run(destination).acknowledged == 2


def test_a_removal_owed_is_tried_in_every_run(world: World) -> None:
    world.fill(range(2))
    destination = failing(Failure(kind="reject", call=2, code="locked"))
    world.run(destination)
    world.withdraw([0])
    assert world.run(destination).rejected == 1
    assert members(destination) == emails(0, 1)
    assert world.run(destination).acknowledged == 1
    assert (members(destination), deadletters.letters(world.store)) == (emails(1), [])


def test_a_destination_that_cannot_remove_leaves_a_letter_for_each_removal(world: World) -> None:
    world.fill(range(2))

    class AddOnly:
        Config: ClassVar[type[ConnectorConfig]] = MemoryConfig

        def __init__(self) -> None:
            self.inner = memory()
            self.capabilities, self.api_calls = self.inner.capabilities, 0
            self.check = self.inner.check
            self.write = self.inner.write

    destination = AddOnly()
    world.run(destination)
    world.withdraw([1])
    result = world.run(destination)
    assert (result.rejected, result.api_calls) == (1, 0)
    assert [letter.code for letter in deadletters.letters(world.store)] == ["cannot_remove"]


def test_removals_go_out_before_anything_else(world: World) -> None:
    world.fill(range(2))
    destination = memory()
    world.run(destination)
    world.withdraw([0])
    world.change([1], "gold")
    world.fill([2])
    world.run(destination)
    kinds = [effect.kind for effect in destination.audiences.effects if effect.kind != "call"]
    assert kinds == ["add", "add", "remove", "change", "add"]


def test_the_log_tells_what_was_decided_before_it_tells_what_was_sent(world: World) -> None:
    world.fill(range(2))
    world.run(memory())
    actions = [line.split('"action":"')[1].split('"')[0] for line in world.log().splitlines()]
    assert [action for action in actions if action.startswith("egress")] == ["egress.decide", "egress.sent"]
    assert '"counts":{"allow":2,"deny":0,"in":2}' in world.log()


def test_neither_log_nor_journal_nor_ledger_holds_a_personal_value(world: World) -> None:
    world.fill(range(3))
    world.run(failing(Failure(kind="reject", call=1, rows=(0,)), Failure(kind="raise", call=2, rows=(0,))))
    world.change(range(3), "gold")
    world.run(failing(Failure(kind="raise", call=1, rows=(1,))))
    held = [world.log(), (world.folder / "store.db").read_bytes().decode("latin-1")]
    held += [
        str(world.warehouse.sql(f"SELECT * FROM {table}").to_pylist()) for table in world.warehouse.tables("delivery")
    ]
    assert all("person1@" not in text and "@example.com" not in text for text in held)


def test_a_folded_batch_keeps_its_line_and_no_rows(world: World) -> None:
    world.fill(range(3))
    world.run(memory())
    with world.store.begin() as connection:
        assert [row.state for row in connection.execute(delivery_batch.select())] == ["folded"]
        assert connection.execute(delivery_row.select()).all() == []


def test_a_plan_calls_nobody(world: World) -> None:
    world.fill(range(3))
    world.decide()
    found = difference(world.warehouse, world.store, world.gate, sync())
    assert (found.members, found.desired, found.adds, found.held) == (3, 3, 3, 0)
    assert not found.is_empty


def test_ok_without_a_name_keeps_the_name_known_before(world: World) -> None:
    world.fill(range(1))

    class Nameless(Memory):
        def write(self, batch):  # type: ignore[no-untyped-def]
            named = list(super().write(batch))
            return iter(named if batch.operation == "add" else [Ok() for _ in named])

    destination = Nameless(MemoryConfig())
    world.run(destination)
    before = world.warehouse.sql("SELECT remote_id FROM delivery.ack").to_pylist()
    world.change([0], "gold")
    world.run(destination)
    assert world.warehouse.sql("SELECT remote_id FROM delivery.ack").to_pylist() == before


def test_a_skipped_row_is_settled_and_counted_apart(world: World) -> None:
    world.fill(range(2))
    destination = failing(Failure(kind="skip", call=1, rows=(0,), code="already_there"))
    result = world.run(destination)
    assert (result.acknowledged, result.skipped) == (1, 1)
    assert world.run(destination).api_calls == 0
