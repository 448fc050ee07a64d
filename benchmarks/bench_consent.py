"""How fast consent is decided and values are tokenised.

    python benchmarks/bench_consent.py [--quick] [--json] [--people N]

1. Everybody: three ledger events a person, decided for 4 destinations over 5 purposes in one pass (goal: 400,000
   people/s on 2 cores, below 2 GB). Most people have one e-mail; a tenth have a phone too, some took their word back.
2. Tokens: e-mail addresses, all different, in Arrow batches on one core (goal: 400,000/s).
3. One person: the same rules in process for one target (goal: p99 below 50 microseconds).
4. Withdrawal: from the word in the ledger to a batch without that person (goal: below 1 s).

Before the people are decided, the ledger's copy is numbered (`number_s`); a run does that for new events only.
`decide_cpu_s` are seconds of processor time on all cores: they say what is needed where other work takes the cores.

`--quick` takes 500,000 values and 20,000 decisions; the people are as many.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from consentry.config import Faults
from consentry.consent.codes import STAGED, code_events, code_subjects
from consentry.consent.gate import Gate, Target
from consentry.consent.instants import micros
from consentry.consent.keys import Keyring
from consentry.consent.ledger import Ledger
from consentry.consent.policy import Policy, read_policy
from consentry.consent.rules import ANY, Event, PurposeRule, Subject, TargetRule, decide
from consentry.consent.rules_sql import decide_all
from consentry.consent.tokens import tokens
from consentry.store import Store
from consentry.warehouse import DuckDBWarehouse

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PURPOSES = ("mail", "ads", "analytics", "sms", "service")
STATES = ("granted", "granted", "granted", "granted", "granted", "granted", "granted", "granted", "denied", "withdrawn")
MICROS_A_DAY = 86_400_000_000


def purpose(name: str) -> PurposeRule:
    """Return a purpose as the gate would make it."""
    basis = "legitimate_interests" if name == "service" else "consent"
    accepts = {"gdpr": frozenset({"gdpr"}), ANY: frozenset({"gdpr"})}
    return PurposeRule(name, {"gdpr": basis, ANY: basis}, accepts, NOW - timedelta(days=400), 1)


def target(name: str, purposes: tuple[str, ...], kinds: set[str]) -> TargetRule:
    """Return a target over the benchmark's clock."""
    rules = tuple(purpose(one) for one in purposes)
    return TargetRule(name, rules, frozenset(kinds), True, 2, timedelta(minutes=5), NOW, lambda _source: 1)


