"""What a run found, in numbers, and what somebody should look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from consentry.identity.codes import ints
from consentry.identity.config import IdentityConfig
from consentry.warehouse import Warehouse

MAX_ALARMS = 100


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something a person should look at: a value that too many people share, or a person of very many records."""

    code: str
    sentence: str
    type: str | None = None
    person_id: str | None = None
    records: int = 0
    persons: int = 0


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a run of `resolve` found.

    records: all that were looked at. merged_records: customer records that share their person with another
    customer record (events do not count). blocked, invalid: identifiers of records that were not used.
    events: how many were written, by kind. alarms: the gravest 100. looked_at: records that this run judged again; the
    others hang together with nothing that changed.
    """

    persons: int
    records: int
    merged_records: int
    blocked: int
    invalid: int
    events: dict[str, int]
    alarms: tuple[Alarm, ...] = ()
    looked_at: int = 0


def headlines(alarms: Sequence[Alarm]) -> list[str]:
    """Return the gravest alarm of each kind as a sentence, and how many more there are of it."""
    told = Counter(alarm.code for alarm in alarms)
    first = {alarm.code: alarm for alarm in reversed(alarms)}
    return [
        alarm.sentence + (f" There are {told[code] - 1:,} more of the kind." if told[code] > 1 else "")
        for code, alarm in sorted(first.items())
    ]


def report(warehouse: Warehouse, config: IdentityConfig, *, run_id: str, looked_at: int) -> Resolution:
    """Count what the published tables hold after a run."""
    people = warehouse.sql(
        "WITH person AS (SELECT person_id, count(*) AS records, count(*) FILTER (WHERE r.customer) AS customers"
        " FROM identity.membership m JOIN identity.record r USING (record_id) WHERE m.valid_to_run IS NULL"
        " GROUP BY person_id) SELECT count(*) AS persons, coalesce(sum(records), 0)::BIGINT AS records,"
        " coalesce(sum(customers) FILTER (WHERE customers > 1), 0)::BIGINT AS merged FROM person"
    ).to_pylist()[0]
    used = _counts(warehouse, "SELECT status AS name, count(*) AS n FROM identity.identifier GROUP BY status")
    events = (
        "SELECT kind AS name, count(*) AS n FROM identity.identity_event WHERE run_id = $run GROUP BY kind ORDER BY 1"
    )
    return Resolution(
        persons=people["persons"],
        records=people["records"],
        merged_records=people["merged"],
        blocked=used.get("blocked", 0),
        invalid=used.get("invalid", 0),
        events=_counts(warehouse, events, run=run_id),
        alarms=(*_crowds(warehouse), *_large(warehouse, config), *_left_out(warehouse, config))[:MAX_ALARMS],
        looked_at=looked_at,
    )


def _counts(warehouse: Warehouse, query: str, **params: str) -> dict[str, int]:
    rows = warehouse.sql(query, **params)
    return dict(zip(rows["name"].to_pylist(), ints(rows["n"]).tolist(), strict=True))


def _crowds(warehouse: Warehouse) -> list[Alarm]:
    rows = warehouse.sql(
        "SELECT type, records, persons FROM identity.demoted WHERE reason = 'shared'"
        " ORDER BY persons DESC, type, value LIMIT $most",
        most=MAX_ALARMS,
    )
    return [_crowd(row["type"], row["records"], row["persons"]) for row in rows.to_pylist()]


def _large(warehouse: Warehouse, config: IdentityConfig) -> list[Alarm]:
    rows = warehouse.sql(
        "SELECT m.person_id, count(*) AS n FROM identity.membership m JOIN identity.record r USING (record_id)"
        " WHERE m.valid_to_run IS NULL AND r.customer GROUP BY m.person_id HAVING count(*) > $large"
        " ORDER BY n DESC, m.person_id LIMIT $most",
        large=config.large_person,
        most=MAX_ALARMS,
    )
    return [_of_many(row["person_id"], row["n"]) for row in rows.to_pylist()]


def _left_out(warehouse: Warehouse, config: IdentityConfig) -> list[Alarm]:
    if config.similar is None or not warehouse.has("identity.similar_block"):
        return []
    rows = warehouse.sql("SELECT * FROM identity.similar_block ORDER BY records DESC, rule LIMIT 3").to_pylist()
    found = warehouse.count("identity.similar_pair") > 0
    return [_too_large(row["rule"], row["keys"], row["records"], found=found) for row in rows]


def _too_large(rule: str, keys: int, records: int, *, found: bool) -> Alarm:
    stand = f"{keys:,} keys of the blocking rule '{rule}' stand" if keys > 1 else f"One key of the rule '{rule}' stands"
    others = "other rules looked at them" if found else "no rule found two records that are alike"
    sentence = (
        f"{stand} on {records:,} records, too many to compare with each other; {others}. Raise"
        " identity.similar.largest_block if people are missed; a column that says the same of everybody tells nobody"
        " apart."
    )
    return Alarm("blocks_left_out", sentence, records=records)


def _crowd(type_: str, records: int, persons: int) -> Alarm:
    sentence = (
        f"One {type_} stands on {records:,} records of about {persons:,} people; it links nobody."
        f" Add it to identity.identifiers.{type_}.blocked, or raise max_persons_per_value if it does name one person."
    )
    return Alarm("shared_value", sentence, type=type_, records=records, persons=persons)


def _of_many(person_id: str, records: int) -> Alarm:
    sentence = f"Person {person_id} has {records:,} customer records. Look at what links them."
    return Alarm("large_person", sentence, person_id=person_id, records=records, persons=1)
