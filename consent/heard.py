"""Work out what stands and what is refused for each identifier, all purposes at once, as one set of words.

Of a million identifiers each has a few words such as "a grant for mail stands, given under gdpr" or "ads is withdrawn".
Which words there can be is known from the kinds of events before any event is read, so that a set is a few bits of a
number, and no date is left in it. Tables `ops.decide_*` are dropped after.
"""

from __future__ import annotations

from consentry.consent.codes import ALIASES, EVENTS, FACTS, KINDS
from consentry.consent.rules import ANY, CHILD, EXPLICIT, PERSONAL, RANK, UNMAPPED
from consentry.warehouse import Warehouse

# Sixty words to a number. The first four are of no purpose: a grant names a regime, a child, other purposes, unmapped.
WORDS_A_NUMBER = 60
NAMED, IS_CHILD, OTHERS, IS_UNMAPPED = 1, 2, 4, 8
_FLAGS = 4
# In the order of their ranks: of two refusals at one instant the first is told.
_STATES = ("objected", "withdrawn", "denied", "expired")
_REFUSALS = (*_STATES, "conflict_within_skew")
_NUMBERED = ", ".join(f"({RANK[reason]}, {n})" for n, reason in enumerate(_REFUSALS))
_KNOWN = ", ".join(f"'{method}'" for method in sorted(EXPLICIT))
_PERSONAL = ", ".join(f"'{method}'" for method in sorted(PERSONAL))

_REGIME = f"""
SELECT regime, CAST(row_number() OVER () AS INTEGER) AS code FROM (
    SELECT regime FROM {KINDS} UNION SELECT regime FROM {FACTS}
) WHERE regime IS NOT NULL
"""

_SORT = f"""
SELECT k.kind, n.number AS purpose, n.cutoff_us, k.purpose = '{ANY}' AS every, k.state = 'granted' AS grants,
    CASE k.state {" ".join(f"WHEN '{state}' THEN {n}" for n, state in enumerate(_STATES))} END AS state,
    CAST(dense_rank() OVER (ORDER BY k.source_system) AS INTEGER) AS source,
    CAST(coalesce(s.trust, 0) AS INTEGER) AS trust, r.code AS regime, k.method = 'guardian' AS guardian,
    k.method IN ({_PERSONAL}) AS personal,
    CASE WHEN k.method NOT IN ({_KNOWN}) THEN {RANK["implied"]} WHEN NOT k.proven THEN {RANK["unproven"]}
        WHEN k.notice_version < n.min_notice THEN {RANK["notice_superseded"]} ELSE {RANK["allow"]} END AS fresh_rank,
    CASE WHEN k.method NOT IN ({_KNOWN}) THEN {RANK["implied"]} WHEN NOT k.proven THEN {RANK["unproven"]}
        ELSE {RANK["expired"]} END AS over_rank,
    CASE WHEN k.state = 'granted' AND k.regime IS NOT NULL THEN {NAMED} ELSE 0 END
        + CASE WHEN k.purpose = '{CHILD}' AND k.state <> 'granted' THEN {IS_CHILD} ELSE 0 END
        + CASE WHEN k.purpose = '{UNMAPPED}' THEN {IS_UNMAPPED} ELSE 0 END
        + CASE WHEN k.purpose NOT IN ('{UNMAPPED}', '{ANY}', '{CHILD}') THEN {OTHERS} ELSE 0 END AS flags
FROM {KINDS} k LEFT JOIN ops.rule_number n USING (purpose) LEFT JOIN ops.rule_source s USING (source_system)
LEFT JOIN ops.decide_regime r ON r.regime = k.regime
"""

_WORD = f"""
SELECT CAST(row_number() OVER () + {_FLAGS - 1} AS INTEGER) AS word, * FROM (
    SELECT purpose, FALSE AS refuses, regime, guardian, fresh_rank AS rank FROM ops.decide_sort
    WHERE grants AND purpose IS NOT NULL
    UNION SELECT purpose, FALSE, regime, guardian, over_rank FROM ops.decide_sort WHERE grants AND purpose IS NOT NULL
    UNION SELECT number, TRUE, NULL, FALSE, rank FROM ops.rule_number, (VALUES {{refusals}}) r(rank)
)
""".format(refusals=", ".join(f"({RANK[reason]})" for reason in _REFUSALS))

