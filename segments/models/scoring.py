"""Say of everybody what the version in use says, and serve it to rules in one atomic step, with the drift since."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from consentry.errors import ConfigError
from consentry.segments.bits import Column, Ordinals
from consentry.segments.catalog import Catalog
from consentry.segments.earlier import replace_served
from consentry.segments.models.asof import Observed, observe, person_ids
from consentry.segments.models.cluster import Clustering
from consentry.segments.models.clv import BgNbd, GammaGamma, value
from consentry.segments.models.definition import Definition
from consentry.segments.models.drift import Drift, drifted
from consentry.segments.models.foretelling import read_foreteller
from consentry.segments.models.orders import summed
from consentry.segments.models.registry import MODEL, Registry
from consentry.segments.served import note_version
from consentry.warehouse import Warehouse

SCORING = "segment.model_scoring"
DRIFT = "segment.model_drift"
_INSTANT = pa.timestamp("us", "UTC")
_DAY_S = 86_400
_TYPES = {"number": pa.float64(), "integer": pa.int64(), "text": pa.string()}
# One list an output: numbers, or words with None for nothing.
Said = Mapping[str, Column | Sequence[str | None]]


@dataclass(frozen=True, slots=True)
class Scored:
    """What a scoring did: with which version, of how many people, and what moved since the training."""

    model: str
    version: int
    people: int
    drift: tuple[Drift, ...]

    @property
    def alarms(self) -> tuple[Drift, ...]:
        return tuple(item for item in self.drift if item.is_alarm)


def score(
    warehouse: Warehouse,
    catalog: Catalog,
    definition: Definition,
    registry: Registry,
    *,
    now: datetime,
    run_id: str,
    kept: Collection[str] = (),
) -> Scored:
    """Score everybody the model is about, as of now, and replace what was said before.

    kept: the names that rules use whose replaced values are kept (`segments.earlier`). Raises ConfigError when no
    version is in use or it learnt something else than the file says, StopRun when its files were changed: then what was
    said before stays.
    """
    version = registry.champion(definition.name)
    if version is None:
        raise ConfigError(f"The model {definition.name!r} has no version in use. Run `consentry model train` first.")
    card = registry.card(definition.name, version)
    if card["fingerprint"] != definition.fingerprint():
        message = f"The definition of the model {definition.name!r} changed since version {version}. Train it again."
        raise ConfigError(message)
    files = registry.load(definition.name, version)
    people, said, drift = _say(warehouse, catalog, definition, files, card["baseline"], now)
    make_tables(warehouse)
    with warehouse.transaction():
        _write(warehouse, definition, people, said, version=version, now=now)
        columns = {name: column for name, column in definition.columns().items() if name in kept}
        replace_served(warehouse, definition.table, _staged(definition), columns, now=datetime.now(UTC))
        _note(warehouse, definition.name, version, len(people), drift, now=now, run_id=run_id)
    return Scored(definition.name, version, len(people), tuple(drift))


def scored_at(warehouse: Warehouse, model: str) -> tuple[datetime, int] | None:
    """Return when and by which version a model was last scored, None when it never was."""
    if not warehouse.has(SCORING):
        return None
    query = f'SELECT "at", version FROM {SCORING} WHERE model = $model ORDER BY "at" DESC, version DESC LIMIT 1'
    rows = warehouse.sql(query, model=model).to_pylist()
    return (rows[0]["at"], rows[0]["version"]) if rows else None


def _say(
    warehouse: Warehouse,
    catalog: Catalog,
    definition: Definition,
    files: Mapping[str, bytes],
    then: Mapping[str, Any],
    now: datetime,
) -> tuple[Ordinals, Said, list[Drift]]:
    if definition.kind == "clv":
        people, worth = _value(warehouse, catalog, definition, json.loads(files[MODEL]), now)
        return people, worth, []
    observed = observe(warehouse, catalog, definition, at=now)
    if definition.kind == "classify":
        model = read_foreteller(files)
        found = model.score(observed)
        return observed.people, {"score": found, "decile": model.decile(found)}, _moved(then, observed, found)
    clustering = Clustering.read(json.loads(files[MODEL]))
    placed = clustering.space.place(observed)
    parts = {f"pc{n + 1}": placed[:, n] for n in range(definition.cluster.components or 0)}
    return observed.people, {"label": clustering.assign(placed), **parts}, _moved(then, observed)


def _moved(then: Mapping[str, Any], observed: Observed, found: Column | None = None) -> list[Drift]:
    return drifted(then, observed, found) if len(observed) else []


def _value(
    warehouse: Warehouse, catalog: Catalog, definition: Definition, plain: Mapping[str, Any], now: datetime
) -> tuple[Ordinals, Said]:
    assert definition.clv is not None
    counting, paying = BgNbd(**plain["counting"]), GammaGamma(**plain["paying"])
    found = summed(warehouse, catalog, definition, at=now)
    days = definition.clv.horizon / _DAY_S
    return found.people, {
        "value": value(counting, paying, found.customers, days=days, discount=definition.clv.discount),
        "purchases": counting.purchases(found.customers, days),
        "alive": counting.alive(found.customers),
    }


def make_tables(warehouse: Warehouse) -> None:
    """Make the tables of this module where they are not there yet."""
    columns = 'run_id TEXT, model TEXT, version BIGINT, "at" TIMESTAMPTZ'
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {SCORING} ({columns}, people BIGINT)")
    warehouse.sql(f"CREATE TABLE IF NOT EXISTS {DRIFT} ({columns}, feature TEXT, d DOUBLE, psi DOUBLE, alarm BOOLEAN)")


def _write(
    warehouse: Warehouse, definition: Definition, people: Ordinals, said: Said, *, version: int, now: datetime
) -> None:
    """Stage one row a person; whoever the model says nothing about has none."""
    kinds = definition.outputs()
    schema = pa.schema(
        [
            ("person_id", pa.string()),
            *((name, _TYPES[kind]) for name, kind in kinds.items()),
            ("version", pa.int64()),
            ("scored_at", _INSTANT),
        ]
    )
    columns = [pa.array(said[name], from_pandas=True).cast(_TYPES[kind]) for name, kind in kinds.items()]
    count = len(people)
    ids = pa.array(person_ids(warehouse, people), pa.string())
    own = [ids, *columns, pa.array([version] * count, pa.int64()), pa.array([now] * count, _INSTANT)]
    warehouse.write(_staged(definition), [pa.RecordBatch.from_arrays(own, schema=schema)], schema=schema)


def _staged(definition: Definition) -> str:
    return f"{definition.table}__staged"


def _note(
    warehouse: Warehouse,
    model: str,
    version: int,
    people: int,
    drift: Sequence[Drift],
    *,
    now: datetime,
    run_id: str,
) -> None:
    same = {"run": run_id, "model": model, "version": version, "now": now}
    warehouse.sql(f"INSERT INTO {SCORING} VALUES ($run, $model, $version, $now, $people)", people=people, **same)
    for item in drift:
        moved = {"feature": item.feature, "d": item.d, "psi": item.psi, "alarm": item.is_alarm}
        warehouse.sql(
            f"INSERT INTO {DRIFT} VALUES ($run, $model, $version, $now, $feature, $d, $psi, $alarm)", **same, **moved
        )
    note_version(warehouse, f"model.{model}", run_id)
