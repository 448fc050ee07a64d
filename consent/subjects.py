"""Tell which identifiers each person has, by their HMACs only: the table ops.subject.

One row a person, identifier and key version (list 'ledger'), and one a person and normal form (list 'suppression').
Identifiers are keyed in Arrow batches: no key and no identifier ever stands in SQL or in the ops zone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa

from consentry.consent.codes import FACTS, SUBJECTS, code_subjects
from consentry.consent.keys import Keyring
from consentry.consent.normal import normal, normal_forms
from consentry.consent.policy_file import PolicyFile, Residence
from consentry.consent.rules import ANY
from consentry.consent.tokens import LEDGER, SUPPRESSION, Hmac
from consentry.model.names import is_name, quoted
from consentry.warehouse import Warehouse

_STAGED = "ops.subject_staged"
SCHEMA = pa.schema(
    [
        ("person_id", pa.string()),
        ("identifier_type", pa.string()),
        ("identifier", pa.string()),
        ("identifier_hmac", pa.string()),
        ("served", pa.bool_()),
        ("list", pa.string()),
    ]
)


def write_subjects(warehouse: Warehouse, keyring: Keyring) -> int:
    """Write ops.subject from the current identities; return the number of people with an identifier.

    ops.person_fact must have been written: it gives everyone their number.
    """
    warehouse.map_batches(_query(warehouse), Keyed(keyring), into=_STAGED, schema=SCHEMA)
    warehouse.sql(
        f"CREATE OR REPLACE TABLE {SUBJECTS} AS SELECT s.*, n.shared_by FROM {_STAGED} s JOIN ("
        f"SELECT identifier, count(DISTINCT person_id) AS shared_by FROM {_STAGED} GROUP BY identifier"
        ") n USING (identifier)"
    )
    warehouse.drop(_STAGED)
    code_subjects(warehouse)
    found = warehouse.sql(f"SELECT count(DISTINCT person_id) AS n FROM {SUBJECTS}")
    return int(found["n"][0].as_py())


def write_facts(warehouse: Warehouse, policy: PolicyFile, *, as_of: datetime) -> None:
    """Write ops.person_fact: a number for everyone, the regime where they live, and whether they are a child.

    Every record of a person is heard, not the golden one alone: two countries are none, and one record that says
    child is enough.
    """
    bound: dict[str, object] = {}
    selected = [_residence(policy, bound), _minor(policy, as_of, bound)]
    table, columns = _records(warehouse)
    asked = [name for name in (_field(policy.residence), _age_column(policy)) if name]
    listed = ", ".join(f"CAST(r.{quoted(name)} AS VARCHAR) AS {quoted(name)}" for name in asked if name in columns)
    missing = ", ".join(f"CAST(NULL AS VARCHAR) AS {quoted(name)}" for name in asked if name not in columns)
    values = ", ".join(part for part in ("m.person_id", listed, missing) if part)
    join = "r.record_id = m.record_id" if "record_id" in columns else "r.person_id = m.person_id"
    warehouse.sql(
        f"CREATE OR REPLACE TABLE {FACTS} AS WITH people AS (SELECT person_id, CAST(row_number() OVER () AS INTEGER) "
        "AS person FROM (SELECT DISTINCT person_id FROM identity.membership WHERE valid_to_run IS NULL)"
        f"), r AS (SELECT {values} FROM identity.membership m JOIN {table} r ON {join} WHERE m.valid_to_run IS NULL), "
        f"found AS (SELECT person_id, {', '.join(selected)} FROM r GROUP BY person_id) "
        "SELECT p.person, p.person_id, f.regime, f.minor FROM people p LEFT JOIN found f USING (person_id)",
        **bound,
    )


def _records(warehouse: Warehouse) -> tuple[str, dict[str, str]]:
    for table in ("clean.customer", "identity.golden"):
        columns = warehouse.columns(table)
        if columns:
            return table, columns
    return "identity.membership", {}


def _field(residence: Residence | None) -> str | None:
    return residence.field if residence else None


def _age_column(policy: PolicyFile) -> str | None:
    return (policy.minors.age or policy.minors.born) if policy.minors else None


def _residence(policy: PolicyFile, bound: dict[str, object]) -> str:
    if policy.residence is None:
        return "CAST(NULL AS VARCHAR) AS regime"
    cases = []
    for number, (regime, countries) in enumerate(policy.residence.regimes.items()):
        bound[f"regime_{number}"], bound[f"countries_{number}"] = regime, list(countries)
        cases.append(
            f"WHEN {quoted(policy.residence.field)} IN (SELECT unnest($countries_{number})) THEN $regime_{number}"
        )
    # A country that the policy does not place counts as one more; of two, and of such a one, the strictest rules hold.
    regime = f"CASE {' '.join(cases)} WHEN {quoted(policy.residence.field)} IS NOT NULL THEN '' END"
    return (
        f"CASE count(DISTINCT {regime}) WHEN 0 THEN NULL WHEN 1 THEN coalesce(nullif(max({regime}), ''), '{ANY}') "
        f"ELSE '{ANY}' END AS regime"
    )


def _minor(policy: PolicyFile, as_of: datetime, bound: dict[str, object]) -> str:
    minors = policy.minors
    if minors is None:
        return "CAST(NULL AS BOOLEAN) AS minor"
    column = quoted(minors.age or minors.born or "")
    bound["limit"] = minors.limit
    if minors.age:
        return f"bool_or(TRY_CAST({column} AS DOUBLE) < $limit) AS minor"
    bound["day"], bound["year"] = as_of.date().isoformat(), as_of.year
    by_day = f"TRY_CAST({column} AS DATE) + to_years($limit) > CAST($day AS DATE)"
    by_year = f"$year - TRY_CAST({column} AS INTEGER) - 1 < $limit"
    return f"bool_or(CASE WHEN TRY_CAST({column} AS DATE) IS NULL THEN {by_year} ELSE {by_day} END) AS minor"


def _query(warehouse: Warehouse) -> str:
    """Read every identifier with the golden record's value of its type beside it."""
    kinds = warehouse.sql("SELECT DISTINCT type FROM identity.identifier WHERE status = 'ok' ORDER BY 1")
    golden = warehouse.columns("identity.golden")
    served = [kind for kind in kinds["type"].to_pylist() if kind in golden and is_name(kind)]
    cases = " ".join(f"WHEN '{kind}' THEN CAST(g.{quoted(kind)} AS VARCHAR)" for kind in served)
    column = f"CASE i.type {cases} END" if cases else "CAST(NULL AS VARCHAR)"
    join = "LEFT JOIN identity.golden g ON g.person_id = m.person_id" if cases else ""
    return (
        f"SELECT DISTINCT m.person_id, i.type, i.value, {column} AS golden FROM identity.identifier i "
        f"JOIN identity.membership m ON m.record_id = i.record_id AND m.valid_to_run IS NULL {join} "
        # What only likeness links is no identifier that a person could give.
        "WHERE i.status = 'ok' AND i.value IS NOT NULL AND i.type <> 'similar'"
    )


