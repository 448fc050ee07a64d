"""A small world to deliver from: people with golden records, consents in the real ledger, one segment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from consentry.audit import AuditLog
from consentry.config import Faults
from consentry.connectors.base import Destination
from consentry.consent.gate import Gate
from consentry.consent.keys import Keyring
from consentry.consent.ledger import Ledger
from consentry.consent.policy import read_policy
from consentry.delivery import Sync, SyncResult, deliver
from consentry.delivery.tables import make_tables
from consentry.store import Store
from consentry.testing.failing import Failing, FailingConfig, Failure
from consentry.testing.memory import Memory, MemoryConfig
from consentry.warehouse import DuckDBWarehouse

AUDIENCE = "insiders"
START = datetime.now(UTC) - timedelta(days=30)
POLICY = """
version: 1
policy_id: delivery-tests
default: deny
purposes:
  newsletter:
    basis: {gdpr: consent}
destinations:
  mail:
    connector: memory
    role: controller
    transfer: {mechanism: none}
    purposes_all_of: [newsletter]
    identifiers: {email: {transform: pass}}
    fields: {plan: {transform: pass}}
    min_segment: 0
sources:
  preferences: {trust: 3}
"""
GOLDEN = pa.schema([(name, pa.string()) for name in ("person_id", "email", "country", "plan")])


def person(number: int) -> str:
    """Return the id of the n-th person."""
    return f"00000000-0000-7000-8000-{number:012d}"


def email(number: int) -> str:
    """Return the address of the n-th person."""
    return f"person{number}@example.com"


def sync(**changes: Any) -> Sync:
    """Return the sync of the tests, changed."""
    block = {
        "name": "insiders_mail",
        "segment": "insiders",
        "destination": "mail",
        "audience": AUDIENCE,
        "purpose": "newsletter",
        "identifiers": ("email",),
        "fields": {"plan_name": "plan"},
        "guards": {"max_delete_pct": 100},
    }
    return Sync.model_validate({**block, **changes})


def failing(*schedule: Failure, size: int = 100, path: Path | None = None) -> Failing:
    """Return a destination that fails as the schedule says."""
    return Failing(FailingConfig(schedule=schedule, batch_max=size, path=path))


def emails(*numbers: int) -> set[str]:
    """Return the addresses of some people."""
    return {email(n) for n in numbers}


def memory(size: int = 100) -> Memory:
    """Return an empty destination that takes so many rows a batch."""
    return Memory(MemoryConfig(batch_max=size))


def members(destination: object) -> set[str]:
    """Return the addresses that one of the two test destinations holds in the audience."""
    return getattr(destination, "audiences").values(AUDIENCE, "email")  # noqa: B009 - both of them have it


class World:
    """Warehouse, store, log and gate in one folder; open it again after a crash and go on."""

    def __init__(
        self,
        folder: Path,
        *,
        warehouse: DuckDBWarehouse | None = None,
        audit: AuditLog | None = None,
        policy: str = POLICY,
    ) -> None:
        self.folder, self._policy = folder, policy
        self.warehouse = warehouse or DuckDBWarehouse(folder / "warehouse.duckdb", threads=1)
        self.store = Store.in_file(folder / "store.db")
        self.audit = audit or AuditLog(folder / "audit")
        self.gate = self._gate()
        self._said = 0
        make_tables(self.warehouse)
        for table in (
            "identity.golden(person_id UUID, email TEXT, country TEXT, plan TEXT)",
            "identity.identifier(record_id TEXT, source TEXT, type TEXT, value TEXT, status TEXT, reason TEXT)",
            "identity.membership(record_id TEXT, person_id UUID, valid_from_run TEXT, valid_to_run TEXT)",
            "segment.membership(segment TEXT, person_id UUID, entered_at TIMESTAMPTZ)",
        ):
            self.warehouse.sql(f"CREATE TABLE IF NOT EXISTS {table}")

    def _gate(self) -> Gate:
        policy = self.folder / "policy.yaml"
        policy.write_text(self._policy)
        faults = Faults()
        found = read_policy(policy, faults)
        faults.check()
        assert found is not None
        keyring = Keyring.from_file(self.folder / "keys.json", create=True)
        return Gate(found, Ledger(self.store, keyring), keyring)

    def close(self) -> None:
        """Let go of every file."""
        self.warehouse.close()
        self.store.close()
        self.audit.close()

    def people(self, numbers: Iterable[int]) -> None:
        """Give people golden records."""
        rows = [{"person_id": person(n), "email": email(n), "country": "GB", "plan": "basic"} for n in numbers]
        batch = pa.RecordBatch.from_pylist(rows, schema=GOLDEN)
        self.warehouse.write("identity.golden", [batch], schema=GOLDEN, mode="append")
        ids = batch.column("person_id").to_pylist()
        self.warehouse.sql(
            "INSERT INTO identity.identifier SELECT 'crm:' || g.person_id, 'crm', 'email', g.email, 'ok', NULL"
            " FROM identity.golden g WHERE g.person_id IN (SELECT unnest($ids::UUID[]))",
            ids=ids,
        )
        self.warehouse.sql(
            "INSERT INTO identity.membership SELECT 'crm:' || person_id, person_id, 'run-0', NULL"
            " FROM identity.golden WHERE person_id IN (SELECT unnest($ids::UUID[]))",
            ids=ids,
        )

    def join(self, numbers: Iterable[int], segment: str = "insiders") -> None:
        """Let people enter the segment."""
        ids = [person(n) for n in numbers]
        query = "INSERT INTO segment.membership SELECT $segment, unnest($ids::UUID[]), now()"
        self.warehouse.sql(query, segment=segment, ids=ids)

    def leave(self, numbers: Iterable[int]) -> None:
        """Let people leave the segment."""
        ids = [person(n) for n in numbers]
        query = "DELETE FROM segment.membership WHERE person_id IN (SELECT unnest($ids::UUID[]))"
        self.warehouse.sql(query, ids=ids)

    def change(self, numbers: Iterable[int], plan: str) -> None:
        """Give people another plan, which is a field of the sync."""
        ids = [person(n) for n in numbers]
        query = "UPDATE identity.golden SET plan = $plan WHERE person_id IN (SELECT unnest($ids::UUID[]))"
        self.warehouse.sql(query, ids=ids, plan=plan)

    def grant(self, numbers: Iterable[int], purpose: str = "newsletter") -> None:
        """Let people say yes to a purpose."""
        self._say(numbers, "granted", purpose)

    def withdraw(self, numbers: Iterable[int], purpose: str = "newsletter") -> None:
        """Let people take their consent back."""
        self._say(numbers, "withdrawn", purpose)

    def _say(self, numbers: Iterable[int], state: str, purpose: str) -> None:
        # Each word one second after the one before it, so that the last one said is the last one meant.
        self._said = max(self._said, self.gate.ledger.head()[0]) + 1
        at = START + timedelta(seconds=self._said)
        rows = [
            {
                "source_system": "preferences",
                "source_event_id": f"{self._said}-{n}",
                "identifier_type": "email",
                "identifier_value": email(n),
                "region": None,
                "purpose": purpose,
                "state": state,
                "method": "explicit",
                "mechanism": "form",
                "notice_id": "privacy",
                "notice_version": 1,
                "regime": "gdpr",
                "jurisdiction": None,
                "effective_at": at,
                "expires_at": None,
            }
            for n in numbers
        ]
        self.gate.ledger.record(rows, policy=self.gate.policy)

    def fill(self, numbers: Iterable[int]) -> None:
        """Make people who said yes and are in the segment."""
        numbers = list(numbers)
        self.people(numbers)
        self.join(numbers)
        self.grant(numbers)

    def decide(self, *syncs: Sync) -> None:
        """Write ops.decision, as the job does before it delivers."""
        self.gate.subjects(self.warehouse)
        self.gate.decide(self.warehouse, [one.target() for one in syncs or (sync(),)])

    def run(self, destination: Destination, with_sync: Sync | None = None, **options: Any) -> SyncResult:
        """Decide and deliver, as a run does."""
        self.decide(with_sync or sync())
        return self.deliver(destination, with_sync, **options)

    def deliver(self, destination: Destination, with_sync: Sync | None = None, **options: Any) -> SyncResult:
        """Deliver on the decisions that stand."""
        options = {"run_id": "run-1", "sleep": lambda _seconds: None, **options}
        chosen = with_sync or sync()
        return deliver(self.warehouse, self.store, self.gate, self.audit, destination, chosen, **options)

    def log(self) -> str:
        """Return the audit log as text."""
        return "".join(path.read_text() for path in sorted((self.folder / "audit").glob("*.jsonl")))
