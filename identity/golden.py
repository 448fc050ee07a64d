"""The golden record: of all that the records of a person say, one value a field, and where it came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from consentry.errors import ConfigError, StopRun
from consentry.identity.config import FieldRule, IdentityConfig
from consentry.identity.golden_for import STAGED, stage_golden_for
from consentry.identity.overrides import apply_overrides
from consentry.model.names import did_you_mean, quoted
from consentry.warehouse import Warehouse
from consentry.warehouse.people import PERSON

META = ("record_id", "source", "trust", "updated_at")
_ORDER = {
    "trust": "trust DESC NULLS LAST",
    "recency": "updated_at DESC NULLS LAST",
    "completeness": "filled DESC",
}
_STAGED = ("golden", "golden_source", "golden_record", "golden_ranked", "golden_rank")


def golden(warehouse: Warehouse, config: IdentityConfig, *, run_id: str, uses: Iterable[Iterable[str]] = ()) -> int:
    """Write identity.golden, one row a current person, and identity.golden_source; return the number of rows.

    Per field the best record that has a value wins: by source trust, then whether it is verified, then recency
    (updated_at), then completeness (fields filled), or as `identity.golden` in the job says; the last tie goes to the
    lowest record id. What a steward set by hand stands above all. Columns named like an identifier of kind email or
    phone hold the canonical form, and are null when there is none. People known only from events have a row of nulls.
    uses: the purposes that each use of golden records serves; where not all records of a person may be linked for them,
    identity.golden_for has what those that may be say. Reads what `resolve` published under the same run.
    Raises ConfigError when a rule names a field that no customer record has.
    """
    del run_id  # Each run replaces both tables; membership keeps the history.
    if not warehouse.has("identity.membership"):
        raise StopRun("There are no people to build golden records of: resolve has not run.")
    _drop_staged(warehouse)
    fields = [name for name in warehouse.columns("clean.customer") if name not in META]
    _check(config, fields)
    if fields:
        _stage_records(warehouse, config, fields)
    _stage_golden(warehouse, config, fields)
    _stage_sources(warehouse, config, fields)
    apply_overrides(warehouse, fields, golden="identity.staged_golden", sources="identity.staged_golden_source")
    staged = {"identity.golden": "identity.staged_golden", "identity.golden_source": "identity.staged_golden_source"}
    best = _best(config, fields)
    staged |= stage_golden_for(warehouse, config, fields, uses=uses, ranked="identity.staged_golden_ranked", best=best)
    warehouse.publish(staged)
    _drop_staged(warehouse)
    return warehouse.count("identity.golden")


def _drop_staged(warehouse: Warehouse) -> None:
    for table in (*(f"identity.staged_{name}" for name in _STAGED), *STAGED):
        warehouse.drop(table)


def _check(config: IdentityConfig, fields: Sequence[str]) -> None:
    named = {f"identity.golden.fields.{name}": name for name in config.golden.fields}
    named |= {
        f"identity.golden.fields.{name}.verified": rule.verified
        for name, rule in config.golden.fields.items()
        if rule.verified
    }
    faults = [
        f"{place}: no customer record has the field {name!r}{did_you_mean(name, fields) or '.'}"
        for place, name in named.items()
        if name not in fields
    ]
    if faults:
        raise ConfigError(*faults, code="golden_field")


def _stage_records(warehouse: Warehouse, config: IdentityConfig, fields: Sequence[str]) -> None:
    """Join customers with their person, identifiers in canonical form, and rank them once for each rule."""
    chosen = ", ".join(_value(config, name, n) for n, name in enumerate(fields))
    types = {f"t{n}": name for n, name in enumerate(fields) if _is_identifier(config, name)}
    filled = " + ".join(f"({quoted(name)} IS NOT NULL)::INT" for name in fields)
    warehouse.sql(
        f"CREATE TABLE identity.staged_golden_record AS WITH {_CANONICAL} SELECT m.person_id, c.record_id, c.source,"
        f" c.trust, c.updated_at, {chosen} FROM clean.customer c"
        " JOIN identity.membership m ON m.record_id = c.record_id AND m.valid_to_run IS NULL" + _joins(config, fields),
        **types,
    )
    rules = _rules(config, fields)
    ranks = ", ".join(
        f"row_number() OVER (PARTITION BY person_id ORDER BY {_ordering(n, rule)}record_id) AS rank_{n}"
        for n, rule in enumerate(rules)
    )
    params = {f"s{n}": list(rule.sources) for n, rule in enumerate(rules) if rule.sources}
    warehouse.sql(
        f"CREATE TABLE identity.staged_golden_ranked AS SELECT *, {ranks}"
        f" FROM (SELECT *, {filled} AS filled FROM identity.staged_golden_record)",
        **params,
    )


# What the value in a customer's column became, with the region that its record declares.
_CANONICAL = (
    "exact AS (SELECT l.record_id, l.type, l.value, min(k.canonical) AS canonical FROM clean.link l"
    " JOIN identity.canonical k ON k.type = l.type AND k.value = l.value AND k.region = coalesce(l.region, '')"
    " WHERE k.status = 'ok' GROUP BY l.record_id, l.type, l.value)"
)


def _is_identifier(config: IdentityConfig, name: str) -> bool:
    return name in ("email", "phone") or (name in config.identifiers and config.rule(name).kind in ("email", "phone"))


def _joins(config: IdentityConfig, fields: Sequence[str]) -> str:
    return "".join(
        f" LEFT JOIN exact x{n} ON x{n}.record_id = c.record_id AND x{n}.type = $t{n}"
        f" AND x{n}.value = c.{quoted(name)}::TEXT"
        for n, name in enumerate(fields)
        if _is_identifier(config, name)
    )


def _value(config: IdentityConfig, name: str, n: int) -> str:
    return f"x{n}.canonical AS {quoted(name)}" if _is_identifier(config, name) else f"c.{quoted(name)}"


def _rules(config: IdentityConfig, fields: Sequence[str]) -> list[FieldRule]:
    """Return the distinct rules that the fields follow, in the order they first occur."""
    found: list[FieldRule] = []
    for name in fields:
        rule = config.golden.rule(name)
        if rule not in found:
            found.append(rule)
    return found


def _ordering(n: int, rule: FieldRule) -> str:
    listed = f"coalesce(list_position($s{n}, source), {len(rule.sources) + 1}), " if rule.sources else ""
    orders = dict(_ORDER)
    if rule.verified:
        orders["verified"] = f"coalesce(TRY_CAST({quoted(rule.verified)} AS BOOLEAN), false) DESC"
    return listed + "".join(f"{orders[criterion]}, " for criterion in rule.order if criterion in orders)


def _rank(config: IdentityConfig, fields: Sequence[str], name: str) -> str:
    return f"rank_{_rules(config, fields).index(config.golden.rule(name))}"


def _stage_golden(warehouse: Warehouse, config: IdentityConfig, fields: Sequence[str]) -> None:
    people = "SELECT DISTINCT person_id FROM identity.membership WHERE valid_to_run IS NULL"
    if not fields:
        warehouse.sql(f"CREATE TABLE identity.staged_golden AS {people}")
        return
    warehouse.sql(
        f"CREATE TABLE identity.staged_golden AS SELECT p.*, g.* EXCLUDE (person_id) FROM ({people}) p"
        f" LEFT JOIN (SELECT person_id, {_best(config, fields)} FROM identity.staged_golden_ranked GROUP BY 1) g"
        " ON g.person_id = p.person_id"
    )


def _best(config: IdentityConfig, fields: Sequence[str]) -> str:
    """Write the SQL that takes each field from the record that ranks first of those that say anything."""
    return ", ".join(f"arg_min({quoted(f)}, {_rank(config, fields, f)}) AS {quoted(f)}" for f in fields)


def _stage_sources(warehouse: Warehouse, config: IdentityConfig, fields: Sequence[str]) -> None:
    """Note per person and field the record that gave the value; a field nobody filled has no row."""
    columns = f"person_id {PERSON}, field TEXT, record_id TEXT, source TEXT"
    warehouse.sql(f"CREATE TABLE identity.staged_golden_source ({columns})")
    for name in fields:
        rank = _rank(config, fields, name)
        warehouse.sql(
            "INSERT INTO identity.staged_golden_source"
            f" SELECT person_id, $field, arg_min(record_id, {rank}), arg_min(source, {rank})"
            f" FROM identity.staged_golden_ranked WHERE {quoted(name)} IS NOT NULL GROUP BY person_id",
            field=name,
        )
