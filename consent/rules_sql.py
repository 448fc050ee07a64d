"""Decide for everybody: the rules of `rules` as one SQL statement over all people and targets.

The two must agree on every ledger; a property test compares them. Read `rules` for why; the names are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from consentry.consent.instants import micros
from consentry.consent.rules import ANY, CHILD, EXPLICIT, RANK, REASONS, UNCONDITIONAL, UNMAPPED, TargetRule
from consentry.warehouse import Warehouse

DECISIONS = "ops.decision"
_TEXT, _LONG, _FLAG = pa.string(), pa.int64(), pa.bool_()


def _words(words: Iterable[str]) -> str:
    """Write constants of this program, never values, as a SQL list."""
    return ", ".join(f"'{word}'" for word in sorted(words))


_STATE_RANK = " ".join(f"WHEN '{state}' THEN {RANK[state]}" for state in ("objected", "withdrawn", "denied", "expired"))

_DECIDE = f"""
WITH people AS (
    SELECT DISTINCT person_id FROM identity.membership WHERE valid_to_run IS NULL
), who AS (
    SELECT person_id, identifier, identifier_type AS kind, bool_or(served) AS served, max(shared_by) AS shared_by
    FROM ops.subject WHERE list = 'ledger' GROUP BY ALL
), known AS (
    SELECT DISTINCT identifier_hmac, identifier FROM ops.subject WHERE list = 'ledger'
), purposes AS (
    SELECT DISTINCT purpose FROM ops.rule_purpose
), ev AS (
    SELECT k.identifier, e.*, coalesce(s.trust, 0) AS trust
    FROM ops.consent_event e JOIN known k USING (identifier_hmac) LEFT JOIN ops.rule_source s USING (source_system)
    WHERE e.recorded_us <= $known_us AND (e.state <> 'granted' OR e.effective_us <= $as_of_us)
), grants AS (
    SELECT ev.* FROM ev JOIN purposes USING (purpose) WHERE state = 'granted'
), refusals AS (
    SELECT identifier, purpose, state, source_system, effective_us, trust
    FROM ev JOIN purposes USING (purpose) WHERE state <> 'granted'
    UNION ALL
    SELECT ev.identifier, p.purpose, ev.state, ev.source_system, ev.effective_us, ev.trust
    FROM ev CROSS JOIN purposes p WHERE ev.state <> 'granted' AND ev.purpose = '{ANY}'
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
    SELECT DISTINCT identifier, purpose FROM standing
), refusing AS (
    SELECT l.identifier, l.purpose,
        CASE WHEN min(l.rank) <> {RANK["objected"]} AND count(o.identifier) > 0
            THEN {RANK["conflict_within_skew"]} ELSE min(l.rank) END AS rank
    FROM last l ANTI JOIN stood USING (identifier, purpose)
    LEFT JOIN at_once o ON o.identifier = l.identifier AND o.purpose = l.purpose
    GROUP BY l.identifier, l.purpose
), named AS (
    SELECT DISTINCT identifier FROM ev WHERE state = 'granted' AND regime IS NOT NULL
), seen AS (
    SELECT w.person_id, count(DISTINCT ev.regime) AS regimes, min(ev.regime) AS regime,
        bool_or(ev.state = 'granted' AND ev.regime IS NOT NULL) AS named_by_grant,
        bool_or(ev.state <> 'granted' AND ev.purpose = '{CHILD}') AS child,
        bool_or(ev.purpose NOT IN ('{UNMAPPED}', '{ANY}', '{CHILD}')) AS others,
        bool_or(ev.purpose = '{UNMAPPED}') AS unmapped
    FROM who w JOIN ev USING (identifier) GROUP BY w.person_id
), facts AS (
    SELECT pe.person_id, f.regime IS NULL AS abroad, f.minor IS NULL AND NOT coalesce(seen.child, FALSE) AS ageless,
        coalesce(f.minor, FALSE) OR coalesce(seen.child, FALSE) AS minor,
        CASE WHEN f.regime IS NOT NULL AND (coalesce(seen.regimes, 0) = 0
                OR (seen.regimes = 1 AND seen.regime = f.regime)) THEN f.regime
            WHEN f.regime IS NULL AND seen.regimes = 1 AND seen.named_by_grant THEN seen.regime END AS regime,
        CASE WHEN seen.others THEN {RANK["purpose_not_covered"]} WHEN seen.unmapped THEN {RANK["unmapped"]}
            ELSE {RANK["no_record"]} END AS absent
    FROM people pe LEFT JOIN seen ON seen.person_id = pe.person_id
    LEFT JOIN ops.person_fact f ON f.person_id = pe.person_id
), ruled AS (
    SELECT f.person_id, pu.purpose, coalesce(own.regime, '{ANY}') AS regime, coalesce(own.basis, base.basis) AS basis,
        coalesce(f.abroad AND own.basis <> base.basis, FALSE) AS named_only, base.guarded AND f.minor AS guarded,
        base.guarded AND f.ageless AS ageless, base.cutoff_us, base.min_notice, f.absent
    FROM facts f CROSS JOIN purposes pu
    JOIN ops.rule_purpose base ON base.purpose = pu.purpose AND base.regime = '{ANY}'
    LEFT JOIN ops.rule_purpose own ON own.purpose = pu.purpose AND own.regime = f.regime
), codes AS (
    SELECT w.person_id, s.purpose, s.identifier, bool_or(s.method = 'guardian') AS guardian, max(CASE
        WHEN r.guarded AND s.method <> 'guardian' THEN {RANK["minor"]}
        WHEN s.regime IS NOT NULL AND a.accepts IS NULL THEN {RANK["regime_mismatch"]}
        WHEN s.method NOT IN ({_words(EXPLICIT)}) THEN {RANK["implied"]}
        WHEN NOT s.proven THEN {RANK["unproven"]}
        WHEN s.effective_us <= r.cutoff_us OR s.effective_us <= l.lapsed_us THEN {RANK["expired"]}
        WHEN s.notice_version < r.min_notice THEN {RANK["notice_superseded"]}
        ELSE {RANK["allow"]} END) AS rank
    FROM standing s JOIN who w USING (identifier)
    JOIN ruled r ON r.person_id = w.person_id AND r.purpose = s.purpose
    LEFT JOIN ops.rule_accept a ON a.purpose = r.purpose AND a.regime = r.regime AND a.accepts = s.regime
    LEFT JOIN lapsed l ON l.identifier = s.identifier AND l.purpose = s.purpose
    GROUP BY w.person_id, s.purpose, s.identifier
), refused AS (
    SELECT w.person_id, f.purpose, min(f.rank) AS rank
    FROM refusing f JOIN who w USING (identifier) GROUP BY w.person_id, f.purpose
), granted AS (
    SELECT person_id, purpose, bool_or(guardian) AS guardian FROM codes GROUP BY person_id, purpose
), suppressed AS (
    SELECT DISTINCT s.person_id, p.purpose
    FROM ops.subject s JOIN ops.suppression x USING (identifier_hmac)
    JOIN purposes p ON x.scope_purpose IN (p.purpose, '{ANY}')
    WHERE s.list = 'suppression'
), by_purpose AS (
    SELECT r.person_id, r.purpose, r.absent, r.named_only, g.person_id IS NOT NULL AS granted,
        r.ageless AND r.basis NOT IN ({_words(UNCONDITIONAL)}) AS ageless,
        CASE WHEN r.guarded AND r.basis NOT IN ({_words(UNCONDITIONAL)}) THEN 'consent' ELSE r.basis END AS basis,
        CASE WHEN s.person_id IS NOT NULL THEN {RANK["suppressed"]}
            WHEN r.basis IN ({_words(UNCONDITIONAL)}) THEN NULL
            ELSE least(CASE WHEN f.rank <> {RANK["objected"]} AND g.person_id IS NOT NULL
                    THEN {RANK["merged_conflict"]} ELSE f.rank END,
                CASE WHEN r.guarded AND NOT coalesce(g.guardian, FALSE) THEN {RANK["minor"]} END) END AS refusal
    FROM ruled r
    LEFT JOIN suppressed s ON s.person_id = r.person_id AND s.purpose = r.purpose
    LEFT JOIN refused f ON f.person_id = r.person_id AND f.purpose = r.purpose
    LEFT JOIN granted g ON g.person_id = r.person_id AND g.purpose = r.purpose
), kinds AS (
    SELECT t.target, t.strict, k.kind FROM (SELECT DISTINCT target, strict FROM ops.rule_target) t
    LEFT JOIN ops.rule_kind k USING (target)
), asked AS (
    SELECT w.person_id, t.target, w.identifier, w.kind, w.served, w.shared_by, t.kind IS NULL AS anything,
        n.identifier IS NOT NULL AS named
    FROM who w LEFT JOIN named n ON n.identifier = w.identifier
    JOIN kinds t ON t.kind IS NULL OR (t.kind = w.kind AND (t.strict OR w.served))
), weighed AS (
    SELECT a.*, t.purpose, CASE WHEN c.rank IS NULL THEN {RANK["identifier_scope"]}
        WHEN a.shared_by >= $shared_by THEN {RANK["shared_identifier"]} ELSE c.rank END AS rank
    FROM asked a JOIN ops.rule_target t USING (target)
    LEFT JOIN codes c ON c.person_id = a.person_id AND c.identifier = a.identifier AND c.purpose = t.purpose
), covered AS (
    SELECT person_id, target, purpose, bool_or(served) AS served, bool_or(served AND named) AS named,
        bool_and(rank = {RANK["allow"]}) AS every, bool_or(rank = {RANK["allow"]}) AS some,
        min(CASE WHEN rank <> {RANK["allow"]} THEN rank END) AS first
    FROM weighed GROUP BY person_id, target, purpose
), has_kinds AS (
    SELECT target, count(kind) > 0 AS has_kinds FROM kinds GROUP BY target
), answers AS (
    SELECT b.person_id, t.target, b.purpose, h.has_kinds, CASE
        WHEN t.child_directed AND b.ageless THEN least(b.refusal, {RANK["age_unknown"]})
        WHEN b.refusal IS NOT NULL THEN b.refusal
        WHEN b.basis = 'consent' AND NOT b.granted THEN b.absent
        WHEN h.has_kinds AND NOT coalesce(
            CASE WHEN b.basis <> 'consent' AND b.named_only THEN c.named ELSE c.served END, FALSE
        ) THEN {RANK["no_identifier"]}
        WHEN b.basis <> 'consent' THEN {RANK["allow"]}
        WHEN CASE WHEN h.has_kinds AND t.strict THEN c.every ELSE c.some END THEN {RANK["allow"]}
        ELSE c.first END AS rank
    FROM by_purpose b JOIN ops.rule_target t ON t.purpose = b.purpose JOIN has_kinds h ON h.target = t.target
    LEFT JOIN covered c ON c.person_id = b.person_id AND c.target = t.target AND c.purpose = b.purpose
), firsts AS (
    SELECT person_id, target, min(rank) AS rank, bool_or(has_kinds) AS has_kinds FROM answers GROUP BY person_id, target
), held AS (
    SELECT DISTINCT w.person_id, w.target, w.purpose, w.kind
    FROM weighed w JOIN by_purpose b ON b.person_id = w.person_id AND b.purpose = w.purpose
    WHERE w.served AND NOT w.anything AND CASE WHEN b.basis = 'consent' THEN w.rank = {RANK["allow"]}
        ELSE w.named OR NOT b.named_only END
), leaving AS (
    SELECT person_id, target, kind FROM held
    GROUP BY person_id, target, kind
    HAVING count(*) = (SELECT count(*) FROM ops.rule_target t WHERE t.target = held.target)
), listed AS (
    SELECT person_id, target, string_agg(kind, ',' ORDER BY kind) AS kinds FROM leaving GROUP BY person_id, target
), final AS (
    SELECT f.person_id, f.target, l.kinds, CASE WHEN f.rank = {RANK["allow"]} AND f.has_kinds AND l.kinds IS NULL
        THEN {RANK["identifier_scope"]} ELSE f.rank END AS rank
    FROM firsts f LEFT JOIN listed l ON l.person_id = f.person_id AND l.target = f.target
    UNION ALL
    SELECT people.person_id, t.target, NULL, {RANK["no_policy"]}
    FROM people CROSS JOIN ops.rule_target t WHERE t.purpose IS NULL
)
SELECT f.person_id, f.target, f.rank = {RANK["allow"]} AS allow, r.reason,
    CASE WHEN f.rank = {RANK["allow"]} THEN coalesce(f.kinds, '') ELSE '' END AS identifiers
