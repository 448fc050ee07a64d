"""Which records become one person, and which do not."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentry.errors import StopRun
from consentry.identity.config import IdentityConfig
from consentry.identity.resolve import resolve
from consentry.testing.identity_records import Record, fill, groups, ids, run, together
from consentry.warehouse import DuckDBWarehouse

EMPTY = IdentityConfig()


@pytest.fixture(scope="module")
def warehouse() -> DuckDBWarehouse:
    return DuckDBWarehouse(threads=2)


@pytest.fixture(autouse=True)
def _fresh(warehouse: DuckDBWarehouse) -> None:
    forget(warehouse)


def forget(warehouse: DuckDBWarehouse) -> None:
    for table in (*warehouse.tables("identity"), *warehouse.tables("clean")):
        warehouse.drop(table)


def test_records_that_share_an_identifier_are_one_person_over_any_number_of_steps(warehouse: DuckDBWarehouse) -> None:
    found = run(
        warehouse,
        [
            Record("crm:1", {"email": "Ann@Example.com"}),
            Record("shop:1", {"email": "ann@example.com", "phone": "07700 900123"}, region="GB"),
            Record("crm:2", {"phone": "+44 7700 900123"}),
            Record("crm:3", {"email": "bea@example.com"}),
        ],
    )
    assert groups(warehouse) == {frozenset({"crm:1", "shop:1", "crm:2"}), frozenset({"crm:3"})}
    assert (found.persons, found.records, found.merged_records) == (2, 4, 3)
    assert found.events == {"created": 2}


def test_the_same_text_in_two_types_links_nobody(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [Record("crm:1", {"customer_number": "17"}), Record("crm:2", {"loyalty_number": "17"})])
    assert len(groups(warehouse)) == 2


@pytest.mark.parametrize("junk", ["n/a", "test@test.com", "noreply@example.com", "0000000", "-1", "null", "anonymous"])
@pytest.mark.parametrize("type_", ["email", "phone", "customer_number", "anonymous_id"])
def test_junk_never_merges(warehouse: DuckDBWarehouse, type_: str, junk: str) -> None:
    if type_ in ("customer_number", "anonymous_id") and "@" in junk:
        return
    found = run(warehouse, [Record(f"crm:{n}", {type_: junk}, region="GB") for n in range(3)])
    assert found.persons == 3
    assert found.blocked + found.invalid == 3


def test_a_phone_without_a_region_is_invalid_and_links_nobody(warehouse: DuckDBWarehouse) -> None:
    found = run(warehouse, [Record(f"crm:{n}", {"phone": "07700 900123"}) for n in range(2)])
    assert (found.persons, found.invalid) == (2, 2)
    reasons = warehouse.sql("SELECT DISTINCT reason FROM identity.identifier")["reason"].to_pylist()
    assert reasons == ["phone_without_region"]


def test_a_shared_mailbox_makes_no_giant_person_but_an_alarm(warehouse: DuckDBWarehouse) -> None:
    crowd = [Record(f"crm:{n}", {"email": "shop@example.com"}) for n in range(10_000)]
    found = run(
        warehouse,
        [*crowd, Record("crm:x", {"email": "ann@example.com"}), Record("shop:x", {"email": "ann@example.com"})],
    )
    assert found.persons == 10_001
    assert together(warehouse, "crm:x", "shop:x")
    [alarm] = found.alarms
    assert (alarm.code, alarm.type, alarm.records, alarm.persons) == ("shared_value", "email", 10_000, 10_000)
    assert "shop@example.com" not in alarm.sentence
    assert found.events == {"created": 10_001, "demoted": 1}


def test_two_values_that_always_stand_together_do_not_vouch_for_each_other(warehouse: DuckDBWarehouse) -> None:
    crowd = [
        Record(f"crm:{n}", {"email": "office@example.com", "phone": "+442079460018", "customer_number": str(500 + n)})
        for n in range(40)
    ]
    found = run(warehouse, crowd)
    assert found.persons == 40
    assert {alarm.type for alarm in found.alarms} == {"email", "phone"}


def test_many_events_of_one_customer_crowd_nothing(warehouse: DuckDBWarehouse) -> None:
    events = [Record(f"web:{n}", {"anonymous_id": f"cookie-{n % 9}", "email": "ann@example.com"}) for n in range(300)]
    events += [Record(f"web:u{n}", {"anonymous_id": "cookie-1", "customer_number": "17"}) for n in range(300)]
    found = run(warehouse, [*events, Record("crm:1", {"customer_number": "17", "email": "ann@example.com"})])
    assert (found.persons, found.alarms) == (1, ())


def test_a_device_that_many_customers_share_links_none_of_them(warehouse: DuckDBWarehouse) -> None:
    events = [Record(f"web:{n}", {"anonymous_id": "kiosk", "customer_number": str(100 + n)}) for n in range(8)]
    nobody = [Record(f"web:x{n}", {"anonymous_id": "kiosk"}) for n in range(5)]
    found = run(warehouse, events + nobody)
    assert found.persons == 9
    assert together(warehouse, *(record.record_id for record in nobody))


def test_ten_thousand_equal_records_are_one_person_and_an_alarm(warehouse: DuckDBWarehouse) -> None:
    name = {"given_name": "Ann", "family_name": "Lee"}
    found = run(warehouse, [Record(f"crm:{n}", {"email": "ann@example.com"}, columns=name) for n in range(10_000)])
    assert found.persons == 1
    assert [alarm.code for alarm in found.alarms] == ["large_person"]


def test_two_unique_ids_are_never_one_person(warehouse: DuckDBWarehouse) -> None:
    family = [
        Record("crm:1", {"email": "home@example.com", "customer_number": "1"}),
        Record("crm:2", {"email": "home@example.com", "customer_number": "2"}),
    ]
    found = run(warehouse, family)
    assert found.persons == 2
    [row] = warehouse.sql("SELECT type, reason, records, persons FROM identity.demoted").to_pylist()
    assert row == {"type": "email", "reason": "conflict", "records": 2, "persons": 2}
    [event] = warehouse.sql("SELECT * FROM identity.identity_event WHERE kind = 'demoted'").to_pylist()
    assert {event["person_id"], event["other_person_id"]} == set(ids(warehouse).values())
    assert "home@" not in event["evidence"]


def test_the_weaker_link_gives_way(warehouse: DuckDBWarehouse) -> None:
    records = [
        Record("crm:1", {"email": "ann@example.com", "customer_number": "1"}),
        Record("crm:2", {"phone": "+447700900123", "customer_number": "2"}),
        Record("crm:3", {"email": "ann@example.com", "phone": "+447700900123"}),
    ]
    run(warehouse, records)
    assert groups(warehouse) == {frozenset({"crm:1", "crm:3"}), frozenset({"crm:2"})}
    reverse = IdentityConfig.model_validate({"identifiers": {"phone": {"priority": 15}}})
    forget(warehouse)
    run(warehouse, records, reverse)
    assert groups(warehouse) == {frozenset({"crm:1"}), frozenset({"crm:2", "crm:3"})}


def test_an_ambiguous_mailbox_goes_to_the_one_whose_name_agrees(warehouse: DuckDBWarehouse) -> None:
    def lee(record_id: str, given: str, **more: str) -> Record:
        columns = {"given_name": given, "family_name": "Lee"}
        return Record(record_id, {"email": "home@example.com", **more}, columns=columns)

    run(
        warehouse,
        [
            lee("shop:1", "Ann", customer_number="1"),
            lee("shop:2", "Bo", customer_number="2"),
            lee("crm:1", "bo "),
            lee("crm:2", "Cy"),
        ],
    )
    assert groups(warehouse) == {frozenset({"shop:1"}), frozenset({"shop:2", "crm:1"}), frozenset({"crm:2"})}


def home(record_id: str, given: str | None, family: str = "Lee", **more: str) -> Record:
    shared = {"email": "home@example.com", "phone": "+447700900123"}
    return Record(record_id, shared | more, columns={"given_name": given, "family_name": family})


def test_a_family_that_shares_a_mailbox_and_a_phone_is_not_one_person(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [home("crm:1", "Ann"), home("crm:2", "Bo"), home("shop:1", "Ann"), home("shop:2", "Bó")])
    assert groups(warehouse) == {frozenset({"crm:1", "shop:1"}), frozenset({"crm:2", "shop:2"})}
    reasons = warehouse.sql("SELECT type, reason FROM identity.demoted ORDER BY type").to_pylist()
    assert [tuple(row.values()) for row in reasons] == [("email", "conflict"), ("phone", "conflict")]


@pytest.mark.parametrize(("one", "other"), [("Ann", "Anne"), ("Ann", "A."), ("Alex", "Alexander"), ("Ann", "Unknown")])
def test_spellings_of_one_name_do_not_part(warehouse: DuckDBWarehouse, one: str, other: str) -> None:
    assert run(warehouse, [home("crm:1", one), home("crm:2", other)]).persons == 1


def test_swapped_missing_and_changed_family_names_do_not_part(warehouse: DuckDBWarehouse) -> None:
    assert run(warehouse, [home("crm:1", "Ann"), home("crm:2", "Lee", "Ann"), home("crm:3", None)]).persons == 1
    forget(warehouse)
    assert run(warehouse, [home("crm:1", "Ann"), home("crm:2", "Ann", "Moss")]).persons == 1


def test_a_unique_id_is_believed_before_a_name(warehouse: DuckDBWarehouse) -> None:
    records = [home("crm:1", "Robert", customer_number="7"), home("shop:1", "Bob", customer_number="7")]
    assert run(warehouse, records).persons == 1


def test_a_record_of_a_family_that_names_nobody_joins_nobody(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [home("crm:1", "Ann"), home("crm:2", "Bo"), home("crm:3", None)])
    assert len(groups(warehouse)) == 3


def test_names_part_nobody_when_the_job_says_so(warehouse: DuckDBWarehouse) -> None:
    config = IdentityConfig.model_validate({"contradiction": None})
    assert run(warehouse, [home("crm:1", "Ann"), home("crm:2", "Bo")], config).persons == 1


def test_a_record_with_two_unique_ids_stays_alone(warehouse: DuckDBWarehouse) -> None:
    records = [Record(f"crm:{n}", {"customer_number": str(n)}) for n in (1, 2)]
    run(warehouse, [*records, Record("shop:12", {"customer_number": ["1", "2"]})])
    assert len(groups(warehouse)) == 3


def test_ids_that_are_not_unique_may_meet(warehouse: DuckDBWarehouse) -> None:
    records = [Record(f"crm:{n}", {"email": "ann@example.com", "customer_number": str(n)}) for n in (1, 2)]
    config = IdentityConfig.model_validate({"identifiers": {"customer_number": {"unique": False}}})
    assert run(warehouse, records, config).persons == 1


def test_no_person_is_held_together_by_more_values_than_allowed(warehouse: DuckDBWarehouse) -> None:
    chain = [Record(f"crm:{n}", {"email": [f"a{n}@example.com", f"a{n + 1}@example.com"]}) for n in range(20)]
    config = IdentityConfig.model_validate({"identifiers": {"email": {"max_per_person": 4}}})
    run(warehouse, chain, config)
    assert 1 < max(len(group) for group in groups(warehouse)) <= 5  # Four addresses link five records of a chain.


def test_a_value_over_the_limit_does_not_part_what_a_stronger_one_holds(warehouse: DuckDBWarehouse) -> None:
    same = [Record(f"shop:{n}", {"customer_number": "1", "email": f"b{n}@example.com"}) for n in range(9)]
    assert run(warehouse, [*same, Record("crm:9", {"email": "b8@example.com"})]).persons == 2


def test_records_without_any_identifier_are_people_of_their_own(warehouse: DuckDBWarehouse) -> None:
    found = run(warehouse, [Record("crm:1"), Record("crm:2", {"email": ""}), Record("crm:3", {"email": "\u200b"})])
    assert (found.persons, found.records) == (3, 3)


def test_no_records_at_all_are_no_people(warehouse: DuckDBWarehouse) -> None:
    found = run(warehouse, [])
    assert (found.persons, found.records, found.merged_records, found.events) == (0, 0, 0, {})


def test_events_alone_work_without_customers(warehouse: DuckDBWarehouse) -> None:
    fill(warehouse, [Record("web:1", {"anonymous_id": "abc"}), Record("web:2", {"anonymous_id": "abc"})])
    warehouse.drop("clean.customer")
    found = resolve(warehouse, EMPTY, run_id="run-1")
    assert (found.persons, found.merged_records) == (1, 0)


def test_without_identifiers_it_says_what_is_missing(warehouse: DuckDBWarehouse) -> None:
    with pytest.raises(StopRun, match=r"clean\.link is missing"):
        resolve(warehouse, EMPTY, run_id="run-1")


def test_very_long_and_strange_values_do_no_harm(warehouse: DuckDBWarehouse) -> None:
    strange = [
        "x" * 10_000,
        "'; DROP TABLE clean.link; --",
        "a\x00b",
        "\u202e\u200f",
        "🦊" * 50,
        "ann\u0301@example.com",
    ]
    records = [Record(f"crm:{n}", {"email": v, "customer_number": v}) for n, v in enumerate(strange)]
    assert run(warehouse, records).persons == len(strange)
    assert warehouse.count("clean.link") == 2 * len(strange)


def test_evidence_names_types_and_counts_only(warehouse: DuckDBWarehouse) -> None:
    run(warehouse, [Record("crm:1", {"email": "ann@example.com"}), Record("crm:2", {"email": "ann@example.com"})])
    [event] = warehouse.sql("SELECT evidence FROM identity.identity_event").to_pylist()
    assert json.loads(event["evidence"]) == {"links": {"email": 1}, "records": 2}


_VALUES = st.lists(
    st.sampled_from(
        [("email", f"{c}@example.com") for c in "abcde"]
        + [("phone", f"+44770090010{n}") for n in range(4)]
        + [("customer_number", f"c{n}") for n in range(4)]
        + [("anonymous_id", f"cookie-{n}") for n in range(3)]
        + [("email", "n/a"), ("customer_number", "-1")]
    ),
    max_size=3,
)
_NAMES = st.sampled_from(
    [{}, {"given_name": "Ann", "family_name": "Lee"}, {"given_name": "Bo", "family_name": "Lee"}, {"given_name": "Cy"}]
)


@st.composite
def populations(draw: st.DrawFn) -> list[Record]:
    records = []
    for n in range(draw(st.integers(0, 14))):
        held: dict[str, list[str]] = {}
        for type_, value in draw(_VALUES):
            held.setdefault(type_, []).append(value)
        source = draw(st.sampled_from(["crm", "shop", "web"]))
        if held or source != "web":
            records.append(Record(f"{source}:{n}", held, columns=draw(_NAMES)))
    return records


_TIGHT = IdentityConfig.model_validate(
    {"identifiers": {"email": {"max_persons_per_value": 2, "max_per_person": 2}, "phone": {"max_persons_per_value": 2}}}
)
_LAWS = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_LAWS
@given(populations(), st.randoms(use_true_random=False), st.sampled_from([EMPTY, _TIGHT]))
def test_any_order_of_arrival_gives_the_same_people(
    warehouse: DuckDBWarehouse, records: list[Record], random: object, config: IdentityConfig
) -> None:
    forget(warehouse)
    run(warehouse, records, config)
    first = groups(warehouse)
    shuffled = list(records)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    forget(warehouse)
    run(warehouse, shuffled, config)
    assert groups(warehouse) == first


@_LAWS
@given(populations(), st.lists(st.integers(0, 14), max_size=3), st.sampled_from([EMPTY, _TIGHT]))
def test_any_split_into_runs_gives_the_people_of_one_run(
    warehouse: DuckDBWarehouse, records: list[Record], cuts: list[int], config: IdentityConfig
) -> None:
    forget(warehouse)
    run(warehouse, records, config)
    at_once = groups(warehouse)
    forget(warehouse)
    for n, cut in enumerate([*sorted(cuts), len(records)]):
        run(warehouse, records[:cut], config, run_id=f"run-{n}")
    assert groups(warehouse) == at_once


@_LAWS
@given(populations(), st.sampled_from([EMPTY, _TIGHT]))
def test_running_twice_is_running_once(
    warehouse: DuckDBWarehouse, records: list[Record], config: IdentityConfig
) -> None:
    forget(warehouse)
    run(warehouse, records, config)
    tables = ("membership", "person", "identity_event", "demoted")
    before = [_rows(warehouse, f"identity.{table}") for table in tables]
    again = run(warehouse, records, config, run_id="run-2")
    assert [_rows(warehouse, f"identity.{table}") for table in tables] == before
    assert again.events == {}


@_LAWS
@given(populations(), st.sampled_from([EMPTY, _TIGHT]))
def test_no_person_breaks_a_limit_and_no_staged_table_stays(
    warehouse: DuckDBWarehouse, records: list[Record], config: IdentityConfig
) -> None:
    forget(warehouse)
    run(warehouse, records, config)
    numbers = {record.record_id: set(record.ids.get("customer_number", ())) - {"-1"} for record in records}
    for group in groups(warehouse):
        assert len(group) == 1 or len(set().union(*(numbers[record] for record in group))) <= 1
    assert not [table for table in warehouse.tables("identity") if "staged" in table]


def _rows(warehouse: DuckDBWarehouse, table: str) -> list[str]:
    return sorted(map(str, warehouse.sql(f"SELECT * FROM {table}").to_pylist()))
