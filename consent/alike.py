"""Find the people of whom the ledger says the same, so that one of them is decided for all.

What one person's events come to is worked out for each identifier by itself (`heard`); no date is left in it, so that
of a million people a few thousand differ. Tables `ops.decide_*` hold numbers, and are dropped after.
"""

from __future__ import annotations

from consentry.consent import heard
from consentry.consent.codes import FACTS, SUBJECT_CODES, SUBJECTS
from consentry.consent.heard import IS_CHILD, IS_UNMAPPED, NAMED, OTHERS, SETS, WORDS_A_NUMBER
from consentry.consent.rules import ANY, RANK
from consentry.warehouse import Warehouse

SITUATION = "facts, least, most, more"

_SUPPRESSED = f"""
SELECT DISTINCT f.person, n.number AS purpose
FROM {SUBJECTS} s JOIN ops.suppression x USING (identifier_hmac)
JOIN ops.rule_number n ON x.scope_purpose IN (n.purpose, '{ANY}')
JOIN {FACTS} f ON f.person_id = s.person_id
WHERE s.list = 'suppression'
"""

# Identifiers that are alike in everything share a `spot`.
_SAID = f"""
SELECT w.person, w.kind, w.served, w.shared_by >= $shared_by AS shared, s.low, s.high, {{sets}}
FROM {SUBJECT_CODES} w LEFT JOIN {SETS} s USING (identifier)
"""
_SPOTS = """
SELECT kind, served, shared, {names}, CAST(row_number() OVER () AS INTEGER) AS spot
FROM (SELECT DISTINCT kind, served, shared, {names} FROM ops.decide_said)
"""
_SPOTTED = """
SELECT s.person, s.low, s.high, s.w0, p.spot
FROM ops.decide_said s JOIN ops.decide_spot p USING (kind, served, shared, {names})
"""
_HELD = f"""
SELECT person, CAST(count(*) AS INTEGER) AS n, min(spot) AS least, max(spot) AS most, min(low) AS low,
    max(high) AS high, CAST(bit_or(w0) & {NAMED | IS_CHILD | OTHERS | IS_UNMAPPED} AS INTEGER) AS flags
FROM ({{spotted}}) GROUP BY person
"""
# What few people have: more than two identifiers, or a suppression; one number for all who have the same.
_MORE = """
WITH many AS (
    SELECT person, string_agg(CAST(spot AS VARCHAR), ',' ORDER BY spot) AS spots
    FROM ({spotted}) s JOIN (SELECT person FROM ops.decide_held WHERE n > 2) h USING (person) GROUP BY person
), listed AS (
    SELECT person, string_agg(CAST(purpose AS VARCHAR), ',' ORDER BY purpose) AS purposes
    FROM ops.decide_suppressed GROUP BY person
)
SELECT coalesce(m.person, l.person) AS person,
    CAST(dense_rank() OVER (ORDER BY coalesce(m.spots, ''), coalesce(l.purposes, '')) AS INTEGER) AS more
FROM many m FULL JOIN listed l USING (person)
"""

