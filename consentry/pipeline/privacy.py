"""What the consent commands do with a job: look up, import, try another policy.

An identifier that is asked for is used to compute its keyed hash, and stands in no answer.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from consentry.config import Faults
from consentry.consent.gate import Gate, refusals
from consentry.consent.ledger import Ledger
from consentry.consent.normal import identifying
from consentry.consent.policy import Policy, read_policy
from consentry.consent.receipt import receipt
from consentry.consent.revision import approve_policy
from consentry.consent.signals.read import read_signal
from consentry.consent.signals.rows import SignalBlock
from consentry.consent.subjects import Keyed
from consentry.errors import ConfigError
from consentry.identity.golden_for import golden_rows
from consentry.pipeline.keyrings import keys_of
from consentry.pipeline.left import held_log, left_warehouse
from consentry.pipeline.load import Loaded
from consentry.store import Store
from consentry.warehouse import DuckDBWarehouse


@contextmanager
def ledger_of(loaded: Loaded) -> Iterator[Ledger]:
    """Open the ledger of a job beside whatever runs."""
    with closing(Store.in_file(loaded.state / "control.db")) as store:
        yield Ledger(store, keys_of(loaded, store))


# Everything below returns plain JSON.
def history(loaded: Loaded, kind: str, value: str, region: str | None) -> dict[str, Any]:
    """Return every event of one identifier, oldest first."""
    identifying(kind, value, region)
    with ledger_of(loaded) as ledger:
        return {"identifier_type": kind, "events": ledger.history(kind, value, region=region)}


def evidence(loaded: Loaded, kind: str, value: str, region: str | None) -> dict[str, Any]:
    """Return the payloads that were kept of one identifier, with the events they speak of; the log keeps that."""
    identifying(kind, value, region)
    with held_log(loaded) as audit, ledger_of(loaded) as ledger:
        events = [one for one in ledger.history(kind, value, region=region) if one["evidence_uri"]]
        audit.append("evidence.opened", events=len(events))
        payloads = ledger.evidence.open([str(one["evidence_uri"]) for one in events])
    by_name: dict[str, list[Any]] = {}
    for one in events:
        by_name.setdefault(str(one["evidence_uri"]), []).append(one["seq"])
    return {
        "identifier_type": kind,
        "evidence": [{"name": name, "events": seqs, "payload": payloads.get(name)} for name, seqs in by_name.items()],
    }


def show(loaded: Loaded, kind: str, value: str, region: str | None) -> dict[str, Any]:
    """Return the last word for each purpose and source."""
    last: dict[tuple[Any, Any], dict[str, Any]] = {}
    for event in history(loaded, kind, value, region)["events"]:
        last[event["purpose"], event["source_system"]] = event
    kept = ("purpose", "state", "source_system", "method", "regime", "notice_version", "effective_at", "expires_at")
    return {"identifier_type": kind, "states": [{name: one[name] for name in kept} for one in last.values()]}


def receipts(loaded: Loaded, kind: str, value: str, region: str | None) -> dict[str, Any]:
    """Return a dpv-27560 receipt for each event of one identifier."""
    events = history(loaded, kind, value, region)["events"]
    return {"receipts": [receipt(event, loaded.policy) for event in events]}


def import_consents(loaded: Loaded, path: Path, signal: str | None, *, keep: bool = False) -> dict[str, Any]:
    """Take a file of consent events (CSV or JSON lines, canonical columns) into the ledger.

    signal: the platform whose payloads stand in a column `payload`. keep: whether they are kept as evidence.
    """
    block = SignalBlock.model_validate({"type": signal, "keep": keep}) if signal else None
    rows: Iterator[Mapping[str, object]] = _rows(path)
    if block:
        rows = (found for row in rows for found in read_signal(row, block, loaded.policy))
    with ledger_of(loaded) as ledger:
        return asdict(ledger.record(rows, policy=loaded.policy))


def _rows(path: Path) -> Iterator[Mapping[str, object]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".csv":
                for record in csv.DictReader(file):
                    yield {name: value or None for name, value in record.items() if name}
                return
            for number, line in enumerate(file, 1):
                row = _object(line) if line.strip() else {}
                if row is None:
                    raise ConfigError(f"{path}:{number}: This line is no JSON object. Nothing after it was read.")
                if row:
                    yield row
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{path}: The file cannot be read. Check the path, and that it is UTF-8 text.") from None


def _object(line: str) -> dict[str, object] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def explain(
    loaded: Loaded, kind: str, value: str, region: str | None, *, sync: str, known_at: datetime | None = None
) -> dict[str, Any]:
    """Return what the gate answers for one person at one sync now (or as known at an instant), and the events behind.

    Raises ConfigError when the job has not run, or nobody has this identifier.
    """
    if sync not in loaded.job.syncs:
        raise ConfigError(f"The job has no sync {sync!r}. It has: {', '.join(loaded.job.syncs)}.")
    form = identifying(kind, value, region)
    with ledger_of(loaded) as ledger, left_warehouse(loaded) as warehouse:
        gate = Gate(loaded.policy, ledger, ledger.keyring, as_of=loaded.job.as_of, known_at=known_at)
        name = Keyed(ledger.keyring).ledger(kind, form)[0]
        target = loaded.target(sync)
        rows = golden_rows(warehouse, loaded.policy.destinations[target.destination].purposes_all_of)
        people = warehouse.sql(
            f"SELECT g.* FROM {rows} g SEMI JOIN ops.subject s"
            " ON s.person_id = g.person_id AND s.identifier = $name ORDER BY g.person_id",
            name=name,
        ).to_pylist()
        if not people:
            raise ConfigError("Nobody has this identifier, as of the job's last run.")
        register = gate.register(warehouse, [str(one["person_id"]) for one in people])
        answers = gate.answers(register, target, people)
        events = ledger.history(kind, value, region=region)
    destination = loaded.policy.destinations[target.destination]
    return {
        "sync": sync,
        "destination": target.destination,
        "purposes": list(destination.purposes_all_of),
        "policy": {"id": loaded.policy.policy_id, "sha256": loaded.policy.sha256},
        "people": [
            {"person_id": person, "allow": one.allow, "reason": one.reason, "identifiers": sorted(one.kinds)}
            for person, one in answers.items()
        ],
        "events": [{key: event[key] for key in _SHOWN} for event in events],
    }


_SHOWN = (
    "seq", "purpose", "state", "source_system", "method", "regime", "notice_version", "effective_at", "recorded_at",
)  # fmt: skip


def policy_at(path: Path) -> Policy:
    """Read a policy file; raises ConfigError with every fault."""
    faults = Faults()
    policy = read_policy(path, faults)
    faults.check()
    assert policy is not None
    return policy


def policy_diff(loaded: Loaded, new: Policy) -> dict[str, Any]:
    """Decide everybody under another policy, and count who would gain or lose each sync. Nothing is kept or sent.

    A sync that the new policy does not admit loses everybody.
    """
    with ledger_of(loaded) as ledger, left_warehouse(loaded) as warehouse:
        if not warehouse.has("ops.subject"):
            raise ConfigError(f"The job {loaded.job.job} has not run yet. Run it first.")
        # The policy in force decides last: what is known of where people live stays as it says.
        for side, policy in (("after", new), ("before", loaded.policy)):
            _decide_aside(Gate(policy, ledger, ledger.keyring, as_of=loaded.job.as_of), warehouse, loaded, side)
        counted = {name: _compared(warehouse, name) for name in loaded.job.syncs}
        warehouse.sql(f"DELETE FROM ops.decision WHERE {_ASIDE}")
    return {"policy": {"before": loaded.policy.sha256, "after": new.sha256}, "syncs": counted}


_ASIDE = "starts_with(target, 'before:') OR starts_with(target, 'after:')"


def _decide_aside(gate: Gate, warehouse: DuckDBWarehouse, loaded: Loaded, side: str) -> None:
    targets = [replace(loaded.target(name), name=f"{side}:{name}") for name in loaded.job.syncs]
    warehouse.sql("DELETE FROM ops.decision WHERE starts_with(target, $side || ':')", side=side)
    gate.subjects(warehouse)
    gate.decide(warehouse, [target for target in targets if not list(refusals(gate.policy, target))])


def _compared(warehouse: DuckDBWarehouse, sync: str) -> dict[str, Any]:
    found = warehouse.sql(
        "WITH sides AS (SELECT person_id, bool_or(allow AND target = 'before:' || $sync) AS before,"
        " bool_or(allow AND target = 'after:' || $sync) AS after,"
        " max(CASE WHEN target = 'after:' || $sync THEN reason END) AS reason"
        " FROM ops.decision WHERE target IN ('before:' || $sync, 'after:' || $sync) GROUP BY person_id)"
        " SELECT CASE WHEN after THEN 'gain' ELSE 'lose' END AS side, coalesce(reason, 'not_admitted') AS reason,"
        " count(*) AS n FROM sides WHERE before <> after GROUP BY ALL ORDER BY ALL",
        sync=sync,
    ).to_pylist()
    return {
        "gain": sum(row["n"] for row in found if row["side"] == "gain"),
        "lose": sum(row["n"] for row in found if row["side"] == "lose"),
        "lost_for": {row["reason"]: row["n"] for row in found if row["side"] == "lose"},
    }


def approve(loaded: Loaded) -> dict[str, Any]:
    """Sign the job's policy, so that it may come into force though a newer one was."""
    with ledger_of(loaded) as ledger:
        signature = approve_policy(ledger.store, loaded.policy, ledger.keyring)
    return {"policy_id": loaded.policy.policy_id, "sha256": loaded.policy.sha256, "signature": signature}
