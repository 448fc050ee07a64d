"""Build the merged profile: checked by its contract, gaps filled beside what was observed, no direct identifier.

Only people whose consent allows profiling have a profile; nobody else's attributes or behaviour enter it. What is of
a special category enters the profile of those alone who granted a purpose that names it.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from consentry.consent.tokens import tokens
from consentry.delivery.golden import SERVED
from consentry.errors import StopRun
from consentry.identity.golden_for import golden_rows, left_out
from consentry.model.names import quoted
from consentry.pipeline.context import Context
from consentry.pipeline.earlier import publish_people
from consentry.pipeline.freshness import GOLDEN, hold_attributes
from consentry.pipeline.purposes import profiling
from consentry.pipeline.special import categories, those_who_granted
from consentry.segments.people import NUMBER, number_profile
from consentry.validation.contract import served_columns
from consentry.validation.impute import impute
from consentry.validation.run import Checked, validate_table
from consentry.warehouse.people import PERSON

CHECKED = "identity.golden_checked"
IMPUTED = "identity.golden_imputed"


def build_profile(context: Context) -> dict[str, Any]:
    """Write profile.person and one profile.event__NAME for each event of the catalogue."""
    warehouse, contract = context.warehouse, context.loaded.profile
    context.gate.subjects(warehouse)
    decided, special = context.gate.decide_profile(warehouse)
    checked = _checked(context)
    imputed = impute(warehouse, contract, table_in=CHECKED, table_out=IMPUTED, run_id=context.run_id)
    _write_people(context)
    _write_served(context)
    number_profile(warehouse)
    for event in context.loaded.job.events:
        _write_events(context, event)
    told = {purpose: {"allow": it.allowed, "deny": sum(it.refused.values())} for purpose, it in special.items()}
    context.audit.append(
        "profile.decided",
        run=context.run_id,
        counts={"allow": decided.allowed, "deny": sum(decided.refused.values())},
        reasons=dict(decided.refused),
        quarantined=checked.quarantined,
        special=told,
    )
    return {
        "profiles": warehouse.count("profile.person"),
        "refused": dict(decided.refused),
        "quarantined": checked.quarantined,
        "reasons": dict(checked.reasons),
        "imputed": dict(imputed.cells),
    }


def _checked(context: Context) -> Checked:
    """Judge the golden records; where a failing alarm keeps them back, those of the run before stay.

    What reads any attribute is stale then. Who may have a profile is decided anew in any case.
    """
    warehouse, contract = context.warehouse, context.loaded.profile
    try:
        found = validate_table(
            warehouse,
            contract,
            table="identity.golden",
            rows=_profiled(context),
            key="person_id",
            into=CHECKED,
            run_id=context.run_id,
            accept=f"watch:{GOLDEN}" in context.allow,
            now=context.as_of,
        )
    except StopRun as alarm:
        names = [column.name for column in contract.columns]
        if alarm.code != "watch_failed" or not warehouse.columns(CHECKED).keys() >= set(names):
            raise
        hold_attributes(warehouse, GOLDEN, dict.fromkeys(names, str(alarm)))
        return Checked(0, 0, 0)
    hold_attributes(warehouse, GOLDEN, {})
    return found


def _profiled(context: Context) -> str:
    """Return the golden records of those who may be profiled: nobody else is judged, or learnt from."""
    rows = golden_rows(context.warehouse, profiling(context.loaded))
    allowed = "SELECT person_id FROM ops.decision WHERE target = 'profile' AND allow"
    special = [name for kind, name in categories(context.loaded.policy) if kind == "attribute"]
    values = ", ".join(f"{_observed(context, name)} AS {quoted(name)}" for name in special)
    columns = f"g.* REPLACE ({values})" if values else "g.*"
    return f"(SELECT {columns} FROM {rows} g SEMI JOIN ({allowed}) d ON d.person_id = g.person_id)"


def _observed(context: Context, attribute: str) -> str:
    """Return the SQL of an attribute of g: one of a special category is that of those alone who granted it."""
    granted = those_who_granted(context.loaded.policy, ("attribute", attribute))
    value = f"g.{quoted(attribute)}"
    return f"CASE WHEN CAST(g.person_id AS {PERSON}) IN ({granted}) THEN {value} END" if granted else value


def _write_people(context: Context) -> None:
    """Write the attributes that the contract names, for those whose consent allows it, and tokens for the rest."""
    contract = context.loaded.profile
    served = served_columns(contract)
    selected = [f"CAST(g.person_id AS {PERSON}) AS person_id"]
    for column in contract.columns:
        name, filled = quoted(column.name), quoted(f"{column.name}__imputed")
        value = _observed(context, column.name)
        value = f"coalesce({value}, g.{filled})" if served.get(column.name) == "imputed" else value
        selected.append(f"{value} AS {name}")
        if column.name in served:
            selected.append(f"(g.{name} IS NULL AND g.{filled} IS NOT NULL) AS {filled}")
    publish_people(
        context,
        f"SELECT {', '.join(selected)} FROM {IMPUTED} g"
        " JOIN ops.decision d ON d.person_id = g.person_id AND d.target = 'profile' AND d.allow",
    )
    _write_tokens(context)


def _write_served(context: Context) -> None:
    """Write what destinations get where a value is missing: what the contract serves imputed, of who has a profile."""
    warehouse, served = context.warehouse, served_columns(context.loaded.profile)
    golden = warehouse.columns("identity.golden")
    names = [name for name, how in served.items() if how == "imputed" and name in golden]
    if not names:
        warehouse.drop(SERVED)
        return
    filled = {name: f"g.{quoted(f'{name}__imputed')}" for name in names}
    # In the type of the observed value, which is what the policy's transforms and the destination know.
    values = ", ".join(f"TRY_CAST({value} AS {golden[name]}) AS {quoted(name)}" for name, value in filled.items())
    warehouse.sql(
        f"CREATE OR REPLACE TABLE {SERVED} AS SELECT CAST(g.person_id AS {PERSON}) AS person_id, {values}"
        f" FROM {IMPUTED} g SEMI JOIN profile.person p ON p.person_id = g.person_id"
        f" WHERE {' OR '.join(f'{value} IS NOT NULL' for value in filled.values())}"
    )


def _write_tokens(context: Context) -> None:
    """Write a token in place of each direct identifier, so that profiles can be joined without knowing anybody."""
    kinds = sorted(
        {
            kind
            for block in context.loaded.job.sources.values()
            for s in block.streams.values()
            for kind in s.identifiers
        }
    )
    known = context.warehouse.columns("identity.golden")
    kinds = [kind for kind in kinds if kind in known]
    schema = pa.schema([("person_id", pa.string()), *((f"{kind}_token", pa.string()) for kind in kinds)])
    keys = {kind: context.keyring.key("internal", kind, "profile") for kind in kinds}

    def tokenise(batch: pa.RecordBatch) -> pa.RecordBatch:
        made = [tokens(keys[kind], batch[kind], version=context.keyring.active) for kind in kinds]
        return pa.RecordBatch.from_arrays([batch["person_id"].cast(pa.string()), *made], schema=schema)

    listed = ", ".join(["g.person_id", *(f"CAST(g.{quoted(kind)} AS TEXT) AS {quoted(kind)}" for kind in kinds)])
    golden = golden_rows(context.warehouse, profiling(context.loaded))
    context.warehouse.map_batches(
        f"SELECT {listed} FROM {golden} g JOIN profile.person p ON p.person_id = g.person_id",
        tokenise,
        into="profile.token",
        schema=schema,
    )


def _write_events(context: Context, event: str) -> None:
    """Write the events of one name with the person they belong to and their number, sorted as rules read them.

    Events of records that may not be linked with the person for profiling are not the person's, and events of a
    special category are those of whoever granted that.
    """
    properties = ", ".join(f"e.{quoted(name)}" for name in context.loaded.job.events[event])
    others, params = left_out(context.warehouse, profiling(context.loaded))
    granted = those_who_granted(context.loaded.policy, ("event", event))
    special = f" SEMI JOIN ({granted}) s ON s.person_id = m.person_id" if granted else ""
    context.warehouse.sql(
        f"CREATE OR REPLACE TABLE profile.event__{event} AS SELECT m.person_id, p.{NUMBER}, e.occurred_at"
        f"{', ' + properties if properties else ''} FROM clean.event__{event} e"
        f" ANTI JOIN ({others}) l ON l.record_id = e.record_id"
        " JOIN identity.membership m ON m.record_id = e.record_id AND m.valid_to_run IS NULL"
        f" JOIN profile.person p ON p.person_id = m.person_id{special} ORDER BY p.{NUMBER}, e.occurred_at",
        **params,
    )