# Everything a decision may still look at, in four numbers; the same numbers, the same answer. The regime is the one
# that residence and every event name, 0 when there is none or more than one.
_SITUATION = f"""
SELECT person, person_id, least, most, more,
    coalesce(CASE WHEN lives IS NOT NULL AND (low IS NULL OR (low = high AND low = lives)) THEN lives
        WHEN lives IS NULL AND low = high AND flags & {NAMED} <> 0 THEN low END, 0) * 4096
    + n * 1024 + CASE WHEN lives IS NULL THEN 512 ELSE 0 END
    + CASE WHEN minor IS NULL AND flags & {IS_CHILD} = 0 THEN 256 ELSE 0 END
    + CASE WHEN coalesce(minor, FALSE) OR flags & {IS_CHILD} <> 0 THEN 128 ELSE 0 END
    + CASE WHEN flags & {OTHERS} <> 0 THEN {RANK["purpose_not_covered"]}
        WHEN flags & {IS_UNMAPPED} <> 0 THEN {RANK["unmapped"]} ELSE {RANK["no_record"]} END AS facts
FROM (
    SELECT f.person, f.person_id, r.code AS lives, f.minor, least(coalesce(h.n, 0), 3) AS n,
        coalesce(h.least, 0) AS least, coalesce(h.most, 0) AS most, h.low, h.high, coalesce(h.flags, 0) AS flags,
        coalesce(m.more, 0) AS more
    FROM {FACTS} f LEFT JOIN ops.decide_regime r ON r.regime = f.regime
    LEFT JOIN ops.decide_held h USING (person) LEFT JOIN ops.decide_more m USING (person)
)
"""
_ALIKE = f"""
SELECT min(person) AS alike, {SITUATION} FROM ops.decide_situation GROUP BY {SITUATION}
"""

# What follows is for the one of all who are alike, and read back from the bits.
_FACT = """
SELECT a.alike AS person, r.regime, a.facts // 512 % 2 = 1 AS abroad, a.facts // 256 % 2 = 1 AS ageless,
    a.facts // 128 % 2 = 1 AS minor, a.facts % 128 AS absent
FROM ops.decide_alike a LEFT JOIN ops.decide_regime r ON r.code = a.facts // 4096
"""
_WHO = f"""
SELECT w.person, w.identifier, w.kind, w.served, w.shared_by >= $shared_by AS shared, {{names}}
FROM {SUBJECT_CODES} w JOIN ops.decide_fact USING (person) LEFT JOIN {SETS} s USING (identifier)
"""
_TOLD = """
SELECT DISTINCT s.identifier, w.purpose, w.refuses, r.regime, w.guardian, w.rank
FROM ops.decide_who s JOIN ops.decide_word w ON CASE w.word // {size} {cases} END >> (w.word % {size}) & 1 = 1
LEFT JOIN ops.decide_regime r ON r.code = w.regime
"""
_TABLES = tuple(
    f"ops.decide_{name}"
    for name in ("suppressed", "said", "spot", "held", "more", "situation", "alike", "fact", "who", "told")
)  # fmt: skip


def gather(warehouse: Warehouse, *, known_us: int, as_of_us: int, skew_us: int, shared_by: int) -> None:
    """Write everyone's situation, and of one person in each situation, the `alike`, what the ledger comes to.

    ops.decide_situation: (person_id, and what SITUATION names); decide_alike: (alike, and the same), one row each.
    decide_fact: one row an `alike`. decide_who: their identifiers. decide_told: the grants that stand and the refusals
    that hold of each identifier. Rules must have been written to ops.rule_*.
    """
    numbers = heard.hear(warehouse, known_us=known_us, as_of_us=as_of_us, skew_us=skew_us)
    names = ", ".join(f"w{n}" for n in range(numbers))
    sets = ", ".join(f"coalesce(s.w{n}, 0) AS w{n}" for n in range(numbers))
    cases = " ".join(f"WHEN {n} THEN s.w{n}" for n in range(numbers))
    spotted = _SPOTTED.format(names=names)
    queries = (
        _SUPPRESSED,
        _SAID.format(sets=sets),
        _SPOTS.format(names=names),
        _HELD.format(spotted=spotted),
        _MORE.format(spotted=spotted),
        _SITUATION,
        _ALIKE,
        _FACT,
        _WHO.format(names=names),
        _TOLD.format(size=WORDS_A_NUMBER, cases=cases),
    )
    for table, query in zip(_TABLES, queries, strict=True):
        asked = {"shared_by": shared_by} if "$shared_by" in query else {}
        warehouse.sql(f"CREATE OR REPLACE TABLE {table} AS {query}", **asked)


def forget(warehouse: Warehouse) -> None:
    """Drop what was gathered."""
    for table in (*heard.STEPS, SETS, *_TABLES):
        warehouse.drop(table)