_KIND = """
SELECT s.kind, s.purpose, s.cutoff_us, s.every, s.grants, s.state, s.source, s.trust, s.regime, s.personal,
    s.flags, f.word AS fresh, o.word AS over
FROM ops.decide_sort s
LEFT JOIN ops.decide_word f ON s.grants AND NOT f.refuses AND f.purpose = s.purpose AND f.guardian = s.guardian
    AND f.rank = s.fresh_rank AND f.regime IS NOT DISTINCT FROM s.regime
LEFT JOIN ops.decide_word o ON s.grants AND NOT o.refuses AND o.purpose = s.purpose AND o.guardian = s.guardian
    AND o.rank = s.over_rank AND o.regime IS NOT DISTINCT FROM s.regime
"""

# Every event as numbers, under the number of its identifier with the active key.
_HEARD = f"""
SELECT coalesce(a.identifier, e.identifier) AS identifier, k.*, e.effective_us, e.expires_us
FROM {EVENTS} e JOIN ops.decide_kind k USING (kind) LEFT JOIN {ALIASES} a ON a.code = e.identifier
WHERE e.recorded_us <= $known_us AND (NOT k.grants OR e.effective_us <= $as_of_us)
"""

# Of each identifier and purpose (a cell) that was ever refused: the latest refusal, and the latest of another source.
_REFUSED = f"""
WITH heard AS ({_HEARD}), refusals AS (
    SELECT identifier, purpose, source, trust, effective_us, state FROM heard WHERE NOT grants AND purpose IS NOT NULL
    UNION ALL
    SELECT h.identifier, n.number, h.source, h.trust, h.effective_us, h.state
    FROM heard h CROSS JOIN ops.rule_number n WHERE NOT h.grants AND h.every
), by_source AS (
    SELECT CAST(identifier AS BIGINT) * $purposes + purpose AS cell, source, max(effective_us) AS last_at,
        max(effective_us * 4 + 3 - state) AS packed, max(trust) AS trust, bool_or(state = 0) AS objected
    FROM refusals GROUP BY ALL
), latest AS (
    SELECT cell, max(last_at) AS last_at, CAST(3 - (max(packed) - max(last_at) * 4) AS INTEGER) AS state,
        max(trust) AS trust, bool_or(objected) AS objected, arg_max(source, last_at) AS source, count(*) AS sources
    FROM by_source GROUP BY cell
), others AS (
    SELECT b.cell, max(b.last_at) AS last_at FROM by_source b JOIN latest l USING (cell)
    WHERE l.sources > 1 AND b.source <> l.source GROUP BY b.cell
)
SELECT l.cell, l.last_at, l.state, l.trust, l.objected, l.source, o.last_at AS other_at
FROM latest l LEFT JOIN others o USING (cell)
"""

_LAPSED = f"""
WITH heard AS ({_HEARD})
SELECT CAST(identifier AS BIGINT) * $purposes + purpose AS cell, max(effective_us) AS last_at
FROM heard WHERE grants AND purpose IS NOT NULL AND expires_us <= $as_of_us GROUP BY ALL
"""

# A grant that no refusal ends: `rules._stands` against all refusals of the cell at once.
_STANDS = """(
    g.effective_us > CASE WHEN g.source = r.source THEN greatest(r.last_at, coalesce(r.other_at + $skew_us, r.last_at))
        ELSE r.last_at + $skew_us END
    AND g.trust >= r.trust AND (g.personal OR NOT r.objected)
)"""

