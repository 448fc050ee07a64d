"""Gather what the ledger says of each person, and find the people of whom it says the same.

What one person's events come to (which grants stand, what is refused) is worked out for each identifier and purpose by
itself; after that no date is left, so that of a million people a few thousand differ. One of those who are alike is
decided for all of them. Tables `ops.decide_*` hold numbers and the policy's words, and are dropped after.
"""

from __future__ import annotations

from consentry.consent.rules import ANY, CHILD, EXPLICIT, RANK, UNMAPPED
from consentry.warehouse import Warehouse

_STATE_RANK = " ".join(f"WHEN '{state}' THEN {RANK[state]}" for state in ("objected", "withdrawn", "denied", "expired"))
_KNOWN = ", ".join(f"'{method}'" for method in sorted(EXPLICIT))

_PERSON = """
SELECT person_id, row_number() OVER () AS person
FROM (SELECT DISTINCT person_id FROM identity.membership WHERE valid_to_run IS NULL)
"""

_IDENTIFIER = """
SELECT identifier AS name, row_number() OVER () AS identifier
FROM (SELECT DISTINCT identifier FROM ops.subject WHERE list = 'ledger')
"""

_WHO = """
SELECT p.person AS person_id, i.identifier, s.identifier_type AS kind, bool_or(s.served) AS served,
    max(s.shared_by) AS shared_by
FROM ops.subject s JOIN ops.decide_person p ON p.person_id = s.person_id
JOIN ops.decide_identifier i ON i.name = s.identifier
WHERE s.list = 'ledger' GROUP BY ALL
"""

_EVENT = """
WITH known AS (
    SELECT DISTINCT s.identifier_hmac, i.identifier
    FROM ops.subject s JOIN ops.decide_identifier i ON i.name = s.identifier WHERE s.list = 'ledger'
)
SELECT k.identifier, e.seq, e.purpose, e.state, e.source_system, e.regime, e.method, e.proven, e.notice_version,
    e.effective_us, e.expires_us, coalesce(s.trust, 0) AS trust
FROM ops.consent_event e JOIN known k USING (identifier_hmac) LEFT JOIN ops.rule_source s USING (source_system)
WHERE e.recorded_us <= $known_us AND (e.state <> 'granted' OR e.effective_us <= $as_of_us)
"""

_STANDING = f"""
WITH purposes AS (
    SELECT purpose, max(cutoff_us) AS cutoff_us, max(min_notice) AS min_notice FROM ops.rule_purpose GROUP BY purpose
), grants AS (
    SELECT ev.* FROM ops.decide_event ev JOIN purposes USING (purpose) WHERE state = 'granted'
), refusals AS (
    SELECT identifier, purpose, state, source_system, effective_us, trust
    FROM ops.decide_event JOIN purposes USING (purpose) WHERE state <> 'granted'
    UNION ALL
    SELECT ev.identifier, p.purpose, ev.state, ev.source_system, ev.effective_us, ev.trust
    FROM ops.decide_event ev CROSS JOIN purposes p WHERE ev.state <> 'granted' AND ev.purpose = '{ANY}'
), refused_by AS (
    SELECT identifier, purpose, source_system, max(effective_us) AS at, max(trust) AS trust
    FROM refusals GROUP BY ALL
), blocked AS (
    SELECT DISTINCT g.seq FROM grants g JOIN refused_by r USING (identifier, purpose)
    WHERE g.effective_us <= r.at + CASE WHEN g.source_system = r.source_system THEN 0 ELSE $skew_us END
       OR g.trust < r.trust
), standing AS (
    SELECT g.* FROM grants g ANTI JOIN blocked USING (seq)
), lapsed AS (
    SELECT identifier, purpose, max(effective_us) AS lapsed_us
    FROM grants WHERE expires_us <= $as_of_us GROUP BY ALL
)
SELECT DISTINCT s.identifier, s.purpose, s.regime, s.proven,
    CASE WHEN s.method IN ({_KNOWN}) THEN s.method ELSE 'implied' END AS method,
    s.effective_us <= p.cutoff_us OR coalesce(s.effective_us <= l.lapsed_us, FALSE) AS over,
    s.notice_version < p.min_notice AS old
FROM standing s JOIN purposes p USING (purpose)
LEFT JOIN lapsed l ON l.identifier = s.identifier AND l.purpose = s.purpose
"""