class Keyed:
    """Turn a batch of identifiers into rows of ops.subject."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._macs: dict[tuple[str, str, int], Hmac] = {}

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Key one batch of (person_id, type, value, golden)."""
        people, kinds, values, golden = (
            batch.column(name).to_pylist() for name in ("person_id", "type", "value", "golden")
        )
        rows: list[tuple[str, str, str, str, bool, str]] = []
        for person, kind, value, chosen in zip(people, kinds, values, golden, strict=True):
            forms = normal_forms(kind, value)
            if not forms:
                continue
            served = chosen is not None and (chosen == value or normal(kind, chosen) == forms[0])
            named = self.ledger(kind, forms[0])
            rows.extend((person, kind, named[0], mac, served, LEDGER) for mac in named)
            rows.extend((person, kind, named[0], mac, served, SUPPRESSION) for mac in self.suppression(kind, forms))
        columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
        arrays = [pa.array(column, type=field.type) for column, field in zip(columns, SCHEMA, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)

    def ledger(self, kind: str, form: str) -> list[str]:
        """Return the HMACs under which the ledger may know an identifier, the active key's first."""
        versions = self._keyring.versions
        return [self._mac(LEDGER, kind, version).digest(form.encode()).hex() for version in versions]

    def suppression(self, kind: str, forms: Sequence[str]) -> list[str]:
        """Return the HMACs under which the suppression list may know an identifier."""
        return [
            self._mac(SUPPRESSION, kind, version).digest(form.encode()).hex()
            for version in self._keyring.accepted
            for form in forms
        ]

    def _mac(self, domain: str, kind: str, version: int) -> Hmac:
        place = (domain, kind, version)
        if place not in self._macs:
            self._macs[place] = Hmac(self._keyring.key(domain, kind, "match", version=version))
        return self._macs[place]
