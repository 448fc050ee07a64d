"""Decide for everybody: the rules of `rules` in SQL, over all people and targets at once.

The two must agree on every ledger; a property test compares them. Read `rules` for why; the names are the same.
`heard` works out what the ledger says of each identifier, `alike` finds people of whom it says the same; one of them
is decided for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from consentry.consent.alike import SITUATION, forget, gather
from consentry.consent.heard import NAMED
from consentry.consent.instants import micros
from consentry.consent.rules import ANY, RANK, REASONS, UNCONDITIONAL, PurposeRule, TargetRule
from consentry.warehouse import Warehouse

DECISIONS = "ops.decision"
_TEXT, _INT, _LONG, _FLAG = pa.string(), pa.int32(), pa.int64(), pa.bool_()


def _words(words: Iterable[str]) -> str:
    """Write constants of this program, never values, as a SQL list."""
    return ", ".join(f"'{word}'" for word in sorted(words))


# For everyone who stands for those alike: every target. `rule` is one purpose with its basis by regime.
_ANSWER = f"""
WITH ruled AS (
    SELECT f.person, base.rule, base.purpose, coalesce(own.regime, '{ANY}') AS regime,
        coalesce(own.basis, base.basis) AS basis, coalesce(f.abroad AND own.basis <> base.basis, FALSE) AS named_only,
        base.guarded AND f.minor AS guarded, base.guarded AND f.ageless AS ageless, f.absent
    FROM ops.decide_fact f JOIN ops.rule_purpose base ON base.regime = '{ANY}'
    LEFT JOIN ops.rule_purpose own ON own.rule = base.rule AND own.regime = f.regime
), codes AS (
    SELECT w.person, r.rule, t.identifier, bool_or(t.guardian) AS guardian, max(CASE
        WHEN r.guarded AND NOT t.guardian THEN {RANK["minor"]}
        WHEN t.regime IS NOT NULL AND a.accepts IS NULL THEN {RANK["regime_mismatch"]}
        ELSE t.rank END) AS rank
    FROM ops.decide_told t JOIN ops.decide_who w USING (identifier)
    JOIN ruled r ON r.person = w.person AND r.purpose = t.purpose
    LEFT JOIN ops.rule_accept a ON a.rule = r.rule AND a.regime = r.regime AND a.accepts = t.regime
    WHERE NOT t.refuses GROUP BY w.person, r.rule, t.identifier
), refused AS (
    SELECT w.person, t.purpose, min(t.rank) AS rank
    FROM ops.decide_told t JOIN ops.decide_who w USING (identifier) WHERE t.refuses GROUP BY w.person, t.purpose
), granted AS (
    SELECT person, rule, bool_or(guardian) AS guardian FROM codes GROUP BY person, rule
), by_rule AS (
    SELECT r.person, r.rule, r.absent, r.named_only, g.person IS NOT NULL AS granted,
        r.ageless AND r.basis NOT IN ({_words(UNCONDITIONAL)}) AS ageless,
        CASE WHEN r.guarded AND r.basis NOT IN ({_words(UNCONDITIONAL)}) THEN 'consent' ELSE r.basis END AS basis,
        CASE WHEN s.person IS NOT NULL THEN {RANK["suppressed"]}
            WHEN r.basis IN ({_words(UNCONDITIONAL)}) THEN NULL
            ELSE least(CASE WHEN f.rank <> {RANK["objected"]} AND g.person IS NOT NULL
                    THEN {RANK["merged_conflict"]} ELSE f.rank END,
                CASE WHEN r.guarded AND NOT coalesce(g.guardian, FALSE) THEN {RANK["minor"]} END) END AS refusal
    FROM ruled r
    LEFT JOIN ops.decide_suppressed s ON s.person = r.person AND s.purpose = r.purpose
    LEFT JOIN refused f ON f.person = r.person AND f.purpose = r.purpose
    LEFT JOIN granted g ON g.person = r.person AND g.rule = r.rule
), kinds AS (
    SELECT t.target, t.strict, k.kind FROM (SELECT DISTINCT target, strict FROM ops.rule_target) t
    LEFT JOIN ops.rule_kind k USING (target)
), asked AS (
    SELECT w.person, t.target, w.identifier, w.kind, w.served, w.shared, t.kind IS NULL AS anything,
        coalesce(w.w0 & {NAMED} <> 0, FALSE) AS named
    FROM ops.decide_who w JOIN kinds t ON t.kind IS NULL OR (t.kind = w.kind AND (t.strict OR w.served))
), weighed AS (
    SELECT a.*, t.rule, CASE WHEN c.rank IS NULL THEN {RANK["identifier_scope"]}
        WHEN a.shared THEN {RANK["shared_identifier"]} ELSE c.rank END AS rank
    FROM asked a JOIN ops.rule_target t USING (target)
    LEFT JOIN codes c ON c.person = a.person AND c.identifier = a.identifier AND c.rule = t.rule
), covered AS (
    SELECT person, target, rule, bool_or(served) AS served, bool_or(served AND named) AS named,
        bool_and(rank = {RANK["allow"]}) AS every, bool_or(rank = {RANK["allow"]}) AS some,
        min(CASE WHEN rank <> {RANK["allow"]} THEN rank END) AS first
    FROM weighed GROUP BY person, target, rule
), has_kinds AS (
    SELECT target, count(kind) > 0 AS has_kinds FROM kinds GROUP BY target
), answers AS (
    SELECT b.person, t.target, b.rule, h.has_kinds, CASE
        WHEN t.child_directed AND b.ageless THEN least(b.refusal, {RANK["age_unknown"]})
        WHEN b.refusal IS NOT NULL THEN b.refusal
        WHEN b.basis = 'consent' AND NOT b.granted THEN b.absent
        WHEN h.has_kinds AND NOT coalesce(
            CASE WHEN b.basis <> 'consent' AND b.named_only THEN c.named ELSE c.served END, FALSE
        ) THEN {RANK["no_identifier"]}
        WHEN b.basis <> 'consent' THEN {RANK["allow"]}
        WHEN CASE WHEN h.has_kinds AND t.strict THEN c.every ELSE c.some END THEN {RANK["allow"]}
        ELSE c.first END AS rank
    FROM by_rule b JOIN ops.rule_target t ON t.rule = b.rule JOIN has_kinds h ON h.target = t.target
    LEFT JOIN covered c ON c.person = b.person AND c.target = t.target AND c.rule = b.rule
), firsts AS (
    SELECT person, target, min(rank) AS rank, bool_or(has_kinds) AS has_kinds FROM answers GROUP BY person, target
), held AS (
    SELECT DISTINCT w.person, w.target, w.rule, w.kind
    FROM weighed w JOIN by_rule b ON b.person = w.person AND b.rule = w.rule
    WHERE w.served AND NOT w.anything AND CASE WHEN b.basis = 'consent' THEN w.rank = {RANK["allow"]}
        ELSE w.named OR NOT b.named_only END
), leaving AS (
    SELECT person, target, kind FROM held
    GROUP BY person, target, kind
    HAVING count(*) = (SELECT count(*) FROM ops.rule_target t WHERE t.target = held.target)
), listed AS (
    SELECT person, target, string_agg(kind, ',' ORDER BY kind) AS kinds FROM leaving GROUP BY person, target
), final AS (
    SELECT f.person, f.target, l.kinds, CASE WHEN f.rank = {RANK["allow"]} AND f.has_kinds AND l.kinds IS NULL
        THEN {RANK["identifier_scope"]} ELSE f.rank END AS rank
    FROM firsts f LEFT JOIN listed l ON l.person = f.person AND l.target = f.target
    UNION ALL
    SELECT f.person, t.target, NULL, {RANK["no_policy"]}
    FROM ops.decide_fact f CROSS JOIN ops.rule_target t WHERE t.rule IS NULL
)
SELECT {SITUATION}, f.target, f.rank = {RANK["allow"]} AS allow, r.reason,
    CASE WHEN f.rank = {RANK["allow"]} THEN coalesce(f.kinds, '') ELSE '' END AS identifiers
