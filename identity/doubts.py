"""People, pairs and values of which the rules alone cannot be sure, and of which no steward has decided yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any

import numpy as np

from consentry.identity.components import linked_parts
from consentry.identity.config import SIMILAR, IdentityConfig
from consentry.identity.explain import masked
from consentry.identity.roles import words
from consentry.identity.verdicts import Verdicts
from consentry.model.names import quoted
from consentry.warehouse import Warehouse

# The gravest kinds first.
CODES = ("merge_unheeded", "large_person", "contradictory_value", "shared_value", "names_differ", "close_call")
# Names of one person less alike than this (Jaro-Winkler) are worth a look; `contradiction` parts below 0.75.
_UNLIKE = 0.85
# The pairs of a larger person are not compared: it stands in the queue for its size.
_PAIRED = 20
# Of the people between whom a value stands, so many are asked about in pairs.
_ASKED = 20
_MEMBERS = "SELECT record_id, person_id FROM identity.membership WHERE valid_to_run IS NULL"


# Pairs from `cut` on, without those of two people who hold different values of a type of which one person has one; of
# one person all, where at least one of them is in doubt.
_PAIRS_IN_DOUBT = (
    f"WITH pair AS (SELECT s.*, a.person_id AS one, b.person_id AS other FROM identity.similar_pair s"
    f" JOIN ({_MEMBERS}) a ON a.record_id = s.record_id JOIN ({_MEMBERS}) b ON b.record_id = s.other_id"
    " WHERE s.probability >= $cut QUALIFY a.person_id <> b.person_id"
    " OR min(s.probability) OVER (PARTITION BY a.person_id, b.person_id) < 1 - $cut),"
    f" held AS (SELECT DISTINCT m.person_id, i.type, i.value FROM identity.identifier i JOIN ({_MEMBERS}) m"
    " USING (record_id) WHERE i.status = 'ok' AND i.type IN (SELECT unnest($unique))),"
    " two AS (SELECT DISTINCT p.one, p.other FROM pair p JOIN held x ON x.person_id = p.one"
    " JOIN held y ON y.person_id = p.other AND y.type = x.type WHERE p.one <> p.other AND x.value <> y.value)"
    " SELECT pair.* FROM pair ANTI JOIN two USING (one, other) ORDER BY probability DESC, one, other, 1, 2"
)


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something to decide. people, records: whom it is about, two at most. size: records or people concerned.

    rank: the gravest of a code has the lowest. about: names it among those of its code.
    """

    code: str
    sentence: str
    rank: float
    size: int
    people: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    about: str = ""


def doubts(warehouse: Warehouse, config: IdentityConfig, verdicts: Verdicts) -> Iterator[Doubt]:
    """Yield all that is open; what a steward decided is not."""
    yield from _unheeded(verdicts)
    yield from _large(warehouse, config, verdicts)
    yield from _values(warehouse, verdicts)
    yield from _names(warehouse, config, verdicts)
    yield from _close_calls(warehouse, config, verdicts)


def _unheeded(verdicts: Verdicts) -> Iterator[Doubt]:
    """Tell of merges whose records are several people all the same."""
    for decision, records in verdicts.merges.items():
        people = verdicts.people_of(records)
        if len(people) > 1:
            sentence = (
                f"Decision {decision} says that {len(people)} people are one, but unique identifiers say otherwise, or"
                " no run has heeded it yet."
            )
            yield Doubt("merge_unheeded", sentence, -len(people), len(people), tuple(people[:2]), about=decision)


def _large(warehouse: Warehouse, config: IdentityConfig, verdicts: Verdicts) -> Iterator[Doubt]:
    if not warehouse.has("clean.customer"):
        return
    rows = warehouse.sql(
        f"SELECT m.person_id, count(*) AS n FROM ({_MEMBERS}) m JOIN clean.customer c USING (record_id)"
        " GROUP BY m.person_id"
        " HAVING count(*) FILTER (WHERE record_id NOT IN (SELECT unnest($merged))) > $large"
        " ORDER BY n DESC, m.person_id",
        large=config.large_person,
        merged=verdicts.merged_records or [""],
    ).to_pylist()
    for row in rows:
        sentence = f"Person {row['person_id']} has {row['n']:,} customer records."
        yield Doubt("large_person", sentence, -row["n"], row["n"], (row["person_id"],))