_REFUSING = f"""
WITH purposes AS (
    SELECT DISTINCT purpose FROM ops.rule_purpose
), grants AS (
    SELECT ev.* FROM ops.decide_event ev JOIN purposes USING (purpose) WHERE state = 'granted'
), refusals AS (
    SELECT identifier, purpose, state, source_system, effective_us, trust
    FROM ops.decide_event JOIN purposes USING (purpose) WHERE state <> 'granted'
    UNION ALL
    SELECT ev.identifier, p.purpose, ev.state, ev.source_system, ev.effective_us, ev.trust
    FROM ops.decide_event ev CROSS JOIN purposes p WHERE ev.state <> 'granted' AND ev.purpose = '{ANY}'
), latest AS (
    SELECT identifier, purpose, max(effective_us) AS at FROM refusals GROUP BY ALL
), last AS (
    SELECT r.identifier, r.purpose, r.source_system, l.at, CASE r.state {_STATE_RANK} END AS rank
    FROM refusals r JOIN latest l ON l.identifier = r.identifier AND l.purpose = r.purpose AND l.at = r.effective_us
), at_once AS (
    SELECT DISTINCT l.identifier, l.purpose FROM last l JOIN grants g USING (identifier, purpose)
    WHERE abs(g.effective_us - l.at) <= $skew_us
      AND (g.source_system <> l.source_system OR g.effective_us = l.at)
), stood AS (
    SELECT DISTINCT identifier, purpose FROM ops.decide_standing
), refusing AS (
    SELECT l.identifier, l.purpose,
        CASE WHEN min(l.rank) <> {RANK["objected"]} AND count(o.identifier) > 0
            THEN {RANK["conflict_within_skew"]} ELSE min(l.rank) END AS rank
    FROM last l ANTI JOIN stood USING (identifier, purpose)
    LEFT JOIN at_once o ON o.identifier = l.identifier AND o.purpose = l.purpose
    GROUP BY l.identifier, l.purpose
)
SELECT identifier, purpose, rank FROM refusing
"""

_SUPPRESSED = f"""
SELECT DISTINCT w.person AS person_id, p.purpose
FROM ops.subject s JOIN ops.suppression x USING (identifier_hmac)
JOIN (SELECT DISTINCT purpose FROM ops.rule_purpose) p ON x.scope_purpose IN (p.purpose, '{ANY}')
JOIN ops.decide_person w ON w.person_id = s.person_id
WHERE s.list = 'suppression'
"""

_FACT = f"""
WITH seen AS (
    SELECT w.person_id, min(ev.regime) AS regime, min(ev.regime) IS NOT NULL AS has_regime,
        min(ev.regime) IS DISTINCT FROM max(ev.regime) AS regimes,
        bool_or(ev.state = 'granted' AND ev.regime IS NOT NULL) AS named_by_grant,
        bool_or(ev.state <> 'granted' AND ev.purpose = '{CHILD}') AS child,
        bool_or(ev.purpose NOT IN ('{UNMAPPED}', '{ANY}', '{CHILD}')) AS others,
        bool_or(ev.purpose = '{UNMAPPED}') AS unmapped
    FROM ops.decide_who w JOIN ops.decide_event ev USING (identifier) GROUP BY w.person_id
)
SELECT pe.person AS person_id, f.regime IS NULL AS abroad,
    f.minor IS NULL AND NOT coalesce(seen.child, FALSE) AS ageless,
    coalesce(f.minor, FALSE) OR coalesce(seen.child, FALSE) AS minor,
    CASE WHEN f.regime IS NOT NULL AND (NOT coalesce(seen.has_regime, FALSE)
            OR (NOT seen.regimes AND seen.regime = f.regime)) THEN f.regime
        WHEN f.regime IS NULL AND NOT seen.regimes AND seen.named_by_grant THEN seen.regime END AS regime,
    CASE WHEN seen.others THEN {RANK["purpose_not_covered"]} WHEN seen.unmapped THEN {RANK["unmapped"]}
        ELSE {RANK["no_record"]} END AS absent
FROM ops.decide_person pe LEFT JOIN seen ON seen.person_id = pe.person
LEFT JOIN ops.person_fact f ON f.person_id = pe.person_id
"""

# A person is written down as everything a decision may still look at; the same numbers, the same answer. The words
# come from the policy and from fixed lists, or are quoted, so that no two situations are spelled alike.
_TOKEN = """
SELECT identifier, concat_ws(',', 'g', '"' || purpose || '"', coalesce('"' || regime || '"', '-'), method,
    CAST(proven AS TINYINT), CAST(over AS TINYINT), CAST(old AS TINYINT)) AS token FROM ops.decide_standing
UNION ALL
SELECT identifier, concat_ws(',', 'r', '"' || purpose || '"', rank) FROM ops.decide_refusing
UNION ALL
SELECT identifier, 'n' FROM ops.decide_named
"""

_WORD = """
SELECT token, CAST(row_number() OVER () - 1 AS BIGINT) AS word FROM (SELECT DISTINCT token FROM ops.decide_token)
"""