FROM final f JOIN ops.rule_reason r USING (rank) JOIN ops.decide_alike a ON a.alike = f.person
"""

_EVERYBODY = f"""
SELECT s.person_id, d.target, d.allow, d.reason, d.identifiers
FROM ops.decide_situation s JOIN ops.decide_answer d USING ({SITUATION})
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
    # In two steps: how many answers there are is then known, and people are gone through on every core.
    warehouse.sql(f"CREATE OR REPLACE TABLE ops.decide_answer AS {_ANSWER}")
    warehouse.sql(f"CREATE OR REPLACE TABLE ops.decision_new AS {_EVERYBODY}")
    warehouse.drop("ops.decide_answer")
    forget(warehouse)
    if warehouse.has(DECISIONS):
        warehouse.sql(
            f"INSERT INTO ops.decision_new BY NAME SELECT * FROM {DECISIONS} "
            "WHERE target NOT IN (SELECT target FROM ops.rule_target)"
        )
    warehouse.publish({DECISIONS: "ops.decision_new"})


def _write_rules(warehouse: Warehouse, rules: Sequence[TargetRule], sources: dict[str, int]) -> None:
    ruled: list[PurposeRule] = []
    for rule in rules:
        ruled += [purpose for purpose in rule.purposes if purpose not in ruled]
    # One clock and one policy: what concerns grants is the same wherever a purpose is asked for, its basis need not be.
    numbers = {purpose.purpose: purpose for purpose in ruled}
    number_of = {name: number for number, name in enumerate(numbers)}
    tables: dict[str, tuple[pa.Schema, list[tuple[object, ...]]]] = {
        "ops.rule_number": (
            _schema(purpose=_TEXT, number=_INT, cutoff_us=_LONG, min_notice=_LONG),
            [(name, number_of[name], micros(p.cutoff), p.min_notice) for name, p in numbers.items()],
        ),
        "ops.rule_purpose": (
            _schema(rule=_INT, purpose=_INT, regime=_TEXT, basis=_TEXT, guarded=_FLAG),
            [
                (rule, number_of[p.purpose], regime, basis, p.guarded)
                for rule, p in enumerate(ruled)
                for regime, basis in p.basis.items()
            ],
        ),
        "ops.rule_accept": (
            _schema(rule=_INT, regime=_TEXT, accepts=_TEXT),
            [
                (rule, regime, one)
                for rule, p in enumerate(ruled)
                for regime, accepted in p.accepts.items()
                for one in sorted(accepted)
            ],
        ),
        "ops.rule_source": (_schema(source_system=_TEXT, trust=_LONG), list(sources.items())),
        "ops.rule_target": (
            _schema(target=_TEXT, rule=_INT, strict=_FLAG, child_directed=_FLAG),
            [(rule.name, asked, rule.strict, rule.child_directed) for rule in rules for asked in _asked(rule, ruled)],
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


def _asked(rule: TargetRule, ruled: Sequence[PurposeRule]) -> Sequence[int | None]:
    """Return the rules of a target; one that has none is listed all the same, to be refused."""
    return [ruled.index(purpose) for purpose in rule.purposes] or [None]


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))