def _values(warehouse: Warehouse, verdicts: Verdicts) -> Iterator[Doubt]:
    rows = warehouse.sql(
        "SELECT d.type, d.value, d.reason, d.records, d.persons,"
        " (SELECT list({'person': person_id, 'record': record} ORDER BY person_id)[:$asked] FROM"
        f" (SELECT m.person_id, min(m.record_id) AS record FROM identity.identifier i JOIN ({_MEMBERS}) m"
        " USING (record_id) WHERE i.type = d.type AND i.value = d.value AND d.reason <> 'shared' GROUP BY 1)) AS people"
        " FROM identity.demoted d ORDER BY d.persons DESC, d.type, d.value",
        asked=_ASKED,
    ).to_pylist()
    for row in rows:
        shown = f"{row['type']} {masked(row['type'], row['value'])}"
        if row["reason"] == "shared":
            yield _shared(row, shown)
            continue
        for one, other in _open_pair(row["people"] or [], verdicts):
            sentence = f"{shown} would join {row['persons']:,} people who contradict each other; it joins none."
            people, records = (one["person"], other["person"]), (one["record"], other["record"])
            about = f"{row['type']} {row['value']}"
            yield Doubt("contradictory_value", sentence, -row["persons"], row["persons"], people, records, about)


# A row of identity.demoted.
def _shared(row: Mapping[str, Any], shown: str) -> Doubt:
    sentence = (
        f"{shown} stands on {row['records']:,} records of about {row['persons']:,} people; it links none. Add it to"
        f" identity.identifiers.{row['type']}.blocked, or raise max_persons_per_value if it does name one person."
    )
    return Doubt("shared_value", sentence, -row["persons"], row["persons"], about=f"{row['type']} {row['value']}")


def _open_pair(people: list[dict[str, str]], verdicts: Verdicts) -> Iterable[tuple[dict[str, str], dict[str, str]]]:
    """Return the first two of whom nothing is decided, if there are two."""
    pairs = combinations(people, 2)
    return islice((pair for pair in pairs if not verdicts.are_people_settled(*(one["person"] for one in pair))), 1)


def _names(warehouse: Warehouse, config: IdentityConfig, verdicts: Verdicts) -> Iterator[Doubt]:
    column = config.contradiction
    if not column or column not in warehouse.columns("clean.customer"):
        return
    name = words(f"c.{quoted(column)}")
    rows = warehouse.sql(
        f"WITH named AS (SELECT m.person_id, c.record_id, {name} AS name FROM ({_MEMBERS}) m"
        " JOIN clean.customer c USING (record_id)"
        " QUALIFY count(*) OVER (PARTITION BY m.person_id) BETWEEN 2 AND $paired)"
        " SELECT a.person_id, a.record_id AS one, b.record_id AS other,"
        " least(a.name, b.name) AS first, greatest(a.name, b.name) AS second,"
        " jaro_winkler_similarity(a.name, b.name) AS alike FROM named a"
        " JOIN named b ON a.person_id = b.person_id AND a.record_id < b.record_id AND a.name <> b.name"
        " WHERE alike < $unlike ORDER BY alike, a.person_id, one, other",
        paired=_PAIRED,
        unlike=_UNLIKE,
    ).to_pylist()
    names = ("person_id", "first", "second")
    # Who has been told once that Bill is William is not asked for every other record that says so.
    settled = {
        tuple(row[key] for key in names) for row in rows if verdicts.are_records_settled(row["one"], row["other"])
    }
    seen = set[str]()
    for row in rows:
        if row["person_id"] in seen or tuple(row[key] for key in names) in settled:
            continue
        seen.add(row["person_id"])
        sentence = f"Two records of person {row['person_id']} have names that are hardly alike ({row['alike']:.2f})."
        yield Doubt("names_differ", sentence, row["alike"], 2, (row["person_id"],), (row["one"], row["other"]))


# A row of a pair: record_id, other_id, probability, and the person of either.
Row = Mapping[str, Any]


