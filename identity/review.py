"""What a steward should look at: people and values of which the rules alone cannot be sure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from consentry.identity.config import IdentityConfig
from consentry.identity.decisions import Seat
from consentry.identity.explain import masked
from consentry.model.names import quoted
from consentry.warehouse import Warehouse

# Names of one person less alike than this (Jaro-Winkler) are worth a look; `contradiction` parts below 0.75.
_UNLIKE = 0.85
# How far from the threshold of two records a likeness is still a close call.
_NEAR = 0.15
# The pairs of a larger person are not compared: it stands in the queue for its size.
_PAIRED = 20


@dataclass(frozen=True, slots=True)
class Doubt:
    """One entry of the queue.

    code: shared_value (too many people share it), contradictory_value (its people contradict each other),
    large_person, names_differ (one person whose names are hardly alike), close_call (two records whose likeness lies
    near the threshold), merge_unheeded (a merge that unique identifiers forbid). people: up to two ids. size: records
    or people concerned; the largest stand first.
    """

    code: str
    sentence: str
    people: tuple[str, ...]
    size: int


def review(
    warehouse: Warehouse, config: IdentityConfig, *, seats: Iterable[Seat] = (), limit: int = 100
) -> tuple[Doubt, ...]:
    """Return the queue, at most `limit` entries of each kind, the gravest of each kind first."""
    return (
        *_unheeded(warehouse, seats),
        *_large(warehouse, config, limit),
        *_values(warehouse, limit),
        *_names(warehouse, config, limit),
        *_close_calls(warehouse, config, limit),
    )


def _values(warehouse: Warehouse, limit: int) -> Iterable[Doubt]:
    rows = warehouse.sql(
        "SELECT d.type, d.value, d.reason, d.records, d.persons,"
        " (SELECT list(DISTINCT m.person_id ORDER BY m.person_id) FROM identity.identifier i"
        " JOIN identity.membership m ON m.record_id = i.record_id AND m.valid_to_run IS NULL WHERE i.type = d.type"
        " AND i.value = d.value) AS people FROM identity.demoted d"
        " QUALIFY row_number() OVER (PARTITION BY d.reason ORDER BY d.persons DESC, d.type, d.value) <= $limit"
        " ORDER BY d.reason, d.persons DESC, d.type, d.value",
        limit=limit,
    ).to_pylist()
    for row in rows:
        shown = f"{row['type']} {masked(row['type'], row['value'])}"
        if row["reason"] == "shared":
            sentence = (
                f"{shown} stands on {row['records']:,} records of about {row['persons']:,} people; it links none."
            )
            yield Doubt("shared_value", sentence, (), row["persons"])
        else:
            sentence = f"{shown} would join {row['persons']:,} people who contradict each other; it joins none."
            yield Doubt("contradictory_value", sentence, tuple(row["people"][:2]), row["persons"])


def _large(warehouse: Warehouse, config: IdentityConfig, limit: int) -> Iterable[Doubt]:
    if not warehouse.has("clean.customer"):
        return
    rows = warehouse.sql(
        "SELECT m.person_id, count(*) AS n FROM identity.membership m JOIN clean.customer c USING (record_id)"
        " WHERE m.valid_to_run IS NULL GROUP BY m.person_id HAVING count(*) > $large"
        " ORDER BY n DESC, m.person_id LIMIT $limit",
        large=config.large_person,
        limit=limit,
    ).to_pylist()
    for row in rows:
        sentence = f"Person {row['person_id']} has {row['n']:,} customer records."
        yield Doubt("large_person", sentence, (row["person_id"],), row["n"])


def _names(warehouse: Warehouse, config: IdentityConfig, limit: int) -> Iterable[Doubt]:
    column = config.contradiction
    if not column or column not in warehouse.columns("clean.customer"):
        return
    name = f"lower(trim(c.{quoted(column)}::TEXT))"
    rows = warehouse.sql(
        f"WITH named AS (SELECT m.person_id, c.record_id, {name} AS name FROM identity.membership m"
        " JOIN clean.customer c USING (record_id) WHERE m.valid_to_run IS NULL"
        " QUALIFY count(*) OVER (PARTITION BY m.person_id) BETWEEN 2 AND $paired)"
        " SELECT a.person_id, min(jaro_winkler_similarity(a.name, b.name)) AS alike FROM named a"
        " JOIN named b ON a.person_id = b.person_id AND a.record_id < b.record_id AND a.name <> b.name"
        " WHERE a.name <> '' AND b.name <> '' GROUP BY a.person_id HAVING alike < $unlike"
        " ORDER BY alike, a.person_id LIMIT $limit",
        paired=_PAIRED,
        unlike=_UNLIKE,
        limit=limit,
    ).to_pylist()
    for row in rows:
        sentence = f"Two records of person {row['person_id']} have names that are hardly alike ({row['alike']:.2f})."
        yield Doubt("names_differ", sentence, (row["person_id"],), 2)


def _close_calls(warehouse: Warehouse, config: IdentityConfig, limit: int) -> Iterable[Doubt]:
    if config.similar is None or not warehouse.has("identity.similar_pair"):
        return
    rows = warehouse.sql(
        "SELECT s.probability, a.person_id AS one, b.person_id AS other FROM identity.similar_pair s"
        " JOIN identity.membership a ON a.record_id = s.record_id AND a.valid_to_run IS NULL"
        " JOIN identity.membership b ON b.record_id = s.other_id AND b.valid_to_run IS NULL"
        " WHERE abs(s.probability - $pair) <= $near ORDER BY abs(s.probability - $pair), 2, 3 LIMIT $limit",
        pair=config.similar.pair,
        near=_NEAR,
        limit=limit,
    ).to_pylist()
    for row in rows:
        people = tuple(dict.fromkeys((row["one"], row["other"])))
        are = "one person" if len(people) == 1 else "two people"
        yield Doubt("close_call", f"Two records are alike with {row['probability']:.2f} and are {are}.", people, 2)


def _unheeded(warehouse: Warehouse, seats: Iterable[Seat]) -> Iterable[Doubt]:
    """Tell of merges whose records are several people all the same."""
    records: dict[str, list[str]] = {}
    for seat in seats:
        if seat.kind == "merge":
            records.setdefault(seat.decision_id, []).append(seat.record_id)
    query = (
        "SELECT DISTINCT person_id FROM identity.membership WHERE valid_to_run IS NULL"
        " AND record_id IN (SELECT unnest($records)) ORDER BY 1"
    )
    for decision, held in sorted(records.items()):
        people = warehouse.sql(query, records=held)["person_id"].to_pylist()
        if len(people) > 1:
            sentence = (
                f"Decision {decision} says that {len(people)} people are one, but unique identifiers say otherwise, or"
                " no run has heeded it yet. If it is right, take it back and merge them with --force."
            )
            yield Doubt("merge_unheeded", sentence, tuple(people[:2]), len(people))
