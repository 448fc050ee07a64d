"""Decide for everybody: the rules of `rules` in SQL, over all people and targets at once.

The two must agree on every ledger; a property test compares them. Read `rules` for why; the names are the same.
`alike` gathers what the ledger says and finds people of whom it says the same; one of them is decided for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from consentry.consent.alike import forget, gather
from consentry.consent.instants import micros
from consentry.consent.rules import ANY, EXPLICIT, RANK, REASONS, UNCONDITIONAL, TargetRule
from consentry.warehouse import Warehouse

DECISIONS = "ops.decision"
_TEXT, _LONG, _FLAG = pa.string(), pa.int64(), pa.bool_()


def _words(words: Iterable[str]) -> str:
    """Write constants of this program, never values, as a SQL list."""
    return ", ".join(f"'{word}'" for word in sorted(words))


_DECIDE = f"""
WITH facts AS (
    SELECT f.* FROM ops.decide_fact f WHERE f.person_id IN (SELECT alike FROM ops.decide_alike)
), who AS (
    SELECT w.* FROM ops.decide_who w JOIN facts f USING (person_id)
), purposes AS (
    SELECT DISTINCT purpose FROM ops.rule_purpose
), ruled AS (
    SELECT f.person_id, pu.purpose, coalesce(own.regime, '{ANY}') AS regime, coalesce(own.basis, base.basis) AS basis,
        coalesce(f.abroad AND own.basis <> base.basis, FALSE) AS named_only, base.guarded AND f.minor AS guarded,
        base.guarded AND f.ageless AS ageless, f.absent
    FROM facts f CROSS JOIN purposes pu
    JOIN ops.rule_purpose base ON base.purpose = pu.purpose AND base.regime = '{ANY}'
    LEFT JOIN ops.rule_purpose own ON own.purpose = pu.purpose AND own.regime = f.regime
), codes AS (
    SELECT w.person_id, s.purpose, s.identifier, bool_or(s.method = 'guardian') AS guardian, max(CASE
        WHEN r.guarded AND s.method <> 'guardian' THEN {RANK["minor"]}
        WHEN s.regime IS NOT NULL AND a.accepts IS NULL THEN {RANK["regime_mismatch"]}
        WHEN s.method NOT IN ({_words(EXPLICIT)}) THEN {RANK["implied"]}
        WHEN NOT s.proven THEN {RANK["unproven"]}
        WHEN s.over THEN {RANK["expired"]}
        WHEN s.old THEN {RANK["notice_superseded"]}
        ELSE {RANK["allow"]} END) AS rank
    FROM ops.decide_standing s JOIN who w USING (identifier)
    JOIN ruled r ON r.person_id = w.person_id AND r.purpose = s.purpose
    LEFT JOIN ops.rule_accept a ON a.purpose = r.purpose AND a.regime = r.regime AND a.accepts = s.regime
    GROUP BY w.person_id, s.purpose, s.identifier
), refused AS (
    SELECT w.person_id, f.purpose, min(f.rank) AS rank
    FROM ops.decide_refusing f JOIN who w USING (identifier) GROUP BY w.person_id, f.purpose
), granted AS (
    SELECT person_id, purpose, bool_or(guardian) AS guardian FROM codes GROUP BY person_id, purpose
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
    LEFT JOIN ops.decide_suppressed s ON s.person_id = r.person_id AND s.purpose = r.purpose
    LEFT JOIN refused f ON f.person_id = r.person_id AND f.purpose = r.purpose
    LEFT JOIN granted g ON g.person_id = r.person_id AND g.purpose = r.purpose
), kinds AS (
    SELECT t.target, t.strict, k.kind FROM (SELECT DISTINCT target, strict FROM ops.rule_target) t
    LEFT JOIN ops.rule_kind k USING (target)
), asked AS (
    SELECT w.person_id, t.target, w.identifier, w.kind, w.served, w.shared_by, t.kind IS NULL AS anything,
        n.identifier IS NOT NULL AS named
    FROM who w LEFT JOIN ops.decide_named n ON n.identifier = w.identifier
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
    SELECT f.person_id, t.target, NULL, {RANK["no_policy"]}
    FROM facts f CROSS JOIN ops.rule_target t WHERE t.purpose IS NULL
)
SELECT p.person_id, f.target, f.rank = {RANK["allow"]} AS allow, r.reason,
    CASE WHEN f.rank = {RANK["allow"]} THEN coalesce(f.kinds, '') ELSE '' END AS identifiers
FROM final f JOIN ops.rule_reason r USING (rank)
JOIN ops.decide_alike a ON a.alike = f.person_id JOIN ops.decide_person p ON p.person = a.person_id
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
    gather(warehouse, **bound)
    warehouse.sql(f"CREATE OR REPLACE TABLE ops.decision_new AS {_DECIDE}", shared_by=first.shared_by)
    forget(warehouse)
    if warehouse.has(DECISIONS):
        warehouse.sql(
            f"INSERT INTO ops.decision_new BY NAME SELECT * FROM {DECISIONS} "
            "WHERE target NOT IN (SELECT target FROM ops.rule_target)"
        )
    warehouse.publish({DECISIONS: "ops.decision_new"})


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