FROM final f JOIN ops.rule_reason r USING (rank)
"""


def decide_all(warehouse: Warehouse, rules: Sequence[TargetRule], *, known_us: int, sources: dict[str, int]) -> None:
    """Write ops.decision(person_id, target, allow, reason, identifiers) anew for these targets.

    identifiers: the types that may leave, with commas. All rules share one policy and one clock.
    """
    if not rules:
        return
    first = rules[0]
    _write_rules(warehouse, rules, sources)
    bound = {
        "known_us": known_us,
        "as_of_us": micros(first.as_of),
        "skew_us": int(first.skew.total_seconds() * 1_000_000),
        "shared_by": first.shared_by,
    }
    warehouse.sql(f"CREATE OR REPLACE TABLE ops.decision_new AS {_DECIDE}", **bound)
    with warehouse.transaction():
        if warehouse.has(DECISIONS):
            warehouse.sql(f"DELETE FROM {DECISIONS} WHERE target IN (SELECT target FROM ops.rule_target)")
            warehouse.sql(f"INSERT INTO {DECISIONS} BY NAME SELECT * FROM ops.decision_new")
        else:
            warehouse.sql(f"CREATE TABLE {DECISIONS} AS SELECT * FROM ops.decision_new")
        warehouse.sql("DROP TABLE ops.decision_new")


def _write_rules(warehouse: Warehouse, rules: Sequence[TargetRule], sources: dict[str, int]) -> None:
    purposes = {purpose.purpose: purpose for rule in rules for purpose in rule.purposes}.values()
    tables: dict[str, tuple[pa.Schema, list[tuple[object, ...]]]] = {
        "ops.rule_purpose": (
            _schema(purpose=_TEXT, regime=_TEXT, basis=_TEXT, cutoff_us=_LONG, min_notice=_LONG, guarded=_FLAG),
            [
                (p.purpose, key, basis, micros(p.cutoff), p.min_notice, p.guarded)
                for p in purposes
                for key, basis in p.basis.items()
            ],
        ),
        "ops.rule_accept": (
            _schema(purpose=_TEXT, regime=_TEXT, accepts=_TEXT),
            [
                (p.purpose, key, one)
                for p in purposes
                for key, accepted in p.accepts.items()
                for one in sorted(accepted)
            ],
        ),
        "ops.rule_source": (_schema(source_system=_TEXT, trust=_LONG), list(sources.items())),
        "ops.rule_target": (
            _schema(target=_TEXT, purpose=_TEXT, strict=_FLAG, child_directed=_FLAG),
            [(rule.name, purpose, rule.strict, rule.child_directed) for rule in rules for purpose in _asked(rule)],
        ),
        "ops.rule_kind": (
            _schema(target=_TEXT, kind=_TEXT),
            [(rule.name, kind) for rule in rules for kind in sorted(rule.kinds)],
        ),
        "ops.rule_reason": (_schema(rank=_LONG, reason=_TEXT), list(enumerate(REASONS))),
    }
    for table, (schema, rows) in tables.items():
        columns = list(zip(*rows, strict=True)) or [()] * len(schema)
        arrays = [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
        warehouse.write(table, [pa.RecordBatch.from_arrays(arrays, schema=schema)], schema=schema)


def _asked(rule: TargetRule) -> Sequence[str | None]:
    """Return the purposes of a target; one that has none is listed all the same, to be refused."""
    return [purpose.purpose for purpose in rule.purposes] or [None]


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))