def _close_calls(warehouse: Warehouse, config: IdentityConfig, verdicts: Verdicts) -> Iterator[Doubt]:
    """Yield pairs whose likeness lies between the thresholds, one for each two people, and for each one person.

    Two people may be one from `cut` on. One person may be two while nothing surer than 1 - `cut` holds the two records
    together, over any number of steps.
    """
    rules = config.similar
    if rules is None or not warehouse.has("identity.similar_pair"):
        return
    rows = warehouse.sql(_PAIRS_IN_DOUBT, cut=rules.cut, unique=_unique_types(warehouse, config) or [""]).to_pylist()
    apart = [row for row in rows if row["one"] != row["other"] and _may_be_one(config, row)]
    unsure = [row for row in rows if row["one"] == row["other"] and row["probability"] < 1 - rules.cut]
    sure = [row for row in rows if row["one"] == row["other"] and row["probability"] >= 1 - rules.cut]
    held = list(_bridging(warehouse, unsure, sure, verdicts))
    seen = set[tuple[str, str]]()
    for row in [*apart, *held]:
        key = (min(row["one"], row["other"]), max(row["one"], row["other"]))
        if key in seen or _is_settled(row, verdicts):
            continue
        seen.add(key)
        yield _close_call(row, rules.pair)


def _close_call(row: Row, threshold: float) -> Doubt:
    chance, records = row["probability"], (row["record_id"], row["other_id"])
    if row["one"] != row["other"]:
        sentence = f"Two records are alike with {chance:.2f} and are two people."
        return Doubt("close_call", sentence, max(threshold - chance, 0), 2, (row["one"], row["other"]), records)
    sentence = f"Two records are alike with {chance:.2f} and are one person, which nothing surer holds together."
    return Doubt("close_call", sentence, max(chance - threshold, 0), 2, (row["one"],), records)


def _is_settled(row: Row, verdicts: Verdicts) -> bool:
    records = verdicts.are_records_settled(row["record_id"], row["other_id"])
    return records or verdicts.are_people_settled(row["one"], row["other"])


def _unique_types(warehouse: Warehouse, config: IdentityConfig) -> list[str]:
    names = warehouse.sql("SELECT DISTINCT type FROM identity.identifier ORDER BY 1")["type"].to_pylist()
    return [name for name in names if config.rule(name).unique]


def _may_be_one(config: IdentityConfig, row: Row) -> bool:
    """Tell whether the sources let two records be one person at all."""
    one, other = (row[name].partition(":")[0] for name in ("record_id", "other_id"))
    alone = config.similar.duplicate_free if config.similar else ()
    return not (one == other and one in alone) and bool(config.linking.bits(one) & config.linking.bits(other))


def _bridging(warehouse: Warehouse, unsure: list[Row], sure: list[Row], verdicts: Verdicts) -> Iterator[Row]:
    """Yield the unsure pairs whose records nothing surer holds together: no surer pair, no identifier, no decision."""
    people = sorted({row["one"] for row in unsure})
    if not people:
        return
    rows = warehouse.sql(
        # No record's id begins with a null character.
        "SELECT i.record_id, chr(0) || i.type || ' ' || i.value AS value FROM identity.identifier i"
        f" JOIN ({_MEMBERS}) m USING (record_id) LEFT JOIN identity.demoted d ON d.type = i.type AND d.value = i.value"
        " AND d.reason = 'shared' WHERE i.status = 'ok' AND i.unlinked IS NULL AND d.type IS NULL"
        " AND i.type <> $similar AND m.person_id IN (SELECT unnest($people::UUID[]))",
        similar=SIMILAR,
        people=people,
    ).to_pylist()
    ties = [(row["record_id"], row["value"]) for row in rows]
    ties += [(row[name], row[name]) for row in unsure for name in ("record_id", "other_id")]
    ties += [(row["record_id"], row["other_id"]) for row in sure]
    ties += [(record, f"\0 {name}") for name, side in verdicts.merges.items() for record in side]
    part = _parts(ties)
    yield from (row for row in unsure if part[row["record_id"]] != part[row["other_id"]])


def _parts(ties: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Number for each name the part to which it belongs."""
    names: dict[str, int] = {}
    edges = np.array([[names.setdefault(name, len(names)) for name in tie] for tie in ties], dtype=np.int64)
    edges = edges.reshape(-1, 2)
    labels = linked_parts(len(names), edges[:, 0], edges[:, 1]).tolist()
    return {name: labels[n] for name, n in names.items()}
