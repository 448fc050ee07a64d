"""Which records are compared with which: features, and pairs that share at least one of many blocking keys.

A true pair that shares no key is lost for good, so that the keys are many and different (one typing error breaks
some of them, never all). A key that very many records share says little and costs a square: its block is left out,
the largest blocks of a rule first, and another rule with a finer key finds the pairs worth finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from consentry.errors import StopRun
from consentry.identity.roles import NAMES, ROLES, words
from consentry.model.names import quoted
from consentry.warehouse import Warehouse

FEATURES = "identity.staged_feature"
PAIRS = "identity.staged_pair"
STAGED = (FEATURES, PAIRS)

PARTS = {
    "given": ("given_name", '"given_name"'),
    "given1": ("given_name", 'left("given_name", 1)'),
    "given3": ("given_name", 'left("given_name", 3)'),
    "family": ("family_name", '"family_name"'),
    "family1": ("family_name", 'left("family_name", 1)'),
    "family3": ("family_name", 'left("family_name", 3)'),
    "born": ("date_of_birth", '"date_of_birth"'),
    "year": ("date_of_birth", 'left("date_of_birth", 4)'),
    "day": ("date_of_birth", 'right("date_of_birth", 4)'),
    "email": ("email", '"email"'),
    "box": ("email", "split_part(\"email\", '@', 1)"),
    "phone": ("phone", '"phone"'),
    "id": ("national_id", '"national_id"'),
    "postcode": ("postcode", '"postcode"'),
    "area": ("postcode", 'left("postcode", 4)'),
    "street": ("street_address", '"street_address"'),
    "street8": ("street_address", 'left("street_address", 8)'),
    "city": ("city", '"city"'),
    "birthplace": ("birth_place", '"birth_place"'),
}
_RULES = (
    "email", "box", "phone", "id", "street", "postcode", "born", "born given1", "born family1", "given born",
    "given family", "given year day", "given postcode", "given area", "given birthplace year",
    "family year", "family day", "family postcode", "family area", "family city", "family birthplace",
    "given3 family3 year", "given3 year", "given3 year birthplace", "given3 family3 day", "given1 family3 year",
    "family3 postcode", "family3 birthplace", "family3 street8", "street8 postcode",
    "birthplace year", "birthplace day given1", "city year given1", "postcode year",
)  # fmt: skip


def stage_features(warehouse: Warehouse, columns: Mapping[str, str], query: str) -> tuple[str, ...]:
    """Write the cleaned columns of the records to FEATURES, with how frequent each value is; return what is there.

    columns: for each meaning the column of the query that has it. query: gives r (BIGINT), source and these columns.
    FEATURES: r, source, a column for each meaning, tf_MEANING (the share of the records that say the same).
    """
    clean, cleaning = cleaned_sql(columns, query)
    rare = [name for name in clean if ROLES[name].rare]
    counts = ", ".join(
        f"n_{name} AS (SELECT {quoted(name)} AS value, count(*) / sum(count(*)) OVER () AS tf FROM cleaned"
        f" WHERE {quoted(name)} IS NOT NULL GROUP BY 1)"
        for name in rare
    )
    joins = " ".join(f"LEFT JOIN n_{name} ON n_{name}.value = cleaned.{quoted(name)}" for name in rare)
    shares = "".join(f", n_{name}.tf AS tf_{name}" for name in rare)
    warehouse.sql(
        f"CREATE OR REPLACE TABLE {FEATURES} AS WITH cleaned AS MATERIALIZED ({cleaning})"
        f"{', ' if counts else ''}{counts} SELECT cleaned.*{shares} FROM cleaned {joins} ORDER BY r"
    )
    return clean


def cleaned_sql(columns: Mapping[str, str], query: str) -> tuple[tuple[str, ...], str]:
    """Return the meanings that there are, and the query of r, source and a cleaned column for each.

    Raises StopRun when there is none.
    """
    clean = dict(_cleaned(columns))
    if not clean:
        raise StopRun("No column of the records says what people are called, when they were born or where they live.")
    selected = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in clean.items())
    return tuple(clean), f"SELECT r, source, {selected} FROM ({query})"


def staged_roles(warehouse: Warehouse) -> tuple[str, ...]:
    """Return the meanings of which FEATURES has a column."""
    return tuple(name for name in warehouse.columns(FEATURES) if name in ROLES)


def blocking_rules(roles: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each blocking rule that these meanings allow, and its parts."""
    there = set(roles)
    for rule in _RULES:
        parts = tuple(rule.split())
        if all(PARTS[part][0] in there for part in parts):
            yield rule, parts


def blocking_keys(roles: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each blocking rule that these meanings allow, and the SQL of its key, null where a part is missing."""
    for rule, parts in blocking_rules(roles):
        yield rule, " || chr(31) || ".join(PARTS[part][1] for part in parts)


def _cleaned(columns: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, column in columns.items():
        if name != "full_name":
            yield name, ROLES[name].clean(quoted(column))
    if "full_name" in columns and not set(NAMES) & set(columns):
        whole = f"string_split({words(quoted(columns['full_name']))}, ' ')"
        yield "given_name", f"{whole}[1]"
        yield "family_name", f"CASE WHEN len({whole}) > 1 THEN {whole}[-1] END"