TARGETS = (
    target("mailer", ("mail",), {"email"}),
    target("ads", ("ads", "analytics"), {"email"}),
    target("texts", ("sms",), {"phone"}),
    target("helpdesk", ("service",), {"email"}),
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, at most 45 s")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--people", type=int, help="how many people to decide")
    arguments = parser.parse_args()
    people = arguments.people or 1_000_000
    result = {
        "people": people,
        **everybody(people),
        **tokenise(500_000 if arguments.quick else 5_000_000),
        **one_person(20_000 if arguments.quick else 100_000),
        **withdrawal(),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    print(json.dumps(result) if arguments.json else "\n".join(f"{key:24} {value:,}" for key, value in result.items()))


def everybody(people: int) -> dict[str, Any]:
    """Decide for everybody at once and return the rate."""
    with tempfile.TemporaryDirectory() as folder:
        warehouse = DuckDBWarehouse(Path(folder) / "w.duckdb", threads=2, memory_limit="1GB")
        events = populate(warehouse, people)
        started = time.monotonic()
        code_events(warehouse)
        code_subjects(warehouse)
        coded = time.monotonic() - started
        started, worked = time.monotonic(), time.process_time()
        decide_all(warehouse, TARGETS, known_us=micros(NOW), sources={"web": 1, "app": 1})
        seconds, worked = time.monotonic() - started, time.process_time() - worked
        assert warehouse.count("ops.decision") == people * len(TARGETS)
        warehouse.close()
    return {
        "events": events,
        "number_s": round(coded, 2),
        "decide_s": round(seconds, 2),
        "decide_cpu_s": round(worked, 2),
        "people_per_s": round(people / seconds),
    }


def populate(warehouse: DuckDBWarehouse, people: int) -> int:
    """Write the identities and the ledger's copy; return the number of events."""
    rng = np.random.default_rng(7)
    owners = np.concatenate([np.arange(people), np.arange(0, people, 10)])
    names = [f"{n:064x}" for n in rng.permutation(len(owners))]
    _write_people(warehouse, people, owners, names)
    return _write_events(warehouse, people * 3, names, rng)


def _write_people(warehouse: DuckDBWarehouse, people: int, owners: np.ndarray, names: list[str]) -> None:
    text, number, flag = pa.string(), pa.int64(), pa.bool_()
    person = [f"p{n:015d}" for n in range(people)]
    empty: list[object] = []
    nothing = pa.nulls(people)
    write(
        warehouse,
        "ops.person_fact",
        person=(np.arange(people, dtype=np.int32), pa.int32()),
        person_id=(person, text),
        regime=(nothing.cast(text), text),
        minor=(nothing.cast(flag), flag),
    )
    write(warehouse, "ops.suppression", identifier_hmac=(empty, text), scope_purpose=(empty, text))
    kinds = ["email"] * people + ["phone"] * (len(owners) - people)
    shared = np.ones(len(owners), dtype=np.int64)
    for kind, prefix in (("ledger", ""), ("suppression", "s")):
        macs = names if not prefix else [prefix + name[1:] for name in names]
        columns: dict[str, tuple[Any, pa.DataType]] = {
            "person_id": ([person[n] for n in owners], text),
            "identifier_type": (kinds, text),
            "identifier": (names, text),
            "identifier_hmac": (macs, text),
            "served": (np.ones(len(owners), dtype=bool), flag),
            "list": ([kind] * len(owners), text),
            "shared_by": (shared, number),
        }
        write(warehouse, "ops.subject", mode="append" if prefix else "replace", **columns)


def _write_events(warehouse: DuckDBWarehouse, count: int, names: list[str], rng: np.random.Generator) -> int:
    text, number, flag = pa.string(), pa.int64(), pa.bool_()
    subject = rng.integers(0, len(names), count)
    days = rng.integers(0, 450, count)
    states, purposes, sources = (rng.integers(0, n, count) for n in (len(STATES), 4, 2))
    effective = micros(NOW) - days * MICROS_A_DAY - rng.integers(0, MICROS_A_DAY, count)
    write(
        warehouse,
        STAGED,
        identifier_hmac=(pa.array(names).take(pa.array(subject)), text),
        purpose=(pa.array(PURPOSES).take(pa.array(purposes)), text),
        state=(pa.array(STATES).take(pa.array(states)), text),
        source_system=(pa.array(["web", "app"]).take(pa.array(sources)), text),
        regime=(["gdpr"] * count, text),
        method=(["explicit"] * count, text),
        proven=(np.ones(count, dtype=bool), flag),
        notice_version=(np.ones(count, dtype=np.int64), number),
        effective_us=(effective, number),
        expires_us=(pa.nulls(count, number), number),
        recorded_us=(effective, number),
    )
    return count


def write(warehouse: DuckDBWarehouse, table: str, *, mode: Any = "replace", **columns: tuple[Any, pa.DataType]) -> None:
    """Write columns as a table."""
    schema = pa.schema([(name, kind) for name, (_, kind) in columns.items()])
    arrays = [v if isinstance(v, pa.Array) else pa.array(v, kind) for v, kind in columns.values()]
    warehouse.write(table, [pa.RecordBatch.from_arrays(arrays, schema=schema)], schema=schema, mode=mode)


def tokenise(values: int) -> dict[str, Any]:
    """Tokenise values that are all different, batch by batch, and return the rate of one core."""
    batches = [
        pa.array([f"person{n}@example.com" for n in range(at, min(at + 100_000, values))])
        for at in range(0, values, 100_000)
    ]
    started = time.process_time()
    made = sum(len(tokens(b"k" * 32, batch)) for batch in batches)
    return {"tokens": made, "tokens_per_s_per_core": round(made / (time.process_time() - started))}


def one_person(repeats: int) -> dict[str, Any]:
    """Decide for one person again and again; return the median and the 99th percentile in microseconds."""
    subjects = [Subject("a", "email"), Subject("b", "phone")]
    said = [
        ("mail", "granted", "web"),
        ("ads", "granted", "app"),
        ("analytics", "denied", "web"),
        ("mail", "withdrawn", "web"),
        ("sms", "granted", "app"),
    ]
    events = [
        Event("a", name, state, source, NOW - timedelta(days=day), "gdpr")
        for day, (name, state, source) in enumerate(said)
    ]
    taken = np.empty(repeats)
    for n in range(repeats):
        rule = TARGETS[n % len(TARGETS)]
        started = time.perf_counter_ns()
        decide(subjects, events, frozenset(), rule)
        taken[n] = (time.perf_counter_ns() - started) / 1000
    return {
        "decision_p50_us": round(float(np.percentile(taken, 50)), 1),
        "decision_p99_us": round(float(np.percentile(taken, 99)), 1),
    }


POLICY = """\
version: 1
policy_id: bench
default: deny
purposes: {mail: {basis: {gdpr: consent}}}
destinations:
  mailer:
    connector: memory
    role: controller
    transfer: {mechanism: none}
    purposes_all_of: [mail]
    identifiers: {email: {transform: pass}}
"""


def withdrawal() -> dict[str, Any]:
    """Take one person's consent back, and return the seconds until a batch of 1,000 is sealed without them."""
    asked = Target("news", "mailer", "mail", "list", ("email",))
    with tempfile.TemporaryDirectory() as folder:
        policy = _policy(Path(folder))
        store, warehouse = Store.in_file(Path(folder) / "store.db"), DuckDBWarehouse(Path(folder) / "w.duckdb")
        ring = Keyring({1: bytes(range(32))}, active=1)
        ledger = Ledger(store, ring)
        gate = Gate(policy, ledger, ring)
        rows = [{"person_id": f"p{n}", "email": f"p{n}@example.com"} for n in range(1000)]
        _settle(warehouse, rows)
        ledger.record([_said(n, "granted") for n in range(1000)], policy=policy)
        gate.subjects(warehouse)
        gate.decide(warehouse, [asked])
        started = time.monotonic()
        ledger.record([_said(7, "withdrawn")], policy=policy)
        sealed = gate.seal(warehouse, asked, "add", rows, batch_id="b")
        seconds = time.monotonic() - started
        assert [person for person, _ in sealed.refused] == ["p7"]
        store.close()
        warehouse.close()
    return {"withdrawal_to_not_sent_s": round(seconds, 3)}


def _policy(folder: Path) -> Policy:
    path = folder / "policy.yaml"
    path.write_text(POLICY)
    faults = Faults()
    found = read_policy(path, faults)
    faults.check()
    assert found is not None
    return found


def _settle(warehouse: DuckDBWarehouse, rows: list[dict[str, str]]) -> None:
    text = pa.string()
    people, addresses = [row["person_id"] for row in rows], [row["email"] for row in rows]
    write(warehouse, "identity.golden", person_id=(people, text), email=(addresses, text))
    write(
        warehouse,
        "identity.identifier",
        record_id=(people, text),
        type=(["email"] * len(rows), text),
        value=(addresses, text),
        status=(["ok"] * len(rows), text),
    )
    write(
        warehouse,
        "identity.membership",
        record_id=(people, text),
        person_id=(people, text),
        valid_to_run=([None] * len(rows), text),
    )


def _said(n: int, state: str) -> dict[str, object]:
    return {
        "source_system": "web",
        "source_event_id": f"{n}-{state}",
        "identifier_type": "email",
        "identifier_value": f"p{n}@example.com",
        "purpose": "mail",
        "state": state,
        "method": "explicit",
        "mechanism": "form",
        "notice_version": 1,
        "regime": "gdpr",
        "effective_at": datetime.now(UTC) - timedelta(minutes=2 if state == "granted" else 0),
    }


if __name__ == "__main__":
    main()