# The set of words of an identifier, sixty to a number; a token stands once for each identifier.
_SAID = """
SELECT w.person_id, w.kind, w.served, w.shared_by >= $shared_by AS shared, {sets}
FROM ops.decide_who w LEFT JOIN (
    SELECT t.identifier, {summed} FROM ops.decide_token t JOIN ops.decide_word d USING (token) GROUP BY t.identifier
) s USING (identifier)
"""

_SPOT = """
WITH spots AS (
    SELECT kind, served, shared, {names}, row_number() OVER () AS spot
    FROM (SELECT DISTINCT kind, served, shared, {names} FROM ops.decide_said)
)
SELECT s.person_id, p.spot FROM ops.decide_said s JOIN spots p USING (kind, served, shared, {names})
"""

_ALIKE = """
WITH held AS (
    SELECT person_id, count(*) AS n, min(spot) AS low, max(spot) AS high FROM ops.decide_spot GROUP BY person_id
), many AS (
    SELECT person_id, string_agg(CAST(s.spot AS VARCHAR), ',' ORDER BY s.spot) AS all_spots
    FROM ops.decide_spot s JOIN (SELECT person_id FROM held WHERE n > 2) USING (person_id) GROUP BY person_id
), listed AS (
    SELECT person_id, string_agg('"' || purpose || '"', ',' ORDER BY purpose) AS purposes
    FROM ops.decide_suppressed GROUP BY person_id
), situation AS (
    SELECT f.person_id, f.abroad, f.ageless, f.minor, coalesce('"' || f.regime || '"', '') AS regime, f.absent,
        coalesce(h.n, 0) AS n, coalesce(h.low, 0) AS low, coalesce(h.high, 0) AS high,
        coalesce(m.all_spots, '') AS all_spots, coalesce(l.purposes, '') AS purposes
    FROM ops.decide_fact f LEFT JOIN held h USING (person_id) LEFT JOIN many m USING (person_id)
    LEFT JOIN listed l USING (person_id)
), firsts AS (
    SELECT min(person_id) AS alike, abroad, ageless, minor, regime, absent, n, low, high, all_spots, purposes
    FROM situation GROUP BY ALL
)
SELECT s.person_id, f.alike FROM situation s
JOIN firsts f USING (abroad, ageless, minor, regime, absent, n, low, high, all_spots, purposes)
"""
_WORDS_A_NUMBER = 60

_STEPS = {
    "ops.decide_person": _PERSON,
    "ops.decide_identifier": _IDENTIFIER,
    "ops.decide_who": _WHO,
    "ops.decide_event": _EVENT,
    "ops.decide_standing": _STANDING,
    "ops.decide_refusing": _REFUSING,
    "ops.decide_named": (
        "SELECT DISTINCT identifier FROM ops.decide_event WHERE state = 'granted' AND regime IS NOT NULL"
    ),
    "ops.decide_suppressed": _SUPPRESSED,
    "ops.decide_fact": _FACT,
    "ops.decide_token": _TOKEN,
    "ops.decide_word": _WORD,
}
_LAST_STEPS = ("ops.decide_said", "ops.decide_spot", "ops.decide_alike")


def gather(warehouse: Warehouse, *, known_us: int, as_of_us: int, skew_us: int, shared_by: int) -> None:
    """Write ops.decide_*: what stands and what is refused for each identifier, and `decide_alike(person_id, alike)`.

    alike: the one person of all who are in the same situation. Rules must have been written to ops.rule_*.
    """
    bound = {"known_us": known_us, "as_of_us": as_of_us, "skew_us": skew_us, "shared_by": shared_by}
    for table, query in _STEPS.items():
        asked = {name: value for name, value in bound.items() if f"${name}" in query}
        warehouse.sql(f"CREATE OR REPLACE TABLE {table} AS {query}", **asked)
    columns = range(warehouse.count("ops.decide_word") // _WORDS_A_NUMBER + 1)
    names = ", ".join(f"w{n}" for n in columns)
    said = _SAID.format(
        sets=", ".join(f"coalesce(s.w{n}, 0) AS w{n}" for n in columns),
        summed=", ".join(
            f"CAST(sum(CASE WHEN word // {_WORDS_A_NUMBER} = {n} "
            f"THEN CAST(1 AS BIGINT) << (word % {_WORDS_A_NUMBER}) ELSE 0 END) AS BIGINT) AS w{n}"
            for n in columns
        ),
    )
    warehouse.sql(f"CREATE OR REPLACE TABLE ops.decide_said AS {said}", shared_by=shared_by)
    warehouse.sql(f"CREATE OR REPLACE TABLE ops.decide_spot AS {_SPOT.format(names=names)}")
    warehouse.sql(f"CREATE OR REPLACE TABLE ops.decide_alike AS {_ALIKE}")


def forget(warehouse: Warehouse) -> None:
    """Drop what was gathered."""
    for table in (*_STEPS, *_LAST_STEPS):
        warehouse.drop(table)
