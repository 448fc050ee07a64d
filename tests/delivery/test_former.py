"""Who changes an address is found by a platform that knows hashes only under the old one: that goes first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from delivery_world import POLICY, START, World, email, person, sync

from consentry.connectors.base import Capabilities, Check, ConnectorConfig, Ok, Outcome, Rejected, Unknown
from consentry.consent.keys import Keyring
from consentry.delivery import Sync, deadletters
from consentry.model.batch import Batch, Row
from consentry.warehouse import DuckDBWarehouse

HASHED = POLICY.replace("{email: {transform: pass}}", "{email: {transform: pass}, phone: {transform: pass}}")
HASHED += "merge: {shared_by: 3}\n"


class Hashes:
    """A destination that keeps rows of values and gives nobody a name; it finds people by any one value."""

    Config: ClassVar[type[ConnectorConfig]] = ConnectorConfig
    capabilities = Capabilities(100, ("email", "phone"), frozenset({"add", "change", "remove"}))
    api_calls = 0

    def __init__(self) -> None:
        self.held: list[frozenset[str]] = []
        self.refusing: Outcome | None = None

    def check(self) -> Check:
        return Check(True, "Fine.")

    def known_by(self, row: Row) -> Mapping[str, str]:
        return row.identifiers

    def write(self, batch: Batch) -> Iterator[Outcome]:
        self.api_calls += 1
        for row in batch.rows:
            values = frozenset(row.identifiers.values())
            if values not in self.held:
                self.held.append(values)
            yield Ok()

    def remove(self, batch: Batch) -> Iterator[Outcome]:
        self.api_calls += 1
        for row in batch.rows:
            if self.refusing:
                yield self.refusing
                continue
            gone = set(row.identifiers.values())
            self.held = [values for values in self.held if not values & gone]
            yield Ok()


@pytest.fixture
def people(tmp_path: Path) -> Iterator[World]:
    """Five people who said yes; each has a phone of their own."""
    world = World(tmp_path, warehouse=DuckDBWarehouse(threads=1), policy=HASHED)
    world.fill(range(5))
    world.warehouse.sql("ALTER TABLE identity.golden ADD COLUMN phone TEXT")
    for number in range(5):
        has(world, number, "phone", phone(number))
    yield world
    world.close()


def phone(number: int) -> str:
    return f"+4477009000{number:02d}"


def has(world: World, number: int, kind: str, value: str) -> None:
    """Let a person have another address or phone, and say yes with it; the old one stays theirs."""
    world.warehouse.sql(f"UPDATE identity.golden SET {kind} = $v WHERE person_id = $p", v=value, p=person(number))
    world.warehouse.sql(
        "INSERT INTO identity.identifier VALUES ('crm:' || $p, 'crm', $kind, $v, 'ok', NULL)",
        p=person(number),
        kind=kind,
        v=value,
    )
    word = {"source_system": "preferences", "source_event_id": f"{number}-{value}", "state": "granted"}
    about = {"identifier_type": kind, "identifier_value": value, "purpose": "newsletter", "regime": "gdpr"}
    how = {
        "method": "explicit",
        "mechanism": "form",
        "notice_id": "privacy",
        "notice_version": 1,
        "effective_at": START,
    }
    world.gate.ledger.record([{**word, **about, **how, "effective_at": START}], policy=world.gate.policy)


def both(**changes: Any) -> Sync:
    return sync(identifiers=("email", "phone"), fields={}, **changes)


def everybody(*numbers: int, **other: str) -> set[frozenset[str]]:
    renamed = {int(name[1:]): value for name, value in other.items()}
    return {frozenset({renamed.get(n, email(n)), phone(n)}) for n in numbers}


def test_who_changes_an_address_is_there_under_the_new_one_only(people: World) -> None:
    there = Hashes()
    people.run(there, both())
    has(people, 2, "email", "canary@example.org")
    result = people.run(there, both())
    assert result.status == "ok"
    assert set(there.held) == everybody(0, 1, 2, 3, 4, n2="canary@example.org")
    assert people.run(there, both()).api_calls == 0


def test_a_phone_that_is_new_takes_nobody_out(people: World) -> None:
    there = Hashes()
    people.run(there, sync(fields={}))
    removed: list[Batch] = []
    there.remove = lambda batch: removed.append(batch) or iter(())  # type: ignore[assignment, return-value, func-returns-value]
    people.run(there, both())
    assert removed == []


def test_who_changes_an_address_and_then_withdraws_is_out_under_every_name(people: World) -> None:
    there = Hashes()
    people.run(there, both())
    has(people, 2, "email", "canary@example.org")
    people.withdraw([2])
    assert people.run(there, both()).removes == 1
    assert set(there.held) == everybody(0, 1, 3, 4)


def test_who_is_erased_at_our_side_can_still_be_taken_out(people: World) -> None:
    there = Hashes()
    people.run(there, both())
    for table in ("identity.golden", "identity.membership", "segment.membership"):
        people.warehouse.sql(f"DELETE FROM {table} WHERE person_id = $p", p=person(2))
    people.warehouse.sql("DELETE FROM identity.identifier WHERE record_id = 'crm:' || $p", p=person(2))
    assert people.run(there, both()).removes == 1
    assert set(there.held) == everybody(0, 1, 3, 4)
    assert people.warehouse.sql("SELECT count(*) AS n FROM delivery.known")["n"][0].as_py() == 8


def test_a_family_phone_takes_nobody_else_out(people: World) -> None:
    has(people, 3, "phone", phone(2))
    there = Hashes()
    people.run(there, both())
    people.leave([2])
    people.run(there, both())
    assert set(there.held) == {*everybody(0, 1, 4), frozenset({email(3), phone(2)})}


def test_a_withdrawal_takes_everything_out_and_who_shares_a_phone_is_added_again(people: World) -> None:
    has(people, 3, "phone", phone(2))
    there = Hashes()
    people.run(there, both())
    people.withdraw([2])
    people.run(there, both())
    assert set(there.held) == {*everybody(0, 1, 4), frozenset({email(3), phone(2)})}
    assert people.run(there, both()).api_calls == 0


@pytest.mark.parametrize("answer", [Rejected("audience_too_small"), Unknown()])
def test_where_the_old_address_stays_the_new_one_is_not_added_beside_it(people: World, answer: Outcome) -> None:
    there = Hashes()
    people.run(there, both())
    has(people, 2, "email", "canary@example.org")
    there.refusing = answer
    people.run(there, both())
    assert set(there.held) == everybody(0, 1, 2, 3, 4)
    codes = [letter.code for letter in deadletters.letters(people.store)]
    assert codes == (["audience_too_small"] if isinstance(answer, Rejected) else [])
    there.refusing = None
    people.run(there, both())
    assert set(there.held) == everybody(0, 1, 2, 3, 4, n2="canary@example.org")
    assert deadletters.letters(people.store) == []


def test_the_ledger_keeps_no_address_and_no_hash_that_can_be_recomputed(people: World) -> None:
    people.run(Hashes(), both())
    text = str(people.warehouse.sql("SELECT * FROM delivery.known").to_pylist())
    assert text.count("s1.1.") == 10
    assert "@" not in text and "+44" not in text
    with (people.folder / "store.db").open("rb") as file:
        assert b"person2@" not in file.read()


def test_after_a_rotation_of_the_keys_the_old_address_is_still_known(people: World) -> None:
    there = Hashes()
    people.run(there, both())
    folder = people.folder
    Keyring.rotate_file(folder / "keys.json")
    people.gate = people._gate()
    has(people, 2, "email", "canary@example.org")
    people.run(there, both())
    assert set(there.held) == everybody(0, 1, 2, 3, 4, n2="canary@example.org")