_REFUSING = f"""
WITH heard AS ({_HEARD}), against AS (
    SELECT r.cell, bool_or({_STANDS}) AS stands, bool_or(
        abs(g.effective_us - r.last_at) <= $skew_us
        AND (g.source <> r.source OR g.effective_us = r.last_at OR coalesce(r.other_at = r.last_at, FALSE))
    ) AS at_once
    FROM (
        SELECT CAST(identifier AS BIGINT) * $purposes + purpose AS cell, effective_us, source, trust, personal
        FROM heard WHERE grants AND purpose IS NOT NULL
    ) g JOIN ops.decide_refused r USING (cell) GROUP BY r.cell
), refusing AS (
    SELECT r.cell, CASE WHEN r.state <> 0 AND coalesce(a.at_once, FALSE) THEN {len(_STATES)} ELSE r.state END AS state
    FROM ops.decide_refused r LEFT JOIN against a USING (cell) WHERE NOT coalesce(a.stands, FALSE)
), words AS (
    SELECT w.word, w.purpose, n.state FROM ops.decide_word w
    JOIN (VALUES {_NUMBERED}) n(rank, state) USING (rank)
    WHERE w.refuses
)
SELECT CAST(r.cell // $purposes AS INTEGER) AS identifier, w.word
FROM refusing r JOIN words w ON w.purpose = r.cell % $purposes AND w.state = r.state
"""

_SETS = f"""
WITH heard AS ({_HEARD}), said AS (
    SELECT g.identifier, g.regime, g.flags, CASE WHEN g.cell IS NULL OR NOT coalesce({_STANDS}, TRUE) THEN NULL
        WHEN g.effective_us <= g.cutoff_us OR coalesce(g.effective_us <= l.last_at, FALSE) THEN g.over
        ELSE g.fresh END AS word
    FROM (
        SELECT *, CASE WHEN grants THEN CAST(identifier AS BIGINT) * $purposes + purpose END AS cell FROM heard
    ) g LEFT JOIN ops.decide_refused r USING (cell) LEFT JOIN ops.decide_lapsed l USING (cell)
    UNION ALL SELECT identifier, NULL, 0, word FROM ops.decide_refusing
)
SELECT identifier, min(regime) AS low, max(regime) AS high, {{sets}} FROM said GROUP BY identifier
"""

STEPS = {
    "ops.decide_regime": _REGIME,
    "ops.decide_sort": _SORT,
    "ops.decide_word": _WORD,
    "ops.decide_kind": _KIND,
    "ops.decide_refused": _REFUSED,
    "ops.decide_lapsed": _LAPSED,
    "ops.decide_refusing": _REFUSING,
}
SETS = "ops.decide_set"


def hear(warehouse: Warehouse, *, known_us: int, as_of_us: int, skew_us: int) -> int:
    """Write ops.decide_set(identifier, low, high, w0, w1, ...); return how many numbers w there are.

    low, high: the regimes that events name, the first and the last by code; where they differ there are several.
    Rules must have been written to ops.rule_*.
    """
    bound = {"known_us": known_us, "as_of_us": as_of_us, "skew_us": skew_us}
    bound["purposes"] = max(warehouse.count("ops.rule_number"), 1)
    for table, query in STEPS.items():
        _make(warehouse, table, query, bound)
    numbers = (warehouse.count("ops.decide_word") + _FLAGS - 1) // WORDS_A_NUMBER + 1
    sets = ", ".join(f"bit_or({_bits(n)}) AS w{n}" for n in range(numbers))
    _make(warehouse, SETS, _SETS.format(sets=sets), bound)
    return numbers


def _bits(number: int) -> str:
    bit = (
        f"CASE WHEN word // {WORDS_A_NUMBER} = {number} THEN CAST(1 AS BIGINT) << (word % {WORDS_A_NUMBER}) ELSE 0 END"
    )
    return f"{bit} | flags" if number == 0 else bit


def _make(warehouse: Warehouse, table: str, query: str, bound: dict[str, int]) -> None:
    asked = {name: value for name, value in bound.items() if f"${name}" in query}
    warehouse.sql(f"CREATE OR REPLACE TABLE {table} AS {query}", **asked)
